"""What trained weights can do: episodes, what is generated for them, and the figures."""

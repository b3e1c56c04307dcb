"""What a forward keeps for later ones."""

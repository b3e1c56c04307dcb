"""How fast one forward is, with and without techniques, beside what the machine could do and beside diffusers."""

"""What the commands do, one file each, and the pictures that they draw."""

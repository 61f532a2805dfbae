"""Video files to frames: the interface, a file for each decoder, and what opens and chooses them."""

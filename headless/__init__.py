"""Running workflows without ComfyUI, or on a running ComfyUI: the command line and what it is made of."""

"""The few core nodes of ComfyUI that the examples use."""

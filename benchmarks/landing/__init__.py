"""A switch that is asked for inside a section: at the section's border, on its own frame, or composed along the section."""

"""Results of earlier runs on disk: what their names are made of, how they are written, and where they lie."""

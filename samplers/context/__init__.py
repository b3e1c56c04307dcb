"""The packed past: which sections a video has, what each of them sees, and edits of it."""

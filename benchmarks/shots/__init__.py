"""What a new shot takes over: a subject that is kept over a cut, and an earlier scene that is called back."""

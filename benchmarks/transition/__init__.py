"""TransitionBench: does a prompt switch happen, how fast, how cleanly and at what cost."""

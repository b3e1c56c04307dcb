"""The denoising loop: sections in order, the predictions of a step, solvers, and the trace of a run."""

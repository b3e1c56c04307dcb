"""Sampling: the plan of sections, their history, schedules, solvers and the denoising loop."""

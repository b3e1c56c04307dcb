"""Sampling and measuring episodes: batches, tasks, worker processes and the results on disk."""

"""Scripts of other benchmarks, several prompts each, as suites of any workflow."""

"""TransitionBench for any model that a workflow runs: episodes, results and their summary."""

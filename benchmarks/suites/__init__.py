"""TransitionBench for any model that a workflow runs: scripts, verdicts and their summary."""

"""Suites of long videos with many switches, for any model that a workflow runs."""

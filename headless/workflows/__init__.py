"""Workflow files: reading, converting, checking and executing them."""

"""One run from a workflow to its report, in this process or on a server."""

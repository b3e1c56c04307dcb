"""What the workflow that a node stands in says about the node's inputs."""

"""What can go wrong while a section is sampled: it is found early, and told with the section, the step and a remedy."""

"""The command `export`: videos and their prompts as other benchmarks read them."""

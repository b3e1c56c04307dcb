"""The step cache: when the blocks of a step run, and what stands for them where they do not."""

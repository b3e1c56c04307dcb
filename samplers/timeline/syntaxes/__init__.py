"""Notations for several prompts and their times in one text, one notation a file; `table.py` lists them."""

"""All scores of one switch, and what must hold for them to mean what they say."""

"""Whether a run survives being stopped: it is killed again and again, and must end as if nothing had been."""

"""Long videos with many switches: what becomes of them, switch by switch and over time."""

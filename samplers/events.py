"""What happens at a switch, as far as techniques distinguish it."""

from __future__ import annotations

AUTO = "auto"
# Something leaves, something looks otherwise, something goes on elsewhere, or all of it changes.
EVENTS = (AUTO, "gone", "new_look", "new_place", "cut")

"""The page on which people rate videos: one HTML file with its script, which reads nothing but the videos beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAGE = "rating.html"
TEMPLATE = Path(__file__).resolve().parent / "shipped" / "page.html"
PLACE = "/*PLAN*/"  # of the plan in the template


def write_page(folder: Path, plan: Mapping[str, Any]) -> Path:
    """Write the page of a plan into the folder that the plan's paths begin in, and return where it lies.

    The order's seed is in its name, but for 0: people who rate in another order have a page of their own.
    """
    name = Path(PAGE)
    path = folder / (name.with_stem(f"{name.stem}_{plan['order']}") if plan["order"] else name)
    path.write_text(page_text(plan), encoding="utf-8")
    return path


def page_text(plan: Mapping[str, Any]) -> str:
    """The page with a plan in it. No text of the plan can end the element that holds it."""
    data = json.dumps(plan, ensure_ascii=False).replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace(PLACE, data)

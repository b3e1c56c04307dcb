"""Names of files to write, as people give them: none that is hidden, empty or outside of its folder."""

from __future__ import annotations

import re
from pathlib import Path

MOST_BYTES = 200  # of a name; a number and an ending come behind it, and file systems hold 255


def check_prefix(prefix: str) -> None:
    """Raises ValueError for a prefix that names no file, one that would be hidden, or one that systems cannot hold."""
    names = re.split(r"[/\\]", prefix)
    if not names[-1].strip():
        raise ValueError(
            f"the filename_prefix {prefix[:MOST_BYTES]!r} does not name a file inside the output folder"
        )
    # A backslash divides on Windows alone; elsewhere it is a letter of the name.
    for name in [*names, *prefix.split("/")]:
        if name.startswith(".") and name not in (".", ".."):
            raise ValueError(
                f"the filename_prefix has {name[:MOST_BYTES]!r}, which would be hidden; leave the dot out"
            )
        if not name.isprintable() or len(name.encode(errors="replace")) > MOST_BYTES:
            raise ValueError(
                f"the filename_prefix has {name[:40]!r}, which is too long for a name or holds letters that cannot be "
                "printed; choose a plain name"
            )


def check_inside(folder: Path, root: Path) -> None:
    """Raises ValueError for a folder that lies outside of `root` once links are followed."""
    if not folder.resolve().is_relative_to(root.resolve()):
        raise ValueError(
            f"the folder {folder} leads out of the output folder, perhaps through a link; choose another filename_prefix"
        )

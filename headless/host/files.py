"""How core nodes name the files that they read and write."""

from __future__ import annotations

from pathlib import Path

from ..files import folders


def in_input_folder(name: str) -> bool | str:
    """True, or why this file of the input folder cannot be read."""
    try:
        folders.current().input_file(name)
    except ValueError as error:
        return str(error)
    return True


def saved_file(path: Path, kind: str = "output") -> dict[str, str]:
    """How ComfyUI names a file that a node has written."""
    folder = path.parent.relative_to(folders.current().output.resolve())
    return {"filename": path.name, "subfolder": "" if folder == Path() else folder.as_posix(), "type": kind}

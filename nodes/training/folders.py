"""The folders of training data: below ComfyUI's output folder, or below that of a run outside ComfyUI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...training.musubi.names import check_name
from ..comfyui import inside_comfyui
from ..files.names import check_inside, check_prefix
from ..run_folders import output_folder

FOLDER: dict[str, Any] = {"default": "training/framepack"}


def dataset_folder(folder: str) -> Path:
    """The folder of a dataset by its name below the output folder.

    Raises ValueError where there is no output folder, and for a name that is empty, hidden or leads out of it.
    """
    try:
        check_prefix(folder)
    except ValueError as error:
        raise ValueError(f"folder: {error}".replace("the filename_prefix", "the name")) from error
    root = _output_root()
    path = (root / folder).resolve()
    check_inside(path, root)
    if path == root.resolve():
        raise ValueError(
            "folder is the output folder itself; name a folder in it, such as training/framepack."
        )
    check_name(path.name)
    return path


def _output_root() -> Path:
    if inside_comfyui():
        import folder_paths

        return Path(folder_paths.get_output_directory())
    folder = output_folder()
    if folder is None:
        raise ValueError("no output folder is set; run the node in a workflow.")
    return folder.output

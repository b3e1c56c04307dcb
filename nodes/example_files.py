"""The pictures and the video that the example workflows load, put where ComfyUI's Load nodes look for files."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).resolve().parents[1] / "example_workflows" / "input"


def copy_example_files(target: Path) -> list[str]:
    """Copies the files of the examples into the folder `target` and returns the names of those that were not there.

    Their names begin with `framepack_transitions_`; a file that exists is never touched. Where nothing can be written
    a warning says so, and the examples ask for a picture.
    """
    missing = [file for file in sorted(SHIPPED.iterdir()) if not (target / file.name).exists()]
    try:
        target.mkdir(parents=True, exist_ok=True)
        for file in missing:
            shutil.copyfile(file, target / file.name)
    except OSError as error:
        logger.warning(
            "The pictures of the example workflows cannot be copied to %s (%s): copy them from %s.",
            target,
            error.strerror or error,
            SHIPPED,
        )
        return []
    return [file.name for file in missing]


def offer_example_files() -> None:
    """Copies the files of the examples into ComfyUI's input folder, so that the templates run as they are."""
    import folder_paths

    copied = copy_example_files(Path(folder_paths.get_input_directory()))
    if copied:
        logger.info(
            "Copied the files of the example workflows to ComfyUI's input folder: %s.", ", ".join(copied)
        )

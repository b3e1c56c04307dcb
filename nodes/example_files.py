"""The files that the example workflows load, where ComfyUI looks for them: pictures and the video, and a LoRA."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).resolve().parents[1] / "example_workflows" / "input"
LORA = ".safetensors"


def copy_example_files(target: Path) -> list[str]:
    """Copies the examples' pictures and video into the folder `target` and returns the names of those that were not there.

    Their names begin with `framepack_transitions_`; a file that exists is never touched. Where nothing can be written
    a warning says so, and the examples ask for a picture.
    """
    shipped = (file for file in sorted(SHIPPED.iterdir()) if file.suffix != LORA)
    missing = [file for file in shipped if not (target / file.name).exists()]
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
    """Lets ComfyUI find what the templates load, so that they run as they are.

    Pictures and the video are copied into its input folder, which is the only place that they can be in. The LoRA stays where it
    is: the examples' folder becomes the last of those in which ComfyUI looks for LoRAs.
    """
    import folder_paths

    folder_paths.add_model_folder_path("loras", str(SHIPPED))
    copied = copy_example_files(Path(folder_paths.get_input_directory()))
    if copied:
        logger.info(
            "Copied the files of the example workflows to ComfyUI's input folder: %s.", ", ".join(copied)
        )

"""Where nodes put their files: ComfyUI's output folder, or that of a run outside ComfyUI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .comfyui import inside_comfyui
from .run_folders import PREVIEWS, output_folder

KINDS = {False: "output", True: "temp"}  # ComfyUI's names of the folders


@dataclass(frozen=True)
class OutputFile:
    """A file to write under `path`, and how the interface is told about it."""

    path: Path
    filename: str
    subfolder: str
    kind: str = "output"

    def shown(self) -> dict[str, str]:
        """The entry for a node's `ui`."""
        return {"filename": self.filename, "subfolder": self.subfolder, "type": self.kind}


@contextmanager
def new_output(
    prefix: str, extension: str, size: tuple[int, int], *, temporary: bool = False
) -> Iterator[OutputFile]:
    """The next free `prefix_00001_.extension` of the output folder; if the block fails nothing stays behind.

    A `temporary` file is a preview: ComfyUI clears it away, outside ComfyUI it lies in the folder `previews`.

    `size` (width, height) fills %width% and %height% in the prefix. Inside ComfyUI the file can be seen while it grows.
    Raises ValueError where there is no output folder.
    """
    if inside_comfyui():
        with _host_file(prefix, extension, size, temporary) as file:
            yield file
        return
    folder = output_folder()
    if folder is None:
        raise ValueError(
            "no output folder is set; run the node in a workflow, or take its images and save them."
        )
    if temporary:
        prefix = f"{PREVIEWS}/{prefix}"
    with folder.new_file(prefix, extension, size) as file:
        parent = file.path.parent.relative_to(folder.output.resolve())
        yield OutputFile(
            file.unfinished, file.path.name, "" if parent == Path() else parent.as_posix(), KINDS[temporary]
        )


@contextmanager
def _host_file(prefix: str, extension: str, size: tuple[int, int], temporary: bool) -> Iterator[OutputFile]:
    import folder_paths

    root = folder_paths.get_temp_directory() if temporary else folder_paths.get_output_directory()
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, root, *size)
    file = f"{name}_{counter:05}_{extension}"
    path = Path(folder) / file
    try:
        yield OutputFile(path, file, subfolder, KINDS[temporary])
    except BaseException:
        path.unlink(missing_ok=True)
        raise

"""The files that nodes write: to ComfyUI's output folder, or to that of a run outside ComfyUI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .comfyui import inside_comfyui
from .files.names import check_inside, check_prefix
from .run_folders import PREVIEWS, kept_if_begun, output_folder

KINDS = {False: "output", True: "temp"}  # by whether the file is temporary: ComfyUI's names of its folders


@dataclass(frozen=True, kw_only=True)
class OutputFile:
    """A file that a node writes, and what ComfyUI's interface has to know to show it.

    path: where to write.
    filename: its name when it is complete.
    subfolder: its folder below the output folder; "" for the output folder itself.
    kind: ComfyUI's name of the output folder.
    """

    path: Path
    filename: str
    subfolder: str
    kind: str

    def shown(self) -> dict[str, str]:
        """The entry for a node's `ui`."""
        return {"filename": self.filename, "subfolder": self.subfolder, "type": self.kind}


@contextmanager
def new_output(
    prefix: str, extension: str, size: tuple[int, int], *, temporary: bool = False, grows: bool = False
) -> Iterator[OutputFile]:
    """The next free file `prefix_00001_.extension` of the output folder; where the block fails, no file is left.

    Of a file that `grows`, which is of use from its first bytes on, what is there is left.
    `size` (width, height) fills %width% and %height% in the prefix. A `temporary` file is a preview: ComfyUI deletes it
    when it starts again, outside ComfyUI it lies in the folder `previews`. Inside ComfyUI the file can be seen while
    it is written. Raises ValueError where there is no output folder, and for a prefix that is empty, hidden or leads out of it.
    """
    new_file = _comfyui_file if inside_comfyui() else _run_file
    with new_file(prefix, extension, size, temporary=temporary, grows=grows) as file:
        yield file


@contextmanager
def _run_file(
    prefix: str, extension: str, size: tuple[int, int], *, temporary: bool, grows: bool
) -> Iterator[OutputFile]:
    folder = output_folder()
    if folder is None:
        raise ValueError(
            "no output folder is set; run the node in a workflow, or take its images and save them."
        )
    if temporary:
        prefix = f"{PREVIEWS}/{prefix}"
    with folder.new_file(prefix, extension, size, grows=grows) as file:
        parent = file.path.parent.relative_to(folder.output.resolve())
        yield OutputFile(
            path=file.unfinished,
            filename=file.path.name,
            subfolder="" if parent == Path() else parent.as_posix(),
            kind=KINDS[temporary],
        )


@contextmanager
def _comfyui_file(
    prefix: str, extension: str, size: tuple[int, int], *, temporary: bool, grows: bool
) -> Iterator[OutputFile]:
    import folder_paths

    check_prefix(prefix)
    root = folder_paths.get_temp_directory() if temporary else folder_paths.get_output_directory()
    check_inside(Path(root, prefix).parent, Path(root))
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, root, *size)
    file = f"{name}_{counter:05}_{extension}"
    path = Path(folder) / file
    with kept_if_begun(path) if grows else _removed_on_failure(path):
        yield OutputFile(path=path, filename=file, subfolder=subfolder, kind=KINDS[temporary])


@contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise

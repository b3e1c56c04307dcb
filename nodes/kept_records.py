"""Where finished work is kept: in ComfyUI's user folder, or in a folder that a run outside ComfyUI names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path

from ..samplers.store.folder import MOST_BYTES, RecordFolder, RecordStore
from .comfyui import inside_comfyui
from .run_folders import output_folder

# Variables of the environment: another folder, or one of OFF; and how many gigabytes it may take.
FOLDER_VARIABLE, BOUND_VARIABLE = "FRAMEPACK_SECTIONS", "FRAMEPACK_SECTIONS_GB"
# In a LATENT, whether what it decodes to may be kept too.
REUSE = "framepack_reuse_sections"
OFF = ("off", "0", "no", "none", "false")
SECTIONS = "sections"
GIGABYTE = 10**9


@contextmanager
def kept_records(wanted: bool) -> Iterator[RecordStore | None]:
    """The store for one run; None where nothing is to be kept. Raises ValueError for a bound that is no number."""
    folder = record_folder() if wanted else None
    if folder is None:
        yield None
        return
    with folder.job() as store:
        yield store


def record_folder() -> RecordFolder | None:
    """The folder of records here; None where the user has switched it off, or where no run outside ComfyUI names one."""
    place = os.environ.get(FOLDER_VARIABLE, "").strip()
    if place.lower() in OFF:
        return None
    path = Path(place).expanduser() if place else _own_place()
    return None if path is None else RecordFolder(path, most_bytes())


def most_bytes() -> int:
    """How large the folder may become. Raises ValueError for a bound that is no number."""
    text = os.environ.get(BOUND_VARIABLE, "").strip()
    try:
        bound = float(text) * GIGABYTE if text else MOST_BYTES
    except ValueError:
        bound = -1
    if not isfinite(bound) or bound < 0:
        raise ValueError(
            f"{BOUND_VARIABLE} is {text[:40]!r}; give the gigabytes that finished sections may take, such as 2."
        )
    return int(bound)


def _own_place() -> Path | None:
    if inside_comfyui():
        import folder_paths

        return Path(folder_paths.get_user_directory()) / "framepack_transitions" / SECTIONS
    folder = output_folder()
    return None if folder is None else folder.records

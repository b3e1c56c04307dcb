"""The files that a server has written: their names are made plain, and they are checked before they get them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ...nodes.run_folders import PREVIEWS
from ..files.folders import Folders
from ..files.media import VIDEO_EXTENSIONS, probe_video
from ..files.pictures import IMAGE_EXTENSIONS, load_image
from ..workflows.errors import WorkflowError
from .patience import patiently
from .progress import ProgressBars
from .server import Server

MOST_NAME = 100  # characters
_COUNTER = re.compile(r"_\d+_?$")
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}")
_UNSAFE = re.compile(r'[<>:"|?*\x00-\x1f]')


def shown_files(ui: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """The written files among a node's messages to the interface, whatever they are listed under."""
    for entries in ui.values():
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, Mapping) and isinstance(entry.get("filename"), str):
                yield {key: str(entry.get(key, "")) for key in ("filename", "subfolder", "type")}


def fetch(file: Mapping[str, str], server: Server, folders: Folders, bars: ProgressBars) -> Path:
    """Downloads a file into the output folder, with the next free number: the server's may be taken there."""
    name = PurePosixPath(file["filename"].replace("\\", "/"))
    folder = PREVIEWS if file["type"] == "temp" else file["subfolder"].replace("\\", "/")
    prefix = "/".join(filter(None, (folder, without_counter(name.stem))))
    ending = name.suffix if _ENDING.fullmatch(name.suffix) else ""
    try:
        with folders.new_file(plain_name(prefix), ending) as target:
            patiently(lambda: server.download(file, target.unfinished), server, bars)
            check_file(target.unfinished)
    except OSError as error:
        raise WorkflowError(
            f"A file of the server cannot be written here: {error.strerror or error}."
        ) from error
    except ValueError as error:
        raise WorkflowError(f"The server's file {plain_name(name.name)} cannot be used: {error}.") from error
    return target.path


def without_counter(stem: str) -> str:
    """The name of a file without the number that it has got, such as `clip` of `clip_00001_`."""
    return _COUNTER.sub("", stem) or stem


def plain_name(prefix: str) -> str:
    """A path in which letters that terminals or file systems do not take are replaced, each part within MOST_NAME."""
    return "/".join(
        _UNSAFE.sub("_", printable(part))[:MOST_NAME].rstrip(". ") or part[:2] for part in prefix.split("/")
    )


def check_file(path: Path) -> None:
    """Raises ValueError for a picture or video that cannot be read."""
    if path.suffix.lower() in IMAGE_EXTENSIONS:
        load_image(path)
    elif path.suffix.lower() in VIDEO_EXTENSIONS and not probe_video(path).frames:
        raise ValueError("the video has no frames")


def printable(text: str) -> str:
    """A text without the letters that command a terminal, in lines as they are."""
    return "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")

"""The caches of a single example."""

from __future__ import annotations

from pathlib import Path

from .dataset import Example, kind_cache
from .musubi.names import latent_files, read_name, text_file


def latent_caches(example: Example, root: Path) -> list[Path]:
    """The files that training takes for the latents of an example; there should be one."""
    files = latent_files(kind_cache(root, example.kind))
    return [file for file in files if (name := read_name(file)) and name.item == example.name]


def latent_file(example: Example, root: Path) -> Path:
    """The file of an example's latents. Raises ValueError where there is none."""
    for file in latent_caches(example, root):
        return file
    raise ValueError(f"{example.name} has no latents yet; run the first two steps of README.md.")


def remove_caches(example: Example, root: Path) -> None:
    """Removes the latents and the encoded caption of an example, where there are any."""
    for file in (*latent_caches(example, root), text_file(kind_cache(root, example.kind), example.name)):
        file.unlink(missing_ok=True)

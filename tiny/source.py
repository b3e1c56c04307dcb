"""A digest of source code: results that were kept on disk are not mixed with those of other code."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType


def source_digest(*modules: ModuleType) -> str:
    """The SHA-256 of the modules' source files, with their names; a package counts with all files below its folder.

    Raises ValueError for a module that has no file.
    """
    digest = hashlib.sha256()
    for module in modules:
        for file in source_files(module):
            digest.update(f"{module.__name__}/{file.name}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def source_files(module: ModuleType) -> list[Path]:
    """The file of a module, or all Python files of a package, sorted by path; raises ValueError without a file."""
    if module.__file__ is None:
        raise ValueError(
            f"{module.__name__} has no source file: give a module or a package with an __init__.py."
        )
    file = Path(module.__file__)
    return sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]

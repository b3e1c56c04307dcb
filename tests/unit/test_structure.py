"""The rules of the repository that no single module can check for itself."""

from __future__ import annotations

import framepack_transitions


def test_the_pack_names_its_web_folder() -> None:
    assert framepack_transitions.WEB_DIRECTORY == "./web"

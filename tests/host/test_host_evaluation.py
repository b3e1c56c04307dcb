"""The evaluation nodes inside a real ComfyUI: the picture lies where PreviewImage would put it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytestmark = [pytest.mark.host, pytest.mark.timeout(600)]
LOOKS = {"features": "pixel", "model": "", "pretrained": "", "fps": 30.0, "window": 9}


@pytest.fixture
def temp(comfy, tmp_path: Path):
    import folder_paths

    before = folder_paths.get_temp_directory()
    folder_paths.set_temp_directory(str(tmp_path))
    yield tmp_path
    folder_paths.set_temp_directory(before)


def test_scores_and_picture_come_from_a_host(temp: Path) -> None:
    from framepack_transitions.nodes import NODE_CLASS_MAPPINGS
    from PIL import Image

    images = torch.full((73, 64, 64, 3), 0.2)
    images[:37, ..., 0] = images[37:, ..., 2] = 0.8
    images[::2, 20:30, 20:30] = 0.9
    sections = [
        {"index": i, "frames": frames, "prompt": prompt, "state": "", "change": 1.0}
        for i, (frames, prompt) in enumerate((([1, 37], "a red wall"), ([37, 73], "a blue wall")))
    ]
    with torch.inference_mode():
        answer = NODE_CLASS_MAPPINGS["FramePackTransitionEvaluator"]().evaluate(
            images, **LOOKS, trace={"sections": sections}, target=images[50:]
        )
    assert answer["result"][1] == 0
    (shown,) = answer["ui"]["images"]
    assert shown["type"] == "temp"
    with Image.open(temp / shown["subfolder"] / shown["filename"]) as picture:
        assert np.asarray(picture).shape == tuple(answer["result"][-1].shape[1:])

"""The host's preview of the steps shows where a section ends; previewers of other packs get all of it."""

from __future__ import annotations

import pytest
import torch

pytestmark = pytest.mark.host
STEPS, WINDOW = 2, 9


@pytest.fixture
def preview(comfy, monkeypatch, every_step):
    """Has the host make previews with this method; gives the list that they come into, by step of the whole run."""
    from comfy.cli_args import LatentPreviewMethod, args

    def switch_on(method: str = "latent2rgb") -> list:
        shown = []
        monkeypatch.setattr(args, "preview_method", LatentPreviewMethod(method))
        monkeypatch.setattr(
            comfy.utils, "PROGRESS_BAR_HOOK", lambda step, total, picture, **_: shown.append(picture)
        )
        return shown

    return switch_on


def test_the_last_frame_of_the_section_is_shown(tiny, preview):
    import latent_preview

    shown = preview()
    samples = tiny.sample(tiny.model, steps=STEPS)
    base = tiny.model.model
    previewer = latent_preview.get_previewer(torch.device("cpu"), base.latent_format)
    latents = base.process_latent_in(samples)
    for section in (1, 2):
        picture = shown[section * STEPS - 1][1]
        frame = latents[:, :, section * WINDOW : section * WINDOW + 1]
        expected = previewer.decode_latent_to_preview(frame.float())
        assert picture.tobytes() == expected.tobytes(), f"after the last step of section {section}"


def test_a_previewer_of_another_pack_gets_all_frames(tiny, preview, monkeypatch):
    import latent_preview

    lengths = []

    class Animation:
        def decode_latent_to_preview_image(self, preview_format, x0):
            lengths.append(x0.shape[2])

    preview()
    monkeypatch.setattr(latent_preview, "get_previewer", lambda device, latent_format: Animation())
    tiny.sample(tiny.model, steps=STEPS)
    assert lengths == [WINDOW] * 2 * STEPS


def test_without_previews_the_bar_moves_all_the_same(tiny, preview):
    shown = preview("none")
    tiny.sample(tiny.model, steps=STEPS)
    assert shown == [None] * 2 * STEPS

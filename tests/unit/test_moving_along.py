"""Regions of the past that grow by what moves along: where it is known what does, and shadows that the embedded world draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from framepack_transitions.nodes.techniques.attention.kv_gate import FramePackSemanticKVGate
from framepack_transitions.nodes.techniques.context.purge import FramePackContextPurge
from framepack_transitions.samplers.conditioning import Prompt
from framepack_transitions.samplers.context.history import Context
from framepack_transitions.samplers.context.indices import f1_indices
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.context.regions.moving import with_what_moves_along
from framepack_transitions.samplers.context.tokens import changing_cells, mask_weights, token_weights
from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
from framepack_transitions.samplers.techniques.context.purge import ContextPurge
from framepack_transitions.tiny.bundle import load_tiny
from framepack_transitions.tiny.train.data.store import encoded, to_input
from framepack_transitions.tiny.world import Scene, Subject, draw

FRAMES, SIDE = 18, 12
SECTION = plan_sections("f1", 1, 9)[0].with_prompt(Prompt(start=0.0, text=""), change=1.0, since_switch=0)
Cell = tuple[int, int]


def block(row: int, column: int) -> set[Cell]:
    """The cells of a token of the last frame."""
    return {(row + down, column + right) for down in (0, 1) for right in (0, 1)}


THING, SHADOW, OTHER, LAMP = block(2, 4), block(8, 4), block(2, 8), block(10, 10)


def cells_of(part: torch.Tensor) -> set[Cell]:
    return {(int(row), int(column)) for row, column in part.nonzero()}


def paint(latents: torch.Tensor, frames: list[int], cells: set[Cell], look: torch.Tensor) -> None:
    for row, column in cells:
        latents[0, :, frames, row, column] += look


def stage(noise: float = 0.02, seed: int = 0) -> torch.Tensor:
    """Latents [1,16,T,12,12] of a still place with a thing that comes and goes, its shadow, and another thing with its own times."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.randn(1, 16, 1, SIDE, SIDE, generator=generator)
    latents = place.repeat(1, 1, FRAMES, 1, 1)
    thing, shadow, other = torch.randn(3, 16, 1, generator=generator)
    there = [2, 3, 4, 9, 10, 14]
    paint(latents, there, THING, 2 * thing)
    paint(latents, there, SHADOW, 0.7 * shadow)
    paint(latents, [0, 1, 6, 7, 12, 16], OTHER, 2 * other)
    return latents + noise * torch.randn(latents.shape, generator=generator)


def segments_of(latents: torch.Tensor) -> dict[str, torch.Tensor]:
    """The frames as the past packs them: 15 far ones, 2 near ones and the last."""
    return {"4x": latents[:, :, :15], "2x": latents[:, :, 15:17], "last": latents[:, :, 17:]}


def mask_at(cells: set[Cell]) -> torch.Tensor:
    mask = torch.zeros(SIDE, SIDE)
    for cell in cells:
        mask[cell] = 1
    return mask


@pytest.mark.parametrize(
    ("masked", "found"),
    [
        (THING, THING | SHADOW),
        ({(2, 4)}, THING | SHADOW),
        (SHADOW, THING | SHADOW),
        (OTHER, OTHER),
        (THING | OTHER, THING | SHADOW | OTHER),
        (LAMP, LAMP),
        (set(), set()),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_what_changes_at_the_same_times_moves_along(masked: set[Cell], found: set[Cell], seed: int) -> None:
    assert cells_of(with_what_moves_along(segments_of(stage(seed=seed)), mask_at(masked))[0]) == found


def test_a_mask_keeps_its_soft_edge() -> None:
    mask = mask_at(THING)
    mask[5, 5] = 0.3
    grown = with_what_moves_along(segments_of(stage()), mask)[0]
    assert grown[5, 5] == pytest.approx(0.3) and all(grown[cell] == 1 for cell in SHADOW)


def test_empty_frames_and_other_videos_of_a_batch_say_nothing() -> None:
    latents = stage()
    short = torch.cat([torch.zeros_like(latents[:, :, :4]), latents[:, :, :14]], dim=2)
    alone = with_what_moves_along(segments_of(latents), mask_at(THING))
    both = with_what_moves_along(segments_of(torch.cat([short, latents])), mask_at(THING))
    assert torch.equal(both[1], alone[0])
    assert cells_of(both[0]) == THING | SHADOW


def test_changes_are_those_of_the_moving_tokens() -> None:
    """In units of the mean frame's contrast, frame by frame."""
    latents = stage()
    mean = latents[0].mean(1)
    contrast = (mean - mean.mean((1, 2), keepdim=True)).square().mean().sqrt()
    expected = (latents[0] - mean[:, None]).square().mean(0).sqrt() / contrast
    found = torch.cat(list(changing_cells(segments_of(latents)).values()), 1)[0]
    torch.testing.assert_close(found, expected.clamp(max=1))


def context_of(latents: torch.Tensor) -> Context:
    start = latents[:, :, :1]
    return Context(
        clean=torch.cat([start, latents[:, :, 17:]], dim=2),
        clean_2x=latents[:, :, 15:17],
        clean_4x=latents[:, :, :15],
        indices=f1_indices(9),
    )


class TestTechniques:
    def test_tokens_of_every_segment_follow_the_grown_mask(self) -> None:
        context, mask = context_of(stage()), mask_at(THING)[None]
        plain, grown = mask_weights(context, mask), mask_weights(context, mask, with_motion=True)
        assert plain.keys() == grown.keys()
        # Six tokens of the last frame lie in a row: the shadow is the third of the fifth row.
        differing = (plain["last"] != grown["last"]).nonzero()[:, 1].tolist()
        assert differing == [4 * 6 + 2]
        assert all((grown[name] >= plain[name]).all() for name in plain)

    def test_the_gate_asks_for_it_by_its_choice_of_tokens(self) -> None:
        context, attachments = context_of(stage()), {"m": mask_at(THING)[None]}
        gate = SemanticKVGate(tokens="mask_with_motion", mask="m")
        weights = token_weights(context, gate.source, attachments)
        expected = mask_weights(context, attachments["m"], with_motion=True)
        assert all(torch.equal(weights[name], expected[name]) for name in expected)
        assert SemanticKVGate(tokens="mask", mask="m").source == "m"

    def test_purge_takes_what_moves_along_too(self) -> None:
        context, attachments = context_of(stage()), {"m": mask_at(THING)[None]}
        left_out = {}
        for select in ("mask", "mask_with_motion"):
            purge = ContextPurge(last="remove", history_2x="keep", history_4x="keep", select=select, mask="m")
            packed = purge.context(SECTION, context, attachments).tokens["last"]
            left_out[select] = set(range(36)) - set(packed.flatten().tolist())
        assert left_out == {"mask": {6 + 2}, "mask_with_motion": {6 + 2, 4 * 6 + 2}}

    @pytest.mark.parametrize("node", [FramePackSemanticKVGate, FramePackContextPurge])
    def test_without_a_mask_the_nodes_refuse_it(self, node: type) -> None:
        required, optional = (node.INPUT_TYPES().get(part, {}) for part in ("required", "optional"))
        values = {
            name: spec[1]["default"] if "default" in spec[1] else spec[0][0]
            for name, spec in {**required, **optional}.items()
            if name not in ("model", "mask")
        }
        choice = "tokens" if node is FramePackSemanticKVGate else "select"
        with pytest.raises(ValueError, match="mask_with_motion, but no mask is connected"):
            node().apply(None, **{**values, choice: "mask_with_motion"})


SCENES = (
    Scene("sea", False, Subject("square", "pink", "small")),
    Scene("sky", True, Subject("circle", "yellow", "small")),
    Scene("desert", True, Subject("star", "white", "small")),
    Scene("forest", True, Subject("square", "green", "small")),
)
DARK = 0.35  # of the light, in the middle of a shadow: that of the embedded world's own


def shaded(frames: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Frames uint8 with a soft shadow on the ground, below where a subject is."""
    y, x = np.mgrid[:64, :64] + 0.5
    middle = ((x - way[:, :1, None]) / 13) ** 2 + ((y - 51) / 8) ** 2
    light = 1 - DARK * np.clip(2 * (1 - middle), 0, 1)
    return np.round(frames * light[..., None]).astype(np.uint8)


def shares_of_cells(pixels: np.ndarray) -> np.ndarray:
    """The largest share [8,8] of each cell that is true in any frame."""
    return pixels.reshape(len(pixels), 8, 8, 8, 8).mean((2, 4)).max(0)


def encoded_frames(frames: np.ndarray) -> torch.Tensor:
    return encoded(load_tiny().vae.codec, to_input(torch.from_numpy(frames)[None])).float().movedim(1, 2)


def differences(latents: torch.Tensor, others: torch.Tensor) -> np.ndarray:
    """How far the latents of each cell [8,8] are from others at most, in units of the others' contrast over the picture."""
    mean = others.mean(2)
    contrast = (mean - mean.mean((2, 3), keepdim=True)).square().mean().sqrt()
    return ((latents - others).square().mean(1).sqrt()[0].amax(0) / contrast).numpy()


def test_a_shadow_is_found_by_its_subject() -> None:
    """Seven tenths of its cells, and one in ten at most of those whose latents neither subject nor shadow reaches.

    Beside them the codec lets latents change too, and these move along rightly.
    """
    across = np.linspace(17, 47, 1 + 4 * (FRAMES - 1))
    found, shadow, wrong, clear = 0, 0, 0, 0
    for number, scene in enumerate(SCENES):
        x = across if number % 2 else across[::-1]
        way = np.stack([x, np.full_like(x, 18)], 1)
        with_subject, empty = (draw([(0, shown)], way) for shown in (scene, replace(scene, subject=None)))
        latents = encoded_frames(shaded(with_subject, way))
        own = shares_of_cells(np.abs(with_subject.astype(int) - empty).max(-1) > 8) > 0
        darker = (empty.astype(float) - shaded(empty, way)).mean(-1) >= 0.05 * empty.mean(-1)
        dark, still = shares_of_cells(darker) >= 0.5, differences(latents, encoded_frames(empty)) < 0.15
        assert not (dark & own).any(), "the shadow lies apart from the subject"
        grown = with_what_moves_along(segments_of(latents), torch.from_numpy(own).float())[0].numpy() == 1
        found, shadow = found + (grown & dark).sum(), shadow + dark.sum()
        wrong, clear = wrong + (grown & still & ~own).sum(), clear + (still & ~own).sum()
    assert shadow > 40 and found / shadow >= 0.7, (found, shadow)
    assert clear > 5 and wrong / clear <= 0.1, (wrong, clear)

"""The packed past by itself: which frames and tokens are left, and the forms in which their places may come."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from framepack_transitions.models.packing import Tier, keep_tokens, pack_frames

NOTHING = torch.zeros(1, 0, dtype=torch.int64)
SOMETHING = torch.tensor([[0, 2]])


def start_and_last() -> Tier:
    """Three frames that are full of 0, 1 and 2, at places 5, 7 and 9."""
    frames = torch.arange(3.0).view(1, 1, 3, 1, 1).expand(1, 16, 3, 2, 4)
    return Tier(
        argument="clean_latents",
        ratio=1,
        latents=frames,
        indices=torch.tensor([[5, 7, 9]]),
        segments=("start", "last"),
    )


@pytest.mark.parametrize(
    ("kept", "frames", "segments"),
    [
        ({"start": NOTHING}, [1, 2], ("last",)),
        ({"last": NOTHING}, [0], ("start",)),
        ({"start": NOTHING, "last": SOMETHING}, [1, 2], ("last",)),
    ],
)
def test_frames_of_which_no_token_is_kept_are_not_packed(
    kept: dict[str, torch.Tensor], frames: list[int], segments: tuple[str, ...]
) -> None:
    packed = pack_frames(start_and_last(), kept)
    assert packed is not None and packed.segments == segments
    assert packed.latents[0, 0, :, 0, 0].tolist() == frames
    assert packed.known_indices().tolist() == [[(5, 7, 9)[frame] for frame in frames]]


def test_a_tier_that_keeps_tokens_of_all_its_segments_is_packed_as_it_is_and_an_empty_one_not_at_all() -> (
    None
):
    tier = start_and_last()
    for kept in ({}, {"2x": NOTHING}, {"last": SOMETHING}, {"start": SOMETHING, "last": SOMETHING}):
        assert pack_frames(tier, kept) is tier
    assert pack_frames(tier, {"start": NOTHING, "last": NOTHING}) is None


@pytest.mark.parametrize(
    ("batch", "kept"),
    [
        (1, [[3]]),
        (3, [[0, 2, 4]]),
        (2, [[1], [4]]),
        (4, [[0, 1], [3, 4]]),
        (1, [[0, 1], [3, 4]]),
    ],
)
def test_every_row_of_a_batch_keeps_its_own_tokens_and_a_batch_that_repeats_repeats_them(
    batch: int, kept: list[list[int]]
) -> None:
    x = torch.arange(batch * 5 * 2 * 3).view(batch, 5, 2, 3)
    rows = max(batch, len(kept))
    expected = [x[row % batch, kept[row % len(kept)]] for row in range(rows)]
    assert torch.equal(keep_tokens(x, torch.tensor(kept)), torch.stack(expected))


def test_places_that_a_batch_shares_may_have_a_row_of_their_own(dit_cases: ModuleType) -> None:
    dit, inputs = dit_cases.make_dit(), dit_cases.make_inputs(batch=3)
    rows = {name: value[None] for name, value in inputs.items() if name.endswith("_indices")}
    assert len(rows) == 4
    assert torch.equal(dit(**{**inputs, **rows}), dit(**inputs))

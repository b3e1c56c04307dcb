"""The embedded model computes with one thread and leaves the process as it was."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread

import pytest
import torch
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.tiny.bundle import TinyBundle, load_tiny
from framepack_transitions.tiny.networks.dit import TinyDiT
from framepack_transitions.tiny.threads import one_thread

OUTSIDE = 3


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(OUTSIDE)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny() -> TinyBundle:
    return load_tiny(weights=Path("nowhere"))


def threads_during(module: torch.nn.Module) -> list[int]:
    """A list to which every run of the module adds the number of threads."""
    seen: list[int] = []
    module.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    return seen


def test_the_number_comes_back_after_errors_and_nested_uses() -> None:
    with one_thread():
        with pytest.raises(RuntimeError), one_thread():
            raise RuntimeError
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == OUTSIDE


def test_the_number_comes_back_after_uses_that_overlap() -> None:
    barrier = Barrier(2)

    def first() -> None:
        with one_thread():
            barrier.wait()  # the second begins
            barrier.wait()  # both are inside

    def second() -> None:
        barrier.wait()
        with one_thread():
            barrier.wait()
            thread.join()

    thread = Thread(target=first)
    thread.start()
    second()
    assert torch.get_num_threads() == OUTSIDE


def test_every_part_runs_with_one_thread(tiny: TinyBundle) -> None:
    image = torch.rand(5, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    text, vision = threads_during(tiny.clip.encoder), threads_during(tiny.clip_vision.tower)
    encoder, decoder = (threads_during(part) for part in (tiny.vae.codec.encoder, tiny.vae.codec.decoder))
    transformer = threads_during(tiny.dit.x_embedder)
    states, pooled = tiny.clip.encode_from_tokens(tiny.clip.tokenize("a red circle"), return_pooled=True)
    tiny.clip_vision.encode_image(image[:1])
    latents = tiny.vae.encode_tiled(image, 64, 64)
    assert torch.equal(latents, tiny.vae.encode(image))
    tiny.vae.decode(latents)
    tiny.vae.decode_tiled(latents)
    tiny.dit(
        latents,
        torch.tensor([500.0]),
        states,
        y=pooled,
        guidance=torch.tensor([10000]),
        latent_indices=torch.arange(2),
    )
    assert (text, vision, encoder, decoder, transformer) == ([1], [1], [1, 1], [1, 1], [1])
    assert torch.get_num_threads() == OUTSIDE


def test_copies_and_loaded_weights_keep_to_one_thread(tiny: TinyBundle) -> None:
    assert isinstance(copy.deepcopy(tiny.dit), TinyDiT) and isinstance(load_tiny().dit, TinyDiT)
    assert set(tiny.dit.state_dict()) == set(FramePackDiT(tiny.config).state_dict())

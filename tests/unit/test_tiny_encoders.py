"""The embedded text encoder and vision tower."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from framepack_transitions.tiny.config import TEXT, VISION
from framepack_transitions.tiny.networks.text import TinyText, token_ids, tokenizer
from framepack_transitions.tiny.networks.vision import TinyVisionTower, prepare_images
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor


@pytest.fixture(scope="module")
def text_encoder() -> TinyText:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(7)
        return TinyText().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tower() -> TinyVisionTower:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(8)
        return TinyVisionTower().eval().requires_grad_(False)


def encode(encoder: TinyText, text: str) -> tuple[Tensor, Tensor]:
    return encoder(torch.tensor([token_ids(text)]))


def test_tokens_are_those_of_open_clip() -> None:
    text = "A red circle, moving LEFT!"
    reference = SimpleTokenizer()(text)[0]
    assert token_ids(text) == reference[reference != 0].tolist()


@pytest.fixture
def loaded_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if nothing of open_clip had been imported."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "open_clip"]:
        monkeypatch.delitem(sys.modules, name)
    tokenizer.cache_clear()
    yield
    tokenizer.cache_clear()


@pytest.mark.usefixtures("loaded_anew")
def test_an_open_clip_whose_tokenizer_needs_the_package_is_imported_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "open_clip").mkdir()
    (tmp_path / "open_clip" / "__init__.py").write_text("")
    (tmp_path / "open_clip" / "words.py").write_text("class SimpleTokenizer:\n    vocab_size = 3\n")
    (tmp_path / "open_clip" / "tokenizer.py").write_text("from .words import SimpleTokenizer\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert tokenizer().vocab_size == 3


@pytest.mark.usefixtures("loaded_anew")
def test_without_open_clip_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ImportError, match="pip install open_clip_torch"):
        tokenizer()


def test_the_table_holds_every_token() -> None:
    assert tokenizer().vocab_size == TEXT.vocabulary
    assert tokenizer().context_length == TEXT.max_tokens


def test_empty_text_is_a_start_and_an_end() -> None:
    assert token_ids("") == [tokenizer().sot_token_id, tokenizer().eot_token_id]


def test_long_text_is_cut_to_the_positions_there_are(text_encoder: TinyText) -> None:
    ids = token_ids("a very long text " * 60)
    assert len(ids) == TEXT.max_tokens
    assert ids[-1] == tokenizer().eot_token_id
    states, pooled = text_encoder(torch.tensor([ids]))
    assert states.shape == (1, TEXT.max_tokens, TEXT.width)
    assert pooled.shape == (1, TEXT.pooled)


def test_more_tokens_than_positions_are_refused(text_encoder: TinyText) -> None:
    with pytest.raises(ValueError, match="77 tokens, but got 78"):
        text_encoder(torch.zeros(1, 78, dtype=torch.long))


def test_different_texts_differ_and_word_order_counts(text_encoder: TinyText) -> None:
    texts = ["", "a red circle", "a blue circle", "circle a red", "zyxomma", "qwyjibo", "赤い丸"]
    pooled = torch.cat([encode(text_encoder, text)[1] for text in texts])
    distance = torch.cdist(pooled, pooled) + torch.eye(len(texts)) * 1e6
    assert distance.min() > 0.1


def test_padding_under_the_mask_changes_nothing(text_encoder: TinyText) -> None:
    ids = token_ids("a green square on a dark floor")
    padded = torch.tensor([ids + [0] * 5])
    mask = torch.tensor([[1] * len(ids) + [0] * 5])
    states, pooled = text_encoder(padded, mask)
    alone, alone_pooled = text_encoder(torch.tensor([ids]))
    torch.testing.assert_close(states[:, : len(ids)], alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(pooled, alone_pooled, atol=1e-5, rtol=0)


def test_an_image_becomes_a_grid_of_tokens(tower: TinyVisionTower) -> None:
    images = torch.zeros(2, 3, 64, 64)
    images[1, :, 16:32, 32:48] = 1
    tokens, penultimate, pooled = tower(images)
    assert tokens.shape == penultimate.shape == (2, VISION.tokens, VISION.width) == (2, 16, 96)
    assert pooled.shape == (2, 96)
    changed = (penultimate[1] - penultimate[0]).norm(dim=-1)
    assert changed.argmax() == 4 * 1 + 2, "row 1, column 2 of 4 by 4"


def test_images_of_the_right_size_are_only_rescaled() -> None:
    image = torch.randint(0, 256, (1, 64, 64, 3), generator=torch.Generator().manual_seed(0)) / 255
    torch.testing.assert_close(prepare_images(image, 64, crop=True), image.movedim(-1, 1) * 2 - 1)


@pytest.mark.parametrize("shape", [(64, 192), (192, 64), (100, 301), (65, 64)])
def test_a_crop_keeps_the_middle_and_no_crop_keeps_all(shape: tuple[int, int]) -> None:
    image = torch.zeros(1, *shape, 3)
    axis = 1 if shape[0] > shape[1] else 2
    edge = max(shape) // 5
    image.narrow(axis, 0, edge).fill_(1)
    cropped, whole = (prepare_images(image, 64, crop=crop) for crop in (True, False))
    assert cropped.shape == whole.shape == (1, 3, 64, 64)
    assert (whole > 0.9).any()
    if max(shape) > 2 * min(shape):
        assert cropped.max() == -1

"""The embedded model whole: random weights, weight files, and every method that core nodes call."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from framepack_transitions.models.files.loading import CheckpointError
from framepack_transitions.tiny import bundle as bundles
from framepack_transitions.tiny.bundle import TinyBundle, load_tiny, save_tiny
from framepack_transitions.tiny.config import DIT
from framepack_transitions.tiny.networks.dit import TinyDiT
from safetensors.torch import load_file, save_file

MEGABYTE = 10**6


@pytest.fixture(scope="module")
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def tiny(nowhere: Path) -> TinyBundle:
    return load_tiny(weights=nowhere)


def states(bundle: TinyBundle) -> dict[str, torch.Tensor]:
    parts = bundle.modules().items()
    return {f"{part}.{name}": value for part, module in parts for name, value in module.state_dict().items()}


def run_dit(bundle: TinyBundle, text: str) -> torch.Tensor:
    """One evaluation over a full F1 context of noise."""
    generator = torch.Generator().manual_seed(3)
    noise = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    cond, extras = bundle.clip.encode_from_tokens_scheduled(bundle.clip.tokenize(text))[0]
    image = bundle.clip_vision.encode_image(noise(1, 64, 64, 3).sigmoid()).last_hidden_state
    with torch.no_grad():
        return bundle.dit(
            noise(1, 16, 5, 8, 8), torch.tensor([900.0]), cond, extras["attention_mask"],
            y=extras["pooled_output"], guidance=torch.tensor([10000]), image_embeds=image,
            latent_indices=torch.arange(20, 25),
            clean_latents=noise(1, 16, 2, 8, 8), clean_latent_indices=torch.tensor([0, 19]),
            clean_latents_2x=noise(1, 16, 2, 8, 8), clean_latent_2x_indices=torch.tensor([17, 18]),
            clean_latents_4x=noise(1, 16, 16, 8, 8), clean_latent_4x_indices=torch.arange(1, 17),
        )  # fmt: skip


# Weights


def test_random_weights_are_announced(nowhere: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        bundle = load_tiny(weights=nowhere)
    assert not bundle.trained
    assert bundle.rgb_factors is None and bundle.rgb_bias is None
    assert any("random" in record.message and record.levelno == logging.WARNING for record in caplog.records)


def test_random_weights_are_the_same_whatever_the_global_generator(tiny: TinyBundle, nowhere: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(99)
        before = torch.get_rng_state()
        again = load_tiny(weights=nowhere)
        assert torch.equal(torch.get_rng_state(), before)
    first, second = states(tiny), states(again)
    assert first.keys() == second.keys()
    assert not [name for name in first if not torch.equal(first[name], second[name])]


def test_the_random_model_is_finite_bounded_and_listens_to_the_text(tiny: TinyBundle) -> None:
    red, blue = run_dit(tiny, "a red circle"), run_dit(tiny, "a blue square jumps")
    assert red.shape == (1, 16, 5, 8, 8)
    assert red.isfinite().all() and 0.01 < red.std() < 3 and red.abs().max() < 20
    assert not torch.allclose(red, blue, atol=1e-4)


def test_the_sizes_of_the_parts_fit_each_other(tiny: TinyBundle) -> None:
    assert tiny.config == DIT
    assert tiny.clip.encoder.config.width == DIT.text_embed_dim
    assert tiny.clip.encoder.config.pooled == DIT.pooled_projection_dim
    assert tiny.clip_vision.tower.config.width == DIT.image_proj_dim
    assert tiny.vae.codec.config.latent_channels == DIT.in_channels == DIT.out_channels


def test_saved_weights_come_back(tiny: TinyBundle, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_tiny(tiny, tmp_path)
    with caplog.at_level(logging.WARNING):
        loaded = load_tiny(weights=tmp_path)
    assert loaded.trained and not caplog.records
    assert loaded.config == tiny.config
    assert loaded.latent_scale == pytest.approx(tiny.latent_scale, rel=1e-3)
    assert len(loaded.rgb_factors) == 16 and len(loaded.rgb_factors[0]) == len(loaded.rgb_bias) == 3
    kept, given = states(loaded), states(tiny)
    assert {value.dtype for value in kept.values()} == {torch.float32}
    assert not [name for name in given if not torch.equal(kept[name], given[name].half().float())]
    # 30 MB in all, of which some are left for the CLIP of the evaluation.
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 24 * MEGABYTE


def test_the_layouts_have_a_transformer_each_and_share_the_rest(tiny: TinyBundle, tmp_path: Path) -> None:
    save_tiny(tiny, tmp_path)
    other = replace(tiny, dit=TinyDiT(DIT, dtype=torch.float32))
    with torch.no_grad():
        for parameter in other.dit.parameters():
            parameter.fill_(0.5)
    save_tiny(other, tmp_path, layout="original")
    forward, backward = (states(load_tiny(weights=tmp_path, layout=name)) for name in ("f1", "original"))
    differing = {name.split(".")[0] for name in forward if not torch.equal(forward[name], backward[name])}
    assert differing == {"dit"}
    assert all(bool((value == 0.5).all()) for name, value in backward.items() if name.startswith("dit."))


def test_a_missing_transformer_of_a_layout_is_named(tiny: TinyBundle, tmp_path: Path) -> None:
    save_tiny(tiny, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"lacks dit_original\.safetensors"):
        load_tiny(weights=tmp_path, layout="original")


def test_a_layout_that_is_none_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="layout is 'backwards'; choose one of f1, original"):
        load_tiny(weights=tmp_path, layout="backwards")


def test_saving_leaves_the_model_as_it_is(tiny: TinyBundle, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in states(tiny).items()}
    save_tiny(tiny, tmp_path)
    after = states(tiny)
    assert {value.dtype for value in after.values()} == {torch.float32}
    assert [name for name, value in before.items() if not torch.equal(after[name], value)] == []


def test_half_a_set_of_weights_is_refused_by_name(tiny: TinyBundle, tmp_path: Path) -> None:
    save_tiny(tiny, tmp_path)
    (tmp_path / "codec.safetensors").unlink()
    (tmp_path / "vision.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks codec\.safetensors, vision\.safetensors"):
        load_tiny(weights=tmp_path)


def test_a_weight_file_that_does_not_fit_is_refused_by_key(tiny: TinyBundle, tmp_path: Path) -> None:
    save_tiny(tiny, tmp_path)
    file = tmp_path / "vision.safetensors"
    state = load_file(file)
    state["position"] = state["position"][:9].contiguous()
    save_file(state, file)
    with pytest.raises(CheckpointError, match=r"vision\.safetensors does not fit TinyVisionTower.*position"):
        load_tiny(weights=tmp_path)
    file.write_bytes(b"not a weight file")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_tiny(weights=tmp_path)


def test_shipped_weights_are_whole_or_absent() -> None:
    files = [part for part in bundles.PARTS if (bundles.WEIGHTS / f"{part}.safetensors").is_file()]
    assert files in ([], list(bundles.PARTS))


# CLIP, as CLIPTextEncode calls it


@pytest.mark.parametrize("text", ["", "a red circle moves left", "word " * 300])
def test_clip_gives_a_conditioning(tiny: TinyBundle, text: str) -> None:
    ((cond, extras),) = tiny.clip.encode_from_tokens_scheduled(tiny.clip.tokenize(text))
    length = cond.shape[1]
    assert cond.shape == (1, length, 128) and 2 <= length <= 77
    assert extras["pooled_output"].shape == (1, 128)
    assert extras["attention_mask"].shape == (1, length) and extras["attention_mask"].all()
    assert cond.dtype == torch.float32 and cond.isfinite().all()


def test_clip_adds_what_the_caller_adds(tiny: TinyBundle) -> None:
    tokens = tiny.clip.tokenize("a", return_word_ids=True, tokenizer_options={})
    ((_, extras),) = tiny.clip.encode_from_tokens_scheduled(tokens, add_dict={"guidance": 4.0})
    assert extras["guidance"] == 4.0


def test_a_clone_of_clip_encodes_the_same(tiny: TinyBundle) -> None:
    assert torch.equal(tiny.clip.clone().encode("a red circle"), tiny.clip.encode("a red circle"))


def test_clip_gives_states_alone_or_with_the_pooled_vector(tiny: TinyBundle) -> None:
    tokens = tiny.clip.tokenize("a")
    states_alone = tiny.clip.encode_from_tokens(tokens)
    cond, pooled = tiny.clip.encode_from_tokens(tokens, return_pooled=True)
    assert torch.equal(states_alone, cond) and pooled.shape == (1, 128)


# VAE, as VAEEncode, VAEEncodeTiled, VAEDecode and VAEDecodeTiled call it


def video(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(4))


def test_a_batch_of_images_is_one_video(tiny: TinyBundle) -> None:
    images, codec = video(9, 16, 24, 3), tiny.vae.codec
    latents = tiny.vae.encode(images)
    assert latents.shape == (1, 16, 3, 2, 3)
    # The codec works in -1..1 with the channels first.
    torch.testing.assert_close(latents, codec.encode((images * 2 - 1).permute(3, 0, 1, 2)[None]))
    decoded = codec.decode(latents * 30)
    assert decoded.abs().max() > 1
    expected = ((decoded + 1) / 2).clamp(0, 1).permute(0, 2, 3, 4, 1)
    torch.testing.assert_close(tiny.vae.decode(latents * 30), expected)


def test_several_videos_stay_several(tiny: TinyBundle) -> None:
    videos = video(2, 5, 16, 16, 3)
    latents = tiny.vae.encode(videos)
    assert latents.shape == (2, 16, 2, 2, 2)
    torch.testing.assert_close(latents[1:], tiny.vae.encode(videos[1]), atol=1e-5, rtol=0)
    assert tiny.vae.decode(latents).shape == videos.shape


def test_alpha_is_dropped(tiny: TinyBundle) -> None:
    pixels = video(1, 16, 16, 4)
    assert torch.equal(tiny.vae.encode(pixels), tiny.vae.encode(pixels[..., :3]))


def test_frames_beyond_the_last_latent_are_dropped_and_said(
    tiny: TinyBundle, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = video(7, 16, 16, 3)
    with caplog.at_level(logging.WARNING):
        latents = tiny.vae.encode(pixels)
    assert torch.equal(latents, tiny.vae.encode(pixels[:5]))
    assert "the last 2 of 7" in caplog.text


def test_tiled_is_as_plain(tiny: TinyBundle) -> None:
    pixels = video(21, 64, 160, 3)
    latents = tiny.vae.encode(pixels)
    tiles = {"tile_x": 64, "tile_y": 64, "overlap": 16, "tile_t": 8, "overlap_t": 4}
    torch.testing.assert_close(tiny.vae.encode_tiled(pixels, **tiles), latents, atol=1e-5, rtol=0)
    tiles = {"tile_x": 8, "tile_y": 8, "overlap": 2, "tile_t": 2, "overlap_t": 1}
    plain = tiny.vae.decode(latents)
    torch.testing.assert_close(tiny.vae.decode_tiled(latents, **tiles), plain, atol=1e-5, rtol=0)
    torch.testing.assert_close(tiny.vae.decode_tiled(latents), plain, atol=1e-5, rtol=0)


def test_vae_says_how_much_it_compresses(tiny: TinyBundle) -> None:
    assert tiny.vae.spacial_compression_encode() == tiny.vae.spacial_compression_decode() == 8
    assert tiny.vae.temporal_compression_decode() == 4


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 60, 64, 3), "64x60"),
        ((1, 64, 64, 5), r"\[1, 64, 64, 5\]"),
        ((64, 64, 3), r"\[64, 64, 3\]"),
        ((0, 64, 64, 3), r"\[0, 64, 64, 3\]"),
    ],
)
def test_images_that_do_not_fit_are_refused_with_their_shape(
    tiny: TinyBundle, shape: tuple[int, ...], message: str
) -> None:
    for encode in (tiny.vae.encode, tiny.vae.encode_tiled):
        with pytest.raises(ValueError, match=message):
            encode(torch.zeros(shape))


def test_vae_works_under_inference_mode(tiny: TinyBundle) -> None:
    expected = tiny.vae.decode(tiny.vae.encode(video(1, 16, 16, 3)))
    with torch.inference_mode():
        assert torch.equal(tiny.vae.decode(tiny.vae.encode(video(1, 16, 16, 3))), expected)
    assert expected.shape == (1, 1, 16, 16, 3)


# CLIP_VISION, as CLIPVisionEncode calls it


@pytest.mark.parametrize("crop", [True, False])
@pytest.mark.parametrize("shape", [(1, 64, 64, 3), (2, 40, 90, 4)])
def test_vision_gives_tokens_by_attribute_and_by_item(
    tiny: TinyBundle, shape: tuple[int, ...], crop: bool
) -> None:
    output = tiny.clip_vision.encode_image(video(*shape), crop=crop)
    assert output.last_hidden_state.shape == output["penultimate_hidden_states"].shape == (shape[0], 16, 96)
    assert output["image_embeds"].shape == (shape[0], 96)
    assert output["last_hidden_state"] is output.last_hidden_state
    assert output.mm_projected is None


def test_vision_crops_only_when_told(tiny: TinyBundle) -> None:
    image = video(1, 64, 128, 3)
    outputs = [tiny.clip_vision.encode_image(image, crop=crop) for crop in (True, False)]
    cropped, whole = (output.last_hidden_state for output in outputs)
    assert not torch.allclose(cropped, whole)
    centre = tiny.clip_vision.encode_image(image[:, :, 32:96], crop=False).last_hidden_state
    torch.testing.assert_close(cropped, centre, atol=1e-5, rtol=0)


def test_vision_refuses_what_is_no_picture(tiny: TinyBundle) -> None:
    with pytest.raises(ValueError, match=r"\[1, 64, 64, 5\]"):
        tiny.clip_vision.encode_image(torch.zeros(1, 64, 64, 5))

"""Extractors against open_clip's own transform and models, torchmetrics, PIL and plain numpy."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import framepack_transitions
import numpy as np
import open_clip
import pytest
import torch
from framepack_transitions.metrics.features import OpenClipExtractor, PixelExtractor
from framepack_transitions.metrics.features.clip_model import prepare
from framepack_transitions.metrics.features.frames import as_frames, reduced
from framepack_transitions.nodes.evaluation.host_features import HostExtractor
from framepack_transitions.tiny import world
from PIL import Image
from safetensors.torch import load_file, save_file

WEIGHTS = Path(framepack_transitions.__file__).parent / "tiny" / "weights"
CONFIG, CLIP = WEIGHTS / "tiny-clip.json", WEIGHTS / "clip.safetensors"
TEXTS = ["a small red circle moves left over the sea by day", "an empty forest at night"]


def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture uint8 [H,W,3] with large forms, edges and fine grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = [np.sin(2 * np.pi * (fx * x + fy * y + p)) for fx, fy, p in rng.uniform(-4, 4, (3, 3))]
    picture = 0.5 + 0.35 * np.stack(waves, -1) + 0.05 * rng.standard_normal((height, width, 3))
    picture[height // 3 : height // 2, width // 4 : width // 2] = rng.uniform(0, 1, 3)
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def frames_of(*pictures: np.ndarray) -> np.ndarray:
    return np.stack(pictures).astype(np.float32) / 255


@pytest.fixture(scope="module")
def tiny() -> OpenClipExtractor:
    return OpenClipExtractor.from_config(CONFIG, CLIP, name="tiny")


@pytest.fixture(scope="module")
def reference():
    """The same model by open_clip's own loader, and its transform of pictures."""
    open_clip.add_model_config(CONFIG)
    model, _, transform = open_clip.create_model_and_transforms("tiny-clip", pretrained=str(CLIP))
    return model.eval(), transform


# Pixels


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (608, 640), (480, 832)])
def test_pixel_features_are_means_over_equal_fields(size):
    picture = photograph(*size)
    features = PixelExtractor(side=8).images(frames_of(picture)).reshape(8, 8, 3)
    expected = np.asarray(Image.fromarray(picture).resize((8, 8), Image.Resampling.BOX), np.float32) / 255
    # Antialiasing reaches over the fields' borders a little in large pictures, and PIL rounds to 8 bits.
    assert np.abs(features - expected).max() < (0.005 if max(size) <= 160 else 0.05)
    assert np.abs(features - expected).mean() < 0.01


def test_fields_finer_than_the_usual_resolution_are_means_of_their_own_pixels():
    picture = photograph(32, 48)
    expected = frames_of(picture)[0].reshape(16, 2, 16, 3, 3).mean((1, 3))
    found = PixelExtractor(side=16, resolution=8).images(frames_of(picture))
    assert found.reshape(16, 16, 3) == pytest.approx(expected, abs=1e-6)


def test_pixel_features_follow_a_fade_in_a_straight_line():
    old, new = frames_of(photograph(320, 300, 1), photograph(320, 300, 2))
    alphas = np.linspace(0, 1, 11, dtype=np.float32)
    features = PixelExtractor().images(old + alphas[:, None, None, None] * (new - old))
    assert features.shape == (11, 16 * 16 * 3) and features.dtype == np.float32
    lengths = ((features - features[0]) @ (features[-1] - features[0])) / np.sum(
        (features[-1] - features[0]) ** 2
    )
    assert lengths == pytest.approx(alphas, abs=1e-5)


def test_bytes_and_floats_look_the_same():
    picture = photograph(480, 640)
    by_bytes = PixelExtractor().images(picture[None])
    assert by_bytes == pytest.approx(PixelExtractor().images(frames_of(picture)), abs=1 / 255)
    assert reduced(as_frames(picture[None])).shape == (1, 3, 192, 256)


def test_pixels_cannot_read():
    assert PixelExtractor().texts(TEXTS) is None


@pytest.mark.parametrize(
    ("frames", "problem"),
    [
        (np.zeros((4, 4, 3), np.float32), "batch of one"),
        (np.zeros((1, 4, 4, 4), np.float32), "without alpha"),
        (np.zeros((1, 0, 4, 3), np.float32), r"\[1, 0, 4, 3\]"),
        (np.zeros((1, 4, 4, 3), np.int64), "int64"),
    ],
)
def test_what_is_no_batch_of_frames_is_refused(frames, problem):
    with pytest.raises(ValueError, match=problem):
        PixelExtractor().images(frames)


# open_clip


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(300, 411), (411, 300), (64, 64), (40, 52)])
@pytest.mark.parametrize(
    ("model_size", "interpolation"), [(64, "bicubic"), (64, "bilinear"), ((64, 48), "bicubic")]
)
def test_frames_are_prepared_as_open_clip_prepares_pictures(mode, interpolation, size, model_size):
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = PreprocessCfg(size=model_size, interpolation=interpolation, resize_mode=mode, fill_color=30)
    pictures = [photograph(*size, seed) for seed in range(2)]
    transform = image_transform_v2(config, is_train=False)
    expected = torch.stack([transform(Image.fromarray(picture)) for picture in pictures])
    ours = prepare(torch.from_numpy(frames_of(*pictures)).movedim(-1, 1), vars(config))
    grey_level = 1 / 255 / min(config.std)
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() < 1.6 * grey_level, "PIL rounds twice, we round once"
    assert (ours - expected).abs().mean() < 0.3 * grey_level


def test_features_are_those_of_open_clip(tiny, reference):
    model, transform = reference
    pictures = [photograph(120, 160, seed) for seed in range(3)]
    with torch.no_grad():
        images = model.encode_image(torch.stack([transform(Image.fromarray(p)) for p in pictures])).numpy()
        texts = model.encode_text(open_clip.get_tokenizer("tiny-clip")(TEXTS)).numpy()
    ours = tiny.images(frames_of(*pictures))
    cosines = (ours * images).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(images, axis=1)
    assert cosines.min() > 0.9995
    assert tiny.texts(TEXTS) == pytest.approx(texts, abs=1e-5)
    assert tiny.logit_scale == pytest.approx(model.logit_scale.exp().item(), rel=1e-6)
    assert np.abs(np.linalg.norm(ours, axis=1) - 1).max() > 1e-3, "features are raw"


def test_many_frames_are_encoded_as_one_by_one(tiny):
    frames = frames_of(*[photograph(64, 64, seed) for seed in range(5)])
    together = OpenClipExtractor("tiny-clip", CLIP, batch=2).images(frames)
    assert together == pytest.approx(np.concatenate([tiny.images(f[None]) for f in frames]), abs=1e-5)


def test_cosines_are_the_clip_score_of_torchmetrics(tiny, reference):
    multimodal = pytest.importorskip("torchmetrics.functional.multimodal", reason="torchmetrics is missing")
    model, transform = reference
    frames = [world.make_clip(seed, 1).frames[0] for seed in range(4)]
    texts = [world.prompt_of(world.make_clip(seed, 1).scenes[0][1]) for seed in range(4)]

    class Model(torch.nn.Module):
        """open_clip's model under the names that torchmetrics calls."""

        config = SimpleNamespace()

        def get_image_features(self, pixels):
            return model.encode_image(pixels)

        def get_text_features(self, tokens, mask):
            return model.encode_text(tokens)

    def processor(text=None, images=None, **_):
        if images is not None:
            pictures = [Image.fromarray(image.movedim(0, -1).numpy()) for image in images]
            return {"pixel_values": torch.stack([transform(picture) for picture in pictures])}
        tokens = open_clip.get_tokenizer("tiny-clip")(text)
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}

    def score(frame, text):
        with torch.no_grad():
            image = torch.from_numpy(frame).movedim(-1, 0)
            return multimodal.clip_score(image, text, lambda: (Model(), processor)).item()

    images, words = tiny.images(np.stack(frames)), tiny.texts(texts)
    cosines = (images * words).sum(1) / np.linalg.norm(images, axis=1) / np.linalg.norm(words, axis=1)
    expected = [score(frame, text) for frame, text in zip(frames, texts)]
    assert np.maximum(100 * cosines, 0) == pytest.approx(expected, abs=0.05)


def test_the_embedded_clip_tells_scenes_apart(tiny):
    """Far above chance (a half), whatever the shipped weights' exact quality is."""
    rng, right = np.random.default_rng(0), []
    for seed in range(40):
        clip = world.make_clip(seed + 10_000, 2, "background", 1)
        old, new = (scene for _, scene in clip.scenes)
        texts = tiny.texts([world.prompt_of(old, rng), world.prompt_of(new, rng)])
        images = tiny.images(clip.frames)
        texts, images = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (texts, images))
        right += [*((images @ texts.T).argmax(1) == [0, 1])]
    assert np.mean(right) > 0.8


def test_a_model_is_loaded_once_for_its_weights(tiny, tmp_path):
    again = OpenClipExtractor.from_config(CONFIG, CLIP, name="tiny")
    assert again._clip is tiny._clip
    file = tmp_path / "clip.safetensors"
    state = load_file(CLIP)
    save_file(state, file)
    first = OpenClipExtractor("tiny-clip", file)
    save_file({**state, "logit_scale": torch.tensor(1.0), "extra": torch.zeros(3)}, file)
    with pytest.raises(ValueError, match="does not hold weights of tiny-clip"):
        OpenClipExtractor("tiny-clip", file)
    save_file({**state, "logit_scale": torch.tensor(1.0)}, file)
    assert OpenClipExtractor("tiny-clip", file).logit_scale == pytest.approx(np.e)
    assert first.logit_scale == pytest.approx(tiny.logit_scale)


class TestWeightsThatCannotBeHad:
    def test_an_unknown_model_is_named_with_its_neighbours(self):
        with pytest.raises(ValueError, match="no model 'ViT-B-23'.*ViT-B-"):
            OpenClipExtractor("ViT-B-23", "openai")
        with pytest.raises(ValueError, match=r"no model '\?': take for example \w+"):
            OpenClipExtractor("?", "openai")
        with pytest.raises(ValueError, match="no model 'hf-hub:some/where'"):
            OpenClipExtractor("hf-hub:some/where", "openai")

    def test_an_unknown_tag_is_answered_with_the_known_ones(self):
        with pytest.raises(ValueError, match="no weights 'nobody'.*laion2b_s34b_b79k"):
            OpenClipExtractor("ViT-B-32", "nobody")

    def test_weights_that_are_not_on_this_machine_are_not_downloaded(self, tmp_path, monkeypatch):
        def refuse(*_, **__):
            raise AssertionError("the network was touched")

        monkeypatch.setattr("socket.socket.connect", refuse)
        monkeypatch.setattr("socket.getaddrinfo", refuse)
        with pytest.raises(FileNotFoundError, match=r"create_model\('ViT-B-32', 'openai'\).*safetensors"):
            OpenClipExtractor("ViT-B-32", "openai", cache_dir=tmp_path)

    @pytest.mark.parametrize("name", ["clip.pt", "clip.bin", "clip.pth"])
    def test_files_that_can_run_code_are_refused(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"anything")
        with pytest.raises(ValueError, match="no .safetensors file, and other formats can run code"):
            OpenClipExtractor("tiny-clip", tmp_path / name)

    def test_a_missing_file_and_a_broken_one_are_told_apart(self, tiny, tmp_path):
        with pytest.raises(FileNotFoundError, match="do not exist"):
            OpenClipExtractor("tiny-clip", tmp_path / "none.safetensors")
        broken = tmp_path / "broken.safetensors"
        broken.write_bytes(CLIP.read_bytes()[:5000])
        with pytest.raises(ValueError, match="broken.safetensors is broken"):
            OpenClipExtractor("tiny-clip", broken)

    def test_a_description_must_be_one(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="none.json does not exist"):
            OpenClipExtractor.from_config(tmp_path / "none.json", CLIP)
        (tmp_path / "no-clip.json").write_text("{}", encoding="utf-8")
        with pytest.raises(ValueError, match="no open_clip config"):
            OpenClipExtractor.from_config(tmp_path / "no-clip.json", CLIP)

    def test_models_that_need_a_hub_are_refused(self):
        with pytest.raises(ValueError, match="text tower from a hub"):
            OpenClipExtractor("xlm-roberta-base-ViT-B-32", "laion5b_s13b_b90k")


def test_cached_weights_of_a_tag_bring_its_own_settings(tmp_path, monkeypatch):
    """The tag's mean, resizing and activation hold, though the weights are loaded as a file."""
    config = json.loads(CONFIG.read_text())
    (tmp_path / "tagged-clip.json").write_text(json.dumps(config), encoding="utf-8")
    open_clip.add_model_config(tmp_path / "tagged-clip.json")
    known = {
        "hf_hub": "someone/tagged/",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "interpolation": "bilinear",
        "resize_mode": "squash",
        "quick_gelu": True,
    }
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tagged-clip", {"tag": known})
    snapshot = tmp_path / "models--someone--tagged" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    shutil.copy(CLIP, snapshot / "open_clip_model.safetensors")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40, encoding="utf-8")
    tagged = OpenClipExtractor("tagged-clip", "tag", cache_dir=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, _, transform = open_clip.create_model_and_transforms(
            "tagged-clip",
            pretrained=str(CLIP),
            force_quick_gelu=True,
            image_mean=known["mean"],
            image_std=known["std"],
            image_interpolation="bilinear",
            image_resize_mode="squash",
        )
    picture = photograph(80, 140)
    with torch.no_grad():
        expected = model.eval().encode_image(transform(Image.fromarray(picture))[None]).numpy()
    assert tagged.images(frames_of(picture)) == pytest.approx(expected, abs=0.02)
    assert tagged.name == "clip tagged-clip/tag"


# The host's vision models


class Vision:
    """A CLIP_VISION whose tokens are the mean colours of the picture's quarters."""

    def encode_image(self, image, crop=True):
        assert not crop and image.dtype == torch.float32
        height, width = image.shape[1] // 2, image.shape[2] // 2
        quarters = [
            image[:, y:, x:][:, :height, :width].mean((1, 2)) for y in (0, height) for x in (0, width)
        ]
        return SimpleNamespace(last_hidden_state=torch.stack(quarters, 1), image_embeds=None)


def test_host_features_are_the_mean_of_the_image_tokens():
    frames = frames_of(*[photograph(64, 96, seed) for seed in range(20)])
    extractor = HostExtractor(vision=Vision(), batch=8)
    assert extractor.images(frames) == pytest.approx(frames.mean((1, 2)), abs=1e-5)
    assert extractor.texts(TEXTS) is None
    as_bytes = (frames * 255).round().astype(np.uint8)
    assert extractor.images(as_bytes) == pytest.approx(frames.mean((1, 2)), abs=1e-5)


def test_a_vision_model_without_image_tokens_is_refused():
    vision = SimpleNamespace(
        encode_image=lambda image, crop: SimpleNamespace(image_embeds=image.mean((1, 2)))
    )
    with pytest.raises(ValueError, match="CLIPVisionLoader"):
        HostExtractor(vision=vision).images(frames_of(photograph(64, 64)))

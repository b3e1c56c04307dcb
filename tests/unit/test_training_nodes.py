"""FramePack Training Example and FramePack Error Bank write what the commands read."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from framepack_transitions.headless.files.folders import Folders, using
from framepack_transitions.nodes.loading.tiny_loader import FramePackTinyLoader
from framepack_transitions.nodes.timeline.prompt_timeline import FramePackPromptTimeline
from framepack_transitions.nodes.training.error_bank import FramePackErrorBank
from framepack_transitions.nodes.training.example import FramePackTrainingExample
from framepack_transitions.samplers.context.indices import Direction
from framepack_transitions.training.checking.check import check
from framepack_transitions.training.dataset import load_dataset
from framepack_transitions.training.errors.recycling import load_bank, recycle
from framepack_transitions.training.musubi.latents import read_latents
from framepack_transitions.training.musubi.texts import read_text

TEXT = "a large red circle stands still in the sky by day [0.834s: an empty city at night]"
WINDOW = 3


@pytest.fixture(scope="module")
def tiny() -> tuple[Any, ...]:
    return FramePackTinyLoader().load()


@pytest.fixture
def folders(tmp_path: Path) -> Any:
    with using(Folders(tmp_path, tmp_path)):
        yield tmp_path


def timeline(tiny: tuple[Any, ...], text: str = TEXT) -> Any:
    return FramePackPromptTimeline().build(tiny[1], text, "auto", 2.0, WINDOW)[0]


def clip(frames: int = 61) -> torch.Tensor:
    """Two scenes, the second from frame 26 on."""
    generator = torch.Generator().manual_seed(3)
    scenes = torch.rand(2, 1, 8, 8, 3, generator=generator).repeat_interleave(8, 2).repeat_interleave(8, 3)
    return torch.cat([scenes[0].expand(26, -1, -1, -1), scenes[1].expand(frames - 26, -1, -1, -1)])


def add(tiny: tuple[Any, ...], **changes: Any) -> tuple[str, str]:
    model, _, vae, vision = tiny
    inputs = {
        "model": model,
        "images": clip(),
        "timeline": timeline(tiny),
        "vae": vae,
        "clip_vision": vision,
        "layout": "f1",
        "window": WINDOW,
        "folder": "training",
        "name": "walk",
    }
    return FramePackTrainingExample().add(**{**inputs, **changes})


def test_a_clip_becomes_examples_that_the_check_finds_nothing_wrong_with(tiny: Any, folders: Path) -> None:
    folder, report = add(tiny)
    assert Path(folder) == folders / "training"
    dataset = load_dataset(Path(folder))
    assert [(e.name, e.kind) for e in dataset.examples] == [
        ("walk__s0", "same"),
        ("walk__s1", "same"),
        ("walk__s2", "real"),
        ("walk__s3", "after"),
    ]
    page = (Path(folder) / "README.md").read_text(encoding="utf-8")
    assert "fpack_cache" not in page and "fpack_train_network.py" in page, "nothing is left to encode"
    assert "walk__s2: real: an empty city at night" in report
    assert [finding for finding in check(dataset, Path(folder)) if finding.level == "error"] == []


def test_latents_are_in_the_models_scale_and_captions_are_the_encoded_prompts(
    tiny: Any, folders: Path
) -> None:
    _, encoder, vae, vision = tiny
    folder, _ = add(tiny)
    first = 25 % (4 * WINDOW)  # of the clip's frames: the change is frame 26
    (file,) = (Path(folder) / "cache" / "real").glob("walk__s*_fp.safetensors")
    cache = read_latents(file, Direction.FORWARD)
    frames = clip()[first : first + 4 * WINDOW * ((61 - first - 1) // (4 * WINDOW)) + 1]
    whole = 2.0 * vae.encode(
        frames
    )  # the miniature's factor between the codec's latents and those of sampling
    section = (26 - first - 1) // (4 * WINDOW)
    expected = whole[:, :, 1 + WINDOW * section : 1 + WINDOW * (section + 1)]
    assert torch.allclose(cache.target, expected, atol=5e-3)
    assert torch.allclose(cache.context.clean[:, :, :1], whole[:, :, :1], atol=5e-3)
    tokens = vision.encode_image(frames[:1], crop=False).last_hidden_state
    assert torch.allclose(cache.context.image_embeds, tokens, atol=5e-3)
    text = read_text(file.with_name(f"{file.name.split('_000')[0]}_fp_te.safetensors"))
    states, options = encoder.encode_from_tokens_scheduled(encoder.tokenize("an empty city at night"))[0]
    assert text.caption == "an empty city at night"
    assert torch.allclose(text.states, states, atol=5e-3)
    assert torch.allclose(text.pooled, options["pooled_output"], atol=5e-3)


def test_a_clip_of_the_same_name_is_replaced_and_another_is_added(tiny: Any, folders: Path) -> None:
    add(tiny)
    folder, _ = add(tiny, name="run")
    add(tiny, images=clip()[:26], timeline=timeline(tiny, "a forest by day"))
    names = {example.name for example in load_dataset(Path(folder)).examples}
    assert names == {*(f"run__s{number}" for number in range(4)), "walk__s0", "walk__s1"}
    assert not list((Path(folder) / "cache" / "real").glob("walk*"))


@pytest.mark.parametrize(("layout", "controls"), [("one_frame", 1), ("kisekaeichi", 2), ("1f_mc", 2)])
def test_a_picture_becomes_a_one_frame_example(tiny: Any, folders: Path, layout: str, controls: int) -> None:
    folder, _ = add(
        tiny, images=clip()[:1], layout=layout, controls=clip()[-controls:], window=9, folder=layout
    )
    dataset = load_dataset(Path(folder))
    assert [finding.line() for finding in check(dataset, Path(folder))] == []
    (file,) = (Path(folder) / "cache" / "one_frame").glob("walk_0064x0064_fp.safetensors")
    assert read_latents(file, Direction.BACKWARD).target.shape == (1, 16, 1, 8, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(49, 60, 64, 3)}, "multiples of 16"),
        ({"images": clip()[:5]}, "gives no example"),
        ({"layout": "kisekaeichi"}, "holds 61 frames"),
        ({"layout": "kisekaeichi", "images": clip()[:1]}, "needs controls"),
        ({"controls": clip()[:1]}, "controls are for one-frame layouts"),
        ({"name": "a/b"}, "cannot be used for files"),
        ({"folder": "../away"}, "leads out of"),
        ({"folder": ""}, "does not name a file"),
    ],
)
def test_what_cannot_be_used_is_said_and_nothing_is_written(
    changes: dict[str, Any], message: str, tiny: Any, folders: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        add(tiny, **changes)
    assert not list(folders.rglob("*.safetensors"))


def test_a_folder_is_for_one_layout(tiny: Any, folders: Path) -> None:
    add(tiny)
    with pytest.raises(ValueError, match="choose another folder"):
        add(tiny, layout="original")


def test_the_bank_holds_what_the_model_gets_wrong(tiny: Any, folders: Path) -> None:
    folder, _ = add(tiny)
    arguments = {"model": tiny[0], "folder": folder, "count": 2, "distilled_guidance": 10.0, "seed": 1}
    file, report = FramePackErrorBank().measure(**arguments)
    bank = load_bank(Path(file))
    assert bank.errors.shape == (2 * WINDOW, 16, 8, 8)
    assert ((0.02 <= bank.sigmas) & (bank.sigmas <= 0.9)).all()
    assert 0 < bank.errors.square().mean().sqrt() < 2, "an error is smaller than a picture"
    assert f"{2 * WINDOW} errors" in report
    again = load_bank(Path(FramePackErrorBank().measure(**arguments)[0]))
    assert torch.equal(bank.errors, again.errors)
    dataset, copies = recycle(load_dataset(Path(folder)), Path(folder), bank, share=1.0, copies=1)
    assert copies and any(example.copy_of for example in dataset.examples)


def test_an_error_is_the_prediction_of_the_model_less_the_truth(tiny: Any, folders: Path) -> None:
    """One call of the transformer, with the velocity v: x0 = x - sigma v."""
    folder, _ = add(tiny, images=clip()[:13], timeline=timeline(tiny, "a forest by day"))
    file, _ = FramePackErrorBank().measure(tiny[0], folder, 1, 10.0, 5)
    bank = load_bank(Path(file))
    draw = random.Random(5)
    draw.sample([0], 1)
    sigma, seed = draw.uniform(0.02, 0.9), draw.randrange(2**63)
    (latents,) = (Path(folder) / "cache" / "same").glob("*_fp.safetensors")
    cache = read_latents(latents, Direction.FORWARD)
    text = read_text(latents.with_name("walk__s0_fp_te.safetensors"))
    noise = torch.randn(cache.target.shape, generator=torch.Generator().manual_seed(seed))
    x = sigma * noise + (1 - sigma) * cache.target
    context = cache.context

    def row(places: tuple[int, ...]) -> torch.Tensor:
        return torch.tensor([places])

    velocity = tiny[0].model.diffusion_model(
        x,
        torch.tensor([1000 * sigma]),
        text.states,
        y=text.pooled,
        guidance=torch.tensor([10000]),
        latent_indices=row(context.indices.target),
        clean_latents=context.clean,
        clean_latent_indices=row(context.indices.clean),
        clean_latents_2x=context.clean_2x,
        clean_latent_2x_indices=row(context.indices.clean_2x),
        clean_latents_4x=context.clean_4x,
        clean_latent_4x_indices=row(context.indices.clean_4x),
        image_embeds=context.image_embeds,
    )
    error = (x - sigma * velocity - cache.target)[0].movedim(1, 0)
    assert bank.sigmas.tolist() == pytest.approx([sigma] * WINDOW)
    assert torch.allclose(bank.errors, error, atol=5e-3)

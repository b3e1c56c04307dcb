"""Training data of the embedded model: which clips and examples there are, and that an example is what the sampler would see."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from framepack_transitions.samplers.context.history import History
from framepack_transitions.samplers.context.plan import direction_of, plan_sections
from framepack_transitions.samplers.denoising.drivers.base import context_arguments
from framepack_transitions.samplers.denoising.evaluating.branch import Branch
from framepack_transitions.tiny import world
from framepack_transitions.tiny.bundle import fixed_seed
from framepack_transitions.tiny.networks.codec import TinyCodec
from framepack_transitions.tiny.networks.text import token_ids
from framepack_transitions.tiny.train.data.batches import Batches
from framepack_transitions.tiny.train.data.choices import Choices, scene_change
from framepack_transitions.tiny.train.data.drawing import drawn_clips, in_workers, subject_cells
from framepack_transitions.tiny.train.data.places import Place, PlaceTable, places
from framepack_transitions.tiny.train.data.specs import SECTIONS, ClipSpec, specs
from framepack_transitions.tiny.train.data.store import ClipStore, load_store, make_store, save_store
from framepack_transitions.tiny.train.data.texts import PHRASINGS, altered, texts_of
from framepack_transitions.tiny.train.data.tokens import TokenTable, tokenized
from framepack_transitions.tiny.train.mix import Mix

CPU = torch.device("cpu")
QUIET = replace(Mix(), history_noise=0.0, text_dropout=0.0)
LAYOUTS = ("f1", "original")
END = 500  # what a section's end image holds, plus its section


def numbered(count: int, mix: Mix = QUIET) -> ClipStore:
    """Clips whose latents say which frame they are: frame i holds i + 1; an end image holds END and its section."""
    chosen = specs(count, mix, 0)
    latents = torch.zeros(count, 38, 16, 2, 2, dtype=torch.float16)
    for row, spec in enumerate(chosen):
        length = 1 + spec.window * spec.sections
        latents[row, :length] = torch.arange(1, length + 1).view(-1, 1, 1, 1)
    table = TokenTable()
    rows = [table.row("an empty sea by day"), table.row("an empty sea at night")]
    return ClipStore(
        specs=chosen,
        latents=latents,
        end_images=(END + torch.arange(6.0)).view(1, 6, 1, 1, 1).expand(count, 6, 16, 2, 2).half(),
        subjects=torch.zeros(count, 37, 2, 2, dtype=torch.bool),
        images=torch.zeros(count, 64, 64, 3, dtype=torch.uint8),
        tokens=table.tensor(),
        lengths=table.lengths(),
        text_rows=np.broadcast_to(np.array(rows)[:, None], (count, 6, 2, PHRASINGS)),
    )


@pytest.fixture(scope="module")
def store() -> ClipStore:
    return numbered(200)


def all_places() -> list[Place]:
    """Every place of every layout and window, with a start image and without."""
    return [
        place
        for layout in LAYOUTS
        for window in SECTIONS
        for has_image in (True, False)
        for place in places(layout, window, has_image=has_image)
    ]


def one_example(store: ClipStore, place: Place) -> tuple[int, dict[str, torch.Tensor], torch.Tensor]:
    """A clip, what is shown of its past at a place, and the target, gathered from the store."""
    clip = next(i for i, spec in enumerate(store.specs) if spec.window == place.window)
    batches = Batches(store, QUIET, 1, 0, layout=place.layout)
    zero = np.zeros(1, np.int64)
    choices = Choices(clip=zero + clip, place=zero, other_text=zero.astype(bool), phrasing=zero)
    batch = batches.gather(choices, PlaceTable.of([place], CPU), np.random.default_rng(0))
    return clip, batch.past, batch.target


def from_sampler(store: ClipStore, clip: int, place: Place) -> dict[str, torch.Tensor]:
    """What the sampler's own history shows at a place when it has made the neighbouring sections of a clip."""
    latents = store.latents[clip].float().movedim(1, 0)[None]
    start = latents[:, :, :1] if place.has_image else torch.zeros_like(latents[:, :, :1])
    end = torch.full_like(start, END + place.section) if place.end_image else None
    history = History(direction_of(place.layout), start, keeps_start=place.has_image, end=end)
    # Generated farthest first.
    for section in reversed(place.neighbours):
        first = 1 + place.window * section
        history.append(latents[:, :, first : first + place.window])
    count = place.section + 1 + (len(place.neighbours) if place.layout == "original" else 0)
    planned = plan_sections(place.layout, count, place.window, keeps_start=place.has_image)
    begin = place.window * place.section + place.has_image
    section = next(section for section in planned if section.latents[0] == begin)
    branch = Branch(text="positive", context=history.context(section), distilled=10.0)
    return context_arguments(branch, 1, CPU)


# Clips


def test_clips_follow_from_the_seed_and_keep_clear_of_evaluations() -> None:
    assert specs(50, Mix(), 3) == specs(50, Mix(), 3) != specs(50, Mix(), 4)
    assert all(spec.seed < 10**8 for spec in specs(50, Mix(), 3))


def test_events_fall_on_the_first_frames_of_sections() -> None:
    for spec in specs(100, Mix(), 0):
        planned = plan_sections("f1", spec.sections, spec.window)
        assert spec.switch_frame in (None, planned[spec.switch].frames[0])
        assert spec.frames == planned[-1].frames[1]
        assert not spec.back or spec.switch < spec.back < spec.sections


def test_clips_are_as_mixed_as_the_recipe_says() -> None:
    chosen, mix = specs(3000, Mix(), 0), Mix()
    assert np.mean([spec.pair for spec in chosen]) == pytest.approx(mix.pairs, abs=0.03)
    assert np.mean([spec.window == 5 for spec in chosen]) == pytest.approx(mix.window_5, abs=0.03)
    assert {spec.event for spec in chosen if spec.back} == {
        "disappear", "appear", "colour", "background", "night", "cut",
    }  # fmt: skip
    assert any(spec.passes for spec in chosen) and not any(
        spec.passes and spec.event != "none" for spec in chosen
    )


def test_cells_of_subjects_are_those_that_their_boxes_touch() -> None:
    clip = world.make_clip(3, 37, "disappear", 17, pair=True, who=0)
    cells = subject_cells(clip)
    expected = np.zeros((10, 8, 8), bool)
    for frame, boxes in enumerate(np.moveaxis(clip.boxes, 1, 0)):
        for left, top, right, bottom in boxes[~np.isnan(boxes[:, 0])]:
            rows, columns = (
                np.arange(int(a // 8), int(np.ceil(b / 8))) for a, b in ((top, bottom), (left, right))
            )
            expected[(frame + 3) // 4, rows[:, None], columns] = True
    assert np.array_equal(cells, expected)
    assert subject_cells(clip, 2).shape == (10, 16, 16)
    assert not subject_cells(world.make_clip(3, 9, empty=True)).any()


def test_drawing_gives_clips_in_their_order() -> None:
    chosen = [replace(spec, window=5) for spec in specs(3, Mix(), 5)]
    for spec, drawn in zip(chosen, drawn_clips(chosen)):
        clip = spec.draw()
        assert np.array_equal(drawn.frames, clip.frames) and drawn.texts == texts_of(spec, clip)
    assert list(in_workers(str, range(5))) == ["0", "1", "2", "3", "4"]


def test_processes_that_draw_start_without_torch() -> None:
    asked = "import sys, framepack_transitions.tiny.train.data.drawing; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_an_altered_scene_is_another_one() -> None:
    rng = np.random.default_rng(0)
    for number in range(400):
        scene = world.random_scene(rng, empty=False if number % 2 else None)
        if number % 2:
            scene = world.with_second(rng, scene)
        if number % 8 == 1:
            scene = scene.with_subject(0, None)
        assert altered(scene, rng) != scene


def test_texts_are_those_of_the_scene_at_the_beginning_of_a_section() -> None:
    spec = ClipSpec(seed=11, window=9, event="night", switch=2, back=3)
    texts = texts_of(spec, spec.draw())
    night = [any(word in section.own[0] for word in ("night", "dark")) for section in texts]
    assert night[0] == night[1] == night[3] != night[2]


# Tokens


def test_texts_become_the_tokens_that_the_encoder_reads() -> None:
    rng, table = np.random.default_rng(0), TokenTable()
    scenes = [world.random_scene(rng, empty=False) for _ in range(40)]
    texts = [world.prompt_of(world.with_second(rng, scene), rng) for scene in scenes]
    texts += [world.prompt_of(scene, rng) for scene in scenes] + ["", "A circle, (red) and 12 stars!"]
    rows = table.rows(texts)
    ids, lengths = table.tensor(), table.lengths()
    for text, row in zip(texts, rows):
        assert ids[row, : lengths[row]].tolist() == token_ids(text)
        assert not ids[row, lengths[row] :].any()
    assert table.row("") == 0 and table.row(texts[3]) == rows[3]


def test_texts_of_different_lengths_are_padded_and_masked() -> None:
    tokens, mask = tokenized(["a red star", ""])
    assert tokens[0].tolist() == token_ids("a red star")
    assert tokens[1, mask[1]].tolist() == token_ids("") and mask[0].all()


# Examples


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_example_shows_what_the_sampler_would_show(store: ClipStore, layout: str) -> None:
    for place in (place for place in all_places() if place.layout == layout):
        clip, past, target = one_example(store, place)
        expected = from_sampler(store, clip, place)
        for name, value in expected.items():
            if name != "guidance":
                assert torch.equal(past[name], value), (place, name)
        assert target[0, 0, :, 0, 0].tolist() == [frame + 1 for frame in place.target]


def test_places_of_a_layout_are_all_different_and_cover_its_windows() -> None:
    listed = all_places()
    assert len(set(listed)) == len(listed)
    for layout in LAYOUTS:
        for window, count in SECTIONS.items():
            own = [place for place in listed if (place.layout, place.window) == (layout, window)]
            assert {place.section for place in own} == set(range(count))
    assert any(place.end_image for place in listed) and all(
        place.layout == "original" and not place.neighbours for place in listed if place.end_image
    )


@pytest.mark.parametrize(
    ("layout", "section", "neighbours", "kind"),
    [
        ("f1", 0, (), "normal"),
        ("f1", 1, (0,), "real"),
        ("f1", 2, (1, 0), "after"),
        ("f1", 3, (2, 1, 0), "real"),
        ("original", 0, (), "normal"),
        ("original", 0, (1, 2, 3), "real"),
        ("original", 1, (2,), "after"),
        ("original", 1, (), "real"),
        ("original", 2, (3,), "real"),
        ("original", 3, (), "normal"),
    ],
)
def test_the_kind_of_an_example_says_how_its_memory_differs(
    layout: str, section: int, neighbours: tuple[int, ...], kind: str
) -> None:
    spec = ClipSpec(seed=0, window=9, event="night", switch=1, back=3)
    place = Place(layout=layout, window=9, section=section, neighbours=neighbours, has_image=True)
    assert scene_change(spec, place) == kind


def test_the_mix_is_what_the_recipe_says(store: ClipStore) -> None:
    batches, mix = Batches(store, QUIET, 4000, 0), QUIET
    pool = batches._pools[9, False]
    choices = pool.chooser.draw(np.random.default_rng(0), 4000, text_only=False)
    kinds = [
        "noise" if other else scene_change(store.specs[clip], pool.table.places[place])
        for clip, place, other in zip(choices.clip, choices.place, choices.other_text)
    ]
    found = Counter(kinds)
    for kind, share in (("real", mix.real), ("noise", mix.caption_noise), ("after", mix.after)):
        assert found[kind] / 4000 == pytest.approx(share, abs=0.02)
    assert not any(
        other and scene_change(store.specs[clip], pool.table.places[place]) == "real"
        for clip, place, other in zip(choices.clip, choices.place, choices.other_text)
    )


def test_texts_are_the_sections_own_or_of_another_scene_or_empty(store: ClipStore) -> None:
    batches = Batches(store, replace(QUIET, text_dropout=0.3), 300, 0)
    table = batches._pools[9, False].table
    choices = batches._pools[9, False].chooser.draw(np.random.default_rng(1), 300, text_only=False)
    batch = batches.gather(choices, table, np.random.default_rng(0))
    texts = np.where(choices.other_text, "an empty sea at night", "an empty sea by day")
    texts = np.where(choices.phrasing < 0, "", texts)
    for row, text in enumerate(texts):
        real = batch.tokens[row] if batch.mask is None else batch.tokens[row][batch.mask[row]]
        assert real.tolist() == token_ids(text)
    assert (choices.phrasing < 0).mean() == pytest.approx(0.3, abs=0.08)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_text_to_video_sees_neither_image_nor_start(store: ClipStore, layout: str) -> None:
    batches = Batches(store, replace(QUIET, text_to_video=1.0), 32, 0, layout=layout)
    batch = batches.of_step(3)
    assert batch.images is None and not batch.past["clean_latents"][:, :, 0].any()
    shown = torch.cat(
        [batch.past[f"clean_latents{tier}"].amax((1, 2, 3, 4))[:, None] for tier in ("", "_2x", "_4x")], 1
    )
    assert 0.5 < (shown.amax(1) == 0).float().mean() < 1, "most remember nothing at all"


def test_a_step_has_the_same_batch_every_time(store: ClipStore) -> None:
    batches = Batches(store, Mix(), 4, 0)
    a, b, *others = (batches.of_step(step) for step in (5, 5, 6, 7, 8, 9))
    assert torch.equal(a.tokens, b.tokens) and torch.equal(a.target, b.target)
    assert all(torch.equal(a.past[name], b.past[name]) for name in a.past)
    assert any(a.target.shape != o.target.shape or not torch.equal(a.target, o.target) for o in others)
    assert a.target.shape == batches.of_step(5, replica=1).target.shape


def test_history_noise_spares_the_start_frame_and_what_is_not_there(store: ClipStore) -> None:
    batches = Batches(store, replace(Mix(), history_noise=1.0, text_to_video=0.0), 32, 0)
    past = batches.of_step(1).past
    assert torch.equal(past["clean_latents"][:, :, 0], torch.ones(32, 16, 2, 2))
    history = torch.cat([past["clean_latents_2x"], past["clean_latents_4x"]], dim=2)
    assert (history != history.round()).any() and (history == 0).any()


def test_few_clips_are_enough() -> None:
    batches = Batches(numbered(2), Mix(), 6, 0)
    assert [len(batches.of_step(step).target) for step in range(8)] == [6] * 8


# The store


def differs_by(kept: torch.Tensor, expected: torch.Tensor) -> float:
    """Root mean square of a difference, as a share of what is expected: bfloat16 rounds single values as a CPU likes."""
    return float((kept.float() - expected).square().mean().sqrt() / expected.square().mean().sqrt())


def test_a_store_holds_what_its_clips_show(tmp_path) -> None:
    with fixed_seed(0):
        codec = TinyCodec().eval().requires_grad_(False)
    chosen = [replace(spec, window=5, pair=True) for spec in specs(3, Mix(), 8)]
    store = make_store(codec, chosen, CPU, end_images=True, progress=False)
    for row, spec in enumerate(chosen):
        frames = spec.draw().frames
        video = torch.from_numpy(frames).movedim(-1, 0)[None].float() / 127.5 - 1
        latents = codec.encode(video)[0].movedim(1, 0) * codec.latent_scale
        assert differs_by(store.latents[row, :31], latents) < 0.1
        # The frame beside it is another one: a store that is off by one would show.
        assert differs_by(store.latents[row, 1:31], latents[:-1]) > 0.1
        last = codec.encode(video[:, :, 20:21])[0, :, 0] * codec.latent_scale
        assert differs_by(store.end_images[row, 0], last) < 0.1
        assert np.array_equal(store.images[row].numpy(), frames[0])
    assert not store.latents[:, -1].any()
    save_store(store, tmp_path / "latents.safetensors")
    again = load_store(tmp_path / "latents.safetensors", CPU)
    assert again.specs == store.specs and np.array_equal(again.text_rows, store.text_rows)
    assert all(torch.equal(value, again.tensors()[name]) for name, value in store.tensors().items())


def test_drawing_ends_in_time_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from framepack_transitions.tiny.train.data import store as module

    monkeypatch.setattr(module, "LEAST", 2)
    chosen = [replace(spec, window=5) for spec in specs(20, Mix(), 1)]
    found = make_store(TinyCodec().eval(), chosen, CPU, seconds=0.0, progress=False)
    assert found.specs == chosen[:2] and len(found.latents) == len(found.text_rows) == 2

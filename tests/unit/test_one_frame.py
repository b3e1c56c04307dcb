"""One-frame inference: index tables of every convention, masks, and the node."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.files.one_frame import one_frame_training
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes.sampling.one_frame import FramePackOneFrameSampler
from framepack_transitions.samplers.context.indices import Direction, SectionIndices
from framepack_transitions.samplers.context.one_frame import (
    FROM_LORA,
    PRESETS,
    make_layout,
    mask_control,
    one_frame_context,
    parse_indices,
)

SCALE = 0.5


def tiers(indices: SectionIndices) -> tuple[tuple[int, ...], ...]:
    return indices.target, indices.clean, indices.clean_2x, indices.clean_4x


class TestIndexTables:
    """Written out from what the conventions' own programs do, at window 9 unless said otherwise."""

    @pytest.mark.parametrize(
        ("preset", "controls", "target", "clean", "clean_2x", "clean_4x"),
        [
            ("basic", 1, 9, (0, 10), (11, 12), tuple(range(13, 29))),
            ("basic", 2, 9, (0, 0, 10), (11, 12), tuple(range(13, 29))),
            ("kisekaeichi", 2, 1, (0, 10), (), ()),
            ("1f_mc", 2, 9, (0, 1, 10), (), ()),
            ("plusone", 2, 5, (0, 10), (), ()),
            ("plusone", 1, 8, (0,), (), ()),
            ("plusone_compatible", 2, 5, (0, 10, 10), (), ()),
            ("plusone_compatible", 3, 5, (0, 10, 0, 10), (), ()),
            ("plusone_compatible", 1, 8, (0,), (), ()),
            ("oichi", 1, 8, (0,), (11,), (13,)),
            ("oichi_kisekaeichi", 2, 5, (0, 13), (12,), (5,)),
        ],
    )
    def test_presets(self, preset, controls, target, clean, clean_2x, clean_4x):
        layout = make_layout(preset, 9, controls)
        assert tiers(layout.indices(controls)) == ((target,), clean, clean_2x, clean_4x)

    def test_musubis_options_take_parts_away_and_move_images(self):
        layout = make_layout(
            "basic", 9, 3, target=4, control_index="0;10;7", no_post=True, no_2x=True, no_4x=True
        )
        assert tiers(layout.indices(3)) == ((4,), (0, 10, 7), (), ())

    @pytest.mark.parametrize(
        ("preset", "control_index", "no_post", "direction"),
        [
            ("1f_mc", "", True, Direction.FORWARD),
            ("1f_mc", "", False, Direction.BACKWARD),
            ("basic", "0;1", False, Direction.BACKWARD),
            ("kisekaeichi", "", True, Direction.BACKWARD),
        ],
    )
    def test_generates_forward_where_all_images_but_the_start_lie_before_the_target(
        self, preset, control_index, no_post, direction
    ):
        layout = make_layout(preset, 9, 2, control_index=control_index, no_post=no_post)
        assert layout.indices(2).direction is direction

    def test_control_indices_overwrite_from_the_left(self):
        assert make_layout("basic", 9, 3, control_index="5").indices(3).clean == (5, 0, 0, 10)

    def test_control_indices_left_over_move_the_empty_frame(self):
        assert make_layout("basic", 9, 2, control_index="0;10;7;8").indices(2).clean == (0, 10, 7)

    @pytest.mark.parametrize(
        ("preset", "controls", "target", "clean", "clean_2x", "first_4x"),
        [
            ("basic", 1, 11, (0, 12), (13, 14), 15),
            ("oichi", 1, 10, (0,), (13,), 15),
            ("oichi_kisekaeichi", 2, 5, (0, 13), (14,), 5),
        ],
    )
    def test_a_larger_window_moves_target_and_history(
        self, preset, controls, target, clean, clean_2x, first_4x
    ):
        indices = make_layout(preset, 11, controls).indices(controls)
        assert indices.target == (target,) and indices.clean == clean
        assert indices.clean_2x == clean_2x and indices.clean_4x[0] == first_4x

    def test_a_larger_window_moves_plusones_empty_frame(self):
        assert make_layout("plusone_compatible", 12, 2).indices(2).clean == (0, 10, 13)

    def test_oichi_keeps_its_target_inside_a_small_window(self):
        indices = make_layout("oichi_kisekaeichi", 4, 2).indices(2)
        assert indices.target == indices.clean_4x == (3,)

    def test_oichis_4x_index_follows_the_target(self):
        assert make_layout("oichi_kisekaeichi", 9, 2, target=4).indices(2).clean_4x == (4,)

    @pytest.mark.parametrize("text", ["a", "0;-1", "1.5"])
    def test_words_that_are_no_indices_are_refused(self, text):
        with pytest.raises(ValueError, match="control_index"):
            parse_indices(text)


class TestFromLora:
    @pytest.mark.parametrize("metadata", [
        {"ss_datasets": json.dumps([{"resolution": [1, 1]}, {"fp_1f_target_index": 9, "fp_1f_clean_indices": [0, 3], "fp_1f_no_post": True}])},
        {"fp_1f_target_index": "9", "fp_1f_clean_indices": "[0, 3]", "fp_1f_no_post": "True"},
        {"ss_fp_1f_target_index": "9", "ss_fp_1f_clean_indices": "0;3", "ss_fp_1f_no_post": "1"},
    ])  # fmt: skip
    def test_the_indices_of_the_training_are_used_where_the_node_has_none(self, metadata):
        trained = one_frame_training(metadata)
        assert trained.describe() == "target_index 9, control_index 0;3, no_post true"
        indices = make_layout(FROM_LORA, 7, 2, trained=trained).indices(2)
        assert (indices.target, indices.clean) == ((9,), (0, 3))
        assert make_layout(FROM_LORA, 7, 2, target=4, control_index="1;2", trained=trained).indices(
            2
        ).clean == (1, 2)

    @pytest.mark.parametrize(
        "metadata", [{}, {"ss_datasets": "["}, {"ss_datasets": "3"}, {"ss_datasets": "[" * 100_000},
                     {"fp_1f_target_index": "None"}, {"fp_1f_target_index": "-1"}, {"fp_1f_clean_indices": "[0, x]"}]
    )  # fmt: skip
    def test_metadata_without_them_states_nothing(self, metadata):
        assert one_frame_training(metadata) is None
        with pytest.raises(ValueError, match="no LoRA of the model states"):
            make_layout(FROM_LORA, 9, 1)


def test_empty_tiers_are_zero_latents_and_missing_ones_are_not_packed():
    context = one_frame_context(make_layout("oichi", 9, 1), [torch.ones(1, 16, 1, 4, 4)], None)
    assert context.clean.shape[2] == 1 and context.clean_2x.shape[2] == context.clean_4x.shape[2] == 1
    assert context.clean_2x.abs().max() == 0
    assert (
        one_frame_context(make_layout("kisekaeichi", 9, 2), [torch.ones(1, 16, 1, 4, 4)] * 2, None).clean_4x
        is None
    )


def test_masks_keep_white_and_drop_black():
    control = torch.ones(1, 16, 1, 8, 8)
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32:] = 1
    masked = mask_control(control, mask)
    assert masked[..., :3].abs().max() < 0.05 and (masked[..., 5:] > 0.95).all()
    assert torch.equal(mask_control(control, torch.ones(64, 64)), control)


class TestNode:
    @pytest.fixture
    def network(self, upstream):
        config = upstream.load("sampler/call_one_frame").config
        return upstream.fill(FramePackDiT(FramePackConfig(**config)))

    @pytest.fixture
    def sample(self, upstream, network):
        fixture = upstream.load("sampler/call_one_frame")
        inputs, settings = fixture.inputs, fixture.settings
        model = PlainModel(network, SCALE)
        spec = FramePackOneFrameSampler.INPUT_TYPES()["required"]
        start, reference = ({"samples": part / SCALE} for part in inputs["clean_latents"].split(1, dim=2))
        text = [[inputs["context"], {"pooled_output": inputs["y"]}]]
        defaults = {
            **{name: value[1]["default"] for name, value in spec.items() if "default" in value[1]},
            "model": model,
            "positive": text,
            "negative": text,
            "start_latent": start,
            "preset": "kisekaeichi",
            "reference_1": reference,
            "steps": settings["steps"],
            "seed": settings["seed"],
            "clip_vision_output": SimpleNamespace(last_hidden_state=inputs["image_embeds"]),
        }

        def run(**overrides):
            with torch.inference_mode():
                latent, trace = FramePackOneFrameSampler().sample(**{**defaults, **overrides})
            return latent["samples"] * SCALE, trace

        return run

    @pytest.mark.usefixtures("recorded_frequencies")
    def test_kisekaeichi_equals_upstreams_sampling_call(self, upstream, sample):
        image, trace = sample()
        expected = upstream.load("sampler/call_one_frame").expected["output"]
        assert (image - expected).abs().max() <= 1e-4 * expected.abs().max()
        (section,) = trace["sections"]
        assert section["indices"]["clean"] == [0, 10] and section["frames"] == [0, 1]

    @pytest.mark.parametrize("preset", PRESETS)
    def test_every_preset_puts_its_frames_where_its_layout_says(self, sample, preset):
        image, trace = sample(preset=preset)
        indices, layout = trace["sections"][0]["indices"], make_layout(preset, 9, 2).indices(2)
        assert (tuple(indices["target"]), tuple(indices["clean"])) == (layout.target, layout.clean)
        assert image.shape == (1, 16, 1, 8, 8) and torch.isfinite(image).all()
        moved, _ = sample(preset=preset, target_index=layout.target[0] + 3)
        assert not torch.equal(image, moved)

    def test_a_rope_batch_gives_one_image_per_window_from_the_same_noise(self, sample):
        images, trace = sample(preset="basic", rope_batch=3)
        assert images.shape == (3, 16, 1, 8, 8)
        assert [section["indices"]["target"] for section in trace["sections"]] == [[9], [10], [11]]
        assert torch.allclose(images[1:2], sample(preset="basic", window=10)[0], atol=1e-5)

    def test_a_black_mask_makes_a_reference_empty(self, sample):
        masked, _ = sample(mask_1=torch.zeros(1, 64, 64))
        empty, _ = sample(reference_1={"samples": torch.zeros(1, 16, 1, 8, 8)})
        assert torch.equal(masked, empty) and not torch.equal(masked, sample()[0])

    def test_eight_references_are_packed_in_their_order(self, sample, network):
        calls = []
        network.register_forward_hook(lambda _, __, inputs, ___: calls.append(inputs), with_kwargs=True)
        references = {
            f"reference_{n}": {"samples": torch.full((1, 16, 1, 8, 8), float(n))} for n in range(1, 9)
        }
        _, trace = sample(**references, control_index="0;1;2;3;4;5;6;7;8")
        assert trace["sections"][0]["indices"]["clean"] == list(range(9))
        packed = calls[-1]["clean_latents"][0, 0, 1:, 0, 0] / SCALE
        torch.testing.assert_close(packed, torch.arange(1.0, 9.0))

    def test_a_reference_of_another_size_is_refused(self, sample):
        with pytest.raises(ValueError, match="reference_1 is 96x64 pixels but start_latent is 64x64"):
            sample(reference_1={"samples": torch.zeros(1, 16, 1, 8, 12)})

"""Code of other nodes: whose it is, what is said where it fails, and which nodes change nothing or are refused."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from framepack_transitions.models import foreign
from framepack_transitions.models.inputs import check_window
from framepack_transitions.samplers.context.history import Context
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.denoiser import SectionDenoiser
from framepack_transitions.samplers.denoising.drivers.host_checks import expect_usable, idle_nodes
from framepack_transitions.samplers.guidance import Guidance


class SharpenEverything:
    """A node of another pack, whose function is a closure as usual."""

    def patch(self):
        def wrapper(executor, x):
            return executor(x)[0, 0, 0, 0, 0, 0]

        return wrapper


class PatchObject:
    def __call__(self, out, options):
        return out


def test_code_is_named_for_the_node_that_made_it() -> None:
    wrapper = SharpenEverything().patch()
    assert foreign.node_of(partial(wrapper, 1)) == foreign.node_of(wrapper)
    assert foreign.node_of(wrapper) == "SharpenEverything"
    assert foreign.node_of(PatchObject()) == "PatchObject"


def test_code_that_does_not_fit_the_model_is_named_with_its_error() -> None:
    wrapper = SharpenEverything().patch()
    with (
        pytest.raises(
            RuntimeError, match="SharpenEverything cannot work on a FramePack model .IndexError: too many"
        ),
        foreign.naming_misfits([wrapper]),
    ):
        wrapper(lambda x: x, torch.zeros(1, 16, 9, 8, 8))


def test_errors_of_the_model_and_of_the_gpu_are_not_blamed_on_other_code() -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    def full(x):
        raise OutOfMemoryError

    wrapper = SharpenEverything().patch()
    with pytest.raises(OutOfMemoryError), foreign.naming_misfits([wrapper]):
        wrapper(full, None)
    with pytest.raises(ValueError, match="x must be"), foreign.naming_misfits([wrapper]):
        wrapper(lambda x: check_window(SimpleNamespace(in_channels=16), x, []), torch.zeros(2, 3))


def model(**transformer_options):
    return SimpleNamespace(object_patches={}, model_options={"transformer_options": transformer_options})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"patches": {"attn2_patch": [SharpenEverything().patch()]}},
            r"attn2_patch patches \(SharpenEverything\)",
        ),
        ({"patches_replace": {"attn1": {("middle", 0): PatchObject()}}}, r"attn1 patches \(PatchObject\)"),
        ({"rope_options": {"scale_x": 2.0}}, r"rope_options \(ScaleROPE\)"),
    ],
)
def test_what_no_block_reads_is_refused_with_the_node(options, words) -> None:
    with pytest.raises(ValueError, match=words):
        expect_usable(model(**options))


def test_patches_of_blocks_and_empty_lists_are_usable() -> None:
    expect_usable(
        model(patches={"attn1_patch": []}, patches_replace={"dit": {("single_block", 0): PatchObject()}})
    )


def test_idle_nodes_are_said_once() -> None:
    def guide(args):
        return args["denoised"]

    guide.__qualname__ = "PerturbedAttentionGuidance.patch.<locals>.post_cfg_function"
    functions = [guide, guide, SharpenEverything().patch()]
    used = SimpleNamespace(model_options={"sampler_post_cfg_function": functions})
    (sentence,) = idle_nodes(used)
    assert sentence.startswith(
        "PerturbedAttentionGuidance changes nothing on FramePack: there is no UNet block"
    )


def test_a_scale_that_another_node_sets_replaces_that_of_the_sampler_for_a_step() -> None:
    (section,) = plan_sections("f1", 1, 3)
    denoiser = SectionDenoiser(
        section=section,
        context=Context(indices=section.indices, clean=torch.zeros(1, 16, 2, 2, 2)),
        guidance=Guidance(cfg=1.0),
    )
    texts = []

    def evaluate(branches, x, sigma):
        texts.append([branch.text for branch in branches])
        return [torch.full_like(x, 2.0 - number) for number in range(len(branches))]

    x, sigma = torch.zeros(1, 16, 3, 2, 2), torch.ones(1)
    assert denoiser(x, sigma, evaluate).unique().tolist() == [2.0]
    # negative 1, positive 2: 1 + 3 (2 - 1)
    assert denoiser(x, sigma, evaluate, cfg=3.0).unique().tolist() == [4.0]
    assert texts == [["positive"], ["positive", "negative"]] and denoiser.evaluations == 3

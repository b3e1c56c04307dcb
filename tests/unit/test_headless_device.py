"""Where the command line lets its models compute."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from framepack_transitions.headless.arguments import parser
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.devices import device_named
from framepack_transitions.headless.running.runs import EXAMPLES, PACK
from framepack_transitions.headless.workflows.errors import WorkflowError
from framepack_transitions.models.plain import models_on, plain_device
from framepack_transitions.nodes.loading.tiny_loader import FramePackTinyLoader

WORKFLOW = str(PACK / EXAMPLES / "api" / "tiny_f1.json")


def test_a_loaded_model_lies_where_it_is_asked_to() -> None:
    with models_on(torch.device("meta")):
        model, _, vae, _ = FramePackTinyLoader().load()
    assert model.load_device.type == "meta"
    assert {parameter.device.type for parameter in model.model.diffusion_model.parameters()} == {"meta"}
    assert next(vae.codec.parameters()).device.type == "cpu"
    assert plain_device().type == "cpu"
    assert FramePackTinyLoader().load()[0].load_device.type == "cpu"


@pytest.mark.parametrize(
    "command", [["demo"], ["run", WORKFLOW], ["bench", "transition"], ["bench", "speed"]]
)
def test_every_command_that_samples_takes_a_device(command: list[str]) -> None:
    assert parser().parse_args([*command, "--device", "cuda:1"]).device == "cuda:1"


@pytest.mark.parametrize("name", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_before_anything_runs(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WorkflowError, match=f"--device is '{name}'"):
        device_named(name)
    assert main(["demo", "--device", name, "--out", str(tmp_path / "out")]) == 1
    assert f"--device is '{name}', but torch cannot compute there" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_server_chooses_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--device", "cpu", "--server", "http://127.0.0.1:1", "--out", str(tmp_path)]
    assert main(["run", WORKFLOW, *options]) == 1
    assert "a server chooses its own" in capsys.readouterr().err


def test_renders_that_are_killed_have_no_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "reliability", "--device", "cpu", "--out", str(tmp_path)]) == 1
    assert "--device is not for bench reliability" in capsys.readouterr().err

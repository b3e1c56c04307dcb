"""The pack in a running ComfyUI, as a user and an API client meet it."""

from __future__ import annotations

import copy
import io
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import av
import pytest

pytestmark = [pytest.mark.host, pytest.mark.timeout(600)]
EXAMPLES = Path(__file__).parents[2] / "example_workflows" / "api"
WORKFLOW = EXAMPLES / "tiny_f1.json"
LORA = "framepack_transitions_tiny_lora.safetensors"
SAMPLERS = ("FramePackTransitionsSampler", "FramePackOneFrameSampler")
BLUEPRINTS = Path(__file__).parents[2] / "subgraphs"


@pytest.fixture
def workflow():
    return json.loads(WORKFLOW.read_text())


def node(workflow, class_type: str) -> dict:
    return next(value for value in workflow.values() if value["class_type"] == class_type)


def test_the_pack_loads_without_a_warning(server):
    lines = [line for line in server.log.read_text().splitlines() if "framepack" in line.lower()]
    assert any("seconds" in line for line in lines), "the pack is missing from the import times"
    assert not [
        line for line in lines if any(word in line for word in ("WARNING", "FAILED", "Error", "Traceback"))
    ]


def test_object_info_has_every_node_with_tooltips(server):
    from framepack_transitions.nodes import NODE_CLASS_MAPPINGS

    info = server.get("/object_info")
    for name in NODE_CLASS_MAPPINGS:
        assert info[name]["category"].startswith("FramePack/") and info[name]["description"]
        assert len(info[name]["output_tooltips"]) == len(info[name]["output"])
        for group in ("required", "optional"):
            for key, spec in info[name]["input"].get(group, {}).items():
                assert spec[1]["tooltip"], f"{name}.{key} has no tooltip"


def test_the_blueprints_are_listed_where_the_host_knows_any(server):
    try:
        listed = server.get("/global_subgraphs").values()
    except urllib.error.HTTPError as error:
        assert error.code == 404
        pytest.skip("this version of ComfyUI has no blueprints")
    ours = {
        entry["name"] for entry in listed if entry["info"]["node_pack"].endswith(".framepack-transitions")
    }
    assert ours == {path.stem for path in BLUEPRINTS.glob("*.json")}


def test_the_tiny_workflow_yields_an_mp4(server, workflow):
    entry = server.wait(server.queue(workflow))
    assert entry["status"]["status_str"] == "success", entry["status"]
    files = [
        file
        for output in entry["outputs"].values()
        for kind in output.values()
        if isinstance(kind, list)
        for file in kind
        if isinstance(file, dict) and "filename" in file
    ]
    query = urllib.parse.urlencode({k: files[0][k] for k in ("filename", "subfolder", "type")})
    with urllib.request.urlopen(f"{server.url}/view?{query}") as response:
        video = av.open(io.BytesIO(response.read()))
    frames = sum(1 for _ in video.decode(video=0))
    assert frames == 109 and video.streams.video[0].average_rate == 30


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("tiny_*.json")), ids=lambda path: path.stem)
def test_every_tiny_example_runs_here(server, path):
    graph = json.loads(path.read_text())
    for step in graph.values():
        if step["class_type"] in SAMPLERS:
            step["inputs"]["steps"] = 2
    entry = server.wait(server.queue(graph))
    assert entry["status"]["status_str"] == "success", entry["status"]
    assert entry["outputs"]


def test_the_examples_lora_is_offered_by_every_lora_loader(server):
    info = server.get("/object_info")
    for name in ("FramePackLoraLoader", "LoraLoaderModelOnly"):
        kind, *options = info[name]["input"]["required"]["lora_name"]
        assert LORA in (options[0]["options"] if kind == "COMBO" else kind)
    assert not (server.base / "models" / "loras" / LORA).exists(), "it stays with the pack"


def test_what_the_training_example_writes_is_read_by_the_commands(server):
    from framepack_transitions.training.checking.check import check
    from framepack_transitions.training.dataset import load_dataset
    from framepack_transitions.training.errors.recycling import load_bank

    graph = json.loads((EXAMPLES / "tiny_training.json").read_text())
    assert server.wait(server.queue(graph))["status"]["status_str"] == "success"
    folder = server.base / "output" / node(graph, "FramePackTrainingExample")["inputs"]["folder"]
    dataset = load_dataset(folder)
    assert [example.kind for example in dataset.examples] == ["same", "same", "real", "after"]
    assert not [finding for finding in check(dataset, folder) if finding.level == "error"]
    assert load_bank(folder / "error_bank.safetensors").errors.shape[1:] == (16, 8, 8)


def test_three_interrupts_leave_the_server_usable_and_its_memory_where_it_was(server, workflow):
    assert server.wait(server.queue(workflow))["status"]["status_str"] == "success"
    before = resident_bytes(server)
    endless = copy.deepcopy(workflow)
    node(endless, "FramePackTransitionsSampler")["inputs"].update(steps=1000, seconds=30.0)
    for attempt in range(3):
        node(endless, "FramePackTransitionsSampler")["inputs"]["seed"] = attempt
        prompt_id = server.queue(endless)
        time.sleep(2)
        server.post("/interrupt", {})
        messages = server.wait(prompt_id, 30)["status"]["messages"]
        assert "execution_interrupted" in [message[0] for message in messages]
    node(workflow, "FramePackTransitionsSampler")["inputs"]["seed"] = 99
    assert server.wait(server.queue(workflow))["status"]["status_str"] == "success"
    assert resident_bytes(server) <= before * 1.05


EMPTY = {
    "class_type": "EmptyHunyuanLatentVideo",
    "inputs": {"width": 64, "height": 64, "length": 1, "batch_size": 1},
}
WIDE = {**EMPTY, "inputs": {**EMPTY["inputs"], "width": 96}}


@pytest.mark.parametrize(
    ("extra", "changes", "words"),
    [
        (
            WIDE,
            {"layout": "original", "end_latent": ["900", 0]},
            "end_latent is 96x64 pixels but start_latent is 64x64",
        ),
        (WIDE, {"end_latent": ["900", 0]}, "end_latent is 96x64 pixels"),
        (EMPTY, {"end_latent": ["900", 0]}, "layout f1 generates forward and has no slot for an end frame"),
        (
            EMPTY,
            {"initial_latent": ["900", 0]},
            "initial_latent is connected but the schedule starts from pure noise",
        ),
        (EMPTY, {"denoise": 0.5}, "without an initial_latent"),
        (
            {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler_cfg_pp"}},
            {"sampler": ["900", 0]},
            "euler_cfg_pp is a CFG",
        ),
    ],
)
def test_wrong_wiring_ends_in_one_sentence(server, workflow, extra, changes, words):
    workflow["900"] = extra
    node(workflow, "FramePackTransitionsSampler")["inputs"].update(changes)
    entry = server.wait(server.queue(workflow))
    errors = [message[1] for message in entry["status"]["messages"] if message[0] == "execution_error"]
    assert words in errors[0]["exception_message"] and errors[0]["node_type"] == "FramePackTransitionsSampler"


@pytest.mark.parametrize("changes", [{"seconds": -1.0}, {"steps": 0}, {"layout": "f2"}])
def test_values_outside_a_widget_are_refused_when_queued(server, workflow, changes):
    node(workflow, "FramePackTransitionsSampler")["inputs"].update(changes)
    with pytest.raises(urllib.error.HTTPError) as refusal:
        server.queue(workflow)
    assert next(iter(changes)) in refusal.value.read().decode()


def resident_bytes(server) -> int:
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * 4096

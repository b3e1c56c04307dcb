"""The executor runs what the outputs need, once, in order, and says what is wrong before it starts."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from framepack_transitions.headless.workflows.errors import WorkflowError
from framepack_transitions.headless.workflows.executor import Observer, execute, prepare
from framepack_transitions.headless.workflows.workflow import parse_api
from framepack_transitions.samplers.progress import Interrupted, report

RAN: list[tuple] = []


@pytest.fixture(autouse=True)
def fresh_log() -> None:
    RAN.clear()


class Box:
    """A value that a weak reference can follow."""

    def __init__(self, value: float) -> None:
        self.value = value


class Source:
    RETURN_TYPES = ("BOX", "INT")
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "value": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 10.0}),
                "mode": (["plain", "twice"],),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def make(self, value: float, mode: str, unique_id: str) -> tuple[Box, int]:
        RAN.append(("source", unique_id, value))
        return Box(value * (2 if mode == "twice" else 1)), 7


class Add:
    RETURN_TYPES = ("BOX",)
    FUNCTION = "add"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"a": ("BOX",), "b": ("BOX",)},
            "optional": {"times": ("INT", {"min": 1}), "even": ("INT",)},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, even: int | None = None) -> bool | str:
        return True if even is None or even % 2 == 0 else f"even must be even, got {even}"

    def add(self, a: Box, b: Box, times: int = 1, even: int = 0) -> tuple[Box]:
        RAN.append(("add",))
        return (Box((a.value + b.value) * times),)


class Show:
    RETURN_TYPES = ()
    FUNCTION = "show"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"source": ("*", {})}}

    def show(self, source: Any) -> dict[str, Any]:
        RAN.append(("show", getattr(source, "value", source)))
        return {"ui": {"text": (str(getattr(source, "value", source)),)}}


class Steps:
    RETURN_TYPES = ("BOX",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"steps": ("INT",), "fail": ("BOOLEAN",)}}

    def run(self, steps: int, fail: bool) -> tuple[Box]:
        for step in range(steps):
            report(step + 1, steps, {"section": 1})
        if fail:
            raise ValueError("latents are [1, 4],\n expected [1, 16]")
        return (Box(steps),)


NODES = {"Source": Source, "Add": Add, "Show": Show, "Steps": Steps}


def node(class_type: str, title: str = "", **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title or class_type}}


def run(graph: dict[str, Any], *observers: Observer) -> None:
    execute(prepare(parse_api(graph), NODES), NODES, observers)


def problems(graph: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(WorkflowError) as caught:
        prepare(parse_api(graph), NODES)
    assert not RAN
    return caught.value.problems


def test_a_shared_node_runs_once_and_unneeded_nodes_never() -> None:
    run(
        {
            "9": node("Show", source=["3", 0]),
            "3": node("Add", a=["1", 0], b=["1", 0], times=3),
            "1": node("Source", value=2, mode="twice"),
            "2": node("Source", value=5, mode="plain"),
        }
    )
    assert RAN == [("source", "1", 2.0), ("add",), ("show", 24.0)]


def test_constants_are_converted_to_the_declared_type() -> None:
    run({"1": node("Source", value="2.5", mode="plain"), "2": node("Show", source=["1", 0])})
    assert RAN[-1] == ("show", 2.5)


def test_a_result_is_dropped_after_its_last_use() -> None:
    alive: list[int] = []
    boxes: list[weakref.ref] = []

    class Watch(Observer):
        def finished(self, node: Any, outputs: Any, shown: Any, seconds: float) -> None:
            if "BOX" in outputs:
                boxes.append(weakref.ref(outputs["BOX"]))

        def started(self, node: Any) -> None:
            gc.collect()
            alive.append(sum(box() is not None for box in boxes))

    run(
        {
            "1": node("Source", value=1, mode="plain"),
            "2": node("Add", a=["1", 0], b=["1", 0]),
            "3": node("Add", a=["2", 0], b=["2", 0]),
            "4": node("Show", source=["3", 0]),
        },
        Watch(),
    )
    assert alive == [0, 1, 1, 1]


def test_observers_hear_steps_outputs_and_texts() -> None:
    heard: list[tuple] = []

    class Listen(Observer):
        def progress(self, node: Any, step: int, total: int, info: Any) -> None:
            heard.append((node.title, step, total, dict(info)))

        def finished(self, node: Any, outputs: Any, shown: Any, seconds: float) -> None:
            heard.append((node.id, sorted(outputs), dict(shown)))

    run({"1": node("Steps", "My sampler", steps=2, fail=False), "2": node("Show", source=["1", 0])}, Listen())
    assert heard == [
        ("My sampler", 1, 2, {"section": 1}),
        ("My sampler", 2, 2, {"section": 1}),
        ("1", ["BOX"], {}),
        ("2", [], {"text": ("2",)}),
    ]


def test_an_observer_can_interrupt() -> None:
    class Stop(Observer):
        def progress(self, node: Any, step: int, total: int, info: Any) -> None:
            raise Interrupted

    with pytest.raises(Interrupted):
        run({"1": node("Steps", steps=2, fail=False), "2": node("Show", source=["1", 0])}, Stop())
    assert RAN == []


def test_a_failing_node_is_named_with_its_cause_in_one_line() -> None:
    with pytest.raises(WorkflowError) as caught:
        run({"4": node("Steps", "My sampler", steps=1, fail=True), "5": node("Show", source=["4", 0])})
    assert caught.value.problems == (
        'Node 4 Steps "My sampler" failed: latents are [1, 4], expected [1, 16].',
    )
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_circle_is_named() -> None:
    found = problems(
        {
            "1": node("Add", a=["2", 0], b=["3", 0]),
            "2": node("Add", a=["3", 0], b=["1", 0]),
            "3": node("Source", value=1, mode="plain"),
            "4": node("Show", source=["1", 0]),
        }
    )
    assert found == ("The nodes 1 <- 2 <- 1 form a circle, so that none of them can start.",)


def test_a_long_chain_needs_no_recursion() -> None:
    graph = {"0": node("Source", value=1, mode="plain"), "end": node("Show", source=["3000", 0])}
    graph |= {str(number): node("Add", a=[str(number - 1), 0], b=["0", 0]) for number in range(1, 3001)}
    run(graph)
    assert RAN[-1] == ("show", 3001.0)


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"1": node("Source", value=1, mode="plain")}, "no node that saves or shows"),
        (
            {"1": node("KSampler", "Mine"), "2": node("Show", source=["1", 0])},
            'Node 1 KSampler "Mine": this class is not known here; queue',
        ),
        (
            {"1": node("Show", source=["7", 0])},
            "Node 1 Show: input source comes from node 7, which does not exist.",
        ),
        ({"1": node("Show")}, "the required input source (*) is missing"),
        (
            {"1": node("Source", value=11, mode="plain"), "2": node("Show", source=["1", 0])},
            "Node 1 Source: input value takes at least 0.0 and at most 10.0, got 11.0.",
        ),
        (
            {"1": node("Source", value=float("nan"), mode="plain"), "2": node("Show", source=["1", 0])},
            "input value takes at least 0.0 and at most 10.0, got nan",
        ),
        (
            {"1": node("Source", value="much", mode="plain"), "2": node("Show", source=["1", 0])},
            "input value takes FLOAT, got 'much'",
        ),
        (
            {"1": node("Source", value=1, mode="thrice"), "2": node("Show", source=["1", 0])},
            "input mode takes one of plain, twice, got 'thrice'",
        ),
        (
            {"1": node("Source", value=1, mode="plain", valeu=2), "2": node("Show", source=["1", 0])},
            "there is no input 'valeu', the closest is value",
        ),
        (
            {
                "1": node("Source", value=1, mode="plain"),
                "2": node("Add", a=["1", 1], b=["1", 0]),
                "3": node("Show", source=["2", 0]),
            },
            "Node 2 Add: input a takes BOX, but output 1 of node 1 Source is INT.",
        ),
        (
            {"1": node("Source", value=1, mode="plain"), "2": node("Show", source=["1", 5])},
            "takes output 5 of node 1 Source, which has 2 outputs",
        ),
        (
            {"1": node("Add", a=3, b=3), "3": node("Show", source=["1", 0])},
            "input a takes BOX from another node, got the constant 3",
        ),
        (
            {
                "1": node("Source", value=1, mode="plain"),
                "2": node("Add", a=["1", 0], b=["1", 0], even=3),
                "3": node("Show", source=["2", 0]),
            },
            "Node 2 Add: even must be even, got 3.",
        ),
        (
            {"1": node("Steps", steps=1, fail="no"), "2": node("Show", source=["1", 0])},
            "input fail takes true or false, got 'no'",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(graph: dict[str, Any], expected: str) -> None:
    assert expected in "\n".join(problems(graph))


def test_all_findings_are_reported_at_once() -> None:
    assert (
        len(problems({"1": node("Source", value=11, mode="thrice"), "2": node("Show", source=["1", 0])})) == 2
    )

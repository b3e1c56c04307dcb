"""Units of work are done once each, by one of several places; a place that is gone loses the one that it was at."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from framepack_transitions.headless.files import media
from framepack_transitions.headless.files.folders import Folders
from framepack_transitions.headless.running import client, patience
from framepack_transitions.headless.running.progress import NoBars, ProgressBars
from framepack_transitions.headless.running.runs import LocalRunner
from framepack_transitions.headless.running.server import Server, ServerGone
from framepack_transitions.headless.spreading import places as places_module
from framepack_transitions.headless.spreading import spread as spread_module
from framepack_transitions.headless.spreading.places import Place, load_for, opened_places
from framepack_transitions.headless.spreading.spread import spread
from framepack_transitions.headless.workflows.errors import WorkflowError
from framepack_transitions.samplers.progress import Interrupted


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread_module, "POLL_SECONDS", 0.01)


def place(name: str, answers: Callable[[], bool] = lambda: True) -> Place:
    return Place(name, LocalRunner(), answers)


def test_one_place_does_everything_in_order_in_this_thread() -> None:
    found = []
    spread(
        [1, 2, 3],
        [place("a")],
        lambda where, unit, bars: (unit, where.name, threading.current_thread()),
        lambda unit, result: found.append(result),
    )
    assert found == [(unit, "a", threading.main_thread()) for unit in (1, 2, 3)]


def test_several_places_share_the_units_and_each_is_done_once() -> None:
    both = threading.Barrier(2, timeout=10)

    def do(where: Place, unit: int, bars: ProgressBars) -> str:
        if unit < 2:
            both.wait()  # holds one place until the other has begun
        return where.name

    found: dict[int, str] = {}
    spread(range(20), [place("a"), place("b")], do, found.__setitem__)
    assert sorted(found) == list(range(20)) and found[0] != found[1]


def test_the_unit_of_a_place_that_is_gone_goes_to_another(caplog: pytest.LogCaptureFixture) -> None:
    tried, taken = Counter[tuple[str, int]](), threading.Event()

    def do(where: Place, unit: int, bars: ProgressBars) -> str:
        tried[where.name, unit] += 1
        if where.name == "a":
            taken.set()
            raise ServerGone("No ComfyUI answers at a.")
        taken.wait(10)
        return where.name

    found: dict[int, str] = {}
    spread(range(6), [place("a", lambda: False), place("b")], do, found.__setitem__)
    assert found == dict.fromkeys(range(6), "b")
    assert sum(count for (name, _), count in tried.items() if name == "a") == 1
    assert "goes to another place" in caplog.text


def test_a_place_that_is_back_gets_work_again() -> None:
    answers, gone, back = iter([False, False, True]), threading.Event(), threading.Event()

    def do(where: Place, unit: int, bars: ProgressBars) -> str:
        if where.name == "b":
            back.wait(10)
        elif gone.is_set():
            back.set()
        else:
            gone.set()
            raise ServerGone("No ComfyUI answers at a.")
        return where.name

    found: dict[int, str] = {}
    spread(range(2), [place("a", lambda: next(answers)), place("b")], do, found.__setitem__)
    assert sorted(found.values()) == ["a", "b"]


def bars_stopped(bars: ProgressBars) -> bool:
    try:
        bars.check()
    except Interrupted:
        return True
    return False


def test_when_no_place_answers_the_work_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread_module, "ALL_GONE_SECONDS", 0.1)

    def do(where: Place, unit: int, bars: ProgressBars) -> None:
        raise ServerGone(f"No ComfyUI answers at {where.name}.")

    gone = [place(name, lambda: False) for name in "ab"]
    with pytest.raises(ServerGone, match="No ComfyUI answers at"):
        spread(range(3), gone, do, lambda unit, result: None)


@pytest.mark.parametrize("ending", [KeyboardInterrupt, WorkflowError("Episode a: no.")])
def test_what_ends_the_work_stops_what_others_are_at(ending: BaseException) -> None:
    began, stopped = threading.Event(), threading.Event()

    def do(where: Place, unit: int, bars: ProgressBars) -> int:
        if unit == 0:
            began.set()
            while not bars_stopped(bars):
                stopped.wait(0.01)
            stopped.set()
            bars.check()
        began.wait(10)
        return unit

    def end(unit: int, result: int) -> None:
        raise ending

    with pytest.raises((KeyboardInterrupt, WorkflowError)):
        spread(range(2), [place("a"), place("b")], do, end)
    assert stopped.is_set()


def test_an_error_of_a_place_ends_the_work() -> None:
    def do(where: Place, unit: int, bars: ProgressBars) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        spread(range(4), [place("a"), place("b")], do, lambda unit, result: None)


def test_without_servers_and_cluster_it_is_this_process() -> None:
    with opened_places([], None) as places:
        assert [type(one.runner) for one in places] == [LocalRunner]


def test_servers_are_named_once_and_several_are_not_waited_for_long() -> None:
    with opened_places(["http://a:1", "http://a:1/"], None) as places:
        assert [one.name for one in places] == ["http://a:1"] and places[0].runner.server.patience is None
    with opened_places(["a:1", "b:2"], None) as places:
        assert [one.name for one in places] == ["http://a:1", "http://b:2"]
        assert {one.runner.server.patience for one in places} == {places_module.PATIENCE_SECONDS}


def test_a_wrong_cluster_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(WorkflowError, match="--server is given 2 times with --dask"),
        opened_places(["a", "b"], "tcp://127.0.0.1:9"),
    ):
        pass
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(WorkflowError, match="pip install distributed"), opened_places([], "tcp://x:9"):
        pass


def test_a_server_that_does_not_answer_at_the_start_is_named_and_others_are_used(
    fake_comfy: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flow = tmp_path / "flow.json"
    flow.write_text('{"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}')
    with fake_comfy.serving(b"") as comfy, opened_places(["http://127.0.0.1:9", comfy.url], None) as places:
        workflow, specs = load_for(places, flow, Folders(tmp_path, tmp_path))
        assert list(workflow) == ["1"] and specs["LoadImage"].inputs["image"].upload
    assert "No ComfyUI answers at http://127.0.0.1:9" in caplog.text
    with opened_places(["http://127.0.0.1:9"], None) as places, pytest.raises(ServerGone):
        load_for(places, flow, Folders(tmp_path, tmp_path))


def test_a_server_that_is_back_is_told_to_forget_what_this_client_had_there(fake_comfy: ModuleType) -> None:
    with fake_comfy.serving(b"") as comfy:
        server = Server(comfy.url)
        comfy.running = [
            [0, "own", {}, {"client_id": server.client_id}, []],
            [1, "other", {}, {"client_id": "x"}, []],
        ]
        server.cancel_all()
        assert comfy.posts == [("/queue", {"delete": ["own"]}), ("/interrupt", {"prompt_id": "own"})]


def test_a_run_that_is_no_longer_wanted_is_cancelled_on_its_server(
    fake_comfy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(patience, "POLL_SECONDS", 0.01)
    stop = threading.Event()
    media.write_video(tmp_path / "made.mp4", torch.rand(5, 16, 32, 3), 30)
    with fake_comfy.serving((tmp_path / "made.mp4").read_bytes()) as comfy:
        comfy.events, comfy.stays = [], True
        runner = places_module.ServerRunner(comfy.url)
        comfy.on_queue = stop.set
        with pytest.raises(Interrupted):
            client._run_to_its_end({}, runner.server, NoBars(stop))
        assert comfy.posts == [("/queue", {"delete": ["0f4a"]}), ("/interrupt", {"prompt_id": "0f4a"})]

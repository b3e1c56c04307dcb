"""Records on disk: what comes back, what is taken as no record, who may remove what, and what a full disk does."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from framepack_transitions.samplers.store import folder as folders
from framepack_transitions.samplers.store.digest import NotKeyed, digest
from framepack_transitions.samplers.store.folder import RecordFolder
from framepack_transitions.samplers.store.jobs import FOLDER, keys_in_use
from framepack_transitions.samplers.store.record import BrokenRecord, Record
from framepack_transitions.samplers.store.weights import file_weights, module_weights
from safetensors import safe_open
from torch import nn

KEYS = [digest(number) for number in range(6)]
RECORD = Record(
    tensors={"latents": torch.arange(24.0).view(1, 2, 3, 4), "half": torch.ones(2, dtype=torch.bfloat16)},
    facts={"seconds": 0.1, "evaluations": 3, "indices": [1, 2]},
)
SIZE = len(RECORD.to_bytes(KEYS[0]))


def put(folder: RecordFolder, *keys: str) -> None:
    with folder.job() as store:
        for key in keys:
            store.put(key, RECORD)


def keys(folder: RecordFolder) -> set[str]:
    return {entry.key for entry in folder.entries()}


def age(folder: RecordFolder, *in_order: str) -> None:
    for number, key in enumerate(in_order):
        path = folder.path / f"{key}.safetensors"
        os.utime(path, (1e9 + number, 1e9 + number))


# Records


def test_a_record_comes_back_bit_for_bit(tmp_path: Path) -> None:
    put(RecordFolder(tmp_path), KEYS[0])
    with RecordFolder(tmp_path).job() as store:
        read = store.get(KEYS[0])
        assert store.get(KEYS[1]) is None
    assert read is not None and read.facts == RECORD.facts
    assert read.tensors.keys() == RECORD.tensors.keys()
    for name, tensor in RECORD.tensors.items():
        assert read.tensors[name].dtype == tensor.dtype and torch.equal(read.tensors[name], tensor)


def test_a_record_is_a_safetensors_file_that_others_can_read(tmp_path: Path) -> None:
    put(RecordFolder(tmp_path), KEYS[0])
    with safe_open(tmp_path / f"{KEYS[0]}.safetensors", framework="pt") as file:
        assert torch.equal(file.get_tensor("latents"), RECORD.tensors["latents"])


@pytest.mark.parametrize("cut", [0, 1, 8, 100, SIZE // 2, SIZE - 1])
def test_a_truncated_record_is_none_and_is_removed(tmp_path: Path, cut: int) -> None:
    folder = RecordFolder(tmp_path)
    put(folder, KEYS[0])
    path = tmp_path / f"{KEYS[0]}.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    with folder.job() as store:
        assert store.get(KEYS[0]) is None
    assert not path.exists()


def test_a_record_with_any_changed_byte_is_none(tmp_path: Path) -> None:
    whole = RECORD.to_bytes(KEYS[0])
    for place in range(SIZE):
        changed = bytearray(whole)
        changed[place] ^= 1
        with pytest.raises(BrokenRecord):
            Record.from_bytes(bytes(changed), KEYS[0])


def test_a_record_under_another_key_is_none() -> None:
    with pytest.raises(BrokenRecord, match="not those that were written"):
        Record.from_bytes(RECORD.to_bytes(KEYS[0]), KEYS[1])


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, b"GGUF" + b"\0" * 40, b"\0" * 64, b"[" * 4000])
def test_other_bytes_are_no_record(data: bytes) -> None:
    with pytest.raises(BrokenRecord):
        Record.from_bytes(data, KEYS[0])


def test_a_record_says_whether_it_is_finite() -> None:
    assert RECORD.is_finite
    assert not Record(tensors={"latents": torch.tensor([1.0, float("nan")])}).is_finite


# The folder


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
def test_nobody_else_may_look_into_the_folder(tmp_path: Path) -> None:
    folder = RecordFolder(tmp_path / "user" / "sections")
    with folder.job() as store:
        store.put(KEYS[0], RECORD)
        files = [path for path in folder.path.rglob("*") if path.is_file()]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert {stat.S_IMODE(path.stat().st_mode) for path in (folder.path, folder.path / FOLDER)} == {0o700}


def test_a_job_leaves_nothing_but_its_records(tmp_path: Path) -> None:
    put(RecordFolder(tmp_path), *KEYS[:2])
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {f"{key}.safetensors" for key in KEYS[:2]}


def test_nothing_is_made_where_nothing_is_kept(tmp_path: Path) -> None:
    with RecordFolder(tmp_path / "sections").job():
        pass
    assert not list(tmp_path.iterdir())


def test_what_was_not_used_for_the_longest_time_goes_first(tmp_path: Path) -> None:
    put(RecordFolder(tmp_path), *KEYS[:3])
    age(RecordFolder(tmp_path), *KEYS[:3])
    with RecordFolder(tmp_path).job() as store:
        store.get(KEYS[0])  # used now
    put(RecordFolder(tmp_path, most_bytes=3 * SIZE), KEYS[3])
    assert keys(RecordFolder(tmp_path)) == {KEYS[0], KEYS[2], KEYS[3]}


def test_records_of_a_running_job_are_not_removed_by_others(tmp_path: Path) -> None:
    folder = RecordFolder(tmp_path, most_bytes=2 * SIZE)
    with folder.job() as running:
        running.put(KEYS[0], RECORD)
        put(folder, KEYS[1])
        age(folder, KEYS[0], KEYS[1])
        put(folder, KEYS[2])
        assert keys(folder) == {KEYS[0], KEYS[2]}
    put(folder, KEYS[3])
    assert KEYS[0] not in keys(folder)


def test_a_job_that_needs_all_that_is_there_keeps_no_more(tmp_path: Path, caplog) -> None:
    folder = RecordFolder(tmp_path, most_bytes=2 * SIZE)
    put(folder, *KEYS)
    assert keys(folder) == set(KEYS[:2])
    [message] = [record.getMessage() for record in caplog.records]
    assert str(tmp_path) in message and "its bound is reached" in message


def test_the_last_part_of_the_disk_stays_free(tmp_path: Path, monkeypatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    total = 1000 * SIZE
    monkeypatch.setattr(
        folders.shutil, "disk_usage", lambda path: usage._replace(total=total, free=51 * SIZE - sum(sizes()))
    )

    def sizes() -> list[int]:
        return [path.stat().st_size for path in tmp_path.glob("*.safetensors")]

    put(RecordFolder(tmp_path), KEYS[0])
    age(RecordFolder(tmp_path), KEYS[0])
    put(RecordFolder(tmp_path), KEYS[1])
    assert keys(RecordFolder(tmp_path)) == {KEYS[1]}


def test_a_full_disk_is_said_once_and_ends_nothing(tmp_path: Path, monkeypatch, caplog) -> None:
    folder = RecordFolder(tmp_path)
    put(folder, KEYS[0])
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as patched, folder.job() as store:
        patched.setattr(folders.os, "fsync", partial(_raise, full))
        store.put(KEYS[1], RECORD)
        store.put(KEYS[2], RECORD)
        assert store.get(KEYS[0]) is not None
    [message] = [record.getMessage() for record in caplog.records]
    assert "No space left on device" in message and "the run goes on" in message
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {f"{KEYS[0]}.safetensors"}
    put(folder, KEYS[1])
    assert keys(folder) == set(KEYS[:2])


def _raise(error: OSError, *args: object) -> None:
    raise error


def test_a_folder_that_cannot_be_made_is_said_once(tmp_path: Path, caplog) -> None:
    (tmp_path / "file").write_text("in the way")
    folder = RecordFolder(tmp_path / "file" / "sections")
    with folder.job() as store:
        store.put(KEYS[0], RECORD)
        assert store.get(KEYS[0]) is None
    assert len(caplog.records) == 1


KILLED = """
import os, sys
import torch
from pathlib import Path
from framepack_transitions.samplers.store.digest import digest
from framepack_transitions.samplers.store.folder import RecordFolder
from framepack_transitions.samplers.store.record import Record

print(digest({"a": [1, 2.5, None], "b": {"x", "y", "z"}}), flush=True)
with RecordFolder(Path(sys.argv[1])).job() as store:
    store.put(sys.argv[2], Record(tensors={"latents": torch.zeros(4)}))
    os.fsync = lambda descriptor: os.kill(os.getpid(), 9)  # while the next record is half written
    store.put(sys.argv[3], Record(tensors={"latents": torch.zeros(4)}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_what_a_killed_job_leaves_behind_is_cleaned_up_by_the_next(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), *KEYS[:2]]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    # Digests do not depend on the process, whose sets have an order of their own.
    assert killed.stdout.split() == [digest({"a": [1, 2.5, None], "b": {"x", "y", "z"}})]
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(left) == 3  # the first record, the second one in the making, the job's own file
    assert keys_in_use(tmp_path) == set()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{KEYS[0]}.safetensors"]
    with RecordFolder(tmp_path).job() as store:
        assert store.get(KEYS[0]) is not None and store.get(KEYS[1]) is None


OTHER_JOB = """
import sys
from pathlib import Path
from framepack_transitions.samplers.store.folder import RecordFolder

with RecordFolder(Path(sys.argv[1])).job() as store:
    print(store.get(sys.argv[2]) is not None, flush=True)
    sys.stdin.read()
"""


def test_two_processes_share_the_folder(tmp_path: Path) -> None:
    folder = RecordFolder(tmp_path, most_bytes=SIZE)
    put(folder, KEYS[0])
    command = [sys.executable, "-c", OTHER_JOB, str(tmp_path), KEYS[0]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "True\n"
        put(folder, KEYS[1])
        assert keys(folder) == {KEYS[0]}, "the other one uses it"
        other.communicate()
    put(folder, KEYS[1])
    assert keys(folder) == {KEYS[1]}


# What keys are made of


def test_values_that_differ_in_anything_have_other_digests() -> None:
    tensor = torch.tensor([1.0, 2.0])
    values = [
        None,
        False,
        0,
        0.0,
        "",
        b"",
        "0",
        [],
        {},
        [0],
        [0, 0],
        [[0], 0],
        [0, [0]],
        ["a", "b"],
        ["ab"],
        {"a": 1},
        {"a": 2},
        {"b": 1},
        {"a"},
        torch.float32,
        torch.device("cpu"),
        tensor,
        tensor.double(),
        tensor.view(1, 2),
        -tensor,
        torch.empty(0),
        nn.functional.relu,
        nn.functional.gelu,
        partial(nn.functional.relu, inplace=True),
        0.1,
        0.1 + 2**-56,
    ]
    assert len({digest(value) for value in values}) == len(values)


def test_equal_values_have_equal_digests() -> None:
    tensor = torch.arange(12.0).view(3, 4)
    assert digest(tensor.t()) == digest(tensor.t().contiguous())
    assert digest({"a": 1, "b": [2]}) == digest({"b": (2,), "a": 1})
    assert digest({1, 2, 3}) == digest({3, 2, 1})
    assert digest(nn.Parameter(tensor)) == digest(tensor)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda x: x, "function <lambda> of .*test_record_store, whose code"),
        (SIZE.__class__, "class int of builtins"),
        (object(), "object of builtins"),
        (iter(()), "tuple_iterator"),
        (Path.cwd, "Path"),
    ],
)
def test_what_has_no_content_that_could_be_told_is_refused_by_name(value: object, words: str) -> None:
    with pytest.raises(NotKeyed, match=words):
        digest({"model": [value]})


def test_weights_are_told_apart_by_dtype_and_by_values_all_over_them() -> None:
    layer = nn.Linear(1024, 1024, bias=False)
    before = digest(module_weights(layer))
    with torch.no_grad():
        layer.weight += 0.01  # what a LoRA does: all of the weight moves
    assert digest(module_weights(layer)) != before
    assert digest(module_weights(layer.bfloat16())) != digest(module_weights(layer.float()))


def test_a_small_tensor_is_read_whole() -> None:
    layer = nn.Linear(16, 16)
    before = digest(module_weights(layer))
    with torch.no_grad():
        layer.weight[7, 3] += 1e-3
    assert digest(module_weights(layer)) != before


def test_files_of_weights_are_told_apart_by_size_time_and_contents(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(bytes(300_000))
    os.utime(path, ns=(10**18, 10**18))
    before = digest(file_weights(path))
    assert digest(file_weights(path)) == before
    os.utime(path, ns=(10**18, 10**18 + 1))
    assert digest(file_weights(path)) != before
    for data in (bytes(300_001), bytes(299_999) + b"x", b"x" + bytes(299_999)):
        path.write_bytes(data)
        os.utime(path, ns=(10**18, 10**18))
        assert digest(file_weights(path)) != before

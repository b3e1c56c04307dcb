"""Coverage-guided fuzzing of the readers, beside what the tests draw: python tests/fuzz_readers.py timelines -runs=20000

Needs the package atheris. What comes first is the name of a reader; the rest are options of libFuzzer, such as a folder with a
corpus. A reader may raise its own error, in a few hundred characters; anything else ends the run with the input that did it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["framepack_transitions"]):
    from framepack_transitions.benchmarks.suites.episodes import read_suite
    from framepack_transitions.benchmarks.suites.files import SHIPPED
    from framepack_transitions.headless.commands.sweep.grid import Axis
    from framepack_transitions.headless.commands.timelines import read_timeline
    from framepack_transitions.headless.files.folders import Folders
    from framepack_transitions.headless.files.media import VideoInfo
    from framepack_transitions.headless.files.pictures import load_image
    from framepack_transitions.headless.running.runs import EXAMPLES, PACK, LocalRunner
    from framepack_transitions.headless.workflows.errors import WorkflowError
    from framepack_transitions.models.files.lora_file import LoraError, read_lora_file
    from framepack_transitions.samplers.timeline.syntaxes.brackets import format_spans
    from framepack_transitions.samplers.timeline.syntaxes.table import parse

LONGEST = 700  # characters of a problem


def texts(data: bytes, folder: Path) -> None:
    """Prompts over time, which are read back from what they are written as."""
    spans = parse(_text(data), sections=4)
    if parse(format_spans(spans)) != spans:
        raise AssertionError(f"{spans} are read back otherwise")


def timelines(data: bytes, folder: Path) -> None:
    """What --timeline takes: a text, or JSON in a file."""
    read_timeline(str(_written(data, folder, "timeline.json"))).cues_for(VideoInfo(73, 30.0, 64, 64), 9)


def workflows(data: bytes, folder: Path) -> None:
    """A workflow of either format."""
    LocalRunner().load(_written(data, folder, "workflow.json"), Folders(PACK / EXAMPLES / "input", folder))


def suites(data: bytes, folder: Path) -> None:
    """A suite of episodes."""
    read_suite(str(_written(data, folder, "suite.json")))


def pictures(data: bytes, folder: Path) -> None:
    """A picture."""
    load_image(_written(data, folder, "picture.png"))


def loras(data: bytes, folder: Path) -> None:
    """A LoRA."""
    read_lora_file(_written(data, folder, "lora.safetensors"))


def grids(data: bytes, folder: Path) -> None:
    """The values of a sweep."""
    Axis.parse(_text(data))


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def _written(data: bytes, folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _picture() -> bytes:
    from PIL import Image

    file = BytesIO()
    Image.effect_noise((24, 16), 80).convert("RGB").save(file, "PNG")
    return file.getvalue()


def _lora() -> bytes:
    import torch
    from safetensors.torch import save

    key = "lora_unet_transformer_blocks_0_attn_to_q"
    return save({f"{key}.lora_down.weight": torch.zeros(2, 4), f"{key}.lora_up.weight": torch.zeros(4, 2)})


TEXTS = [
    b"a [3s!~2 #7: b => c] [6s cut: d]",
    b"0s: a\n3s-5s: b",
    b'{"0": "a", "90": "b"}',
    b"0:a;;;2-3:b",
    b"a | b",
]
# By its name a reader, its own errors, and what it should read.
READERS: dict[
    str, tuple[Callable[[bytes, Path], None], tuple[type[Exception], ...], Callable[[], list[bytes]]]
] = {
    "texts": (texts, (ValueError,), lambda: TEXTS),
    "timelines": (timelines, (ValueError,), lambda: [json.dumps([{"start": 0, "prompt": "a"}]).encode()]),
    "workflows": (
        workflows,
        (WorkflowError,),
        lambda: [
            (PACK / EXAMPLES / name).read_bytes() for name in ("tiny_f1.json", "api/tiny_timeline.json")
        ],
    ),
    "suites": (suites, (ValueError,), lambda: [SHIPPED["tiny"].read_bytes()]),
    "pictures": (pictures, (ValueError,), lambda: [_picture()]),
    "loras": (loras, (LoraError,), lambda: [_lora()]),
    "grids": (grids, (ValueError,), lambda: [b'S.steps=["a, b", 2]']),
}


def main() -> None:
    name, *options = sys.argv[1:] or ["--help"]
    if name not in READERS:
        raise SystemExit(f"usage: fuzz_readers.py {'|'.join(READERS)} [options of libFuzzer]")
    reader, own, examples = READERS[name]
    folder = Path(tempfile.mkdtemp(prefix="fuzz_"))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, example in enumerate(examples()):
        (corpus / str(number)).write_bytes(example)

    def run(data: bytes) -> None:
        try:
            reader(data, folder)
        except own as error:
            problems = getattr(error, "problems", None) or str(error).splitlines()
            if any(len(problem) > LONGEST for problem in problems):
                raise AssertionError("the error is too long") from error

    atheris.Setup([sys.argv[0], "-rss_limit_mb=2048", "-timeout=10", *options, str(corpus)], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""The examples at the end of every --help, and how they are printed."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from .running.runs import EXAMPLES, PACK

PROGRAM = "framepack-transitions"
BENCH_EXAMPLES = (
    "bench transition --seeds 2 --out bench_output",
    "bench transition --study doses --seeds 8 --out doses_output",
    "bench transition --study lora --seeds 8 --out lora_output",
    "bench transition --suite tiny --out suite_output",
    "bench speed --out speed_output",
    "bench cache --seeds 2 --out cache_output",
    "bench cache --calibrate --out cache_output",
    "bench transition --suite --server http://127.0.0.1:8188 --out bench_13b",
    "bench reliability --kills 20 --out reliability_output",
)
EVALUATE_EXAMPLES = (
    "demo --out demo_output",
    (
        "evaluate demo_output/plain_00001_.mp4 --compare demo_output/treated_00001_.mp4 "
        "--timeline demo_output/report.json --features tiny --out scores/report.json --plot scores/scores.png"
    ),
    (
        "evaluate demo_output/plain_00001_.mp4 --features tiny --window 9 "
        '--timeline "a large red circle in the sky by day [2.4s: an empty city at night]"'
    ),
)
DATASET_EXAMPLES = (
    "dataset build clips --out training_data",
    "dataset prune training_data",
    "dataset check training_data",
    "dataset recycle training_data --bank error_bank.safetensors",
)
CONVERT_EXAMPLES = ("convert saved.json --out mended.json",)
SECTIONS_EXAMPLES = ("sections output/sections", "sections output/sections --limit 0")
EXPORT_EXAMPLES = (
    "export output/video_00001_.mp4 --to vbench --timeline output/report.json --out for_vbench",
    "export take1.mp4 take2.mp4 --to narrastream --timeline scripts.jsonl --window 9 --out for_narrastream",
)
EXAMPLES_HEADING = "examples:"


class HelpFormatter(argparse.HelpFormatter):
    """Wraps text as argparse does, but leaves examples in their lines so that they can be pasted."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith(EXAMPLES_HEADING) else super()._fill_text(text, width, indent)


def run_examples() -> list[str]:
    """Examples of `run`, with the paths of shipped workflows."""
    tiny, large = _example_file("tiny_f1.json"), _example_file("framepack_f1.json")
    return [
        f"run {tiny} --set Sampler.seed=7 --set Sampler.steps=20",
        f"run {large} --server http://127.0.0.1:8188 --out output_13b",
    ]


def sweep_examples() -> list[str]:
    """Examples of `sweep`, with the paths of shipped workflows."""
    tiny, large = _example_file("tiny_timeline.json"), _example_file("framepack_timeline.json")
    return [
        f"sweep {tiny} --grid Preset.preset=balanced,strong --grid Sampler.seed=1,2,3 --features tiny",
        f"sweep {large} --grid Sampler.steps=15,25 --server http://127.0.0.1:8188 --server http://127.0.0.1:8189",
    ]


def _example_file(name: str) -> str:
    """The path of a shipped example as it can be typed here."""
    path = PACK / EXAMPLES / "api" / name
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))


def epilog(*commands: str) -> str:
    """The end of a help page: these commands, one a line."""
    return "\n".join([EXAMPLES_HEADING, *(f"  {PROGRAM} {command}" for command in commands)])

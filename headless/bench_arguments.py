"""The options of `bench`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..benchmarks.loras.training import TRAININGS
from ..benchmarks.speed.bench import SpeedOptions
from ..benchmarks.speed.sizes import SIZES
from ..benchmarks.suites.files import SHIPPED
from ..benchmarks.suites.scripts.episodes import SEGMENT
from ..nodes.evaluation.models import DETECTORS
from ..samplers.context.plan import LAYOUTS
from .commands.bench import BENCHES, IN_EITHER_LAYOUT, STUDIES
from .commands.evaluate import FEATURES, EvaluateOptions
from .devices import DEVICE_HELP
from .help import BENCH_EXAMPLES, HelpFormatter, epilog
from .shared_arguments import add_places

if TYPE_CHECKING:
    from .tool_arguments import Commands

STUDY_SEEDS, KILLS = 8, 200
SUITES = tuple(SHIPPED)


def add_bench(commands: Commands, common: argparse.ArgumentParser) -> None:
    """`bench`: what is measured."""
    bench = commands.add_parser(
        "bench",
        parents=[common],
        help="measure the techniques with the embedded model, or a workflow with any model",
        description="speed: how long a forward takes with and without techniques, beside the machine's own limits and beside "
        "diffusers. transition: does a change of the prompt happen, how fast, how cleanly and at what cost, with and "
        "without techniques. --study measures the embedded model, in numbers; --suite measures whatever model a "
        "workflow runs, such as the 13B on a ComfyUI with a GPU. Run again, it goes on where it stopped. cache: the step cache "
        "in its modes, against the uncached sampler. reliability: does a "
        "run that is killed or interrupted at random moments end as one that was left alone.",
        epilog=epilog(*BENCH_EXAMPLES),
        formatter_class=HelpFormatter,
    )
    bench.add_argument("bench", choices=BENCHES, help="what to measure")
    what = bench.add_mutually_exclusive_group()
    what.add_argument(
        "--study",
        choices=STUDIES,
        default="techniques",
        help="of the embedded model. techniques: all of them against plain; pairs: two "
        "subjects, one of which is told to leave; doses: each technique at rising strength; presets: sets that could be presets; conflict: "
        "what the past shows against what the prompt asks, under a cap on attention; long: videos of 38 to 60 s with many switches, "
        "and a minute without any; agreement: whether the metrics say what "
        "is true; judge: whether the verdict on a switch is true; lora: LoRAs of it, trained first where they are not there; "
        "exemplars: clips that are found by the new prompt, in place of the old memory; drift: whether colours drift over a long "
        "video, and what the colour anchor does about a drift that is planted; "
        "landing: a switch that is asked for inside a section; shots: a subject that is kept over a cut, and a scene that is called back; "
        "later: with --layout original, techniques in the sections of the later prompt too (%(default)s)",
    )
    what.add_argument(
        "--suite",
        nargs="?",
        const=SUITES[0],
        metavar="NAME|FILE",
        help="of a workflow: make the videos of these episodes, each with the workflow's technique nodes and without "
        f"them, and measure both. A file, or one of {', '.join(SUITES)} ({SUITES[0]}); long holds videos of 38 to 60 s. Also scripts of "
        'other benchmarks: a .jsonl file with an object such as {"prompts": [...]} on every line, or FILE.jsonl#3 for the third',
    )
    what.add_argument(
        "--ratings",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="of a suite that has run into --out: read what people have answered on its rating page (see --rate), and add to "
        "the report how far they and the judge agree, and what they preferred",
    )
    bench.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help=f"with --study, episodes of each case; 32 and more are enough to quote ({STUDY_SEEDS}). With --suite, "
        "videos of each episode and arm (what the suite says)",
    )
    bench.add_argument(
        "--bfloat16",
        action="store_true",
        help="with --study, sample in bfloat16 instead of float32: half the time on a CPU with AVX-512, many times as long "
        "on others, and some verdicts that depend on it (not for long, judge, drift, landing, shots and later)",
    )
    bench.add_argument(
        "--layout",
        choices=LAYOUTS,
        default=LAYOUTS[0],
        help=f"with --study {', '.join(IN_EITHER_LAYOUT)}: f1, or original, where videos are made from their end and a switch is met "
        "going backward; --study later takes original (%(default)s)",
    )
    bench.add_argument(
        "--first-seed",
        type=int,
        default=0,
        metavar="N",
        help="with --study, the number of the first of them; presets were chosen on 0 to 31 (%(default)s)",
    )
    bench.add_argument(
        "--lora",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="with --study lora, LoRAs of the embedded model to measure, each alone and beside the preset balanced; without "
        "it three kinds are trained into --out, which takes about two minutes each",
    )
    bench.add_argument(
        "--trainings",
        type=int,
        metavar="N",
        help=f"with --study lora, how often each kind is trained, with a seed of its own ({TRAININGS})",
    )
    bench.add_argument(
        "--kills", type=int, metavar="N", help=f"of reliability: how many signals are sent ({KILLS})"
    )
    bench.add_argument(
        "--interrupts",
        type=int,
        metavar="N",
        help="of reliability with --comfyui, in place of --kills: let one ComfyUI go on, have it interrupt renders so often, and "
        "look at the memory that it takes",
    )
    bench.add_argument(
        "--calibrate",
        action="store_true",
        help="of cache: run --workflow once (on --server; by default the embedded model in this process) and print the "
        "magnitudes that FramePack Step Cache takes in mode magcache",
    )
    bench.add_argument(
        "--comfyui",
        type=Path,
        metavar="DIR",
        help="of cache: compare with EasyCache and LazyCache of the ComfyUI in this folder; of reliability: render on the "
        "ComfyUI in this folder, and kill or interrupt that. Run it with ComfyUI's Python",
    )
    _add_suite(bench)
    _add_speed(bench)
    bench.add_argument("--device", metavar="DEVICE", help=DEVICE_HELP.format(default="cpu"))
    bench.add_argument(
        "--out", type=Path, default=Path("bench_output"), metavar="DIR", help="where files go (%(default)s)"
    )
    bench.set_defaults(kind="bench")


def _add_suite(bench: argparse.ArgumentParser) -> None:
    suite = bench.add_argument_group("with --suite")
    suite.add_argument(
        "--workflow",
        type=Path,
        metavar="W.json",
        help="the workflow to measure, with technique nodes between loader and sampler; docs/BENCHMARKS.md says which "
        "titles its nodes need (default: the example that the suite names)",
    )
    add_places(suite)
    suite.add_argument(
        "--features",
        choices=FEATURES,
        help="what frames are compared by, also in --study judge; clip understands the prompts and needs its weights on "
        "this machine (default: what the suite names; of the study tiny)",
    )
    suite.add_argument(
        "--detector",
        choices=DETECTORS,
        help="what looks for what disappears and returns; owlv2 and grounding_dino see where it is, which identity needs (auto)",
    )
    suite.add_argument("--detector-model", metavar="DIR", help="folder of an owlv2 or grounding_dino model")
    suite.add_argument(
        "--rate",
        type=int,
        nargs="?",
        const=0,
        metavar="ORDER",
        help="write rating.html beside the videos: a page on which people rate them without knowing how they were made. A "
        "number other than 0 gives another order",
    )
    suite.add_argument(
        "--segment",
        type=float,
        metavar="SECONDS",
        help=f"of scripts: how long each prompt lasts ({SEGMENT:g})",
    )
    suite.add_argument(
        "--image",
        type=Path,
        metavar="FILE",
        help="of scripts: the picture that all videos begin from (that of the examples)",
    )
    suite.add_argument("--model", metavar="NAME", help=f"open_clip model for clip ({EvaluateOptions.model})")
    suite.add_argument(
        "--pretrained",
        metavar="TAG|FILE",
        help=f"its weights: a tag that is in the cache, or a .safetensors file ({EvaluateOptions.pretrained})",
    )


def _add_speed(bench: argparse.ArgumentParser) -> None:
    speed = bench.add_argument_group("with speed")
    speed.add_argument(
        "--size",
        choices=SIZES,
        help="how large a model of random weights is timed (mid on a CPU, else 13b, which takes 26 GB there)",
    )
    speed.add_argument(
        "--rounds",
        type=int,
        default=SpeedOptions.rounds,
        metavar="N",
        help="how often everything is timed, in turn; the least time counts (%(default)s)",
    )
    speed.add_argument("--threads", type=int, metavar="N", help="of torch on a CPU (as torch chooses)")
    speed.add_argument("--no-peer", action="store_true", help="leave out diffusers")
    speed.add_argument("--compile", action="store_true", help="time compiled blocks too")

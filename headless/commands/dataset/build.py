"""`dataset build`: a folder of clips, or of pictures, becomes a folder that musubi-tuner trains on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....samplers.timeline.syntaxes.spans import PromptSpan
from ....training.dataset import FILE, Dataset, Example, clip_folder
from ....training.files import IMAGES, README, described_shares, write_clip_list, write_files
from ....training.making.building import (
    Plan,
    check_root,
    picture_examples,
    picture_items,
    plan_clip,
    read_captions,
)
from ....training.making.cuts import find_cuts, proposal
from ....training.musubi.config import jsonl_of
from ....training.one_frame import CONTROLS, ONE_FRAME_LAYOUTS, pair_up
from ...files.media import VIDEO_EXTENSIONS
from ...files.pictures import IMAGE_EXTENSIONS
from ...workflows.errors import WorkflowError, as_sentences
from .clips import Clip, differences, open_clip, write_take

CAPTION = ".txt"
MOST_CAPTION_BYTES = 2**20
PROPOSALS = "proposals"


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What the command is asked for.

    source: the folder of clips or pictures.
    out: the folder to write, which must not hold a dataset.
    layout: f1, original, or a layout of one-frame training.
    window: latent frames of a section.
    resolution: width and height whose area the pictures are brought to.
    shares: which part of an epoch each kind gets.
    captions: the folder of the captions; None is that of the clips.
    controls: the folder of the control pictures of one-frame training.
    """

    source: Path
    out: Path
    layout: str
    window: int
    resolution: tuple[int, int]
    shares: Mapping[str, float]
    captions: Path | None = None
    controls: Path | None = None


def run_build(options: BuildOptions) -> str:
    """Builds the dataset and returns what was made and what to do next. Raises WorkflowError with all that is wrong."""
    try:
        _check(options)
        return _build_pictures(options) if options.layout in ONE_FRAME_LAYOUTS else _build_clips(options)
    except (ValueError, OSError) as error:
        raise WorkflowError(as_sentences(str(error))) from error


def _check(options: BuildOptions) -> None:
    for name, folder in (
        ("CLIPS", options.source),
        ("--captions", options.captions),
        ("--controls", options.controls),
    ):
        if folder is not None and not folder.is_dir():
            raise ValueError(f"{name} {folder} is no folder")
    if (options.out / FILE).exists():
        raise ValueError(
            f"--out {options.out} holds a dataset already; give another folder with --out, or remove it first"
        )
    needs_controls = options.layout in ONE_FRAME_LAYOUTS
    if needs_controls != (options.controls is not None):
        raise ValueError(
            f"layout {options.layout} needs --controls, the folder of the pictures that others are made from"
            if needs_controls
            else f"--controls is for one-frame layouts, but --layout is {options.layout}; leave it out"
        )
    check_root(options.out)


def _build_clips(options: BuildOptions) -> str:
    clips = _files(options.source, VIDEO_EXTENSIONS, "clips")
    texts = _captions(options, clips)
    if missing := [clip for clip in clips if clip.stem not in texts]:
        raise WorkflowError([_propose(clip, options.out) for clip in missing])
    plans, opened = [], {}
    problems: list[str] = []
    for path in clips:
        try:
            opened[path] = open_clip(path)
            plans.append(_planned(opened[path], texts[path.stem], options))
        except ValueError as error:
            problems.append(f"{path.name}: {error}")
    if problems:
        raise WorkflowError(problems)
    return _write_clips(options, plans, opened)


def _planned(clip: Clip, text: str, options: BuildOptions) -> Plan:
    frames = len(clip.frames)
    spans: list[PromptSpan] = read_captions(text, frames, options.window)
    return plan_clip(clip.path, spans, frames, options.layout, window=options.window)


def _write_clips(options: BuildOptions, plans: Sequence[Plan], opened: Mapping[Path, Clip]) -> str:
    dataset = _dataset(options, [example for plan in plans for example in plan.examples()])
    remarks = [remark for plan in plans for remark in plan.remarks]
    if not dataset.examples:
        raise WorkflowError(remarks)
    names = Counter(name for plan in plans for name in plan.takes)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"two takes are called {', '.join(twice)}; rename one of their clips")
    for plan in plans:
        for name, take in plan.takes.items():
            target = clip_folder(options.out) / f"{name}.mp4"
            write_take(opened[plan.source], target, take.first, take.frames)
    write_clip_list(dataset, options.out)
    write_files(dataset, options.out)
    left_out = sum(take.left_out for plan in plans for take in plan.takes.values())
    made = f"{options.out}: {len(dataset.examples)} examples of {len(plans)} clips, {left_out} sections left out."
    return "\n".join([made, *described_shares(dataset), *remarks, _next(options.out)])


def _build_pictures(options: BuildOptions) -> str:
    pictures = _files(options.source, IMAGE_EXTENSIONS, "pictures")
    texts = _captions(options, pictures)
    if missing := [picture.name for picture in pictures if picture.stem not in texts]:
        raise WorkflowError(
            [f"{name} has no caption; write it into a file NAME{CAPTION}." for name in missing]
        )
    controls = _files(options.controls or options.source, IMAGE_EXTENSIONS, "control pictures")
    pairs = pair_up(pictures, controls, CONTROLS[options.layout])
    dataset = _dataset(options, picture_examples(pairs, texts))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / IMAGES).write_text(jsonl_of(picture_items(pairs, texts)), encoding="utf-8")
    write_files(dataset, options.out)
    return "\n".join([f"{options.out}: {len(pairs)} examples.", _next(options.out)])


def _dataset(options: BuildOptions, examples: Sequence[Example]) -> Dataset:
    return Dataset(
        layout=options.layout,
        window=options.window,
        resolution=options.resolution,
        shares=options.shares,
        examples=tuple(examples),
    )


def _next(out: Path) -> str:
    return f"What to do next is in {out / README}."


def _files(folder: Path, extensions: frozenset[str], what: str) -> list[Path]:
    """The files of a folder with one of these extensions, sorted. Raises ValueError where there are none, or two of a name."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in extensions and file.is_file())
    if not files:
        raise ValueError(f"the folder {folder} holds no {what} ({' '.join(sorted(extensions))})")
    stems = Counter(file.stem for file in files)
    if twice := [stem for stem, count in stems.items() if count > 1]:
        raise ValueError(
            f"the folder {folder} has more than one file of the name {', '.join(twice)}; rename all but one"
        )
    return files


def _captions(options: BuildOptions, files: Sequence[Path]) -> dict[str, str]:
    """The captions of those files that have one, by the files' names without extension."""
    folder = options.captions or options.source
    found = {file.stem: folder / f"{file.stem}{CAPTION}" for file in files}
    return {stem: _read(path) for stem, path in found.items() if path.is_file()}


def _read(path: Path) -> str:
    if path.stat().st_size > MOST_CAPTION_BYTES:
        raise ValueError(f"{path.name} has more than {MOST_CAPTION_BYTES:,} bytes; it is no caption")
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is no text in UTF-8") from error
    if not text:
        raise ValueError(f"{path.name} is empty; write what the clip shows")
    return text


def _propose(path: Path, out: Path) -> str:
    """Writes a proposal for the caption of a clip and returns a sentence about it."""
    cuts = find_cuts(differences(open_clip(path)))
    target = out / PROPOSALS / f"{path.stem}{CAPTION}"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(proposal(cuts), encoding="utf-8")
    found = f"{len(cuts)} cuts" if len(cuts) != 1 else "1 cut"
    return (
        f"{path.name} has no caption {path.stem}{CAPTION}. {target} proposes one with {found}; fill in the prompts, correct "
        "the times, and put it beside the clip."
    )

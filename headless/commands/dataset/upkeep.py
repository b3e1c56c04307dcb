"""`dataset prune`, `dataset check` and `dataset recycle`: what is done with a dataset once it is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ....training.checking.check import check
from ....training.checking.findings import ERROR, Finding
from ....training.dataset import Dataset, load_dataset
from ....training.errors.recycling import load_bank, recycle
from ....training.files import described_shares, write_files
from ....training.pruning import prune
from ...workflows.errors import WorkflowError, as_sentences

REPORT = "check.txt"


def run_prune(folder: Path, shares: Mapping[str, float] | None) -> str:
    """Gives cached sections to their examples and says what was done. Raises WorkflowError."""
    try:
        dataset = load_dataset(folder)
        dataset = dataset if shares is None else replace(dataset, shares=shares)
        done = prune(dataset, folder)
        write_files(dataset, folder)
    except (ValueError, OSError) as error:
        raise WorkflowError(as_sentences(str(error))) from error
    lines = [
        (
            f"{folder}: {done.moved} examples have got their latents, {done.there} had them, {len(done.removed)} files were "
            "removed."
        )
    ]
    if done.missing:
        lines.append(f"{len(done.missing)} examples have no latents yet: {_some(done.missing)}.")
    return "\n".join([*lines, *described_shares(dataset)])


def run_check(folder: Path) -> str:
    """Looks for contradictions, writes all to check.txt, and says what it found.

    Raises WorkflowError where something would spoil training.
    """
    try:
        dataset = load_dataset(folder)
        findings = check(dataset, folder)
        report = folder / REPORT
        report.write_text(_report(dataset, findings), encoding="utf-8")
    except (ValueError, OSError) as error:
        raise WorkflowError(as_sentences(str(error))) from error
    lines = [finding.line() for finding in findings]
    if any(finding.level == ERROR for finding in findings):
        raise WorkflowError([*lines[:19], f"All {len(lines)} findings are in {report}."])
    counts = "no contradictions" if not lines else f"{len(lines)} things to look at"
    return "\n".join([*lines, *described_shares(dataset), f"{counts}; every example is listed in {report}."])


def run_recycle(folder: Path, bank: Path, *, share: float, copies: int, seed: int) -> str:
    """Adds copies with recycled errors and says how many. Raises WorkflowError."""
    try:
        dataset, count = recycle(
            load_dataset(folder), folder, load_bank(bank), share=share, copies=copies, seed=seed
        )
        write_files(dataset, folder)
    except (ValueError, OSError) as error:
        raise WorkflowError(as_sentences(str(error))) from error
    return "\n".join(
        [f"{folder}: {count} copies with errors in what they remember.", *described_shares(dataset)]
    )


def _report(dataset: Dataset, findings: Sequence[Finding]) -> str:
    """Every example with its caption and what was found about it, then what is no example's."""
    own: dict[str, list[Finding]] = {example.name: [] for example in dataset.examples}
    others: list[Finding] = []
    for finding in findings:
        own.get(finding.subject, others).append(finding)
    lines = list(described_shares(dataset))
    for example in dataset.examples:
        place = f"section {example.section + 1} of {example.sections} of {example.clip}"
        lines.append(f"{example.name}: {example.kind}, {place}: {' '.join(example.caption.split())}")
        lines += [f"    {finding.level}: {finding.message}" for finding in own[example.name]]
    return "\n".join([*lines, *(finding.line() for finding in others)]) + "\n"


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

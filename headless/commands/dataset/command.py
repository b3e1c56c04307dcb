"""`dataset`: which of its commands is asked for."""

from __future__ import annotations

import argparse

from .build import BuildOptions, run_build
from .upkeep import run_check, run_prune, run_recycle


def run_dataset(options: argparse.Namespace) -> str:
    """Runs the command of `dataset` that the options name and returns what it has to say. Raises WorkflowError."""
    if options.dataset == "build":
        return run_build(_build_options(options))
    if options.dataset == "prune":
        return run_prune(options.folder, options.shares)
    if options.dataset == "check":
        return run_check(options.folder)
    return run_recycle(
        options.folder, options.bank, share=options.share, copies=options.copies, seed=options.seed
    )


def _build_options(options: argparse.Namespace) -> BuildOptions:
    return BuildOptions(
        source=options.source,
        out=options.out,
        layout=options.layout,
        window=options.window,
        resolution=options.resolution,
        shares=options.shares,
        captions=options.captions,
        controls=options.controls,
    )

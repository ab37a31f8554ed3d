"""`mimo-data tag`: every document's domain and scores, from a trained tagger."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mimo_data.commands.step import Verbs, transform

if TYPE_CHECKING:
    from mimo_data.steps import Transform


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    text = "tag documents with a trained tagger; drops none"
    verb = verbs.add("tag", _run, text, recipe=False, out=True, documents=True, parts=True)
    verb.add_argument("--tagger", type=Path, required=True, metavar="FOLDER", help="made by train-tagger")


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.tag.extra import load_extra

    load_extra()
    num_threads = max(1, len(os.sched_getaffinity(0)) // max(1, arguments.workers))
    make = partial(_make, arguments.tagger, num_threads)
    transform(arguments, "tag", None, make, tagger=[arguments.tagger])


def _make(folder: Path, num_threads: int) -> Transform:
    import torch

    from mimo_data.tag.extra import load_extra
    from mimo_data.tag.tagger import Tagger

    load_extra()
    torch.set_num_threads(num_threads)
    return Tagger.load(folder).tag

"""`mimo-data filter-sft`: fine-tuning samples that leak, mix languages, break off or are too many out."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import msgspec

from mimo_data.commands.step import Verbs, load, named, open_run


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    text = "drop fine-tuning samples that leak, mix languages, break off or are too many"
    verb = verbs.add("filter-sft", _run, text, out=True)
    verb.add_argument(
        "--samples", type=Path, nargs="+", required=True, metavar="FILE", help=".jsonl: id, prompt, response"
    )
    verb.add_argument(
        "--problems", type=Path, nargs="+", required=True, metavar="FILE", help="problem files (mimo-eval problems)"
    )


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.decontaminate.index import ProblemIndex
    from mimo_data.documents import Drop
    from mimo_data.sft.filtering import filter_samples

    recipe = load(arguments)
    settings = {"filter-sft": recipe.filter_sft, "decontaminate": recipe.decontaminate}
    inputs = named("samples", arguments.samples) | named("problems", arguments.problems)
    with open_run(arguments, "filter-sft", settings, inputs) as run:
        if run.complete:
            return
        index = ProblemIndex.of_files(arguments.problems, recipe.decontaminate)
        num_kept = 0
        reasons: Counter[str] = Counter()
        with (run.folder / "samples.jsonl").open("wb") as samples, (run.folder / "drops.jsonl").open("wb") as drops:
            for result in filter_samples(arguments.samples, index, recipe.filter_sft):
                if isinstance(result, Drop):
                    reasons[result.reason] += 1
                    drops.write(msgspec.json.encode(result) + b"\n")
                else:
                    num_kept += 1
                    samples.write(result[1] + b"\n")
        run.finish(
            num_in=num_kept + reasons.total(),
            num_out=num_kept,
            num_dropped=reasons.total(),
            drops=dict(sorted(reasons.items())),
        )
    unsearched = len(index.too_short)
    note = f"; problems that say too little to be searched for: {unsearched}" if unsearched else ""
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    print(f"{run.out}: {num_kept} samples kept, {reasons.total()} dropped" + (f" ({listed})" if listed else "") + note)

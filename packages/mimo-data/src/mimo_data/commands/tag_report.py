"""`mimo-data tag-report`: a tagger beside the usual heuristic rules, on labelled documents."""

from __future__ import annotations

import argparse
from pathlib import Path

from mimo_data.commands.step import Verbs, load, named, open_run, read_all
from mimo_data.run import DataError


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    text = "what heuristic rules drop of labelled documents, and what a tagger keeps of that"
    verb = verbs.add("tag-report", _run, text, out=True, documents=True)
    verb.add_argument("--tagger", type=Path, required=True, metavar="FOLDER", help="made by train-tagger, of others")


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.tag.extra import load_extra

    recipe = load(arguments).filter
    load_extra()
    from mimo_data.tag.report import compare, to_markdown
    from mimo_data.tag.tagger import Tagger

    inputs = named("documents", arguments.documents) | {"tagger": arguments.tagger}
    with open_run(arguments, "tag-report", recipe, inputs) as run:
        if not run.complete:
            tagger = Tagger.load(arguments.tagger)
            if "quality" not in tagger.heads:
                raise DataError(
                    f"{arguments.tagger}: tags no quality, by which documents are kept. Train it on labels of it."
                )
            labelled = list(read_all(arguments))
            rows = compare(labelled, tagger.tag(labelled), min_quality=recipe.min_quality)
            (run.folder / "report.md").write_text(to_markdown(rows))
            run.finish(num_documents=len(labelled))
    print((run.out / "report.md").read_text(), end="")

"""`mimo-data train-tagger`: a student from labelled documents."""

from __future__ import annotations

import argparse
from pathlib import Path

from mimo_data.commands.step import Verbs, load, named, open_run, read_all


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    verbs.add("train-tagger", _run, "train a small language model on labelled documents", out=True, documents=True)


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.tag.extra import load_extra

    recipe = load(arguments).tagger
    load_extra()
    from mimo_data.tag.tagger import Tagger

    inputs = named("documents", arguments.documents)
    if recipe.card:
        inputs["card"] = Path(recipe.card)
    with open_run(arguments, "train-tagger", recipe, inputs) as run:
        if run.complete:
            return
        tagger = Tagger.train(read_all(arguments), recipe)
        tagger.save(run.folder)
        run.finish(num_documents=tagger.num_documents)
    print("| tag | labels | accuracy | calibration error | after calibration |\n| --- | --- | --- | --- | --- |")
    for name, head in tagger.heads.items():
        figures = (head.accuracy, head.error_before, head.error_after)
        print(f"| {name} | {head.num_documents} | {' | '.join(f'{figure:.3f}' for figure in figures)} |")
    print(f"{run.out}: trained on {tagger.num_documents} documents; the table is of sites held out")

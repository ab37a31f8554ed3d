"""`mimo-data synthesize`: synthetic reasoning data from seeds and an endpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mimo_data.commands.step import Verbs, load, named, open_run, progress, write_step
from mimo_data.run import DataError

if TYPE_CHECKING:
    from mimo_data.synth.endpoint import EndpointRecipe
    from mimo_data.synth.journal import Journal
    from mimo_data.synth.plan import Plan
    from mimo_data.synth.strategy import StrategyRecipe


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    verb = verbs.add("synthesize", _run, "ask an OpenAI-compatible endpoint about texts, problems or queries", out=True)
    verb.add_argument("--strategy", required=True, metavar="NAME", help="table of the recipe's synthesize.strategies")
    verb.add_argument(
        "--seeds",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="documents files, step folders, or .jsonl files of problems or queries (id, prompt)",
    )
    verb.add_argument(
        "--finish", action="store_true", help="ask nothing more: make the data of the answers that there are"
    )


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.run import STATE
    from mimo_data.synth.checking import check
    from mimo_data.synth.journal import Journal
    from mimo_data.synth.plan import Plan
    from mimo_data.synth.prompts import Template, template_path
    from mimo_data.synth.responses import Responses
    from mimo_data.synth.seeds import read_seeds
    from mimo_data.synth.writing import documents, write_ledger

    recipe = load(arguments).synthesize
    strategy, endpoint = recipe.strategy(arguments.strategy)
    paths = {name: template_path(name) for name in strategy.prompts}
    templates = [Template(path) for path in paths.values()]
    # Only what decides the data: the address, the patience and the budget may change when a run is taken up again.
    decides = {"strategy": arguments.strategy, "model": endpoint.model, **msgspec.to_builtins(strategy)}
    inputs = named("seeds", arguments.seeds) | {f"prompt {name}": path for name, path in paths.items()}
    with open_run(arguments, "synthesize", decides, inputs) as run:
        if run.complete:
            return
        # What makes the run one to resume; the checker's files lie in it.
        state = run.folder / STATE
        state.mkdir(exist_ok=True)
        plan = Plan(lambda: read_seeds(arguments.seeds), strategy, templates)
        with Journal(run.folder / "replies.jsonl") as journal:
            if not arguments.finish:
                if strategy.checker:
                    # Of nothing, so that one that cannot run says so before the first answer is paid for.
                    check(strategy.checker, [], state)
                _ask(plan, journal, endpoint, strategy, recipe.budget)
            responses = Responses(plan, journal, strategy, state)
            totals = write_ledger(run.folder, plan, journal)
            # An earlier --finish that was killed knew fewer replies.
            (run.folder / "drops.jsonl").unlink(missing_ok=True)
            found = documents(
                responses,
                run.folder / "samples.jsonl",
                strategy=arguments.strategy,
                model=endpoint.model,
                sampling=strategy.sampling,
            )
            write_step(run, found)
    print(f"{run.out}: {totals.num_replies} replies for {totals.price:.4g}, see ledger.jsonl")


def _ask(
    plan: Plan, journal: Journal, endpoint: EndpointRecipe, strategy: StrategyRecipe, budget: float | None
) -> None:
    from mimo_data.synth.asking import ask_requests
    from mimo_data.synth.plan import Request

    requests = (request for request in plan.requests() if isinstance(request, Request))
    with progress("replies") as on_replies:
        is_done = ask_requests(requests, journal, endpoint, strategy.sampling, budget=budget, on_replies=on_replies)
    if not is_done:
        raise DataError(
            f"the budget of {budget} is spent: {len(journal)} replies for {journal.spent:.4g}, which are kept. "
            "Raise synthesize.budget and run again, or add --finish to make the data of these."
        )

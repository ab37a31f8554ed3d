"""`mimo-data label`: tags from a teacher, for a student to learn."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mimo_data.commands.step import Verbs, load, named, progress, read_all, write_step
from mimo_data.run import DataError, RecipeError, Run

if TYPE_CHECKING:
    from mimo_data.documents import Document, Drop
    from mimo_data.synth.endpoint import Endpoint, EndpointRecipe, Message, Reply
    from mimo_data.synth.journal import Journal
    from mimo_data.tag.card import LabelCard
    from mimo_data.tag.label import LabelRecipe


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    verbs.add("label", _run, "ask a teacher for tags, by the label card", out=True, documents=True)


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.documents import require_unique_ids
    from mimo_data.run import STATE
    from mimo_data.synth.journal import Journal
    from mimo_data.tag.card import load_card

    settings = load(arguments)
    recipe, endpoints = settings.label, settings.synthesize.endpoints
    if recipe.endpoint not in endpoints:
        names = ", ".join(endpoints) or "no table"
        raise RecipeError(
            f"label.endpoint is {recipe.endpoint!r}, but synthesize.endpoints has {names}. Name a table of it there, "
            "such as the one in recipes/mimo-7b/data.toml."
        )
    endpoint = endpoints[recipe.endpoint]
    inputs = named("documents", arguments.documents)
    if recipe.card:
        inputs["card"] = Path(recipe.card)
    card = load_card(Path(recipe.card) if recipe.card else None)
    with Run.open(
        arguments.out,
        package="mimo-data",
        command="label",
        recipe={"model": endpoint.model, "sampling": recipe.sampling, "characters": recipe.max_document_characters},
        inputs=inputs,
        resumable=True,
    ) as run:
        if run.complete:
            print(f"{run.out}: complete, reused")
            return
        # Before anything is paid for.
        require_unique_ids(arguments.documents)
        # What makes the run one to resume: no answer is paid for twice.
        (run.folder / STATE).mkdir(exist_ok=True)
        with Journal(run.folder / "replies.jsonl") as journal, progress("documents") as on_items:
            _ask(read_all(arguments), card, journal, endpoint, recipe, on_items)
            write_step(run, _results(read_all(arguments), card, journal))
            spent = journal.spent
    print(f"{run.out}: labelled for {spent:.4g}")


def _ask(
    documents: Iterator[Document],
    card: LabelCard,
    journal: Journal,
    where: EndpointRecipe,
    recipe: LabelRecipe,
    on_items: Callable[[int], None],
) -> None:
    """Journals one reply for each document: the first that can be used, or the last."""
    import msgspec

    from mimo_data.synth.asking import ask_all
    from mimo_data.synth.journal import Entry
    from mimo_data.tag.label import label

    async def ask(endpoint: Endpoint, document: Document) -> Entry:
        replies: list[Reply] = []

        async def ask_once(messages: Sequence[Message]) -> str:
            replies.append(await endpoint.ask(messages, recipe.sampling, seed=len(replies)))
            return replies[-1].text

        await label(document, card, ask_once, recipe)
        price = sum(endpoint.cost(reply) for reply in replies)
        last = msgspec.structs.replace(replies[-1], num_tries=sum(reply.num_tries for reply in replies))
        return Entry(id=document.id, price=price, reply=last)

    waiting = (document for document in documents if document.id not in journal)
    if not ask_all(waiting, ask, journal, where, budget=recipe.budget, on_replies=on_items):
        raise DataError(
            f"the budget of {recipe.budget} is spent: {len(journal)} replies for {journal.spent:.4g}, which are kept. "
            "Raise label.budget and run again."
        )


def _results(documents: Iterator[Document], card: LabelCard, journal: Journal) -> Iterator[Document | Drop]:
    import msgspec

    from mimo_data.documents import Drop
    from mimo_data.tag.label import read_answer

    for document in documents:
        entry = journal.get(document.id)
        if entry is None:
            raise AssertionError(f"{document.id}: neither a reply nor an error")
        try:
            tags = read_answer(entry.reply.text, card)
        except ValueError as error:
            detail = entry.reply.text[:200] if entry.reply.finish == "rejected" else str(error)
            yield Drop(id=document.id, step="label", reason="no_label", detail=detail)
        else:
            yield msgspec.structs.replace(document, tags={**document.tags, **tags})

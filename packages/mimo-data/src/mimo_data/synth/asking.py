"""Asks what is not answered yet, many at a time, until all is answered or the budget is spent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from mimo_data.run import DataError
from mimo_data.synth.endpoint import Endpoint, EndpointRecipe, Message, SamplingRecipe
from mimo_data.synth.journal import Entry, Journal
from mimo_data.synth.plan import Request

ItemT = TypeVar("ItemT")

# An endpoint that takes none of the first requests is set up wrongly, and so would reject a million.
_ALL_REJECTED = 20


def ask_requests(
    requests: Iterator[Request],
    journal: Journal,
    endpoint: EndpointRecipe,
    sampling: SamplingRecipe,
    *,
    budget: float | None,
    on_replies: Callable[[int], None],
) -> bool:
    """Asks every request that the journal has no reply to, in their order; see `ask_all`."""

    async def ask(endpoint: Endpoint, request: Request) -> Entry:
        message = Message(role="user", content=request.prompt)
        reply = await endpoint.ask([message], sampling, seed=request.sampling_seed)
        return Entry(id=request.id, price=endpoint.cost(reply), reply=reply)

    waiting = (request for request in requests if request.id not in journal)
    return ask_all(waiting, ask, journal, endpoint, budget=budget, on_replies=on_replies)


def ask_all(
    items: Iterator[ItemT],
    ask: Callable[[Endpoint, ItemT], Awaitable[Entry]],
    journal: Journal,
    endpoint: EndpointRecipe,
    *,
    budget: float | None,
    on_replies: Callable[[int], None],
) -> bool:
    """Asks about every item, in their order, and journals the replies as they arrive.

    Returns:
        Whether all are answered; False when the budget is spent.

    Raises:
        DataError: the endpoint fails for good, an item cannot be read, or the disk is full. Requests in flight are
            still waited for, as they are paid for.
    """
    return asyncio.run(_ask_all(items, ask, journal, endpoint, budget, on_replies))


async def _ask_all(
    items: Iterator[ItemT],
    ask: Callable[[Endpoint, ItemT], Awaitable[Entry]],
    journal: Journal,
    recipe: EndpointRecipe,
    budget: float | None,
    on_replies: Callable[[int], None],
) -> bool:
    failures: list[Exception] = []

    def is_spent() -> bool:
        return budget is not None and journal.spent >= budget

    async def work(endpoint: Endpoint) -> None:
        # The next item is taken only when a worker is free: nothing is planned that might not be asked.
        while not failures and not is_spent():
            try:
                if (item := next(items, None)) is None:
                    return
                entry = await ask(endpoint, item)
                _keep(entry, journal)
            # Kept for the end: the group would wrap it in one of its own, and cut off the requests in flight.
            except Exception as error:
                failures.append(error)
                return
            on_replies(1)
            if journal.num_rejected == len(journal) == _ALL_REJECTED:
                text = entry.reply.text.rstrip(".")
                failures.append(
                    DataError(f"{recipe.url}: all of the first {_ALL_REJECTED} requests were rejected: {text}.")
                )

    async with Endpoint(recipe) as endpoint, asyncio.TaskGroup() as workers:
        for _ in range(recipe.concurrency):
            workers.create_task(work(endpoint))
    if failures and isinstance(failures[0], DataError):
        # Those that were rejected are asked for again.
        raise DataError(f"{failures[0]} {len(journal) - journal.num_rejected} replies are kept.")
    if failures:
        raise failures[0]
    return next(items, None) is None


def _keep(entry: Entry, journal: Journal) -> None:
    try:
        journal.add(entry)
    except OSError as error:
        problem = f"a reply could not be kept: {error}. Put that right, and run the command again."
        raise DataError(problem) from None

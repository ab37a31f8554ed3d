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
        DataError: the endpoint fails for good, or the disk is full. Requests in flight are still waited for, as they
            are paid for.
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
    problems: list[str] = []

    def is_spent() -> bool:
        return budget is not None and journal.spent >= budget

    async def work(endpoint: Endpoint) -> None:
        # The next item is taken only when a worker is free: nothing is planned that might not be asked.
        while not problems and not is_spent() and (item := next(items, None)) is not None:
            try:
                entry = await ask(endpoint, item)
                journal.add(entry)
            except DataError as error:
                problems.append(str(error))
                return
            except OSError as error:
                problems.append(f"a reply could not be kept: {error}. Put that right, and run the command again.")
                return
            on_replies(1)
            if journal.num_rejected == len(journal) == _ALL_REJECTED:
                problems.append(f"{recipe.url}: all of the first {_ALL_REJECTED} were rejected: {entry.reply.text}")

    async with Endpoint(recipe) as endpoint, asyncio.TaskGroup() as workers:
        for _ in range(recipe.concurrency):
            workers.create_task(work(endpoint))
    if problems:
        raise DataError(f"{problems[0]} {len(journal)} replies are kept.")
    return next(items, None) is None

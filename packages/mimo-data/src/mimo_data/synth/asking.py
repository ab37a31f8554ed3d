"""Asks what is not answered yet, many requests at a time, until all is answered or the budget is spent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from mimo_data.run import DataError
from mimo_data.synth.endpoint import Endpoint, EndpointRecipe, Message, SamplingRecipe
from mimo_data.synth.journal import Entry, Journal
from mimo_data.synth.plan import Request

# An endpoint that takes none of the first requests is set up wrongly, and so would reject a million.
_ALL_REJECTED = 20


def ask_all(
    requests: Iterator[Request],
    journal: Journal,
    endpoint: EndpointRecipe,
    sampling: SamplingRecipe,
    *,
    budget: float | None,
    on_replies: Callable[[int], None],
) -> bool:
    """Asks every request that the journal has no reply to, in their order, and journals the replies as they arrive.

    Returns:
        Whether all are answered; False when the budget is spent.

    Raises:
        DataError: the endpoint fails for good, or the disk is full. Requests in flight are still waited for, as they
            are paid for.
    """
    return asyncio.run(_ask_all(requests, journal, endpoint, sampling, budget, on_replies))


async def _ask_all(
    requests: Iterator[Request],
    journal: Journal,
    recipe: EndpointRecipe,
    sampling: SamplingRecipe,
    budget: float | None,
    on_replies: Callable[[int], None],
) -> bool:
    problems: list[str] = []
    open_requests = (request for request in requests if request.id not in journal)

    def is_spent() -> bool:
        return budget is not None and journal.spent >= budget

    async def work(endpoint: Endpoint) -> None:
        # The next request is taken only when a worker is free: nothing is planned that might not be asked.
        while not problems and not is_spent() and (request := next(open_requests, None)):
            try:
                message = Message(role="user", content=request.prompt)
                reply = await endpoint.ask([message], sampling, seed=request.sampling_seed)
                journal.add(Entry(id=request.id, price=endpoint.cost(reply), reply=reply))
            except DataError as error:
                problems.append(str(error))
                return
            except OSError as error:
                problems.append(f"a reply could not be kept: {error}. Put that right, and run the command again.")
                return
            on_replies(1)
            if journal.num_rejected == len(journal) == _ALL_REJECTED:
                problems.append(f"{recipe.url}: all of the first {_ALL_REJECTED} were rejected: {reply.text}")

    async with Endpoint(recipe) as endpoint, asyncio.TaskGroup() as workers:
        for _ in range(recipe.concurrency):
            workers.create_task(work(endpoint))
    if problems:
        raise DataError(f"{problems[0]} {len(journal)} replies are kept.")
    return next(open_requests, None) is None

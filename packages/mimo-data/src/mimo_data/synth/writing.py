"""The output of a strategy: documents to train on, the same as samples to fine-tune on, and what all of it cost.

The report does not say what a synthetic document looks like. Here its text is the prompt, a blank line and the
response, reasoning between `<think>` and `</think>`; its source is `synthetic`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from mimo_data.documents import Document, Drop
from mimo_data.run import Record
from mimo_data.synth.endpoint import SamplingRecipe
from mimo_data.synth.journal import Journal, LedgerLine
from mimo_data.synth.plan import Plan, Request
from mimo_data.synth.responses import Responses


class SampleLine(Record, frozen=True):
    """A fine-tuning sample in mimo-train's format, as `mimo-data filter-sft` and `mimo-train sft` read it."""

    id: str
    """The document's, too."""
    prompt: str
    response: str
    """Reasoning between `<think>` and `</think>` first, if there is any."""


class Totals(Record, frozen=True):
    """`totals.json`: sums over the ledger."""

    num_seeds: int
    """That were read."""
    num_selected: int
    """That were asked about."""
    num_replies: int
    """Requests that were answered."""
    prompt_tokens: int
    completion_tokens: int
    price: float
    """In the currency of the endpoint's prices."""


def documents(
    responses: Responses, samples: Path, *, strategy: str, model: str, sampling: SamplingRecipe
) -> Iterator[Document | Drop]:
    """The documents of a strategy and its drops, in the order of the plan; the samples are written on the way."""
    with samples.open("wb") as file:
        for result in responses.results():
            if isinstance(result, Drop):
                yield result
                continue
            request, response = result
            file.write(msgspec.json.encode(SampleLine(id=request.id, prompt=request.prompt, response=response)) + b"\n")
            yield Document(
                id=request.id,
                text=f"{request.prompt}\n\n{response}",
                source="synthetic",
                meta=_origin(request, responses.checked(request), strategy, model, sampling),
            )


def _origin(request: Request, checked: str, strategy: str, model: str, sampling: SamplingRecipe) -> dict[str, str]:
    meta = {
        "strategy": strategy,
        "seed": request.seed.id,
        "template": request.template,
        "model": model,
        "temperature": f"{sampling.temperature:g}",
        "top_p": f"{sampling.top_p:g}",
        "max_tokens": str(sampling.max_tokens),
        "sampling_seed": str(request.sampling_seed),
    }
    if request.passage:
        meta["passage"] = request.passage
    if checked:
        meta["answer"] = checked
    return meta


def write_ledger(folder: Path, plan: Plan, journal: Journal) -> Totals:
    """Writes `ledger.jsonl`, what each answered request used in the order of the plan, and its sums."""
    num_replies = prompt_tokens = completion_tokens = 0
    price = 0.0
    with (folder / "ledger.jsonl").open("wb") as file:
        for request in plan.requests():
            if isinstance(request, Request) and (entry := journal.get(request.id)):
                reply = entry.reply
                line = LedgerLine(
                    id=request.id,
                    prompt_tokens=reply.prompt_tokens,
                    completion_tokens=reply.completion_tokens,
                    price=entry.price,
                    num_tries=reply.num_tries,
                    finish=reply.finish,
                )
                file.write(msgspec.json.encode(line) + b"\n")
                num_replies += 1
                prompt_tokens += line.prompt_tokens
                completion_tokens += line.completion_tokens
                price += line.price
    totals = Totals(
        num_seeds=plan.num_seeds,
        num_selected=plan.num_selected,
        num_replies=num_replies,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        price=price,
    )
    (folder / "totals.json").write_bytes(msgspec.json.format(msgspec.json.encode(totals), indent=1) + b"\n")
    return totals

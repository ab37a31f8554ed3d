"""From replies to documents: what cannot be used is dropped for a reason, wrong answers and copies too.

| reason | what it means |
| --- | --- |
| `not_selected`, `not_drawn`, `too_long` | of a seed: by its tags, by `max_seeds`, by `max_seed_characters` |
| `repeated_seed` | of a seed that is alike another (detail: its id) |
| `not_asked` | the budget was spent, and the data finished without it |
| `rejected`, `refused` | the endpoint would not take the request; the model or a policy would not answer it |
| `cut`, `unfinished` | the response reached `max_tokens`; it ended in another way than by itself |
| `empty`, `incomplete` | nothing in it; it breaks off by the measures of `completeness.py` |
| `wrong_answer` | by the checker |
| `repeated_response` | it is alike another (detail: its id) |
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from mimo_data.dedup.minhash import deduplicate
from mimo_data.documents import Document, Drop
from mimo_data.sft.completeness import why_incomplete
from mimo_data.synth.checking import Question, check
from mimo_data.synth.endpoint import Reply
from mimo_data.synth.journal import Journal
from mimo_data.synth.plan import STEP, Plan, Request
from mimo_data.synth.strategy import StrategyRecipe


class Responses:
    """The usable responses of one strategy."""

    def __init__(self, plan: Plan, journal: Journal, recipe: StrategyRecipe, folder: Path) -> None:
        """
        Args:
            folder: for the checker's files.

        Raises:
            DataError: the checker broke.
        """
        self._plan, self._journal = plan, journal
        self._drops: dict[str, Drop] = {}
        self._judgements: dict[str, bool | None] = {}
        for request, reply in self._answered():
            if found := _why_unusable(reply):
                self._drop(request.id, *found)
        if recipe.checker:
            questions = (
                Question(id=request.id, problem=msgspec.Raw(request.seed.problem), response=reply.with_reasoning())
                for request, reply in self._left()
                if request.seed.problem
            )
            self._judgements = check(recipe.checker, questions, folder)
            for name, right in self._judgements.items():
                if right is False:
                    self._drop(name, "wrong_answer", "")
        alone = (Document(id=request.id, text=reply.with_reasoning(), source="") for request, reply in self._left())
        for dropped, kept in deduplicate(alone, recipe.deduplicate):
            self._drop(dropped, "repeated_response", kept)

    def results(self) -> Iterator[tuple[Request, str] | Drop]:
        """Each request with its response, or why there is none, in the order of the plan."""
        for request in self._plan.requests():
            if isinstance(request, Drop):
                yield request
            elif request.id in self._drops:
                yield self._drops[request.id]
            elif entry := self._journal.get(request.id):
                yield request, entry.reply.with_reasoning()
            else:
                yield Drop(id=request.id, step=STEP, reason="not_asked")

    def checked(self, request: Request) -> str:
        """`right`; `unknown`, when the checker knows no answer; or "" for what it was not asked."""
        if request.id not in self._judgements:
            return ""
        return "right" if self._judgements[request.id] else "unknown"

    def _answered(self) -> Iterator[tuple[Request, Reply]]:
        for request in self._plan.requests():
            if isinstance(request, Request) and (entry := self._journal.get(request.id)):
                yield request, entry.reply

    def _left(self) -> Iterator[tuple[Request, Reply]]:
        return (found for found in self._answered() if found[0].id not in self._drops)

    def _drop(self, name: str, reason: str, detail: str) -> None:
        self._drops[name] = Drop(id=name, step=STEP, reason=reason, detail=detail)


def _why_unusable(reply: Reply) -> tuple[str, str] | None:
    """Reason and detail if the reply cannot become a document."""
    reasons = {"length": "cut", "content_filter": "refused", "refusal": "refused", "rejected": "rejected"}
    if reply.finish != "stop":
        detail = reply.text[:200] if reply.finish in ("rejected", "refusal") else reply.finish
        return reasons.get(reply.finish, "unfinished"), detail
    response = reply.with_reasoning()
    if not response.strip():
        return "empty", ""
    found = why_incomplete(response)
    return ("incomplete", found) if found else None

"""Which requests a strategy makes: the seeds chosen, each in its passages and with its templates.

The plan follows from recipe and seeds alone, so that a run that was killed makes the same one again. Seeds stream from
their files on each pass; in memory are their ids, and while it is made the sketches of deduplication.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from mimo_data.dedup.minhash import deduplicate
from mimo_data.documents import Drop
from mimo_data.run import DataError, Record
from mimo_data.synth.prompts import Template, choose
from mimo_data.synth.seeds import Seed, as_document, draw, passages, why_not_selected
from mimo_data.synth.strategy import StrategyRecipe

STEP = "synthesize"


class Request(Record, frozen=True):
    """One question to the endpoint."""

    id: str
    """Of the document that its answer becomes: the seed's, `#` and the number of the sample."""
    seed: Seed
    prompt: str
    """What is asked: the template, filled."""
    template: str
    passage: str
    """Which part of the seed was asked about, such as "2 of 5"; "" for all of it."""
    sampling_seed: int


class Plan:
    """The seeds of one strategy that are asked about, and why the others are not.

    Attributes:
        num_seeds: all that were read.
        num_selected: those that tags, draw and deduplication leave.
    """

    def __init__(self, read: Callable[[], Iterator[Seed]], recipe: StrategyRecipe, templates: list[Template]) -> None:
        """
        Args:
            read: a fresh pass over the seeds, in the same order each time.

        Raises:
            DataError: no seed is selected, or two have the same id.
        """
        self._read, self._recipe, self._templates = read, recipe, templates
        selected = self._select()
        candidates = (as_document(seed) for seed in read() if not why_not_selected(seed, recipe.select))
        self._repeated = dict(deduplicate(candidates, recipe.deduplicate))
        left = [name for name in selected if name not in self._repeated]
        most = recipe.select.max_seeds
        self._drawn = draw(left, most, recipe.seed) if most is not None else None
        self.num_selected = len(left) if self._drawn is None else len(self._drawn)

    def _select(self) -> list[str]:
        """Ids of the seeds that their tags leave."""
        selected: list[str] = []
        reasons: set[str] = set()
        seen: set[bytes] = set()
        for seed in self._read():
            key = hashlib.sha256(seed.id.encode()).digest()[:12]
            if key in seen:
                raise DataError(f"the seed id {seed.id!r} is there twice. Give every seed its own, over all files.")
            seen.add(key)
            if reason := why_not_selected(seed, self._recipe.select):
                reasons.add(reason)
            else:
                selected.append(seed.id)
        self.num_seeds = len(seen)
        if not self.num_seeds:
            raise DataError("the seeds are empty: no file of them holds a document, problem or query. Name others.")
        if not selected:
            raise DataError(
                f"none of {self.num_seeds} seeds is selected ({'; '.join(sorted(reasons)[:5])}). "
                "Tag the documents with `mimo-data tag`, or choose others in the strategy's `select`."
            )
        return selected

    def requests(self) -> Iterator[Request | Drop]:
        """Every request, and every seed that none is made of, in the order of the seeds."""
        for seed in self._read():
            if reason := why_not_selected(seed, self._recipe.select):
                yield Drop(id=seed.id, step=STEP, reason="not_selected", detail=reason)
            elif seed.id in self._repeated:
                yield Drop(id=seed.id, step=STEP, reason="repeated_seed", detail=self._repeated[seed.id])
            elif self._drawn is not None and seed.id not in self._drawn:
                yield Drop(id=seed.id, step=STEP, reason="not_drawn")
            else:
                yield from self._requests(seed)

    def _requests(self, seed: Seed) -> Iterator[Request | Drop]:
        recipe = self._recipe
        parts = passages(seed.text, recipe.max_seed_characters)
        if not parts or (seed.problem and len(parts) > 1):
            yield Drop(id=seed.id, step=STEP, reason="too_long", detail=f"{len(seed.text)} characters")
            return
        first = _number(recipe.seed, "passage", seed.id)
        for sample in range(recipe.samples_per_seed):
            name = f"{seed.id}#{sample}"
            place = (first + sample) % len(parts)
            template = choose(self._templates, name, recipe.seed)
            yield Request(
                id=name,
                seed=seed,
                prompt=template.fill(parts[place]),
                template=template.name,
                passage=f"{place + 1} of {len(parts)}" if len(parts) > 1 else "",
                # Positive, and small enough for every server.
                sampling_seed=_number(recipe.seed, "sampling", name) % 2**31,
            )


def _number(seed: int, purpose: str, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\n{purpose}\n{name}".encode()).digest()[:8], "big")

"""Which problems a step trains on: seeded draws and the easy-data pool (§3.3.2)."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence


class EasyPool:
    """The problems of a run, and which of them the policy solved every time it last tried.

    Those leave the ordinary draws and are drawn with a fixed probability instead: dropped for good, they
    make the policy unstable; drawn as before, they waste rollouts (§3.3.2). The report does not say what
    becomes of a pooled problem that is failed again: here it goes back to the ordinary draws.
    """

    def __init__(self, problem_ids: Sequence[str], *, probability: float) -> None:
        if len(set(problem_ids)) != len(problem_ids):
            raise ValueError("problem ids must be unique: the pool knows a problem by its id.")
        self._problem_ids = tuple(problem_ids)
        self._known = frozenset(problem_ids)
        self._probability = probability
        self._easy: set[str] = set()

    def __contains__(self, problem_id: str) -> bool:
        return problem_id in self._easy

    def __len__(self) -> int:
        return len(self._easy)

    def draw(self, num: int, generator: random.Random, *, exclude: Collection[str] = ()) -> list[str]:
        """Draws distinct problems, each from the pool with the pool's probability, else from the others.

        When one side is used up the other one serves, and when both are, fewer than `num` come back.

        Args:
            exclude: problems that this step has drawn before.
        """
        used = frozenset(exclude)
        hard = [i for i in self._problem_ids if i not in self._easy and i not in used]
        easy = [i for i in self._problem_ids if i in self._easy and i not in used]
        # Shuffled by hand-picked swaps from the end: only `num` of perhaps 130,000 problems are touched.
        drawn: list[str] = []
        while len(drawn) < num and (hard or easy):
            prefer_easy = generator.random() < self._probability
            side = easy if (prefer_easy and easy) or not hard else hard
            index = generator.randrange(len(side))
            side[index], side[-1] = side[-1], side[index]
            drawn.append(side.pop())
        return drawn

    def update(self, problem_id: str, *, solved_in_all: bool) -> None:
        """Takes in how a problem's latest group went."""
        if problem_id not in self._known:
            raise ValueError(f"{problem_id}: not one of this run's problems.")
        if solved_in_all:
            self._easy.add(problem_id)
        else:
            self._easy.discard(problem_id)

    def state(self) -> list[str]:
        """The pooled ids, sorted: what a resumed run gives to `restore`."""
        return sorted(self._easy)

    def restore(self, state: Sequence[str]) -> None:
        """Puts back what `state` returned."""
        self._easy = set(state) & self._known

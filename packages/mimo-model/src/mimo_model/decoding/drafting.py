"""How many drafts a round should make: as many as paid best so far at this batch size.

A draft costs its MTP layer and a wider verification, and pays only when it is accepted. Which wins depends on the
model, the text, the machine and the batch, so it is measured while decoding: tokens per second of each number of
drafts, older rounds counting less.
"""

from __future__ import annotations

from dataclasses import dataclass

# A round of another number of drafts is tried once in so many; sooner, trying would cost more than it finds.
_ROUNDS_BETWEEN_TRIALS = 64
_TRIALS_TO_BEGIN_WITH = 3
_KEPT_OF_OLDER_ROUNDS = 0.95


@dataclass
class _Record:
    tokens: float = 0.0
    seconds: float = 0.0
    num_rounds: int = 0

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds if self.seconds else float("inf")


class DraftChooser:
    """Chooses 0 … `max_drafts` for each round, by tokens per second at the like of its batch size."""

    def __init__(self, max_drafts: int) -> None:
        self._max_drafts = max_drafts
        self._records: dict[int, list[_Record]] = {}
        self._num_rounds = 0

    def choose(self, batch_size: int) -> int:
        """The number of drafts of the next round."""
        records = self._at(batch_size)
        for number in range(self._max_drafts, -1, -1):
            if records[number].num_rounds < _TRIALS_TO_BEGIN_WITH:
                return number
        best = max(range(self._max_drafts + 1), key=lambda number: records[number].rate)
        self._num_rounds += 1
        if self._num_rounds % _ROUNDS_BETWEEN_TRIALS:
            return best
        return (best + 1 + self._num_rounds // _ROUNDS_BETWEEN_TRIALS % max(self._max_drafts, 1)) % (
            self._max_drafts + 1
        )

    def note(self, batch_size: int, num_drafts: int, *, num_tokens: int, seconds: float) -> None:
        """What a round brought and took."""
        record = self._at(batch_size)[num_drafts]
        if record.num_rounds > 0:  # the first of a size compiles, allocates or records a graph
            record.tokens = record.tokens * _KEPT_OF_OLDER_ROUNDS + num_tokens
            record.seconds = record.seconds * _KEPT_OF_OLDER_ROUNDS + seconds
        record.num_rounds += 1

    def _at(self, batch_size: int) -> list[_Record]:
        """Sizes up to the next power of two share their records."""
        return self._records.setdefault((batch_size - 1).bit_length(), [_Record() for _ in range(self._max_drafts + 1)])

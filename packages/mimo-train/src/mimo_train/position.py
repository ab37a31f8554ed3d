"""How far a run has come."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mimo_train.schedule import Record


class Position(Record, frozen=True, kw_only=True):
    """All that a loop needs, beside weights and moments, to go on where it was killed."""

    step: int = 0
    """Steps taken."""

    num_sequences: int = 0
    """Sequences read."""

    tokens: int = 0
    """Tokens read."""

    tokens_by_source: dict[str, int] = msgspec.field(default_factory=dict)
    """Tokens read, by source; empty in fine-tuning, which knows no sources."""

    @staticmethod
    def restore(extra: Mapping[str, object]) -> Position:
        """From what a training state kept; the beginning when it is empty."""
        return msgspec.convert(extra, Position)

    def extra(self) -> dict[str, object]:
        """For a training state to keep."""
        return dict(msgspec.structs.asdict(self))

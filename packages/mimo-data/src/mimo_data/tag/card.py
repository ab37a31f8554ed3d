"""The label card: every label and score that a document can get, and what each means (`card.toml` beside this module).

The card is what the teacher is asked, what a student learns and what a tag in a document means. The report
names the four dimensions (§2.1); their labels and levels are ours.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

import msgspec

from mimo_data.run import DataError, Record


class Label(Record, frozen=True):
    """One answer to one question of the card."""

    meaning: str
    """When to give it, for the teacher and for whoever reads the tags."""
    examples: tuple[str, ...] = ()
    """Short descriptions of documents that deserve it."""


class Score(Record, frozen=True):
    """A question whose answers are ordered."""

    question: str
    """What the score measures."""
    levels: tuple[Label, ...]
    """From 0 up; a tag holds the number as text."""

    def __post_init__(self) -> None:
        if len(self.levels) < 2:
            raise ValueError("a score has at least two levels")


class LabelCard(Record, frozen=True):
    """The domains, of which a document has one, and the scores, of which it has a level each."""

    domains: dict[str, Label]
    """By the value of the tag `domain`."""
    scores: dict[str, Score]
    """By the name of their tag."""

    def __post_init__(self) -> None:
        if len(self.domains) < 2 or "domain" in self.scores:
            raise ValueError("a card has at least two domains, and no score of the name `domain`")

    @property
    def answers(self) -> dict[str, tuple[str, ...]]:
        """Every tag's possible values, by tag: `domain` first, then the scores."""
        scores = {name: tuple(map(str, range(len(score.levels)))) for name, score in self.scores.items()}
        return {"domain": tuple(self.domains), **scores}

    def known(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Those of a document's tags that are the card's; other steps' tags are left aside.

        Raises:
            ValueError: one of them has a value that the card does not know.
        """
        found = {name: tags[name] for name in self.answers if name in tags}
        for name, value in found.items():
            if value not in self.answers[name]:
                raise ValueError(f"{name} is {value!r}, which is none of {', '.join(self.answers[name])}")
        return found


def load_card(path: Path | None = None) -> LabelCard:
    """The card of a TOML file; without one, the card of this package.

    Raises:
        DataError: the file is missing or is not a card.
    """
    if path is None:
        return _packaged_card()
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), LabelCard)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise DataError(f"{path}: not a label card: {error}. Start from card.toml in mimo_data/tag.") from None


@cache
def _packaged_card() -> LabelCard:
    return msgspec.convert(tomllib.loads(files("mimo_data.tag").joinpath("card.toml").read_text()), LabelCard)

"""Labels from a teacher: a large model behind an OpenAI-compatible endpoint answers the card's questions (§2.1).

Answers are JSON, checked against the card; a wrong one is sent back with what is wrong about it. The prompt is
`teacher.txt` beside this module, filled with the card.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files

import msgspec

from mimo_data.documents import Document
from mimo_data.run import Record
from mimo_data.settings import MOST_COUNT, MOST_MONEY, check_numbers
from mimo_data.synth.endpoint import Message, SamplingRecipe
from mimo_data.tag.card import LabelCard
from mimo_data.tag.passages import cut

Ask = Callable[[Sequence[Message]], Awaitable[str]]
"""What asks the teacher: a chat in, its answer out."""

_NUM_PASSAGES = 3
_OBJECT = re.compile(r"\{.*\}", re.DOTALL)
_THOUGHT = re.compile(r"^.*</think>", re.DOTALL)


class LabelRecipe(Record, frozen=True):
    """How documents are shown to the teacher. None of it is in the report."""

    endpoint: str = ""
    """Name of a table of `synthesize.endpoints`; needed by the command."""
    card: str = ""
    """The label card's TOML file; empty for this package's."""
    sampling: SamplingRecipe = SamplingRecipe(temperature=0.0, top_p=1.0, max_tokens=2048)
    max_document_characters: int = 12_000
    """Of a longer document the teacher reads a third of this from its head, its middle and its tail each."""
    max_tries: int = 3
    """Answers to one document, after which it is dropped as `no_label`."""
    budget: float | None = None
    """What the labels may cost, in the currency of the endpoint's prices."""

    def __post_init__(self) -> None:
        check_numbers(
            self, max_document_characters=(_NUM_PASSAGES, MOST_COUNT), max_tries=(1, 100), budget=(0, MOST_MONEY)
        )


def first_messages(text: str, card: LabelCard, max_characters: int) -> list[Message]:
    """The chat that asks about one document."""
    passages = [text]
    if len(text) > max_characters:
        passages = cut(text, _NUM_PASSAGES, max_characters // _NUM_PASSAGES)
    template = files("mimo_data.tag").joinpath("teacher.txt").read_text()
    # Not `format`: a card may hold braces.
    instruction = template.replace("{card}", _describe(card)).replace("{keys}", _keys(card))
    document = "\n\n[… a part is left out here …]\n\n".join(passages)
    return [
        Message(role="system", content=instruction.strip()),
        Message(role="user", content=f"<document>\n{document}\n</document>"),
    ]


def read_answer(answer: str, card: LabelCard) -> dict[str, str]:
    """The tags of a teacher's answer; thought before it and fences around it are passed over.

    Raises:
        ValueError: it is no JSON object of the card's answers, all of them.
    """
    found = _OBJECT.search(_THOUGHT.sub("", answer))
    if not found:
        raise ValueError("there is no JSON object")
    try:
        row = msgspec.json.decode(found[0], type=dict[str, str | int])
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a JSON object of strings and whole numbers: {error}") from None
    missing = [name for name in card.answers if name not in row]
    if missing:
        raise ValueError(f"{', '.join(missing)} is missing")
    return card.known({name: str(value) for name, value in row.items()})


async def label(document: Document, card: LabelCard, ask: Ask, recipe: LabelRecipe) -> Document | str:
    """The document with the teacher's tags, or what was wrong with the teacher's last answer."""
    messages = first_messages(document.text, card, recipe.max_document_characters)
    problem = ""
    for _ in range(recipe.max_tries):
        answer = await ask(messages)
        try:
            tags = read_answer(answer, card)
        except ValueError as error:
            problem = str(error)
            correction = f"That answer cannot be used: {problem}. Answer again, with the JSON object alone."
            messages = [
                *messages,
                Message(role="assistant", content=answer),
                Message(role="user", content=correction),
            ]
            continue
        return msgspec.structs.replace(document, tags={**document.tags, **tags})
    return problem


def _describe(card: LabelCard) -> str:
    lines = ["domain: what is the main content about?"]
    for name, found in card.domains.items():
        lines.append(f"- {name}: {found.meaning}" + _examples(found.examples))
    for name, score in card.scores.items():
        lines += ["", f"{name}: {score.question}"]
        for level, found in enumerate(score.levels):
            lines.append(f"- {level}: {found.meaning}" + _examples(found.examples))
    return "\n".join(lines)


def _examples(examples: Sequence[str]) -> str:
    return f" For example: {'; '.join(examples)}." if examples else ""


def _keys(card: LabelCard) -> str:
    """The object's form; a reason comes first, so that the answers follow from it."""
    form = {"reason": "one sentence", "domain": "one of the names above"}
    scores = {name: f"0 to {len(score.levels) - 1}" for name, score in card.scores.items()}
    return json.dumps({**form, **scores}, indent=1)

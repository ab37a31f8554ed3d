"""Asks a command which responses are right: whether an answer is right is decided outside this package.

The command reads JSON lines from its standard input, one for each response whose seed came from a problem file:
`{"id": …, "problem": {the line of that file}, "response": "…"}`; and writes to its standard output, in any order,
`{"id": …, "right": true}` for each, or false, or null where the answer is not known. What else it has to say goes to
standard error. It ends with 0; anything else means that it broke, which is no verdict on any response. Before anything
is asked it is started once without a line.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from mimo_data.jsonlines import NOT_JSON
from mimo_data.run import DataError, Record


class Question(Record, frozen=True):
    """A line that the checker reads."""

    id: str
    """Of the request."""
    problem: msgspec.Raw
    """The line of the problem file as it stands."""
    response: str
    """The answer to judge, its reasoning before it."""


class Judgement(Record, frozen=True):
    """A line that the checker writes."""

    id: str
    """The question's."""
    right: bool | None
    """None where the checker cannot tell."""


def check(command: Sequence[str], questions: Iterable[Question], folder: Path) -> dict[str, bool | None]:
    """What the checker says, by id.

    Args:
        folder: for the two files through which they talk; the checker's is read as a whole.

    Raises:
        DataError: the command cannot be started, fails, or does not judge every response once.
    """
    asked: set[str] = set()
    questions_path, judgements_path = folder / "to_check.jsonl", folder / "checked.jsonl"
    with questions_path.open("wb") as file:
        for question in questions:
            file.write(msgspec.json.encode(question) + b"\n")
            asked.add(question.id)
    name = " ".join(command)
    with questions_path.open("rb") as stdin, judgements_path.open("wb") as stdout:
        try:
            ended = subprocess.run(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, check=False)
        except OSError as error:
            raise DataError(
                f"checker {name}: cannot be started: {error.strerror}. See the strategy's recipe."
            ) from None
    if ended.returncode:
        complaint = ended.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise DataError(
            f"checker {name}: ended with {ended.returncode}: {complaint[0].rstrip('.')}. Repair it, "
            f"or name its files from {Path.cwd()}, where it runs, and run again."
        )
    judgements = _read(judgements_path, name)
    if judgements.keys() != asked:
        num_missing, num_unknown = len(asked - judgements.keys()), len(judgements.keys() - asked)
        raise DataError(
            f"checker {name}: of {len(asked)} responses {num_missing} are not judged, and {num_unknown} judged that "
            "were not asked about. Each line that it reads wants one with the same id."
        )
    return judgements


def _read(path: Path, name: str) -> dict[str, bool | None]:
    decoder = msgspec.json.Decoder(Judgement)
    judgements: dict[str, bool | None] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                judgement = decoder.decode(line)
            except NOT_JSON as error:
                raise DataError(f"checker {name}: its line {number} is no judgement: {error}.") from None
            if judgement.id in judgements:
                raise DataError(f"checker {name}: judged {judgement.id!r} twice.")
            judgements[judgement.id] = judgement.right
    return judgements

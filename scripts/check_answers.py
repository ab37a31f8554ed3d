"""Says which responses are right, by mimo-eval's grading: a checker for `mimo-data synthesize`.

Reads JSON lines `{"id", "problem", "response"}`, a problem being a line of a problem file, and writes
`{"id", "right"}`: true, false, or null for a problem whose line says no answer. Programs run in mimo-sandbox.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import islice

import msgspec

from mimo_eval import Problem, grade
from mimo_sandbox import Sandbox

_AT_ONCE = 64


class Question(msgspec.Struct, frozen=True):
    id: str
    problem: dict[str, msgspec.Raw]
    response: str


class Judgement(msgspec.Struct, frozen=True):
    id: str
    right: bool | None


def read_problem(line: dict[str, msgspec.Raw]) -> Problem | None:
    """The problem in a line, which may have more keys, as a curated one has; None if nothing can judge an answer."""
    if "kind" not in line or not ("answer" in line or "tests" in line):
        return None
    known = {name: value for name, value in line.items() if name in Problem.__struct_fields__}
    return msgspec.json.decode(msgspec.json.encode(known), type=Problem)


async def judge_all(questions: Iterator[Question]) -> None:
    async with AsyncExitStack() as stack:
        sandbox: Sandbox | None = None

        async def judge(question: Question, problem: Problem | None) -> Judgement:
            right = (await grade(problem, question.response, sandbox)).correct if problem else None
            return Judgement(id=question.id, right=right)

        while batch := list(islice(questions, _AT_ONCE)):
            problems = [read_problem(question.problem) for question in batch]
            if sandbox is None and any(problem and problem.kind == "code" for problem in problems):
                sandbox = await stack.enter_async_context(Sandbox())
            for judgement in await asyncio.gather(*map(judge, batch, problems)):
                sys.stdout.buffer.write(msgspec.json.encode(judgement) + b"\n")


def main() -> None:
    decoder = msgspec.json.Decoder(Question)
    asyncio.run(judge_all(decoder.decode(line) for line in sys.stdin.buffer))


if __name__ == "__main__":
    main()

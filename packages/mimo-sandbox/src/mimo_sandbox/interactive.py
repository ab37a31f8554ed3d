"""Interactive problems: the submission talks with the caller's interactor, which decides.

Each runs on a worker of its own, so that the submission can see nothing of what the interactor knows; their words pass
through here. The interactor is called as testlib's are, with the files of input, output and answer, and ends with a
testlib exit code.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

from mimo_sandbox import checking, judging
from mimo_sandbox.languages import Program, source_bytes
from mimo_sandbox.verdict import Case, CaseResult, Limits, Status
from mimo_sandbox.worker import Interaction, Outcome, WorkerLostError

if TYPE_CHECKING:
    from mimo_sandbox.sandbox import Sandbox


async def interact(sandbox: Sandbox, program: Program, interactor: Program, case: Case, limits: Limits) -> CaseResult:
    """Lets the two talk until both have ended; what the submission did wrong comes before what was said.

    Raises:
        SandboxUnavailable: the judge failed twice.
    """
    from mimo_sandbox.sandbox import lost

    shown = Program(
        (*interactor.files, ("input", source_bytes(case.stdin or "")), ("answer", source_bytes(case.expected))),
        (*interactor.command, checking.INPUT, "output", checking.ANSWER),
    )
    # The interactor waits while the submission computes.
    patience = dataclasses.replace(checking.LIMITS, wall_s=limits.wall_s + checking.LIMITS.wall_s)
    reasons: list[str] = []
    while True:
        try:
            async with (
                sandbox.checkers.worker(()) as judge_worker,
                sandbox.programs.worker(program.modules) as worker,
            ):
                judge_side, side = judge_worker.interaction(shown, patience), worker.interaction(program, limits)
                async with asyncio.TaskGroup() as group:
                    said = group.create_task(_pass_on(judge_side, side))
                    done = group.create_task(_pass_on(side, judge_side))
                return _result(case, done.result(), said.result(), limits, program)
        except* WorkerLostError as errors:
            reasons.append(str(errors.exceptions[0]))
        if len(reasons) == 2:
            raise lost(reasons)


async def _pass_on(speaker: Interaction, listener: Interaction) -> Outcome:
    """Gives what one side prints to the other, and its silence too; returns how it ended."""
    try:
        async for words in speaker.words():
            await listener.tell(words)
    finally:
        await listener.tell(b"")
    return speaker.outcome()


def _result(case: Case, done: Outcome, said: Outcome, limits: Limits, program: Program) -> CaseResult:
    result = judging.result_of(case, done, limits, program, lambda: True)
    status, message = checking.decide(said)
    if result.status is Status.ACCEPTED or (result.status is Status.RUNTIME_ERROR and status is Status.WRONG_ANSWER):
        # A submission that is told it is wrong, and then finds nobody to talk with, may well crash.
        return dataclasses.replace(result, status=status, stderr_head=message or result.stderr_head)
    return result

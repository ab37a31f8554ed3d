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
from mimo_sandbox.worker import Interaction, Outcome, WorkerLostError, lost

if TYPE_CHECKING:
    from mimo_sandbox.sandbox import Sandbox


async def interact(sandbox: Sandbox, program: Program, interactor: Program, case: Case, limits: Limits) -> CaseResult:
    """Lets the two talk until both have ended; what the submission did wrong comes before what was said.

    Raises:
        SandboxUnavailable: the judge failed twice.
    """
    shown = Program(
        (*interactor.files, ("input", checking.given(case)), ("answer", source_bytes(case.expected))),
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
                ended: list[Interaction] = []
                async with asyncio.TaskGroup() as group:
                    group.create_task(_pass_on(judge_side, side, ended))
                    group.create_task(_pass_on(side, judge_side, ended))
                result = judging.result_of(case, side.outcome(), limits, program, lambda: True)
                return _decided(result, judge_side.outcome(), left_alone=ended[0] is judge_side)
        except* WorkerLostError as errors:
            reasons.append(str(errors.exceptions[0]))
        if len(reasons) == 2:
            raise lost(reasons)


async def _pass_on(speaker: Interaction, listener: Interaction, ended: list[Interaction]) -> None:
    """Gives what one side prints to the other, and its silence too; notes that it has ended."""
    try:
        async for words in speaker.words():
            await listener.tell(words)
        ended.append(speaker)
    finally:
        await listener.tell(b"")


def _decided(result: CaseResult, said: Outcome, *, left_alone: bool) -> CaseResult:
    """The submission's result with what the interactor decided.

    Args:
        left_alone: the interactor ended first. A submission that is told it is wrong, and then finds nobody to talk
            with, may well crash: that does not count.
    """
    status, message = checking.decide(said)
    is_excused = left_alone and result.status is Status.RUNTIME_ERROR and status is not Status.ACCEPTED
    if result.status is Status.ACCEPTED or is_excused:
        return dataclasses.replace(result, status=status, stderr_head=message or result.stderr_head)
    return result

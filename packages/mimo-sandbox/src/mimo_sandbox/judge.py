"""What a judge can be asked for, whether it is in this process (`Sandbox`) or elsewhere (`SandboxClient`)."""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator, Sequence

from mimo_sandbox.verdict import Case, CaseResult, Limits, Mode, Request, Stop, Submission, Verdict


class Judge(abc.ABC):
    """Runs submissions against cases."""

    @abc.abstractmethod
    async def judge_requests(self, requests: Sequence[Request]) -> list[Verdict]:
        """Judges requests with options of their own; a program meets each distinct input once in all of them.

        Raises:
            ValueError: a request cannot be judged as it is.
            SandboxUnavailable: the judge failed on one of them; this says nothing about the submissions.
        """

    @abc.abstractmethod
    def stream_request(self, request: Request) -> AsyncIterator[CaseResult]:
        """The results of one request in the order of its cases, each as soon as it and all before it are known.

        Raises:
            ValueError: the request cannot be judged as it is.
            SandboxUnavailable: the judge failed; the results so far are right.
        """

    async def judge(
        self,
        submission: Submission,
        cases: Sequence[Case],
        *,
        comparator: str = "tokens",
        stop: Stop = "all",
        checker: Submission | None = None,
        limits: Limits | None = None,
        mode: Mode = "fork",
    ) -> Verdict:
        """Runs a submission against its cases.

        Args:
            comparator: a name of `COMPARATORS`, if wanted with a version or tolerances (`tokens@1`, `float:1e-9`), or
                `interactive`.
            stop: `all` runs every case; `first-failure` skips what follows a failed one, `first-failure-per-group`
                what follows it in its group.
            checker: decides in place of the comparator, or talks with the program if that is `interactive`: a program
                called as testlib's are (input, output and answer files; exit code 0, 1 or 2), or a Python submission
                whose entry point gets input, output and expected output and returns a bool, or a bool and a message.
            limits: of each test; None: the judge's.
            mode: see `Mode`.

        Raises:
            ValueError: unknown language, comparator, stop policy or mode, or a case that does not fit the submission.
            SandboxUnavailable: the judge failed; this says nothing about the submission.
        """
        (verdict,) = await self.judge_many(
            [(submission, cases)], comparator=comparator, stop=stop, checker=checker, limits=limits, mode=mode
        )
        return verdict

    async def judge_many(
        self,
        jobs: Sequence[tuple[Submission, Sequence[Case]]],
        *,
        comparator: str = "tokens",
        stop: Stop = "all",
        checker: Submission | None = None,
        limits: Limits | None = None,
        mode: Mode = "fork",
    ) -> list[Verdict]:
        """As `judge`, for many submissions at once; a program meets each distinct input once, however often it occurs.

        Raises:
            ValueError: as `judge`.
            SandboxUnavailable: the judge failed on one of them.
        """
        return await self.judge_requests(
            [
                Request(
                    submission=submission,
                    cases=tuple(cases),
                    comparator=comparator,
                    stop=stop,
                    checker=checker,
                    limits=limits,
                    mode=mode,
                )
                for submission, cases in jobs
            ]
        )

    def stream(
        self,
        submission: Submission,
        cases: Sequence[Case],
        *,
        comparator: str = "tokens",
        stop: Stop = "all",
        checker: Submission | None = None,
        limits: Limits | None = None,
        mode: Mode = "fork",
    ) -> AsyncIterator[CaseResult]:
        """As `judge`, one result after the other, in the order of the cases.

        Raises:
            ValueError: as `judge`.
            SandboxUnavailable: the judge failed; the results so far are right.
        """
        return self.stream_request(
            Request(
                submission=submission,
                cases=tuple(cases),
                comparator=comparator,
                stop=stop,
                checker=checker,
                limits=limits,
                mode=mode,
            )
        )


async def judge(
    sandbox: Judge,
    submission: Submission,
    cases: Sequence[Case],
    *,
    comparator: str = "tokens",
    stop: Stop = "all",
    checker: Submission | None = None,
    limits: Limits | None = None,
    mode: Mode = "fork",
) -> Verdict:
    """As `sandbox.judge`, see `Judge.judge`."""
    return await sandbox.judge(
        submission, cases, comparator=comparator, stop=stop, checker=checker, limits=limits, mode=mode
    )


async def judge_many(
    sandbox: Judge,
    jobs: Sequence[tuple[Submission, Sequence[Case]]],
    *,
    comparator: str = "tokens",
    stop: Stop = "all",
    checker: Submission | None = None,
    limits: Limits | None = None,
    mode: Mode = "fork",
) -> list[Verdict]:
    """As `sandbox.judge_many`, see `Judge.judge_many`."""
    return await sandbox.judge_many(jobs, comparator=comparator, stop=stop, checker=checker, limits=limits, mode=mode)

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import pytest
from hypothesis import settings

from mimo_sandbox import Case, CaseResult, Limits, Sandbox, SandboxUnavailable, Submission, Verdict, judge

# No limit of time for one example: other work on the machine makes any time long.
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")

LIMITS = Limits(cpu_s=0.5, wall_s=3.0, memory_bytes=128 << 20, output_bytes=1 << 20, num_processes=16)


class Judge:
    """A sandbox that is open for a module's tests, and an event loop to judge in."""

    def __init__(self, sandbox: Sandbox, runner: asyncio.Runner) -> None:
        self.sandbox = sandbox
        self.run = runner.run

    def cases(self, submission: Submission, cases: Sequence[Case], **options: str) -> Verdict:
        return self.run(judge(self.sandbox, submission, cases, **options))

    def python(self, source: str, stdin: str = "", expected: str = "") -> CaseResult:
        case = Case(id="only", stdin=stdin, expected=expected)
        return self.cases(Submission("python", source), [case]).results[0]

    def skip_without_numpy(self, source: str) -> None:
        """Skips a test of a program with numpy where its interpreter has none: the local backend takes the host's."""
        if "numpy" in source and self.python("import numpy").exit_code:
            pytest.skip(f"the {self.sandbox.backend} backend's Python has no numpy")


@cache
def missing_engine() -> str:
    """Why no sandbox of the kind `docker` opens here; "" where one does."""

    async def open_one() -> None:
        async with Sandbox("docker", num_workers=1):
            pass

    try:
        asyncio.run(open_one())
    except SandboxUnavailable as error:
        return str(error)
    return ""


@pytest.fixture(autouse=True)
def engine(request: pytest.FixtureRequest) -> None:
    """A test of the Docker backend skips, saying what is missing, where no engine answers."""
    if request.node.get_closest_marker("docker") and (reason := missing_engine()):
        pytest.skip(reason)


@pytest.fixture(
    scope="module",
    params=["local", pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.slow])],
)
def judged(request: pytest.FixtureRequest) -> Iterator[Judge]:
    """Each isolated backend in turn; skips, saying what is missing, where the host has not got it."""
    with asyncio.Runner() as runner:
        sandbox = Sandbox(request.param, num_workers=2, limits=LIMITS)
        try:
            runner.run(sandbox.__aenter__())
        except SandboxUnavailable as error:
            pytest.skip(str(error))
        yield Judge(sandbox, runner)
        runner.run(sandbox.__aexit__(None, None, None))


@pytest.fixture
def one_result(judged: Judge) -> Callable[..., CaseResult]:
    """Runs a Python program on one case."""
    return judged.python

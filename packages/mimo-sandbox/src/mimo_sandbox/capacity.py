"""How many cores a load needs, from what tests cost on this host now."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from mimo_sandbox.sandbox import Sandbox
from mimo_sandbox.verdict import Case, Mode, SandboxUnavailable, Submission

_NUM_TESTS = 400
_PROGRAMS: dict[str, tuple[Submission, Mode]] = {
    "python, fork": (Submission("python", "print(sum(map(int, input().split())))"), "fork"),
    "python, exec": (Submission("python", "print(sum(map(int, input().split())))"), "exec"),
    "cpp": (
        Submission(
            "cpp", '#include <cstdio>\nint main() { int a, b; scanf("%d %d", &a, &b); printf("%d\\n", a + b); }'
        ),
        "fork",
    ),
}


@dataclass(frozen=True)
class Rate:
    """What one kind of program's tests cost, when the program itself does next to nothing."""

    name: str
    tests_per_core_s: float
    """Tests a second with every worker busy, for each core that this process may use."""

    def num_cores(self, num_tests: int, duration_s: float, program_cpu_s: float) -> float:
        """Cores that run this many tests in this time, when each uses `program_cpu_s` besides."""
        return num_tests * (1 / self.tests_per_core_s + program_cpu_s) / duration_s


async def measure(sandbox: Sandbox) -> list[Rate]:
    """Runs some hundred tests of each kind of program that this host can judge.

    Raises:
        SandboxUnavailable: the judge failed, or judged a right program wrongly.
    """
    rates = []
    cases = [Case(id=str(number), stdin=f"{number} 1", expected=str(number + 1)) for number in range(_NUM_TESTS)]
    for name, (submission, mode) in _PROGRAMS.items():
        try:
            sandbox.require_language(submission.language)
        except SandboxUnavailable:
            continue
        await sandbox.judge(submission, cases[: 4 * sandbox.num_workers], mode=mode)
        start_s = time.perf_counter()
        verdict = await sandbox.judge(submission, cases, mode=mode)
        wall_s = time.perf_counter() - start_s
        if not all(verdict.passed):
            raise SandboxUnavailable(f"the judge is wrong about a right program ({name}): {verdict.results[0]}")
        num_cores = min(len(os.sched_getaffinity(0)), sandbox.num_workers)
        rates.append(Rate(name, len(cases) / wall_s / num_cores))
    return rates

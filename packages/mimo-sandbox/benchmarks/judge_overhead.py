"""What a test costs: CPU and wall time of each backend beside a plain, unisolated subprocess.

Counts the CPU of everything: this process, the agents and the programs. One worker, one test at a time, so that wall
time is latency. Run it without arguments; backends that the host lacks are left out, with the reason.
"""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mimo_sandbox import Case, Sandbox, SandboxUnavailable, Submission, judge

NUM_CASES = 200
SOURCES = {
    "python": "print(sum(map(int, input().split())))",
    "cpp": '#include <cstdio>\nint main() { int a, b; scanf("%d %d", &a, &b); printf("%d\\n", a + b); }',
}
CASES = [Case(id=str(number), stdin=f"{number} 1\n", expected=str(number + 1)) for number in range(NUM_CASES)]


@dataclass(frozen=True)
class Measurement:
    """Per test, in milliseconds."""

    cpu_ms: float
    wall_ms: float


def main() -> None:
    """Prints the table."""
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    languages = [name for name in SOURCES if name == "python" or shutil.which("g++")]
    plain = {language: measure_subprocess(language, python) for language in languages}
    rows = [(language, "subprocess", plain[language]) for language in languages]
    for backend in ("local", "docker"):
        for language in languages:
            try:
                rows.append((language, backend, asyncio.run(measure_backend(language, backend))))
            except SandboxUnavailable as error:
                print(f"{backend}: left out: {error}\n")
                break
    version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, {version}, {NUM_CASES} tests each\n")
    print("| language | backend | CPU ms a test | wall ms a test | CPU against subprocess |")
    print("| --- | --- | --- | --- | --- |")
    for language, backend, found in sorted(rows, key=lambda row: languages.index(row[0])):
        ratio = found.cpu_ms / plain[language].cpu_ms
        print(f"| {language} | {backend} | {found.cpu_ms:.1f} | {found.wall_ms:.1f} | {ratio:.2f} |")


def measure_subprocess(language: str, python: str) -> Measurement:
    """The baseline: no isolation, no limits but a wall time."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / ("main.py" if language == "python" else "main.cpp")
        source.write_text(SOURCES[language])
        command = [python, "-I", "-B", "-X", "utf8", str(source)]
        if language == "cpp":
            command = [str(Path(folder) / "main")]
            subprocess.run(["g++", "-O2", "-o", command[0], str(source)], check=True)

        start_cpu, start = own_cpu_s(), time.perf_counter()
        for case in CASES:
            done = subprocess.run(command, input=case.stdin, capture_output=True, text=True, timeout=10, check=True)
            assert done.stdout.split() == case.expected.split()
        cpu_s, wall_s = own_cpu_s() - start_cpu, time.perf_counter() - start
    return Measurement(1000 * cpu_s / NUM_CASES, 1000 * wall_s / NUM_CASES)


async def measure_backend(language: str, backend: str) -> Measurement:
    """One open sandbox with one worker; starting it is not counted, compiling is not either."""
    before = set(agents())
    submission = Submission(language, SOURCES[language])
    async with Sandbox(backend, num_workers=1) as sandbox:
        verdict = await judge(sandbox, submission, CASES)
        assert all(verdict.passed), verdict
        mine = [agent for agent in agents() if agent not in before]
        alone = await timed(sandbox, submission, [], mine)
        whole = await timed(sandbox, submission, CASES, mine)
    return Measurement((whole.cpu_ms - alone.cpu_ms) / NUM_CASES, (whole.wall_ms - alone.wall_ms) / NUM_CASES)


async def timed(sandbox: Sandbox, submission: Submission, cases: list[Case], mine: list[int]) -> Measurement:
    """One call of `judge`, in all."""
    start_cpu, start = own_cpu_s() + agents_cpu_s(mine), time.perf_counter()
    await judge(sandbox, submission, cases)
    return Measurement(1000 * (own_cpu_s() + agents_cpu_s(mine) - start_cpu), 1000 * (time.perf_counter() - start))


def own_cpu_s() -> float:
    """CPU time of this process and of the children that it has waited for."""
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def agents() -> list[int]:
    """Process 1 of each sandbox, as this host numbers it."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                status = (folder / "status").read_text()
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
            if len(numbers) > 1 and numbers[-1] == "1" and b"mimo_sandbox.inside.agent" in command:
                found.append(int(folder.name))
    return found


def agents_cpu_s(mine: list[int]) -> float:
    """CPU time of the agents and of every program that they have buried."""
    ticks = 0
    for agent in mine:
        fields = (Path("/proc") / str(agent) / "stat").read_text().rsplit(")", 1)[1].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()

"""What a test costs: CPU and wall time of each way to run one, beside a plain, unisolated subprocess.

The program adds two numbers, so that what is measured is the judge. One test at a time, so that wall time is latency.
The CPU is that of everything: this process, agents, spawners, programs and the engine's processes. Rounds of all ways
take turns; the table has the median round. Ways that the host lacks are left out, with the reason.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mimo_sandbox import Case, Sandbox, SandboxUnavailable, Submission
from mimo_sandbox.engine import IMAGE
from mimo_sandbox.local import find_python

NUM_ROUNDS = 5
NUM_CASES = 200
NUM_CASES_OF_SLOW_WAYS = 10
SOURCES = {
    "python": "print(sum(map(int, input().split())))",
    "cpp": '#include <cstdio>\nint main() { int a, b; scanf("%d %d", &a, &b); printf("%d\\n", a + b); }',
}
CASES = [Case(id=str(number), stdin=f"{number} 1\n", expected=str(number + 1)) for number in range(NUM_CASES)]
ENGINE = ("dockerd", "containerd", "containerd-shim", "docker")

Way = Callable[[list[Case]], Awaitable[None]]
"""Runs and checks cases."""


@dataclass(frozen=True)
class Cost:
    """Per test, in milliseconds."""

    cpu_ms: float
    wall_ms: float


async def main() -> None:
    """Prints the table."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    version = subprocess.run([find_python()[0], "-V"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{platform.system()} {platform.release()}, {len(os.sched_getaffinity(0))} cores, {version};")
    print(f"{NUM_ROUNDS} rounds of {NUM_CASES} tests each ({NUM_CASES_OF_SLOW_WAYS} with docker exec and docker run)\n")
    async with contextlib.AsyncExitStack() as stack:
        ways = await all_ways(stack)
        costs: dict[tuple[str, str], list[Cost]] = {key: [] for key in ways}
        for way in ways.values():
            await way(CASES[:NUM_CASES_OF_SLOW_WAYS])
        for _ in range(NUM_ROUNDS):
            for key, way in ways.items():
                is_slow = "docker exec" in key[1] or "docker run" in key[1]
                cases = CASES[:NUM_CASES_OF_SLOW_WAYS] if is_slow else CASES
                costs[key].append(await cost(way, cases, with_engine="docker" in key[1]))
    print("| language | way | CPU ms a test | wall ms a test | subprocess's CPU is |")
    print("| --- | --- | --- | --- | --- |")
    for (language, name), found in costs.items():
        cpu_ms = statistics.median(one.cpu_ms for one in found)
        wall_ms = statistics.median(one.wall_ms for one in found)
        ratio = statistics.median(
            plain.cpu_ms / one.cpu_ms for plain, one in zip(costs[language, "subprocess"], found, strict=True)
        )
        print(f"| {language} | {name} | {cpu_ms:.2f} | {wall_ms:.2f} | {ratio:.2f} times that |")


async def all_ways(stack: contextlib.AsyncExitStack) -> dict[tuple[str, str], Way]:
    """What this host can do, by language and name."""
    ways: dict[tuple[str, str], Way] = {}
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    (folder / "main.py").write_text(SOURCES["python"])
    folder.chmod(0o755)
    commands = {"python": [find_python()[0], "-I", "-B", "-X", "utf8", str(folder / "main.py")]}
    if shutil.which("g++"):
        (folder / "main.cpp").write_text(SOURCES["cpp"])
        subprocess.run(["g++", "-O2", "-static", "-o", folder / "main", folder / "main.cpp"], check=True)
        commands["cpp"] = [str(folder / "main")]
    else:
        print("cpp: left out: no g++ here\n")
    for language, command in commands.items():
        ways[language, "subprocess"] = by_command(command)
    for backend in ("local", "docker"):
        try:
            sandbox = await stack.enter_async_context(Sandbox(backend, num_workers=1))
        except SandboxUnavailable as error:
            print(f"{backend}: left out: {error}\n")
            continue
        for language, mode in (("python", "exec"), ("python", "fork"), ("cpp", "exec")):
            if language in commands:
                name = f"{backend}, {mode}" if language == "python" else backend
                ways[language, name] = by_sandbox(sandbox, language, mode)
        if backend == "docker":
            shown = ["-v", f"{folder}:{folder}:ro", "--network", "none", "--log-driver", "none"]
            container = stack.enter_context(running_container(shown))
            for language, command in commands.items():
                inside = ["/usr/bin/python3", *command[1:]] if language == "python" else command
                ways[language, "docker exec a test"] = by_command(["docker", "exec", "-i", container, *inside])
                ways[language, "docker run a test"] = by_command(
                    ["docker", "run", "--rm", "-i", *shown, IMAGE, *inside]
                )
    return {key: ways[key] for key in sorted(ways, key=lambda key: list(commands).index(key[0]))}


@contextlib.contextmanager
def running_container(options: list[str]) -> Iterator[str]:
    """A container that does nothing, for `docker exec`."""
    started = ["docker", "run", "-d", "--rm", *options, IMAGE, "sleep", "infinity"]
    name = subprocess.run(started, capture_output=True, text=True, check=True).stdout.strip()
    try:
        yield name
    finally:
        subprocess.run(["docker", "rm", "-f", name], capture_output=True, check=True)


def by_command(command: list[str]) -> Way:
    """One `subprocess.run` a test."""

    async def run(cases: list[Case]) -> None:
        for case in cases:
            done = subprocess.run(command, input=case.stdin, capture_output=True, text=True, timeout=60, check=True)
            assert done.stdout.split() == case.expected.split()

    return run


def by_sandbox(sandbox: Sandbox, language: str, mode: str) -> Way:
    """One call of `judge` for all tests."""

    async def run(cases: list[Case]) -> None:
        verdict = await sandbox.judge(Submission(language, SOURCES[language]), cases, mode=mode)
        assert all(verdict.passed), verdict
        assert {result.mode for result in verdict.results} == {mode}, verdict

    return run


async def cost(way: Way, cases: list[Case], *, with_engine: bool) -> Cost:
    """What it takes on average; compiling Python is in it, compiling C++ is kept from before."""
    start_cpu_s, start_s = everything_cpu_s(with_engine), time.perf_counter()
    await way(cases)
    wall_s, cpu_s = time.perf_counter() - start_s, everything_cpu_s(with_engine) - start_cpu_s
    return Cost(1000 * cpu_s / len(cases), 1000 * wall_s / len(cases))


def everything_cpu_s(with_engine: bool) -> float:
    """CPU time of this process, of all below it and, if wanted, of the engine; the waited-for dead included.

    The process that watches a container is lost with it, so `docker run` is flattered.
    """
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    ticks = 0
    for process in below({os.getpid()} | (engine_processes() if with_engine else set())) - {os.getpid()}:
        with contextlib.suppress(OSError):
            fields = (Path("/proc") / str(process) / "stat").read_text().rsplit(")", 1)[1].split()
            ticks += sum(map(int, fields[11:15]))
    return sum(usage.ru_utime + usage.ru_stime for usage in own) + ticks / os.sysconf("SC_CLK_TCK")


def engine_processes() -> set[int]:
    """Processes of the Docker engine."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if (folder / "comm").read_text().strip() in ENGINE:
                    found.add(int(folder.name))
    return found


def below(roots: set[int]) -> set[int]:
    """These processes and their descendants."""
    found, waiting = set(), list(roots)
    while waiting:
        process = waiting.pop()
        if process in found:
            continue
        found.add(process)
        for children in (Path("/proc") / str(process) / "task").glob("*/children"):
            with contextlib.suppress(OSError):
                waiting += map(int, children.read_text().split())
    return found


if __name__ == "__main__":
    asyncio.run(main())

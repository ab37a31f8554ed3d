"""What the judge says a program used is what it used, and a limit is met by those who use it up and by nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mimo_sandbox import (
    Case,
    CaseResult,
    Limits,
    Sandbox,
    SandboxUnavailable,
    Status,
    Submission,
    cgroups,
    judge,
    judge_many,
)

if TYPE_CHECKING:
    from conftest import Judge

ONE = [Case(id="1", stdin="", expected="")]
MIB = 1 << 20
WIDE = Limits(cpu_s=10.0, wall_s=100.0, memory_bytes=512 * MIB, output_bytes=2 * MIB, num_processes=32)

CPU_SHARE, CPU_S = 0.05, 0.005
MEMORY_SHARE, MEMORY_BYTES = 0.05, 4 * MIB
"""How far a measurement may be off: whichever is more of the share and the absolute."""

SPIN = "import time\nwhile time.process_time() < {}: pass\n"

# Each of these uses 0.3 s of CPU time, and says itself what it has used, by the kernel's clock of each process.
TELL = """
import resource
print(sum(sum(resource.getrusage(whose)[:2]) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""
THREADS = """
import threading, time

def spin():
    while time.process_time() < 0.3:
        pass

threads = [threading.Thread(target=spin) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
ORPHAN = """
import os, time
end, told = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        while time.process_time() < 0.3: pass
        os.write(told, str(time.process_time()).encode())
    os._exit(0)
os.wait()
print(float(os.read(end, 100)) + time.process_time())
"""
MANY_CHILDREN = """
import os, time
for _ in range(60):
    if os.fork() == 0:
        while time.process_time() < 0.005: pass
        os._exit(0)
    os.wait()
"""
TELL_IN_C = """
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static double used(int whose) {
    struct rusage usage;
    getrusage(whose, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}
static void spin(double seconds) { while (clock() < seconds * CLOCKS_PER_SEC); }
static void work(void) { WORK }
int main() { work(); printf("%f", used(RUSAGE_SELF) + used(RUSAGE_CHILDREN)); }
"""
SPIN_IN_C = TELL_IN_C.replace("WORK", "spin(0.3);")
CHILDREN_IN_C = TELL_IN_C.replace(
    "WORK", "for (int n = 0; n < 100; n++) { if (fork() == 0) { spin(0.003); _exit(0); } wait(0); }"
)

TOUCH = "data = bytearray({} << 20)\nfor at in range(0, len(data), 4096): data[at] = 1\n"
TOUCH_IN_C = """
#include <stdlib.h>
int main() {{
    size_t size = {}ul << 20;
    volatile char *data = malloc(size);
    for (size_t at = 0; at < size; at += 4096) data[at] = 1;
}}
"""
TOUCH_IN_CHILDREN = f"""
import os
ready, go = os.pipe(), os.pipe()
for _ in range(4):
    if os.fork() == 0:
        {TOUCH.format(20).replace(chr(10), chr(10) + "        ")}
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
for _ in range(4): os.read(ready[0], 1)
os.write(go[1], b"xxxx")
for _ in range(4): os.wait()
"""
SHARING = """
import os, time
data = b"x" * (60 << 20)
for _ in range(6):
    if os.fork() == 0:
        time.sleep(0.3)
        os._exit(0)
for _ in range(6): os.wait()
"""
TOUCH_SHARED = """
import mmap, os
data = mmap.mmap(-1, 60 << 20)
for _ in range(3):
    if os.fork() == 0:
        for at in range(0, len(data), 4096): data[at] = 1
        os._exit(0)
for _ in range(3): os.wait()
"""
TOUCH_FILES = """
for number in range(10):
    with open(f"/tmp/{number}", "wb") as file:
        for _ in range(5 * 16): file.write(bytes(1 << 16))
"""


def one(judged: Judge | Bare, program: Submission, **options: object) -> CaseResult:
    """The only result of a program under wide limits."""
    return judged.run(judge(judged.sandbox, program, ONE, **{"limits": WIDE, **options})).results[0]


def exact(result: CaseResult) -> CaseResult:
    """The result, if it was measured by control groups; skips otherwise."""
    if result.measured_by != "cgroup":
        pytest.skip("needs control groups whose peak can be reset: version 1, or version 2 from Linux 6.12 on")
    return result


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """This thread, and all that it starts, has only one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


# CPU time


@pytest.mark.parametrize(
    ("language", "source", "mode"),
    [
        ("python", SPIN.format(0.3) + TELL, "fork"),
        ("python", SPIN.format(0.3) + TELL, "exec"),
        ("python", THREADS + TELL, "fork"),
        ("python", THREADS + TELL, "exec"),
        ("python", ORPHAN, "fork"),
        ("python", ORPHAN, "exec"),
        ("python", MANY_CHILDREN + TELL, "fork"),
        ("c", SPIN_IN_C, "fork"),
        ("c", CHILDREN_IN_C, "fork"),
    ],
    ids=[
        *("fork", "exec", "threads, fork", "threads, exec", "orphan, fork", "orphan, exec", "children"),
        *("C", "children in C"),
    ],
)
def test_cpu_time_is_that_of_all_threads_and_processes(judged, language, source, mode):
    # On a host that is busy, the end of a program, of which it cannot tell, may cost some milliseconds; not each time.
    differences = []
    for _ in range(3):
        result = exact(one(judged, Submission(language, source), mode=mode))
        told_s = float(result.stdout_head)
        assert told_s >= 0.299
        differences.append((result.cpu_s - told_s) / max(CPU_SHARE * told_s, CPU_S))
        if abs(differences[-1]) < 1:
            return
    pytest.fail(f"differences, as shares of what may be: {differences}")


def test_a_program_just_below_its_cpu_limit_passes_and_one_just_above_does_not(judged):
    limits = Limits(cpu_s=0.4, wall_s=100.0)

    below = one(judged, Submission("python", SPIN.format(0.36)), limits=limits)
    above = one(judged, Submission("python", SPIN.format(0.44)), limits=limits)

    assert (below.status, above.status) == (Status.ACCEPTED, Status.TIME_LIMIT)


def test_nobody_meets_a_time_limit_because_others_work_too(judged):
    # Four times as many workers as cores.
    async def crowded(num_workers: int) -> Counter[str]:
        limits = Limits(cpu_s=1.0, wall_s=10.0)
        async with Sandbox(judged.sandbox.backend, num_workers=num_workers, limits=limits) as sandbox:
            jobs = [(Submission("python", f"{SPIN.format(0.8)}# {number}"), ONE) for number in range(num_workers)]
            return Counter(verdict.results[0].status for verdict in await judge_many(sandbox, jobs))

    if judged.sandbox.backend == "local":
        with one_core():
            found = judged.run(crowded(4))
    else:
        found = judged.run(crowded(4 * len(os.sched_getaffinity(0))))

    assert set(found) == {Status.ACCEPTED}


@pytest.mark.parametrize("num_bytes", [65_535, 65_536, 65_537, 262_144, 1_000_000])
def test_output_of_any_size_costs_no_time_limit(judged, num_bytes):
    limits = Limits(cpu_s=1.0, wall_s=10.0, output_bytes=1 << 20)
    writers = [
        ("python", f"import sys\nsys.stdout.write('x' * {num_bytes})"),
        ("python", f"import os\nfor n in range(0, {num_bytes}, 1000): os.write(1, b'x' * min(1000, {num_bytes} - n))"),
        ("python", f"import os\nif os.fork() == 0:\n    print('x' * {num_bytes})\nelse:\n    os.wait()"),
        ("c", f"#include <stdio.h>\nint main() {{ for (int n = 0; n < {num_bytes}; n++) putchar('x'); }}"),
    ]
    case = [Case(id="1", stdin="", expected="x" * num_bytes)]

    verdicts = judged.run(judge_many(judged.sandbox, [(Submission(*each), case) for each in writers], limits=limits))

    assert [verdict.results[0].status for verdict in verdicts] == [Status.ACCEPTED] * 4


# Time on the clock


def test_waiting_for_a_core_is_not_idleness_and_sleeping_is():
    # Eight programs on one core, each with a quarter of the time on the clock that this takes them.
    spin, children = SPIN.format(0.25), MANY_CHILDREN.replace("range(60)", "range(50)")
    sources = [*(f"{spin}# {n}" for n in range(4)), *(f"{children}# {n}" for n in range(4))]
    sources += [f"import time\ntime.sleep(600)  # {n}" for n in range(2)]

    async def crowded() -> list[Status]:
        async with Sandbox("local", num_workers=len(sources), limits=Limits(cpu_s=2.0, wall_s=0.7)) as sandbox:
            verdicts = await judge_many(sandbox, [(Submission("python", source), ONE) for source in sources])
        return [verdict.results[0].status for verdict in verdicts]

    try:
        with one_core():
            found = asyncio.run(crowded())
    except SandboxUnavailable as error:
        pytest.skip(str(error))

    assert found == [Status.ACCEPTED] * 8 + [Status.IDLENESS_LIMIT] * 2


def test_sleeping_beside_a_spinning_thread_of_others_is_still_idleness(judged):
    with one_core(), subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"]) as spinner:
        try:
            result = one(judged, Submission("python", "import time\ntime.sleep(600)"), limits=Limits(wall_s=0.5))
        finally:
            spinner.kill()

    assert result.status is Status.IDLENESS_LIMIT
    assert result.wall_s >= 0.5


# Memory


@pytest.mark.parametrize(
    ("language", "source", "mode", "touched"),
    [
        ("python", TOUCH.format(100), "fork", 100 * MIB),
        ("python", TOUCH.format(100), "exec", 100 * MIB),
        ("c", TOUCH_IN_C.format(10), "fork", 10 * MIB),
        ("c", TOUCH_IN_C.format(200), "fork", 200 * MIB),
        ("python", TOUCH_IN_CHILDREN, "fork", 80 * MIB),
        ("python", TOUCH_SHARED, "exec", 60 * MIB),
        ("python", TOUCH_FILES, "fork", 50 * MIB),
    ],
    ids=["fork", "exec", "C, 10 MiB", "C, 200 MiB", "children together", "shared mapping", "files in /tmp"],
)
def test_memory_is_that_of_all_processes_and_files(judged, language, source, mode, touched):
    empty = {"python": "pass", "c": "int main() {}"}[language]
    nothing, result = (exact(one(judged, Submission(language, text), mode=mode)) for text in (empty, source))

    assert result.status is Status.ACCEPTED
    # An interpreter that starts is some megabytes; and each process has page tables.
    assert abs(result.memory_bytes - nothing.memory_bytes - touched) < max(MEMORY_SHARE * touched, MEMORY_BYTES)


def test_memory_of_one_test_is_not_counted_in_the_next(judged):
    for source, touched in [(TOUCH_FILES, 50), (TOUCH.format(100), 100), ("pass", 0), (TOUCH_FILES, 50), ("pass", 0)]:
        result = exact(one(judged, Submission("python", source)))
        assert abs(result.memory_bytes - touched * MIB) < max(MEMORY_SHARE * touched * MIB, MEMORY_BYTES), source


def test_files_of_the_system_that_are_read_for_the_first_time_are_no_memory_of_the_program(judged):
    if judged.sandbox.backend != "local":
        pytest.skip("needs files that this process can read, too")
    file = max(Path("/usr/lib").rglob("*.so*"), key=lambda path: path.stat().st_size if path.exists() else 0)
    assert file.stat().st_size > 8 * MIB
    reader = f"file = open({str(file)!r}, 'rb', 0)\nwhile file.read(65536): pass"

    for _ in range(3):
        with file.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert exact(one(judged, Submission("python", reader))).memory_bytes < MEMORY_BYTES
        # Nor does the next program gain by them: they are in its worker's group still.
        for limit, status in ((64, Status.ACCEPTED), (32, Status.MEMORY_LIMIT), (300, Status.ACCEPTED)):
            result = one(judged, Submission("python", TOUCH.format(50)), limits=Limits(memory_bytes=limit * MIB))
            assert result.status is status
            assert abs(result.memory_bytes - min(50, limit) * MIB) < MEMORY_BYTES


def test_limits_of_a_request_hold_for_it_alone(judged):
    touch = Submission("python", TOUCH.format(100))
    threads = Submission(
        "python", "import os\nfor _ in range(12):\n    if os.fork() == 0: __import__('time').sleep(600)"
    )
    printer = Submission("python", "print('x' * 100_000)")
    memory = [Limits(memory_bytes=size * MIB, wall_s=100.0) for size in (300, 50, 200, 90, 512)]
    processes = [Limits(num_processes=number, wall_s=100.0) for number in (32, 4, 16)]
    output = [Limits(output_bytes=number, wall_s=100.0) for number in (1_000_000, 1_000, 200_000)]

    for _ in range(2):
        for program, kinds, wanted in (
            (touch, memory, ["accepted", "memory limit", "accepted", "memory limit", "accepted"]),
            (threads, processes, ["accepted", "runtime error", "accepted"]),
            (printer, output, ["wrong answer", "output limit", "wrong answer"]),
        ):
            assert [one(judged, program, limits=limits).status for limits in kinds] == wanted


# Without control groups


@dataclass(frozen=True)
class Bare:
    """A sandbox on a host that has no control groups to give, and an event loop to judge in."""

    sandbox: Sandbox
    run: Callable[..., Any]


@pytest.fixture(scope="module")
def bare() -> Iterator[Bare]:
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as runner:
        patch.setattr(cgroups, "create", lambda: ({}, "none"))
        sandbox = Sandbox("local", num_workers=2, limits=WIDE)
        try:
            runner.run(sandbox.__aenter__())
        except SandboxUnavailable as error:
            pytest.skip(str(error))
        yield Bare(sandbox, runner.run)
        runner.run(sandbox.__aexit__(None, None, None))


@pytest.mark.parametrize(
    ("program", "limits", "status"),
    [
        (("python", "pass"), {}, "accepted"),
        (("python", "print(1)"), {}, "wrong answer"),
        (("python", SPIN.format(60)), {"cpu_s": 0.3}, "time limit"),
        (("python", ORPHAN.replace("0.3", "60").replace("os.wait()", "time.sleep(600)")), {"cpu_s": 0.3}, "time limit"),
        (("python", "import time\ntime.sleep(600)"), {"wall_s": 0.3}, "idleness limit"),
        (("python", TOUCH.format(200)), {"memory_bytes": 100 * MIB}, "memory limit"),
        (("python", TOUCH.format(100)), {"memory_bytes": 200 * MIB}, "accepted"),
        (("c", TOUCH_IN_C.format(100)), {"memory_bytes": 200 * MIB}, "accepted"),
        (("python", SHARING), {"memory_bytes": 128 * MIB}, "accepted"),
        (("python", "print('x' * 10_000)"), {"output_bytes": 1_000}, "output limit"),
        (("python", "import os\nfor _ in range(40): os.fork()"), {"num_processes": 8}, "runtime error"),
        (("python", "import os\nos.abort()"), {}, "runtime error"),
    ],
)
def test_without_control_groups_ordinary_limits_give_the_same_verdict(judged, bare, program, limits, status):
    wanted = Limits(**{"cpu_s": 10.0, "wall_s": 100.0, "num_processes": 32, **limits})
    found = [one(each, Submission(*program), limits=wanted) for each in (judged, bare)]

    assert [result.status for result in found] == [status] * 2
    assert found[1].measured_by == "rusage"


@pytest.mark.parametrize("name", ["RLIMIT_NPROC", "RLIMIT_DATA"])
def test_without_control_groups_a_native_program_cannot_raise_its_limits(bare, name):
    source = f"""
    #include <stdio.h>
    #include <sys/resource.h>
    #include <time.h>
    int main() {{
        struct rlimit limit;
        while (clock() < 0.3 * CLOCKS_PER_SEC);
        getrlimit({name}, &limit);
        printf("%d\\n", limit.rlim_cur == limit.rlim_max && limit.rlim_max < (1ul << 35));
    }}
    """
    program = Submission("c", source)

    verdict = bare.run(judge(bare.sandbox, program, [Case(id="1", stdin="", expected="1")], limits=WIDE))

    assert verdict.passed == (True,)


@pytest.mark.docker
@pytest.mark.slow
def test_without_control_groups_a_container_has_room_for_the_sandboxs_limits_and_says_so(monkeypatch):
    monkeypatch.setattr(cgroups, "create", lambda: ({}, "none"))

    found: list[Status] = []

    async def judge_all() -> None:
        async with Sandbox("docker", num_workers=1, limits=WIDE) as sandbox:
            for touched, limit in ((100, 128), (200, 128), (900, 1024), (1500, 2048)):
                program = Submission("python", TOUCH.format(touched))
                verdict = await judge(sandbox, program, ONE, limits=Limits(memory_bytes=limit * MIB))
                found.append(verdict.results[0].status)

    with pytest.raises(SandboxUnavailable, match="room for 1,073,741,824 bytes"):
        asyncio.run(judge_all())
    assert found == [Status.ACCEPTED, Status.MEMORY_LIMIT, Status.ACCEPTED]


def test_without_control_groups_cpu_time_and_memory_are_those_of_ordinary_programs(bare):
    spin = one(bare, Submission("python", SPIN.format(0.3)))
    touch = one(bare, Submission("c", TOUCH_IN_C.format(100)))

    assert 0.3 - CPU_S < spin.cpu_s < 0.3 + CPU_SHARE * 0.3
    assert abs(touch.memory_bytes - 100 * MIB) < MEMORY_SHARE * 100 * MIB

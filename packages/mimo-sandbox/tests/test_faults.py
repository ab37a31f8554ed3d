"""What breaks around the judge: a test is then run again or the judge says that it failed, and nothing is left behind.

Faults are real: processes and containers are killed, disks are full, files are damaged.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mimo_sandbox import (
    Case,
    Limits,
    Sandbox,
    SandboxUnavailable,
    Status,
    Submission,
    cgroups,
    engine,
    judge,
    judge_many,
)

if TYPE_CHECKING:
    from conftest import Judge

DEADLINE_S = 60.0
ADD = Submission("python", "a, b = map(int, input().split())\nprint(a + b)")
ADD_CASES = [Case(id=str(number), stdin=f"{number} 1", expected=str(number + 1)) for number in range(6)]
ADD_IN_C = '#include <stdio.h>\nint main() { int a, b; scanf("%d %d", &a, &b); printf("%d", a + b); }\n'
SLEEPER = Submission("python", "import time\ntime.sleep(600)")
ONE = [Case(id="1", stdin="", expected="")]
PATIENT = Limits(cpu_s=60.0, wall_s=600.0)

DAEMON = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
print(3)
"""

HOST = """
import asyncio, sys
from mimo_sandbox import Case, Limits, Sandbox, Submission, judge_many

async def main():
    limits = Limits(cpu_s=60.0, wall_s=600.0)
    async with Sandbox(sys.argv[1], num_workers=2, limits=limits) as sandbox:
        print("open", flush=True)
        programs = [Submission("python", source) for source in sys.argv[2:]]
        await judge_many(sandbox, [(program, [Case(id="1", stdin="", expected="")]) for program in programs])

asyncio.run(main())
"""


def until(is_so: Callable[[], object]) -> None:
    """Asks again and again, for a minute."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, "not within a minute"
        time.sleep(0.005)


async def soon(is_so: Callable[[], object]) -> None:
    """As `until`, while the judge goes on."""
    async with asyncio.timeout(DEADLINE_S):
        while not is_so():
            await asyncio.sleep(0.002)


def children() -> dict[int, set[int]]:
    """The processes of this host by their parent."""
    found: dict[int, set[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                found.setdefault(int(fields[1]), set()).add(int(entry.name))
    return found


def family(process: int) -> set[int]:
    """All that a process has started, and what those have."""
    by_parent, found, pending = children(), set(), [process]
    while pending:
        pending += (born := by_parent.get(pending.pop(), set()) - found)
        found |= born
    return found


def is_alive(process: int) -> bool:
    """Whether it is there and no zombie, which only waits for its parent to look."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def none_lives(processes: set[int]) -> bool:
    return not any(map(is_alive, processes))


def command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def is_first(process: int) -> bool:
    """Whether it is process 1 of its own."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return False
    return any(line.startswith("NSpid:") and line.split()[-1] == "1" for line in lines)


def containers(host: int) -> list[str]:
    """Ids of the containers that belong to a process."""
    found = engine.connect().api.containers(all=True, filters={"label": engine.LABEL})
    return [each["Id"] for each in found if each["Labels"][engine.LABEL].split("-")[-2:-1] == [str(host)]]


class Workers:
    """The processes of the workers that a process on this host has."""

    def __init__(self, backend: str, host: int | None = None) -> None:
        self._backend = backend
        self._host = os.getpid() if host is None else host

    def spawners(self) -> list[int]:
        if self._backend == "docker":
            api, found = engine.connect().api, []
            for container in containers(self._host):
                with contextlib.suppress(Exception):  # it may be on its way out
                    found.append(int(api.inspect_container(container)["State"]["Pid"]))
            return sorted(process for process in found if process)
        return sorted(process for process in children().get(self._host, ()) if b"_payload" in command(process))

    def agent(self, spawner: int) -> int | None:
        return next((process for process in children().get(spawner, ()) if is_first(process)), None)

    def agents(self) -> list[int]:
        return [agent for spawner in self.spawners() if (agent := self.agent(spawner)) is not None]

    def programs(self, spawner: int) -> set[int]:
        """What the spawner has started and what those have."""
        agent = self.agent(spawner)
        return family(spawner) - {agent} - (set() if agent is None else family(agent))

    def num_running(self) -> int:
        return sum(bool(self.programs(spawner)) for spawner in self.spawners())

    def everything(self) -> set[int]:
        found = set(self.spawners())
        return found.union(*(family(spawner) for spawner in found))


def kill(process: int | None) -> None:
    if process is not None and process > 1:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def kill_worker(workers: Workers, what: str, spawner: int) -> None:
    """Ends the agent, the spawner, or both."""
    agent = workers.agent(spawner)
    if what in ("agent", "both"):
        kill(agent)
    if what in ("spawner", "both"):
        kill(spawner)


def groups(host: int) -> list[Path]:
    """Control groups that a process has made."""
    found: list[Path] = []
    for mount, _ in set(cgroups._mounts().values()):
        for folder, names, _ in os.walk(mount):
            found += [Path(folder, name) for name in names if name.startswith("mimo-sandbox-") and f"-{host}-" in name]
    return found


def num_files(process: int | str) -> int:
    return sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())


def resident_bytes(process: int | str) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()


def mounts(process: int | str) -> int:
    return len(Path(f"/proc/{process}/mountinfo").read_text().splitlines())


@pytest.fixture
def workers(judged: Judge) -> Workers:
    """Their processes; skips where this user cannot see or kill them."""
    found = Workers(judged.sandbox.backend)
    if judged.sandbox.backend == "docker" and os.geteuid() != 0:
        pytest.skip("needs root, to kill processes in containers")
    return found


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system with no room left; needs root, to mount one."""
    folder = tmp_path / "full"
    folder.mkdir()
    libc = ctypes.CDLL(None)
    if libc.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, b"size=64k,mode=0777") != 0:
        pytest.skip("needs the right to mount a small file system")
    try:
        (folder / "filler").write_bytes(bytes(64 << 10))
        yield folder
    finally:
        assert libc.umount2(bytes(folder), 2) == 0


@contextlib.contextmanager
def host(backend: str, *sources: str, command: list[str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that judges these programs in two workers."""
    with subprocess.Popen(
        command or [sys.executable, "-c", HOST, backend, *sources],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


# Workers that are lost


@pytest.mark.parametrize("what", ["agent", "spawner", "both"])
def test_a_worker_killed_while_idle_is_replaced(judged, workers, what):
    for spawner in workers.spawners():
        kill_worker(workers, what, spawner)

    verdicts = judged.run(judge_many(judged.sandbox, [(ADD, ADD_CASES), (Submission("c", ADD_IN_C), ADD_CASES)]))

    assert all(all(verdict.passed) for verdict in verdicts)


@pytest.mark.parametrize("what", ["agent", "spawner", "both"])
def test_a_worker_killed_in_the_middle_of_a_test_is_replaced_and_the_test_run_again(judged, workers, what):
    async def judging() -> tuple[bool, ...]:
        wait = Submission("python", "import time\ntime.sleep(0.3)\nprint(3)")
        task = asyncio.create_task(judge(judged.sandbox, wait, [Case(id="1", stdin="", expected="3")], limits=PATIENT))
        await soon(workers.num_running)
        for spawner in workers.spawners():
            if workers.programs(spawner):
                kill_worker(workers, what, spawner)
        return (await task).passed

    assert judged.run(judging()) == (True,)


@pytest.mark.parametrize("what", ["agent", "spawner", "both"])
def test_a_worker_killed_while_it_compiles_is_no_compile_error(judged, workers, what):
    # Never seen before, so not in the cache; slow enough to be met.
    source = (
        ADD_IN_C + f"// {os.urandom(8).hex()}\n" + "".join(f"int f{n}(int x) {{ return x; }}\n" for n in range(2_000))
    )

    async def judging() -> tuple[bool, ...]:
        task = asyncio.create_task(judge(judged.sandbox, Submission("c", source), ADD_CASES[:1], limits=PATIENT))
        await soon(workers.num_running)
        for spawner in workers.spawners():
            if workers.programs(spawner):
                kill_worker(workers, what, spawner)
        return (await task).passed

    assert judged.run(judging()) == (True,)


def test_a_worker_killed_at_any_moment_loses_no_result_and_doubles_none(judged, workers):
    programs = [ADD, Submission("python", ADD.source + "\nimport sys"), Submission("c", ADD_IN_C)]
    chance = random.Random(17)

    async def streamed(program: Submission) -> list[tuple[str, Status]]:
        results = judged.sandbox.stream(program, ADD_CASES, limits=PATIENT)
        return [(result.case_id, result.status) async for result in results]

    async def round_of_faults() -> None:
        tasks = [asyncio.create_task(streamed(program)) for program in programs]
        await asyncio.sleep(chance.uniform(0.0, 0.1))
        agent = None
        if spawners := workers.spawners():
            agent = workers.agent(victim := chance.choice(spawners))
            kill_worker(workers, chance.choice(["agent", "spawner", "both"]), victim)
        for task in tasks:
            assert await task == [(case.id, Status.ACCEPTED) for case in ADD_CASES]
        # Or the next round could lose two workers over one test: one that was found dead, and one that is killed.
        kill(agent)
        await soon(lambda: agent is None or not is_alive(agent))

    for _ in range(12):
        judged.run(round_of_faults())


def test_a_worker_killed_between_two_results_delivers_the_others_once(judged, workers):
    slow = Submission("python", "import time\ntime.sleep(0.1)\n" + ADD.source)

    async def streamed() -> Counter[str]:
        found: Counter[str] = Counter()
        async for result in judged.sandbox.stream(slow, ADD_CASES, limits=PATIENT):
            assert result.status is Status.ACCEPTED
            found[result.case_id] += 1
            if result.case_id == "1":
                kill_worker(workers, "agent", workers.spawners()[0])
        return found

    assert judged.run(streamed()) == {case.id: 1 for case in ADD_CASES}


@pytest.mark.parametrize("what", ["agent", "spawner"])
def test_a_test_that_loses_two_workers_has_no_verdict(judged, workers, what):
    async def judging() -> None:
        task = asyncio.create_task(judge(judged.sandbox, SLEEPER, ONE, limits=PATIENT))
        while not task.done():
            for spawner in workers.spawners():
                # A worker that starts has no agent yet, and what looks like a program is one.
                if workers.agent(spawner) is not None and workers.programs(spawner):
                    kill_worker(workers, what, spawner)
            await asyncio.sleep(0.01)
        with pytest.raises(SandboxUnavailable, match="failed twice over one program"):
            await task

    judged.run(judging())

    assert all(judged.cases(ADD, ADD_CASES).passed)


def test_a_worker_killed_while_it_starts_is_started_again(judged, workers):
    # Programs that import numpy get workers that have it loaded.
    numeric = Submission("python", f"if False:\n    import numpy\n{ADD.source}")

    async def judging() -> tuple[bool, ...]:
        before = set(workers.spawners())
        task = asyncio.create_task(judge(judged.sandbox, numeric, ADD_CASES[:1]))
        await soon(lambda: set(workers.spawners()) - before)
        kill(min(set(workers.spawners()) - before))
        return (await task).passed

    assert judged.run(judging()) == (True,)


def test_an_agent_that_stops_answering_is_lost_and_leaves_nothing(judged, workers, monkeypatch):
    monkeypatch.setattr("mimo_sandbox.worker._GRACE_S", 2.0)
    monkeypatch.setattr("mimo_sandbox.local._END_S", 0.2)

    async def judging() -> tuple[bool, ...]:
        agents = workers.agents()
        for agent in agents:
            os.kill(agent, signal.SIGSTOP)
        task = asyncio.create_task(judge(judged.sandbox, ADD, ADD_CASES[:1], limits=Limits(wall_s=1.0)))
        await soon(lambda: not all(map(is_alive, agents)))
        for agent in agents:
            with contextlib.suppress(ProcessLookupError):
                os.kill(agent, signal.SIGCONT)
        return (await task).passed

    assert judged.run(judging()) == (True,)


HOG = """
import asyncio, sys
from mimo_sandbox import Case, Sandbox, Submission, judge

for folder in sys.argv[1:]:
    open(folder + "/cgroup.procs", "w").write("0")

async def main():
    async with Sandbox("local", num_workers=1) as sandbox:
        for size in (50, 400):
            hog = Submission("python", f"x = bytearray({size} << 20)\\nfor i in range(0, len(x), 4096): x[i] = 1")
            print((await judge(sandbox, hog, [Case(id="1", stdin="", expected="")])).results[0].status, flush=True)

asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0 or cgroups.version() != 1, reason="needs root and control groups of version 1")
def test_a_host_without_memory_is_no_memory_limit():
    # The host: a control group of 200 MB around all of the sandbox, whose tests may use 512 MB.
    folders, reason = cgroups.create()
    if not folders:
        pytest.skip(reason)
    try:
        Path(folders["memory"], "memory.limit_in_bytes").write_text(str(200 << 20))
        judging = [sys.executable, "-c", HOG, *folders.values()]
        ran = subprocess.run(judging, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    finally:
        cgroups.remove(folders)

    assert ran.stdout == "accepted\n", ran.stderr
    assert "the host ran out of memory" in ran.stderr


# Callers that are lost


def test_callers_that_give_up_at_any_moment_leave_all_workers(judged, workers):
    programs = [ADD, Submission("python", "while True: pass"), SLEEPER, Submission("python", DAEMON)]
    chance = random.Random(23)

    async def give_up() -> None:
        jobs = [(program, ADD_CASES) for program in chance.sample(programs, 2)]
        task = asyncio.create_task(judge_many(judged.sandbox, jobs, limits=PATIENT))
        await asyncio.sleep(chance.choice([0.0, chance.uniform(0.0, 0.02), chance.uniform(0.0, 0.2)]))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def all_workers_work() -> None:
        sleepers = [
            (Submission("python", f"{SLEEPER.source}  # {number}"), ONE) for number in range(judged.sandbox.num_workers)
        ]
        task = asyncio.create_task(judge_many(judged.sandbox, sleepers, limits=PATIENT))
        await soon(lambda: workers.num_running() == judged.sandbox.num_workers)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    for _ in range(30):
        judged.run(give_up())

    judged.run(all_workers_work())
    assert all(judged.cases(ADD, ADD_CASES).passed)
    # A worker may have a second one beside it, for programs that need numpy.
    assert len(workers.spawners()) <= 2 * judged.sandbox.num_workers


def test_a_sandbox_that_is_left_while_it_judges_says_so_and_leaves_nothing(judged):
    workers = Workers(judged.sandbox.backend)

    async def leave() -> set[int]:
        before = workers.everything()
        async with Sandbox(judged.sandbox.backend, num_workers=2) as sandbox:
            jobs = [(Submission("python", f"{SLEEPER.source}  # {number}"), ONE) for number in range(5)]
            tasks = [asyncio.create_task(judge(sandbox, *job, limits=PATIENT)) for job in jobs]
            await soon(lambda: workers.num_running() == 2)
            started = workers.everything() - before
        for task in tasks:
            with pytest.raises(SandboxUnavailable, match="closed while it was judging"):
                await asyncio.wait_for(task, DEADLINE_S)
        return started

    started = judged.run(leave())
    assert started
    until(partial(none_lives, started))


def test_two_sandboxes_at_once_do_not_meet(judged, tmp_path):
    async def both() -> list[bool]:
        options = {"num_workers": 1, "cache_folder": tmp_path}
        async with (
            Sandbox(judged.sandbox.backend, **options) as one,
            Sandbox(judged.sandbox.backend, **options) as other,
        ):
            jobs = [(ADD, ADD_CASES), (Submission("c", ADD_IN_C), ADD_CASES)]
            found = await asyncio.gather(*(judge_many(sandbox, jobs) for sandbox in (one, other, one)))
            await one.__aexit__(None, None, None)
            found.append(await judge_many(other, jobs))
        return [passed for verdicts in found for verdict in verdicts for passed in verdict.passed]

    assert judged.run(both()) == [True] * 48


FORGETFUL = """
import asyncio, gc, sys
from mimo_sandbox import Case, Sandbox, SandboxUnavailable, Submission, judge

async def enter_and_forget():
    sandbox = Sandbox("local", num_workers=1)
    await sandbox.__aenter__()
    return sandbox

sandbox = asyncio.run(enter_and_forget())
try:
    asyncio.run(judge(sandbox, Submission("python", "print(1)"), [Case(id="1", stdin="", expected="1")]))
except SandboxUnavailable as error:
    print(error, flush=True)
sys.stdin.readline()
del sandbox
gc.collect()
print("forgotten", flush=True)
sys.stdin.readline()
"""


def test_a_sandbox_whose_event_loop_is_over_says_so_and_ends_when_it_is_forgotten():
    with host("local", command=[sys.executable, "-W", "ignore", "-c", FORGETFUL]) as process:
        if "another event loop" not in (line := process.stdout.readline()):
            pytest.skip(f"no sandbox of the kind local: {line}")
        started = Workers("local", process.pid).everything()
        assert started
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "forgotten\n"

        until(partial(none_lives, started))
        assert groups(process.pid) == []


# Hosts that are killed


def next_sandbox(backend: str) -> None:
    """Opens a sandbox, which also sweeps up."""

    async def open_and_leave() -> None:
        async with Sandbox(backend, num_workers=1):
            pass

    asyncio.run(open_and_leave())


BACKENDS = ["local", pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.slow])]


def nothing_is_left(backend: str, process: int, started: set[int]) -> None:
    """Waits until all that a host process had started has ended, and until the next sandbox has swept up."""
    until(partial(none_lives, started))
    if backend == "docker":
        until(lambda: not containers(process))
    next_sandbox(backend)
    assert groups(process) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_host_that_is_killed_leaves_nothing_running(backend):
    spinner = "import os\nos.fork()\nwhile True: pass"
    with host(backend, SLEEPER.source, spinner) as process:
        workers = Workers(backend, process.pid)
        if not process.stdout.readline():
            pytest.skip(f"no sandbox of the kind {backend}")
        # Two agents, two spawners, the sleeper and two spinners.
        until(lambda: len(workers.everything()) >= 7)
        started = workers.everything()
        process.kill()
        process.wait()

        nothing_is_left(backend, process.pid, started)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_host_that_is_killed_at_any_moment_leaves_nothing(backend):
    chance = random.Random(5)
    for _ in range(15):
        with host(backend, "print(1)", SLEEPER.source, "import os\nwhile True: os.fork()") as process:
            deadline, started = time.monotonic() + chance.uniform(0.3, 2.0), set()
            while time.monotonic() < deadline:
                started |= Workers("local", process.pid).everything()
            process.kill()
            process.wait()
        until(partial(none_lives, started))
        next_sandbox(backend)
        assert groups(process.pid) == []
        if backend == "docker":
            assert containers(process.pid) == []


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_ended_leaves_nothing(backend, number, tmp_path):
    (tmp_path / "sleeper.py").write_text(SLEEPER.source)
    (tmp_path / "cases.jsonl").write_text('{"id": "1", "stdin": "", "expected": ""}\n')
    judging = [sys.executable, "-c", "import sys; from mimo_sandbox.cli import main; sys.exit(main())", "judge"]
    judging += [str(tmp_path / "sleeper.py"), "--tests", str(tmp_path / "cases.jsonl"), "--backend", backend]
    with host(backend, command=[*judging, "--set", "wall_s=600", "--num-workers", "1"]) as process:
        workers = Workers(backend, process.pid)
        until(lambda: workers.num_running() or process.poll() is not None)
        if process.poll() is not None:
            pytest.skip(f"no sandbox of the kind {backend}")
        started = workers.everything()
        process.send_signal(number)
        process.wait()

        nothing_is_left(backend, process.pid, started)


@pytest.mark.docker
@pytest.mark.slow
def test_a_container_that_was_made_and_never_started_is_removed_by_the_next_sandbox():
    source = "import os\nfrom mimo_sandbox import engine\nfrom mimo_sandbox.verdict import Limits\n"
    source += "client = engine.connect()\nfrom docker.models.containers import Container\n"
    source += "Container.start = lambda self: os._exit(0)\n"
    source += "print(os.getpid(), flush=True)\nengine._create(client, Limits(), None, {})"
    ran = subprocess.run([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True, check=True)
    assert len(containers(int(ran.stdout))) == 1

    next_sandbox("docker")

    assert containers(int(ran.stdout)) == []


@pytest.mark.skipif(cgroups.version() == 0, reason="needs control groups with a memory controller")
def test_a_group_of_an_earlier_process_with_our_number_is_not_in_the_way():
    folders, reason = cgroups.create()
    if not folders:
        pytest.skip(reason)
    earlier = [
        Path(folder).with_name(f"mimo-sandbox-{cgroups.owner().rpartition('-')[0]}-1-1") for folder in folders.values()
    ]
    for folder in earlier:
        folder.mkdir()
    cgroups.remove(folders)

    again, reason = cgroups.create()
    cgroups.remove(again)

    assert again, reason
    assert not any(folder.exists() for folder in earlier)


# Disks


def judged_with(
    cache_folder: Path, backend: str = "local", source: str = ADD_IN_C, language: str = "c"
) -> tuple[bool, ...]:
    async def main() -> tuple[bool, ...]:
        async with Sandbox(backend, num_workers=1, cache_folder=cache_folder) as sandbox:
            return (await judge(sandbox, Submission(language, source), ADD_CASES[:2])).passed

    return asyncio.run(main())


def test_a_cache_on_a_full_disk_is_no_cache(full_disk):
    assert judged_with(full_disk) == (True, True)
    assert judged_with(full_disk) == (True, True)
    assert [path.name for path in full_disk.rglob("*") if path.is_file()] == ["filler"]


def test_a_cache_folder_that_cannot_be_made_is_no_cache(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", Path("/proc/mimo-sandbox")):
        assert judged_with(folder) == (True, True)


def test_a_full_folder_for_temporary_files_is_none_of_a_sandboxes(full_disk, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(full_disk))
    assert judged_with(tmp_path / "cache") == (True, True)
    with pytest.raises(SandboxUnavailable):
        judged_with(tmp_path / "cache", backend="unsafe")


def test_an_unsafe_sandbox_without_a_folder_for_temporary_files_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(SandboxUnavailable, match="TMPDIR"):
        judged_with(tmp_path / "cache", backend="unsafe")


@pytest.mark.parametrize("damage", ["empty", "cut", "rubbish", "another program", "one bit"])
def test_a_damaged_cache_entry_is_made_again_and_changes_no_verdict(tmp_path, damage):
    assert judged_with(tmp_path) == (True, True)
    (entry,) = (tmp_path / "programs").iterdir()
    whole = entry.read_bytes()
    match damage:
        case "empty":
            entry.write_bytes(b"")
        case "cut":
            entry.write_bytes(whole[: len(whole) // 2])
        case "rubbish":
            entry.write_bytes(os.urandom(1000))
        case "another program":
            judged_with(tmp_path, source="int main() {}")
            (other,) = set((tmp_path / "programs").iterdir()) - {entry}
            entry.write_bytes(other.read_bytes())
        case "one bit":
            middle = len(whole) // 2
            entry.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])

    assert judged_with(tmp_path) == (True, True)
    assert entry.read_bytes() == whole


@pytest.mark.slow
def test_a_damaged_precompiled_header_is_no_compile_error(tmp_path):
    source = "#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b; }"
    assert judged_with(tmp_path, source=source, language="cpp") == (True, True)
    (header,) = tmp_path.glob("headers-*/iostream.gch")
    header.write_bytes(header.read_bytes()[:100_000])
    for entry in (tmp_path / "programs").iterdir():
        entry.unlink()

    assert judged_with(tmp_path, source=source, language="cpp") == (True, True)
    assert header.stat().st_size > 100_000


# Many tests

# Programs that are to add two numbers, and what comes of them.
MIXTURE = [
    ("python", "print(sum(map(int, input().split())))", "accepted"),
    ("python", "print(0)", "wrong answer"),
    ("python", "raise ValueError('no')", "runtime error"),
    ("python", "print('a'", "compile error"),
    ("python", DAEMON, "wrong answer"),
    ("python", "for n in range(50): open(f'/tmp/{n}', 'w').write('x' * 10_000)\nprint(n)", "wrong answer"),
    ("python", "import sys\nsys.stdout.write('x' * 300_000)", "wrong answer"),
    ("python", "import os\nos.kill(os.getpid(), 11)", "runtime error"),
    ("python", "x = bytearray(1 << 30)", "memory limit"),
    ("python", "import os\nwhile True: os.fork()", "runtime error, time limit, memory limit"),
    ("c", ADD_IN_C, "accepted"),
    ("c", "int main() { return *(volatile int *) 0; }", "runtime error"),
    ("c", "int main() { return x; }", "compile error"),
    (
        "cpp",
        '#include <cstdio>\nint main() { int a, b; scanf("%d %d", &a, &b); printf("%d", a + b); }',
        "accepted",
    ),
]


def footprint(workers: Workers) -> dict[str, int]:
    """What the judge holds, apart from memory, on this host."""
    gc.collect()
    spawners, agents = workers.spawners(), workers.agents()
    return {
        "processes": len(workers.everything()),
        "groups": len(groups(os.getpid())),
        # Not this process's own: other tests start containers, which the host mounts.
        "mounts": sum(map(mounts, agents + spawners)),
        "files of this process": num_files("self"),
        "files of agents and spawners": sum(map(num_files, agents + spawners)),
    }


def memory(workers: Workers) -> dict[str, int]:
    agents, spawners = workers.agents(), workers.spawners()
    return {
        "this process": resident_bytes("self"),
        "agents": max(map(resident_bytes, agents)),
        "spawners": max(map(resident_bytes, spawners)),
    }


def mixed_tests(judged: Judge, num_tests: int, seed: int) -> None:
    """Judges programs of the mixture on inputs of their own, until so many tests have run."""
    chance, limits = random.Random(seed), Limits(cpu_s=2.0, wall_s=60.0, memory_bytes=64 << 20, num_processes=8)
    done = 0
    while done < num_tests:
        programs, jobs = chance.sample(MIXTURE, 8), []
        for language, source, _ in programs:
            numbers = [chance.randrange(10, 10**6) for _ in range(5)]
            cases = [Case(id=str(number), stdin=f"{number} 1", expected=str(number + 1)) for number in numbers]
            jobs.append((Submission(language, source), cases))
        verdicts = judged.run(judge_many(judged.sandbox, jobs, limits=limits))
        for (_, source, statuses), verdict in zip(programs, verdicts, strict=True):
            assert {result.status.value for result in verdict.results} <= set(statuses.split(", ")), source
            done += len(verdict.results)


@pytest.mark.parametrize("num_tests", [200, pytest.param(2_000, marks=pytest.mark.slow)])
def test_nothing_is_left_of_many_tests(judged, workers, num_tests):
    mixed_tests(judged, 200, seed=1)
    before, before_bytes = footprint(workers), memory(workers)

    mixed_tests(judged, num_tests, seed=2)

    assert footprint(workers) == before
    grown = {name: found - before_bytes[name] for name, found in memory(workers).items()}
    assert max(grown.values()) < 20 << 20, grown

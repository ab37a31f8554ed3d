"""What the processes of one test use together, and the limits that the kernel itself holds them to.

From the control group (version 1 or 2) that the spawner and so every program is in: exact CPU time, waited for or not,
and the peak of all memory, page tables and files in /tmp included. Where no control group can be had, from rusage and
from looks at /proc while the program runs: that misses children that nobody waited for, a peak between two looks, and
counts the interpreter that a program was forked from.
"""

# os.path, because importing pathlib costs an interpreter 10 ms:
# ruff: noqa: PTH110, PTH118, PTH123, PTH208

from __future__ import annotations

import os
import resource
import time

_SMALL_BYTES = 32 << 20
_DRIFT_BYTES = 1 << 20
"""How far what lies in the group between tests may move before the limit follows, or is looked into."""

_MISSING_S = 0.005
"""What a program that has a core to itself may miss of it between two looks."""


class CgroupMeter:
    """Reads and limits one control group. Its files are opened once, before the agent gives up its rights."""

    def __init__(self, folders: dict[str, str]) -> None:
        """Opens the files.

        Args:
            folders: `unified` for version 2; `memory`, `cpuacct` and `pids` for version 1.

        Raises:
            OSError: a file is missing or may not be written.
        """
        self._is_unified = "unified" in folders
        memory = folders.get("unified") or folders["memory"]
        pids = folders.get("unified") or folders["pids"]

        def opened(folder: str, name: str, flags: int = os.O_RDWR) -> int:
            return os.open(os.path.join(folder, name), flags | os.O_CLOEXEC)

        self._members = [opened(folder, "cgroup.procs", os.O_WRONLY) for folder in folders.values()]
        self._num_processes = opened(pids, "pids.max")
        if self._is_unified:
            self._cpu = opened(memory, "cpu.stat", os.O_RDONLY)
            self._usage = opened(memory, "memory.current", os.O_RDONLY)
            self._peak = _open_peak(os.path.join(memory, "memory.peak"))
            self._limits = [opened(memory, "memory.max")]
            self._events = opened(memory, "memory.events", os.O_RDONLY)
            _write_if_there(os.path.join(memory, "memory.swap.max"), b"0")
        else:
            self._cpu = opened(folders["cpuacct"], "cpuacct.usage", os.O_RDONLY)
            self._usage = opened(memory, "memory.usage_in_bytes", os.O_RDONLY)
            self._peak = opened(memory, "memory.max_usage_in_bytes")
            self._limits = [opened(memory, "memory.limit_in_bytes")]
            self._events = opened(memory, "memory.oom_control", os.O_RDONLY)
            if os.path.exists(os.path.join(memory, "memory.memsw.limit_in_bytes")):
                # Memory and swap together; raised before the first and lowered after it.
                self._limits.append(opened(memory, "memory.memsw.limit_in_bytes"))
        self._contents = opened(memory, "memory.stat", os.O_RDONLY)
        self._file_bytes = 0
        self._set: tuple[int, int] | None = None
        self._limit_bytes = 1 << 62
        self._start_cpu_s, self._start_bytes, self._start_peak = 0.0, 0, 0
        self._start_kills, self._start_meetings = 0, 0
        try:
            os.pwrite(self._peak, b"0", 0)
            self.has_peak = True
            """Whether the kernel tells each test's peak: version 2 does so from Linux 6.12 on."""
        except OSError:
            self.has_peak = False

    def enter(self) -> None:
        """Moves the calling process in; its children follow."""
        for file in self._members:
            os.write(file, b"0")

    def begin(self, memory_bytes: int, num_processes: int) -> None:
        """Before a test: sets the limits and starts counting at nothing.

        Raises:
            OSError: the kernel refused.
        """
        usage_bytes = int(os.pread(self._usage, 32, 0))
        self._start_bytes = usage_bytes - self._file_bytes
        drift_bytes = abs(memory_bytes + self._start_bytes - self._limit_bytes)
        if self._set != (memory_bytes, num_processes) or drift_bytes > _DRIFT_BYTES:
            self._file_bytes = self._read_file_bytes()
            self._start_bytes = usage_bytes - self._file_bytes
            limit = memory_bytes + self._start_bytes
            limits = self._limits if limit < self._limit_bytes else self._limits[::-1]
            for file in limits:
                os.pwrite(file, b"%d" % limit, 0)
            os.pwrite(self._num_processes, b"%d" % (num_processes + 1), 0)  # and the spawner
            self._set, self._limit_bytes = (memory_bytes, num_processes), limit
        if self.has_peak:
            os.pwrite(self._peak, b"0", 0)
        else:
            self._start_peak = self._read_peak()
        events = os.pread(self._events, 512, 0)
        self._start_kills, self._start_meetings = _value(events, b"oom_kill "), _value(events, b"max ")
        self._start_cpu_s = self._total_cpu_s()

    def cpu_s(self) -> float:
        """CPU time since `begin`, of the living and the dead."""
        return self._total_cpu_s() - self._start_cpu_s

    def peak_bytes(self) -> int:
        """Most memory at one time since `begin`, beyond what there was then, once the last process has ended.

        0 if it was less than another test's and the kernel cannot tell.
        """
        peak = self._read_peak()
        if peak <= self._start_peak:
            return 0
        self.usage_bytes()
        return max(0, peak - self._start_bytes - self._file_bytes)

    def usage_bytes(self) -> int:
        """Memory now, beyond what there was at `begin`, copies of files apart; negative if that has become less."""
        usage_bytes = int(os.pread(self._usage, 32, 0)) - self._start_bytes
        if abs(usage_bytes - self._file_bytes) > _DRIFT_BYTES:
            self._file_bytes = self._read_file_bytes()
        return usage_bytes - self._file_bytes

    def out_of_memory(self) -> bool:
        """Whether the kernel has ended a process for want of memory since `begin`."""
        return self._kills() != self._start_kills

    def has_met_limit(self) -> bool:
        """Whether memory has come up to this group's own limit since `begin`, and not only to one further up."""
        if self._is_unified:
            return _value(os.pread(self._events, 512, 0), b"max ") != self._start_meetings
        # Version 1 has a counter too (failcnt), which recent kernels leave at 0.
        return int(os.pread(self._peak, 32, 0)) >= self._limit_bytes - _DRIFT_BYTES

    def _read_peak(self) -> int:
        return int(os.pread(self._peak, 32, 0)) if self._peak >= 0 else 0

    def _read_file_bytes(self) -> int:
        """Memory that holds copies of files of the host.

        The kernel counts them as ours if we were the first to read them, and drops them when room is wanted.
        """
        text = os.pread(self._contents, 8192, 0)
        return max(0, _value(text, b"\nfile " if self._is_unified else b"cache ") - _value(text, b"\nshmem "))

    def _kills(self) -> int:
        return _value(os.pread(self._events, 512, 0), b"oom_kill ")

    def _total_cpu_s(self) -> float:
        if self._is_unified:
            return _value(os.pread(self._cpu, 512, 0), b"usage_usec ") / 1e6
        return int(os.pread(self._cpu, 32, 0)) / 1e9


def look_around(own: set[int]) -> tuple[float, int]:
    """CPU time and memory now of all processes in /proc but `own`, in a process id namespace of one's own.

    Memory counts what processes share once, as far as the kernel tells; the quick sum that counts it in each is enough
    when it is small.
    """
    cpu_s, memory = 0.0, {}
    for process in processes(own):
        process_cpu_s, memory[process] = _look_at(process)
        cpu_s += process_cpu_s
    if len(memory) > 1 and sum(memory.values()) > _SMALL_BYTES:
        for process in memory:
            try:
                with open(f"/proc/{process}/smaps_rollup", "rb") as file:
                    memory[process] = next(int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:"))
            except (OSError, StopIteration):
                # It has ended, and has none; or it hides, and is taken at the full sum.
                _, memory[process] = _look_at(process)
    return cpu_s, sum(memory.values())


class Waiting:
    """How long a program was ready to run and got no core, from looks at it: also in children that have ended since."""

    def __init__(self, own: set[int]) -> None:
        """The program is all processes in /proc but `own`."""
        self._own = own
        self._wall_s, self._cpu_s = 0.0, 0.0
        # From the first look on: most programs end before it, and asking has its price.
        self._crowded_s: float | None = None
        self.total_s = 0.0

    def look(self, wall_s: float, cpu_s: float) -> None:
        """Counts what is missing in its CPU time since the last look, if it is ready and the host had no core."""
        missing_s = wall_s - self._wall_s - max(0.0, cpu_s - self._cpu_s)
        self._wall_s, self._cpu_s = wall_s, cpu_s
        if missing_s > _MISSING_S:
            crowded_s = _crowded_s()
            # The kernel's figure is a mean over the busy cores, of which only this program's may be crowded.
            before_s = crowded_s if self._crowded_s is None else self._crowded_s
            is_crowded = (crowded_s - before_s) * (os.cpu_count() or 1) > missing_s / 2
            if is_crowded and any(_is_ready(process) for process in processes(self._own)):
                self.total_s += missing_s
            self._crowded_s = crowded_s


def waited_s(own: set[int]) -> float:
    """The longest that a thread of the living processes in /proc but `own` was ready to run and got no core."""
    longest_ns = 0
    for process in processes(own):
        for task in _tasks(process):
            try:
                with open(f"/proc/{process}/task/{task}/schedstat", "rb") as file:
                    longest_ns = max(longest_ns, int(file.read().split()[1]))
            except (OSError, IndexError):
                continue
    return longest_ns / 1e9


def _is_ready(process: int) -> bool:
    """Whether one of its threads runs or could."""
    for task in _tasks(process):
        try:
            with open(f"/proc/{process}/task/{task}/stat", "rb") as file:
                if file.read().rpartition(b")")[2].split(None, 1)[0] == b"R":
                    return True
        except (OSError, IndexError):
            continue
    return False


def _tasks(process: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{process}/task")
    except OSError:
        return []


def _crowded_s() -> float:
    """For how long, in all, something on this host has waited for a core; where the kernel does not tell, always."""
    try:
        with open("/proc/pressure/cpu", "rb") as file:
            return int(file.readline().rpartition(b"=")[2]) / 1e6
    except (OSError, ValueError):
        return time.monotonic()


def processes(own: set[int]) -> list[int]:
    """The processes that /proc shows, but `own`."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in own]


def _look_at(process: int) -> tuple[float, int]:
    """CPU time, with that of children it has waited for, and resident memory; zeros if it has ended."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0.0, 0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK"), int(fields[21]) * resource.getpagesize()


def _value(text: bytes, name: bytes) -> int:
    at = text.find(name)
    return int(text[at + len(name) :].split(None, 1)[0]) if at >= 0 else 0


def _open_peak(path: str) -> int:
    """The file that tells the peak: nobody may write it before Linux 6.12, and before 5.19 there is none: -1."""
    for flags in (os.O_RDWR, os.O_RDONLY):
        try:
            return os.open(path, flags | os.O_CLOEXEC)
        except PermissionError:
            continue
        except FileNotFoundError:
            break
    return -1


def _write_if_there(path: str, value: bytes) -> None:
    if os.path.exists(path):
        with open(path, "wb") as file:
            file.write(value)

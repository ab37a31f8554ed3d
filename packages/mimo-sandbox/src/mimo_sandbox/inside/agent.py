"""The agent: runs one program at a time and says what it used, over its standard input and output.

A frame is two big-endian uint32 lengths, a JSON header and a body. Requests: `load` puts the files of a program
in place, `run` starts its command on the standard input in the body, `check` parses Python source. One reply each;
its body is stdout, stderr and, for a compilation, the file that was asked for.

The agent is process 1 of its world, so that nothing a program starts can outlive its test or send the agent a
signal, and is not dumpable, so that a program of the same user can read nothing of it. It never learns what output
is expected.

The limits on CPU time and memory hold for all processes of a program together, by adding them up as it runs. What is
reported at the end is that of every process that was waited for, by the program or by the agent: a program that ignores
SIGCHLD hides its children's, and the peak, of a single process, cannot be less than the agent's size when it forked.
"""

# os.path, because importing pathlib costs an interpreter 10 ms:
# ruff: noqa: PTH101, PTH104, PTH106, PTH108, PTH112, PTH114, PTH118, PTH123, PTH208

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import signal
import stat
import struct
import sys
import time
from collections.abc import Callable

from mimo_sandbox.inside import namespaces, seccomp

PROTOCOL = 1
_STDERR_BYTES = 65_536
_CHUNK_BYTES = 65_536
_STACK_BYTES = 64 << 20
_FILE_DESCRIPTORS = 256
_SMALL_BYTES = 32 << 20
_LOOK_S = 0.05
"""How often all processes of a program are added up while it runs; shorter programs never pay for it."""

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36


def main(settings: dict[str, object]) -> None:
    """Serves requests until the host goes away.

    Args:
        settings: `world`: "namespaces" (make them), "container" (already in one) or "none" (not isolated);
            `extra`: folders to show in namespaces besides the system's; `folder`: emptied before each test.
    """
    world = str(settings["world"])
    if world == "namespaces":
        extra = settings["extra"]
        assert isinstance(extra, list)
        namespaces.enter(extra)
    Agent(world, str(settings["folder"])).serve()


class Agent:
    """One slot of the judge."""

    def __init__(self, world: str, folder: str) -> None:
        self._world = world
        self._requests = os.dup(0)
        self._replies = os.dup(1)
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.close(null)
        self._folder = folder
        self._confinement = seccomp.Confinement()
        prctl = self._confinement.prctl
        prctl(_PR_SET_DUMPABLE, 0)
        if world == "none":
            prctl(_PR_SET_CHILD_SUBREAPER, 1)
        elif os.getpid() != 1:
            sys.exit("the agent is not process 1, so it could not clean up after a program")
        # Process 1 is immune to signals without a handler: Python's own for SIGINT would be one.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._wake, wake = os.pipe()
        for end in (self._wake, wake):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._files: dict[str, tuple[bytes, int]] = {}
        gc.freeze()

    def serve(self) -> None:
        """Answers requests in the order they come."""
        self._reply({"protocol": PROTOCOL, "python": sys.version.split()[0]}, b"")
        while True:
            prefix = self._read(8)
            if prefix is None:
                break
            header_bytes, body_bytes = struct.unpack("!II", prefix)
            header = json.loads(self._read(header_bytes) or b"")
            body = self._read(body_bytes) if body_bytes else b""
            if body is None:
                break
            try:
                reply, out = self._answer(header, body)
            except Exception as error:  # told to the host, which reports it as a failure of the judge
                reply, out = {"error": f"{type(error).__name__}: {error}"}, b""
            self._reply(reply, out)

    def _answer(self, header: dict[str, object], body: bytes) -> tuple[dict[str, object], bytes]:
        if header["do"] == "load":
            self._files.clear()
            start = 0
            for name, size, mode in header["files"]:  # type: ignore[attr-defined]
                self._files[name] = (body[start : start + size], mode)
                start += size
            return {}, b""
        self._clean()
        for name, (data, mode) in self._files.items():
            file = os.open(os.path.join(self._folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with open(file, "wb") as stream:
                stream.write(data)
        if header["do"] == "check":
            return self._run(header, b"", lambda: _check_python(self._files["main.py"][0]))
        return self._run(header, body, lambda: self._execute(header["command"]))  # type: ignore[arg-type]

    def _execute(self, command: list[str]) -> None:
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": self._folder,
            "TMPDIR": self._folder,
            "LANG": "C.UTF-8",
            # One program, one core: the judge's parallelism is over tests.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        try:
            os.execve(command[0], command, environment)
        except OSError as error:
            if command[0].startswith("/"):
                raise  # an interpreter or compiler that should be there
            # What the compiler made of the submission: an interpreter of its own that is missing, say.
            os.write(2, f"cannot be executed: {error.strerror}\n".encode())
            os._exit(127)

    def _run(self, header: dict[str, object], stdin: bytes, act: Callable[[], None]) -> tuple[dict[str, object], bytes]:
        """Runs `act` in a confined child until it ends or meets a limit, and sweeps up after it."""
        limits: dict[str, float] = header["limits"]  # type: ignore[assignment]
        stdin_file = os.memfd_create("stdin")
        with open(stdin_file, "wb", closefd=False) as stream:
            stream.write(stdin)
        os.lseek(stdin_file, 0, os.SEEK_SET)
        out, err, failure = os.pipe(), os.pipe(), os.pipe()
        start_s = time.monotonic()
        child = os.fork()
        if child == 0:
            self._become(stdin_file, out[1], err[1], failure[1], limits, act)
        for end in (stdin_file, out[1], err[1], failure[1]):
            os.close(end)
        try:
            usage = Usage(child)
            outputs = self._watch(usage, out[0], err[0], limits, start_s)
            broken = os.read(failure[0], 4096)
        finally:
            for end in (out[0], err[0], failure[0]):
                os.close(end)
        if broken:
            raise RuntimeError(broken.decode(errors="replace"))
        stdout, stderr = (bytes(output) for output in outputs)
        kept = self._keep(str(header["keep"])) if header.get("keep") and usage.exit_code == 0 else b""
        return {
            "exit_code": usage.exit_code,
            "ended_by": usage.ended_by,
            "cpu_s": usage.cpu_s,
            "wall_s": usage.wall_s,
            "memory_bytes": usage.memory_bytes,
            "sizes": [len(stdout), len(stderr), len(kept)],
        }, stdout + stderr + kept

    def _become(
        self, stdin: int, stdout: int, stderr: int, failure: int, limits: dict[str, float], act: Callable[[], None]
    ) -> None:
        """The forked child: never returns."""
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            for target, source in enumerate((stdin, stdout, stderr)):
                os.dup2(source, target)
            os.dup2(failure, 3, inheritable=False)
            os.closerange(4, 1 << 16)
            os.chdir(self._folder)
            self._limit(limits)
            self._confinement.apply()
            act()
            os._exit(0)
        except BaseException as error:  # the child must not run on as a second agent
            os.write(3, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(127)

    def _limit(self, limits: dict[str, float]) -> None:
        memory_bytes = int(limits["memory_bytes"])
        cpu_s = int(limits["cpu_s"]) + 2
        if self._world != "none":
            # Counted per user; in a world of its own the agent is the only other process of that user.
            processes = int(limits["num_processes"]) + 1
            resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
        if self._world == "none":
            self._confinement.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if self._world == "container":
            # When the container as a whole runs out of memory, the kernel is to take the program and not the agent.
            self._confinement.prctl(_PR_SET_DUMPABLE, 1)  # or the file is root's
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")
        for kind, value in (
            # The agent's clock ends the program first; this ends what it started.
            (resource.RLIMIT_CPU, cpu_s),
            (resource.RLIMIT_DATA, memory_bytes),
            # Address space that is only reserved costs nothing, shared mappings count here alone.
            (resource.RLIMIT_AS, 2 * memory_bytes + (256 << 20)),
            (resource.RLIMIT_STACK, min(_STACK_BYTES, memory_bytes)),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_MEMLOCK, 0),
            (resource.RLIMIT_NOFILE, _FILE_DESCRIPTORS),
        ):
            resource.setrlimit(kind, (value, value))

    def _watch(
        self, usage: Usage, stdout: int, stderr: int, limits: dict[str, float], start_s: float
    ) -> tuple[bytearray, bytearray]:
        """Drains the pipes while the program runs; returns stdout and the head of stderr once nothing of it is left."""
        outputs = {stdout: bytearray(), stderr: bytearray()}
        output_bytes = int(limits["output_bytes"])
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        for pipe in outputs:
            os.set_blocking(pipe, False)
            poll.register(pipe, select.POLLIN)
        open_pipes = set(outputs)

        def drain(pipe: int) -> bool:
            """Reads once; False when there is nothing more for now."""
            try:
                data = os.read(pipe, _CHUNK_BYTES)
            except BlockingIOError:
                return False
            if not data:
                open_pipes.discard(pipe)
                poll.unregister(pipe)
                return False
            room = (output_bytes + 1 if pipe == stdout else _STDERR_BYTES) - len(outputs[pipe])
            outputs[pipe] += data[: max(room, 0)]
            return True

        look_s, all_cpu_s, num_exceeded = _LOOK_S, 0.0, 0
        while usage.exit_code is None and usage.ended_by is None:
            usage.wall_s = time.monotonic() - start_s
            if self._world != "none" and usage.wall_s >= look_s:
                look_s = usage.wall_s + _LOOK_S
                living_cpu_s, resident_bytes = _look_around()
                # One look is not enough: what processes share moves to those that are left while others end.
                num_exceeded = num_exceeded + 1 if resident_bytes > limits["memory_bytes"] else 0
                # Added at one moment: a process must not count as living and, once it is buried, again.
                all_cpu_s = usage.cpu_s + living_cpu_s
            cpu_left_s = limits["cpu_s"] - max(usage.running_cpu_s(), all_cpu_s)
            wall_left_s = limits["wall_s"] - usage.wall_s
            if num_exceeded == 2:
                usage.ended_by = "memory"
            elif cpu_left_s <= 0:
                usage.ended_by = "cpu"
            elif wall_left_s <= 0:
                usage.ended_by = "wall"
            elif len(outputs[stdout]) > output_bytes:
                usage.ended_by = "output"
            else:
                for ready, _ in poll.poll(1 + 1000 * min(cpu_left_s, wall_left_s, _LOOK_S)):
                    if ready in outputs:
                        drain(ready)
                    else:
                        os.read(self._wake, 4096)
                        usage.reap(wait=False)
        usage.wall_s = time.monotonic() - start_s
        self._sweep(usage)
        for pipe in tuple(open_pipes):
            while drain(pipe):
                pass
        if len(outputs[stdout]) > output_bytes and usage.ended_by is None:
            usage.ended_by = "output"
        if usage.ended_by is None and usage.cpu_s > limits["cpu_s"]:
            usage.ended_by = "cpu"
        return outputs[stdout], outputs[stderr]

    def _sweep(self, usage: Usage) -> None:
        """Kills and buries everything that the program started."""
        if self._world != "none":
            # One atomic walk over all processes but this one: a fork in flight is killed with its parent.
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            usage.reap(wait=True)
            return
        while True:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                children = [int(word) for word in file.read().split()]
            if not children:
                return
            for child in children:
                os.kill(child, signal.SIGKILL)
            usage.reap(wait=True)

    def _clean(self) -> None:
        if self._world == "namespaces":
            namespaces.fresh_tmp()
        else:
            _empty(self._folder)

    def _keep(self, name: str) -> bytes:
        # Not followed if it is a link: the agent must not fetch a file for the program.
        file = os.open(os.path.join(self._folder, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(file, "rb") as stream:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise RuntimeError(f"the compiler's {name} is not a file")
            return stream.read()

    def _read(self, size: int) -> bytes | None:
        """Exactly `size` bytes from the host; None when it has gone."""
        data = bytearray()
        while len(data) < size:
            part = os.read(self._requests, min(size - len(data), 1 << 20))
            if not part:
                return None
            data += part
        return bytes(data)

    def _reply(self, header: dict[str, object], body: bytes) -> None:
        encoded = json.dumps(header).encode()
        data = memoryview(struct.pack("!II", len(encoded), len(body)) + encoded + body)
        while data:
            data = data[os.write(self._replies, data) :]


class Usage:
    """What the processes of one run have used, and how the first of them ended."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._clock = (~process << 3) | 2  # CPUCLOCK_SCHED of that process, as clock_getcpuclockid(3) makes it
        self.exit_code: int | None = None
        self.ended_by: str | None = None
        self.cpu_s = 0.0
        self.wall_s = 0.0
        self.memory_bytes = 0

    def running_cpu_s(self) -> float:
        """CPU time of the first process until now, all its threads."""
        try:
            return time.clock_gettime(self._clock)
        except OSError:
            return 0.0

    def reap(self, *, wait: bool) -> None:
        """Buries the dead; with `wait`, until no process is left."""
        while True:
            try:
                process, status, used = os.wait4(-1, 0 if wait else os.WNOHANG)
            except ChildProcessError:
                return
            if process == 0:
                return
            self.cpu_s += used.ru_utime + used.ru_stime
            self.memory_bytes = max(self.memory_bytes, used.ru_maxrss * 1024)
            if process == self._process:
                self.exit_code = os.waitstatus_to_exitcode(status)


def _look_around() -> tuple[float, int]:
    """CPU time and memory of all processes but this one, in a process id namespace of one's own.

    Memory counts what processes share once, as far as the kernel tells; the quick sum that counts it in each is enough
    when it is small.
    """
    cpu_s, memory = 0.0, {}
    for process in [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]:
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


def _look_at(process: int) -> tuple[float, int]:
    """CPU time, with that of children it has waited for, and resident memory; zeros if it has ended."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0.0, 0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK"), int(fields[21]) * resource.getpagesize()


def _check_python(source: bytes) -> None:
    """Ends the process with 1 and the message on stderr if the source does not parse."""
    try:
        compile(source, "main.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace"))
        os._exit(1)


def _empty(folder: str) -> None:
    """Removes everything in a folder, whatever modes a program gave it and however deep it nested it.

    Inner folders are moved up before they are emptied, so that no path gets too long and nothing recurses.
    """
    pending = []
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path) and not os.path.islink(path):
            pending.append(path)
        else:
            os.unlink(path)
    while pending:
        doomed = pending.pop()
        os.chmod(doomed, 0o700)
        for name in os.listdir(doomed):
            inner = os.path.join(doomed, name)
            if os.path.isdir(inner) and not os.path.islink(inner):
                os.chmod(inner, 0o700)
                moved = os.path.join(folder, os.urandom(16).hex())
                os.rename(inner, moved)
                pending.append(moved)
            else:
                os.unlink(inner)
        os.rmdir(doomed)

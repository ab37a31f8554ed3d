"""The agent: runs one program at a time and says what it used, over its standard input and output.

A frame is two big-endian uint32 lengths, a JSON header and a body. Requests: `load` installs the files of a program;
`run` starts it, once for each standard input in the body, with one reply each: a header, stdout, stderr and, after a
compilation, the file that was asked for. An interactive `run` has no input in its body: `feed` frames bring it, and
the output goes back in frames of its own as it comes.

The agent is process 1 of the programs' process ids, so that nothing a program starts can outlive its test or send the
agent a signal, and is not dumpable, so that a program of the same user can read nothing of it. No program is forked
from it: it holds inputs and outputs, the spawner holds neither. It never learns what output is expected.
"""

# os.path, because importing pathlib costs an interpreter 10 ms:
# ruff: noqa: PTH101, PTH102, PTH104, PTH106, PTH108, PTH112, PTH114, PTH118, PTH123, PTH208

from __future__ import annotations

import _socket
import array
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
from typing import Any

from mimo_sandbox.inside import meter as meters
from mimo_sandbox.inside import namespaces, seccomp, spawner
from mimo_sandbox.inside import program as program_runner
from mimo_sandbox.inside.run import CHUNK_BYTES, Run, stdin_file, write_all

_STACK_BYTES, _SMALL_STACK_BYTES = 256 << 20, 64 << 20
"""The second where threads' stacks count as memory: without control groups."""

_FILE_DESCRIPTORS = 256
_LOOK_S = 0.05
"""How often all processes of a program are looked at while it runs; shorter programs hardly pay for it."""

_FIRST_LOOK_S = 0.01
_MOST_PATIENCE = 9
"""How many times the wall limit a program may wait for a core and not be ended for it."""

_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36


def main(settings: dict[str, Any]) -> None:
    """Becomes an agent and its spawner, and serves requests until the host goes away.

    Args:
        settings: `world`: "namespaces" (make them), "container" (already in one) or "none" (not isolated); `extra`,
            `network`, `slot`: see `namespaces.enter`; `cgroup`: folders for `CgroupMeter`, or none; `modules`: what
            the spawner imports besides the usual; `folder`: in "none", a folder to work in.
    """
    world = str(settings["world"])
    confinement = seccomp.Confinement()
    meter = meters.CgroupMeter(settings["cgroup"]) if settings["cgroup"] else None
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    if world == "none":
        folder = str(settings["folder"])
        tmp, program = os.path.join(folder, "tmp"), os.path.join(folder, "program")
        for path in (tmp, program):
            os.mkdir(path)
        spawner_process = os.fork()
        is_agent = spawner_process != 0
    else:
        spawner_process = 0
        tmp, program = namespaces.TMP, namespaces.PROGRAM
        if world == "container":
            namespaces.become(settings["slot"])
            # The change of user made /proc/self root's.
            confinement.prctl(_PR_SET_DUMPABLE, 1)
        is_agent = namespaces.enter(settings["extra"], settings["network"], settings["slot"])
    confinement.prctl(_PR_SET_DUMPABLE, 0)
    # Process 1 is immune to signals without a handler: Python's own for SIGINT would be one.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if is_agent:
        theirs.close()
        if world == "none":
            confinement.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        elif os.getpid() != 1:
            sys.exit("the agent is not process 1, so it could not clean up after a program")
        Agent(spawner_process, ours, meter, tmp, program).serve()
        return
    ours.close()
    if world != "none":
        # Programs cannot see the spawner, and the agent must see what is forked from it: its memory, and who is to go
        # first when that runs out.
        confinement.prctl(_PR_SET_DUMPABLE, 1)
    if meter is not None:
        meter.enter()
        namespaces.hide_groups()
    streams = program_runner.make_streams()
    _confine(confinement, _SMALL_STACK_BYTES if meter is None else _STACK_BYTES)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    keep = os.dup2(theirs.fileno(), 3, inheritable=False)
    theirs.detach()
    os.closerange(4, 1 << 10)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fileno=keep)
    spawner.serve(channel, settings["modules"], tmp, streams)


def _confine(confinement: seccomp.Confinement, stack_bytes: int) -> None:
    """Confines the spawner, and with it all that it will start."""
    for kind, value in (
        (resource.RLIMIT_STACK, stack_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_NOFILE, _FILE_DESCRIPTORS),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        highest = resource.getrlimit(kind)[1]
        bounded = value if highest == resource.RLIM_INFINITY else min(value, highest)
        resource.setrlimit(kind, (bounded, bounded))
    confinement.apply()


class Agent:
    """One slot of the judge."""

    def __init__(
        self, spawner_process: int, channel: _socket.socket, meter: meters.CgroupMeter | None, tmp: str, program: str
    ) -> None:
        """`spawner_process` is its number in a world that is not isolated, and otherwise 0."""
        self._is_isolated = spawner_process == 0
        self._spawner_process = spawner_process
        self._channel = channel
        self._meter = meter
        self._tmp = tmp
        self._program = program
        self._unsent = bytearray()
        self._requests = os.dup(0)
        self._replies = os.dup(1)
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.close(null)
        self._wake, wake = os.pipe()
        for end in (self._wake, wake):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._num_cores = len(os.sched_getaffinity(0))
        self._own = {1} if self._is_isolated else set()
        gc.freeze()

    def serve(self) -> None:
        """Answers requests in the order they come."""
        if not self._channel.recv(64):
            sys.exit("the spawner did not start")
        self._reply({"measures": self._label()}, b"")
        idle = select.poll()
        idle.register(self._requests, select.POLLIN)
        idle.register(self._channel.fileno(), 0)
        while True:
            if any(ready != self._requests for ready, _ in idle.poll()):
                sys.exit("the spawner is gone")
            frame = self._receive()
            if frame is None:
                break
            header, body = frame
            try:
                self._answer(header, body)
            except Exception as error:  # told to the host, which reports it as a failure of the judge
                self._reply({"error": f"{type(error).__name__}: {error}"}, b"")

    def _label(self) -> str:
        return "cgroup" if self._meter is not None and self._meter.has_peak else "rusage"

    def _answer(self, header: dict[str, Any], body: bytes) -> None:
        view = memoryview(body)
        parts: list[bytes] = []
        for size in header["sizes"]:
            parts.append(bytes(view[:size]))
            view = view[size:]
        if header["do"] == "feed":
            return  # for a program that has ended
        if header["do"] == "load":
            self._install(dict(zip(header["names"], parts, strict=True)))
            self._reply({}, b"")
            return
        if not parts:
            self._reply(*self._run(header, None))
        for stdin in parts:
            # Not in one step: the run sends what is unsent.
            frame = _frame(*self._run(header, stdin))
            self._unsent += frame
            if len(self._unsent) > CHUNK_BYTES:
                self._flush()
        self._flush()

    def _install(self, files: dict[str, bytes]) -> None:
        if self._is_isolated:
            namespaces.install(files)
            return
        _empty(self._program)
        for name, data in files.items():
            with open(os.open(os.path.join(self._program, name), os.O_WRONLY | os.O_CREAT, 0o755), "wb") as file:
                file.write(data)

    def _run(self, header: dict[str, Any], stdin: bytes | None) -> tuple[dict[str, Any], bytes]:
        """Runs the program until it ends or meets a limit, and sweeps up after it; no stdin: it is fed."""
        limits: dict[str, float] = header["limits"]
        if not self._is_isolated:
            _empty(self._tmp)
        else:
            namespaces.fresh_tmp(for_compiler=bool(header.get("keep")))
        if self._meter is not None:
            self._meter.begin(int(limits["memory_bytes"]), int(limits["num_processes"]))
        feed, word = -1, b""
        if stdin is None:
            source, feed = os.pipe()
            os.set_blocking(feed, False)
        else:
            word = os.urandom(16).hex().encode() if header["calls"] else b""
            source = stdin_file(stdin, word)
        out, err = os.pipe(), os.pipe()
        request: dict[str, Any] = {key: header[key] for key in ("fork", "calls", "hooks", "collects") if key in header}
        if "command" in header:
            request["command"] = [part.replace("{program}", self._program) for part in header["command"]]
        request |= {"program": self._program, "limits": self._resource_limits(limits)}
        run = Run(limits, time.monotonic())
        try:
            files = array.array("i", [source, out[1], err[1]])
            self._channel.sendmsg(
                [json.dumps(request).encode()], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files.tobytes())]
            )
            for end in (source, out[1], err[1]):
                os.close(end)
            self._watch(run, out[0], err[0], feed)
        finally:
            for end in (out[0], err[0], *((feed,) if feed >= 0 and run.is_fed else ())):
                os.close(end)
        if run.errno:
            command = header.get("command", ["fork"])
            if str(command[0]).startswith("/"):
                raise OSError(run.errno, f"{command}: {os.strerror(run.errno)}")
            # What the compiler made of the submission: an interpreter of its own that is missing, say.
            run.exit_code = 127
            run.stderr += f"cannot be executed: {os.strerror(run.errno)}\n".encode()
        stdout, stderr = (b"" if stdin is None else bytes(run.stdout)), bytes(run.stderr)
        # A result that does not begin with the word is none of a function's: the program wrote it, or left early.
        stdout = stdout[len(word) :] if stdout.startswith(word) else b""
        kept = self._keep(str(header["keep"])) if header.get("keep") and run.exit_code == 0 else b""
        return {
            "exit_code": run.exit_code,
            "ended_by": run.ended_by,
            "cpu_s": run.cpu_s,
            "wall_s": run.wall_s,
            "memory_bytes": run.memory_bytes,
            "sizes": [len(stdout), len(stderr), len(kept)],
        }, b"".join((stdout, stderr, kept))

    def _resource_limits(self, limits: dict[str, float]) -> list[tuple[int, int]]:
        """Soft limits that the spawner sets on itself for its children: all there is without a control group."""
        if self._meter is not None:
            return []
        memory_bytes = int(limits["memory_bytes"])
        # Address space that is only reserved costs nothing, shared mappings count here alone.
        values = [(resource.RLIMIT_DATA, memory_bytes), (resource.RLIMIT_AS, 2 * memory_bytes + (512 << 20))]
        if self._is_isolated:
            # Counted per user: the agent, the spawner and the program.
            values.append((resource.RLIMIT_NPROC, int(limits["num_processes"]) + 2))
        return values

    def _watch(self, run: Run, out: int, err: int, feed: int) -> None:
        """Drains the pipes while the program runs, until nothing of it is left."""
        is_fed = feed >= 0
        poll = select.poll()
        channel = self._channel.fileno()
        for file in (channel, out, err, self._wake):
            poll.register(file, select.POLLIN)
        # Or only to hear that the host has gone.
        poll.register(self._requests, select.POLLIN if is_fed else 0)
        for file in (out, err):
            os.set_blocking(file, False)
        look_s, waiting = _FIRST_LOOK_S, meters.Waiting(self._own)
        reported = None
        while run.ended_by is None:
            for ready, _ in poll.poll(1 + 1000 * run.wait_s(self._num_cores, look_s - run.wall_s)):
                if ready == channel:
                    reported = self._channel.recv(64)
                elif ready == self._wake:
                    os.read(self._wake, 4096)
                    self._bury(run, os.WNOHANG)
                elif ready == self._requests:
                    self._take_feed(run, is_over=not is_fed)
                elif ready == feed or run.drain(ready, ready == out):
                    continue
                else:
                    poll.unregister(ready)
            if is_fed:
                self._send_output(run)
                if run.pour(feed):
                    poll.register(feed, select.POLLOUT)
                else:
                    with contextlib.suppress(KeyError):
                        poll.unregister(feed)
            if reported is not None:
                break
            run.wall_s = time.monotonic() - run.start_s
            if self._meter is not None:
                run.cpu_s = self._meter.cpu_s()
            if run.wall_s >= look_s:
                look_s = run.wall_s + _LOOK_S
                self._flush()
                if self._is_isolated:
                    self._look(run)
                    waiting.look(run.wall_s, run.cpu_s)
            if run.is_late() and self._is_isolated:
                # Time for which it got no core is no time for which it was idle.
                waited_s = max(waiting.total_s, meters.waited_s(self._own))
                run.waited_s = min(waited_s, _MOST_PATIENCE * run.limits["wall_s"])
            run.check()
        run.wall_s = time.monotonic() - run.start_s
        self._sweep(run, reported)
        for file in (out, err):
            while run.drain(file, file == out):
                pass
        if is_fed:
            self._send_output(run)
        if run.ended_by is None:
            run.check(is_over=True)
        if self._meter is not None and self._meter.out_of_memory():
            if not self._meter.has_met_limit():
                raise RuntimeError("the host ran out of memory, not the program")
            run.ended_by = run.ended_by or "memory"

    def _send_output(self, run: Run) -> None:
        """What an interactive program has said and the host has not heard yet."""
        if run.num_sent < len(run.stdout):
            self._reply({"out": True}, bytes(run.stdout[run.num_sent :]))
            run.num_sent = len(run.stdout)

    def _sweep(self, run: Run, reported: bytes | None) -> None:
        """Kills and buries everything that the program started, and takes down what it all used."""
        if not self._is_isolated:
            self._sweep_children(run, reported)
            return
        report, poll = reported, select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        while True:
            # One atomic walk over all processes but this one: a fork in flight is killed with its parent.
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            if report is not None:
                break
            # If the spawner had not started it yet, it is killed the next time.
            if poll.poll(20):
                report = self._channel.recv(64)
        self._bury(run, 0)
        self._take(run, report)

    def _bury(self, run: Run, flags: int) -> None:
        """Waits for the dead among what the program left behind; without WNOHANG, for all of it."""
        while True:
            try:
                process, _, used = os.wait4(-1, flags)
            except ChildProcessError:
                return
            if process == 0:
                return
            run.children_s += used.ru_utime + used.ru_stime
            if self._label() == "rusage":
                run.memory_bytes = max(run.memory_bytes, used.ru_maxrss * 1024)

    def _take(self, run: Run, report: bytes) -> None:
        """The end of the program, from the spawner's report, and what all its processes used."""
        started_s = 0.0
        if report:
            run.errno, status, cpu_s, started_s, peak_bytes = spawner.REPORT.unpack(report)
            run.exit_code = os.waitstatus_to_exitcode(status)
            if self._label() == "rusage":
                run.memory_bytes = max(run.memory_bytes, peak_bytes)
            if self._meter is None:
                run.cpu_s = max(run.cpu_s, cpu_s + run.children_s)
        elif self._meter is None or not self._meter.out_of_memory():
            raise RuntimeError("the spawner is gone")
        if self._meter is not None:
            run.cpu_s = max(0.0, self._meter.cpu_s() - started_s)
            # The kernel has held it to the limit; rusage also counts the interpreter that it was forked from.
            run.memory_bytes = min(self._meter.peak_bytes() or run.memory_bytes, int(run.limits["memory_bytes"]))

    def _sweep_children(self, run: Run, reported: bytes | None) -> None:
        """Without process ids of our own: the spawner's children and the adopted, until there are none."""
        report = reported
        while True:
            doomed = [child for child in _children(os.getpid()) if child != self._spawner_process]
            doomed += _children(self._spawner_process)
            for child in doomed:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            if report is None:
                report = self._channel.recv(64)
            elif not doomed:
                break
            for child in doomed:
                with contextlib.suppress(ChildProcessError):
                    _, _, used = os.wait4(child, 0)
                    run.children_s += used.ru_utime + used.ru_stime
        self._take(run, report)

    def _look(self, run: Run) -> None:
        """What is done now and then while a program runs."""
        if not run.is_exposed:
            # When memory runs out, the kernel is to take the program, and what it starts, and not its spawner.
            run.is_exposed = True
            for process in meters.processes(self._own):
                with contextlib.suppress(OSError), open(f"/proc/{process}/oom_score_adj", "w") as file:
                    file.write("1000")
        if self._meter is None:
            self._bound(run)
            run.cpu_s, resident_bytes = meters.look_around(self._own)
            # One look is not enough: what processes share moves to those left while others end.
            run.num_exceeded = run.num_exceeded + 1 if resident_bytes > run.limits["memory_bytes"] else 0
            if run.num_exceeded == 2:
                run.ended_by = "memory"
        elif not self._meter.has_peak:
            resident_bytes = self._meter.usage_bytes()
        else:
            return
        run.memory_bytes = max(run.memory_bytes, resident_bytes)

    def _bound(self, run: Run) -> None:
        """Takes from native programs the right to raise the limits that they were started with."""
        for process in meters.processes(self._own):
            if process not in run.bounded:
                run.bounded.add(process)
                with contextlib.suppress(OSError):
                    for kind, value in self._resource_limits(run.limits):
                        resource.prlimit(process, kind, (value, value))

    def _take_feed(self, run: Run, *, is_over: bool) -> None:
        """One `feed` frame: more of the program's input; an empty one is its end."""
        frame = None if is_over else self._receive()
        if frame is None:
            run.ended_by = "host"
            return
        run.feed += frame[1]
        run.feed_is_over = not frame[1]

    def _keep(self, name: str) -> bytes:
        # Not followed if it is a link: the agent must not fetch a file for the program.
        file = os.open(os.path.join(self._tmp, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(file, "rb") as stream:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise RuntimeError(f"the compiler's {name} is not a file")
            return stream.read()

    def _receive(self) -> tuple[dict[str, Any], bytes] | None:
        """The next frame; None when the host has gone."""
        prefix = self._read(8)
        if prefix is None:
            return None
        header_bytes, body_bytes = struct.unpack("!II", prefix)
        header = self._read(header_bytes)
        body = self._read(body_bytes) if body_bytes else b""
        return None if header is None or body is None else (json.loads(header), body)

    def _read(self, size: int) -> bytes | None:
        """Exactly `size` bytes from the host; None when it has gone."""
        data = os.read(self._requests, size)
        if len(data) == size:
            return data
        whole = bytearray(data)
        while len(whole) < size:
            part = os.read(self._requests, min(size - len(whole), 1 << 20))
            if not part:
                return None
            whole += part
        return bytes(whole)

    def _reply(self, header: dict[str, Any], body: bytes) -> None:
        self._unsent += _frame(header, body)
        self._flush()

    def _flush(self) -> None:
        """Sends the replies that are held back: every send wakes the host, and in a container the engine too."""
        if self._unsent:
            write_all(self._replies, self._unsent)
            self._unsent = bytearray()


def _children(process: int) -> list[int]:
    with open(f"/proc/{process}/task/{process}/children") as file:
        return [int(word) for word in file.read().split()]


def _frame(header: dict[str, Any], body: bytes) -> bytes:
    encoded = json.dumps(header).encode()
    return struct.pack("!II", len(encoded), len(body)) + encoded + body


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

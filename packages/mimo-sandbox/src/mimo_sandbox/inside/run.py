"""One test while it runs: what it has written and used so far, and which limit it has met."""

from __future__ import annotations

import fcntl
import os
import signal

CHUNK_BYTES = 262_144
"""What is read from a pipe, or kept from the host, at most at once."""

_STDERR_BYTES = 65_536
_SEALS = fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class Run:
    """One test while it runs."""

    def __init__(self, limits: dict[str, float], start_s: float) -> None:
        self.limits = limits
        self.start_s = start_s
        self.stdout, self.stderr = bytearray(), bytearray()
        self.ended_by: str | None = None
        self.exit_code = -int(signal.SIGKILL)
        self.errno = 0
        self.cpu_s, self.wall_s, self.memory_bytes = 0.0, 0.0, 0
        self.waited_s, self.children_s = 0.0, 0.0
        self.is_exposed, self.num_exceeded = False, 0
        self.bounded: set[int] = set()
        self.feed = bytearray()
        self.is_fed, self.feed_is_over = True, False
        self.num_sent = 0

    def wait_s(self, num_cores: int, look_left_s: float) -> float:
        """How long nothing can happen that must be noticed but an event."""
        cpu_left_s = (self.limits["cpu_s"] - self.cpu_s) / num_cores
        wall_left_s = self.limits["wall_s"] + self.waited_s - self.wall_s
        return max(0.0, min(cpu_left_s, wall_left_s, max(look_left_s, 0.002)))

    def is_late(self) -> bool:
        """Whether the clock has run out, as far as is known."""
        return self.wall_s - self.waited_s > self.limits["wall_s"]

    def check(self, *, is_over: bool = False) -> None:
        """Notes the limit that has been met, if one has; after its end a program has not met the wall limit."""
        if len(self.stdout) > self.limits["output_bytes"]:
            self.ended_by = "output"
        elif self.cpu_s > self.limits["cpu_s"]:
            self.ended_by = "cpu"
        elif self.is_late() and not is_over:
            self.ended_by = "wall"

    def pour(self, feed: int) -> bool:
        """Gives the program what it can take of its input; True if something is left."""
        try:
            while self.feed and self.is_fed:
                del self.feed[: os.write(feed, self.feed[:CHUNK_BYTES])]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            self.feed_is_over = True
        if self.feed_is_over and self.is_fed:
            os.close(feed)
            self.is_fed = False
        return False

    def drain(self, pipe: int, is_stdout: bool) -> bool:
        """Reads once; False when there is nothing more for now, or ever."""
        try:
            data = os.read(pipe, CHUNK_BYTES)
        except BlockingIOError:
            return False
        kept = self.stdout if is_stdout else self.stderr
        room = (int(self.limits["output_bytes"]) + 1 if is_stdout else _STDERR_BYTES) - len(kept)
        kept += data if len(data) <= room else data[: max(room, 0)]
        return bool(data)


def stdin_file(stdin: bytes, word: bytes) -> int:
    """A file with the input, which the program cannot change; of a called function, with the word before it."""
    file = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    if word:
        stdin = word + b"\n" + stdin
    if stdin:
        write_all(file, stdin)
        os.lseek(file, 0, os.SEEK_SET)
    # The function's caller removes the word when it has read it.
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS if word else _SEALS | fcntl.F_SEAL_SHRINK)
    return file


def write_all(file: int, data: bytes | bytearray) -> None:
    """All of it, however often the kernel takes only a part."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]

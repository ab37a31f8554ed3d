"""One agent and the conversation with it, whichever way its bytes travel."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast

from mimo_sandbox.languages import Program
from mimo_sandbox.verdict import Limits, SandboxUnavailable

_INSIDE = Path(__file__).parent / "inside"
_START_S = 60.0
_GRACE_S, _PATIENCE = 30.0, 10.0
"""How much longer, and how many times as long as a program's wall limit, an agent may take before it counts as lost."""


class WorkerLostError(Exception):
    """The agent died, or stopped answering: what it was doing must be done again elsewhere."""


def lost(reasons: Sequence[str]) -> SandboxUnavailable:
    """What to raise when a worker was lost again over the same program."""
    found = "; ".join(dict.fromkeys(reason.rstrip(".") for reason in reasons))
    return SandboxUnavailable(
        f"the judge failed twice over one program: {found}. `mimo-sandbox doctor` says what this host lacks."
    )


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A running agent's streams."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    kill: Callable[[], Awaitable[None]]
    """Ends the agent and everything in its sandbox; may be called twice."""

    last_words: Callable[[], Awaitable[str]]
    """What a dead agent left on its stderr."""

    room: Limits | None = None
    """Memory and processes that fit in, where what holds the agent and all its programs is itself limited."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run did; the comparison with the expected output comes later, on this side."""

    exit_code: int
    ended_by: str | None
    """`cpu`, `wall`, `memory` or `output` if that limit ended the program."""

    cpu_s: float
    wall_s: float
    memory_bytes: int
    stdout: bytes
    stderr: bytes
    kept: bytes
    """The file that a compilation was asked for."""

    measured_by: Literal["cgroup", "rusage"]


def start_command(python: str) -> list[str]:
    """The interpreter, with the flags that forked programs get, and the few lines that receive the agent."""
    return [python, "-I", "-B", "-X", "utf8", "-c", _source("start")]


def agent_payload(settings: Mapping[str, object]) -> bytes:
    """What `start_command` reads first: the agent's modules and its settings."""
    names = ("seccomp", "namespaces", "meter", "program", "spawner", "run", "agent")
    modules = [("mimo_sandbox", ""), ("mimo_sandbox.inside", "")]
    modules += [(f"mimo_sandbox.inside.{name}", _source(name)) for name in names]
    payload = json.dumps({"modules": modules, "settings": dict(settings)}).encode()
    return f"{len(payload):16d}".encode() + payload


@cache
def _source(name: str) -> str:
    """As it was when first read: a package that is upgraded meanwhile does not mix two versions."""
    return (_INSIDE / f"{name}.py").read_text()


class Worker:
    """An agent that answers one request at a time."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._loaded: Program | None = None
        self._measured_by: Literal["cgroup", "rusage"] = "rusage"

    @classmethod
    async def start(cls, channel: Channel, settings: Mapping[str, object]) -> Worker:
        """Sends the agent and waits until it is ready.

        Raises:
            SandboxUnavailable: it did not get ready; the message holds its last words.
        """
        worker = cls(channel)
        try:
            channel.writer.write(agent_payload(settings))
            async with asyncio.timeout(_START_S):
                hello, _ = await worker._receive()
            worker._measured_by = cast(Literal["cgroup", "rusage"], hello["measures"])
        except (WorkerLostError, OSError, TimeoutError) as error:
            await channel.kill()
            words = (await channel.last_words()).strip().splitlines()
            raise SandboxUnavailable(
                f"the sandbox did not start: {words[-1] if words else error or 'no answer'}. "
                "`mimo-sandbox doctor` says what this host allows."
            ) from None
        except BaseException:
            await channel.kill()
            raise
        return worker

    async def run(
        self, program: Program, stdins: Sequence[bytes], limits: Limits, *, keep: str = ""
    ) -> AsyncIterator[Outcome]:
        """Runs a program once for each standard input, in order; yields each outcome as it comes.

        Args:
            keep: a file to bring back if the program ends with 0.

        Raises:
            WorkerLostError: no answer, or the agent could not run it; kill this worker.
        """
        self._require_room(limits)
        await self._load(program)
        header = {**_how(program), "limits": asdict(limits), "keep": keep, "sizes": [len(stdin) for stdin in stdins]}
        await self._send({"do": "run", **header}, b"".join(stdins))
        for _ in stdins:
            reply, out = await self._answer(_PATIENCE * limits.wall_s + _GRACE_S)
            yield self._outcome(reply, out)

    def interaction(self, program: Program, limits: Limits) -> Interaction:
        """A run whose input comes and whose output goes while it goes on."""
        self._require_room(limits)
        return Interaction(self, program, limits)

    @property
    def is_over(self) -> bool:
        """Whether the agent is known to have ended."""
        return self._channel.reader.at_eof()

    async def kill(self) -> None:
        """Ends the agent; safe at any time."""
        await self._channel.kill()

    def _require_room(self, limits: Limits) -> None:
        room = self._channel.room
        if room is not None and (limits.memory_bytes > room.memory_bytes or limits.num_processes > room.num_processes):
            raise SandboxUnavailable(
                f"the containers of this sandbox have room for {room.memory_bytes:,} bytes and {room.num_processes} "
                f"processes of a test, whose limits are {limits.memory_bytes:,} and {limits.num_processes}. "
                "Open the sandbox with limits as large as the largest."
            )

    async def _load(self, program: Program) -> None:
        if self._loaded is program:
            return
        names, contents = [name for name, _ in program.files], [data for _, data in program.files]
        await self._send({"do": "load", "names": names, "sizes": [len(data) for data in contents]}, b"".join(contents))
        await self._answer(_GRACE_S)
        self._loaded = program

    def _outcome(self, reply: dict[str, object], out: bytes) -> Outcome:
        out_bytes, err_bytes, _ = cast(list[int], reply.pop("sizes"))
        end = out_bytes + err_bytes
        return Outcome(
            **reply,  # type: ignore[arg-type]
            stdout=out[:out_bytes],
            stderr=out[out_bytes:end],
            kept=out[end:],
            measured_by=self._measured_by,
        )

    async def _send(self, header: Mapping[str, object], body: bytes) -> None:
        encoded = json.dumps(header).encode()
        try:
            self._channel.writer.write(struct.pack("!II", len(encoded), len(body)) + encoded + body)
            # Not wait_for: in Python 3.11 it loses a cancellation that comes when the wait is just over.
            async with asyncio.timeout(_GRACE_S):
                await self._channel.writer.drain()
        except (OSError, TimeoutError) as error:
            raise WorkerLostError(f"{type(error).__name__}: {error}") from None

    async def _answer(self, limit_s: float) -> tuple[dict[str, object], bytes]:
        try:
            async with asyncio.timeout(limit_s):
                reply, out = await self._receive()
        except (OSError, TimeoutError) as error:
            raise WorkerLostError(f"{type(error).__name__}: {error}") from None
        if "error" in reply:
            raise WorkerLostError(str(reply["error"]))
        return reply, out

    async def _receive(self) -> tuple[dict[str, object], bytes]:
        try:
            header_bytes, body_bytes = struct.unpack("!II", await self._channel.reader.readexactly(8))
            data = await self._channel.reader.readexactly(header_bytes + body_bytes)
            return json.loads(data[:header_bytes]), data[header_bytes:]
        except asyncio.IncompleteReadError:
            raise WorkerLostError("the agent ended") from None


class Interaction:
    """One run of a program that somebody talks with."""

    def __init__(self, worker: Worker, program: Program, limits: Limits) -> None:
        self._worker = worker
        self._program = program
        self._limits = limits
        self._outcome: Outcome | None = None
        self._has_begun = asyncio.Event()

    async def words(self) -> AsyncIterator[bytes]:
        """Starts the program; yields what it prints as it comes.

        Raises:
            WorkerLostError: no answer, or the agent could not run it; kill this worker.
        """
        worker = self._worker
        await worker._load(self._program)
        await worker._send({"do": "run", **_how(self._program), "limits": asdict(self._limits), "sizes": []}, b"")
        self._has_begun.set()
        while True:
            reply, out = await worker._answer(_PATIENCE * self._limits.wall_s + _GRACE_S)
            if "out" not in reply:
                self._outcome = worker._outcome(reply, out)
                return
            yield out

    async def tell(self, words: bytes) -> None:
        """Adds to the program's input, once it has begun; nothing is its end. One that has ended does not listen.

        Raises:
            WorkerLostError: the agent is gone.
        """
        await self._has_begun.wait()
        if self._outcome is None:
            await self._worker._send({"do": "feed", "sizes": []}, words)

    def outcome(self) -> Outcome:
        """How it ended, once its `words` are over."""
        assert self._outcome is not None
        return self._outcome


def _how(program: Program) -> dict[str, object]:
    if program.compiles:
        return {"fork": "compile", "hooks": False, "calls": False}
    if program.command:
        return {"command": program.command, "calls": program.calls}
    return {
        "fork": "run",
        "calls": program.calls,
        "hooks": program.hooks,
        "collects": program.collects,
    }

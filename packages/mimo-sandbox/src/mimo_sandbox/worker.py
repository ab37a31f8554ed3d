"""One agent and the conversation with it, whichever way its bytes travel."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mimo_sandbox.languages import Program
from mimo_sandbox.verdict import Limits, SandboxUnavailable

_INSIDE = Path(__file__).parent / "inside"
_START_S = 60.0
_GRACE_S = 30.0
"""How much longer than a program's own limit the agent may take before it counts as lost."""


class WorkerLostError(Exception):
    """The agent died, or stopped answering: what it was doing must be done again elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A running agent's streams."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    kill: Callable[[], Awaitable[None]]
    """Ends the agent and everything in its sandbox; may be called twice."""

    last_words: Callable[[], Awaitable[str]]
    """What a dead agent left on its stderr."""


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


def start_command(python: str) -> list[str]:
    """The interpreter with the few lines that receive the agent."""
    return [python, "-I", "-S", "-c", (_INSIDE / "start.py").read_text()]


def agent_payload(settings: Mapping[str, object]) -> bytes:
    """What `start_command` reads first: the agent's modules and its settings."""
    names = ("seccomp", "namespaces", "agent")
    modules = [("mimo_sandbox", ""), ("mimo_sandbox.inside", "")]
    modules += [(f"mimo_sandbox.inside.{name}", (_INSIDE / f"{name}.py").read_text()) for name in names]
    payload = json.dumps({"modules": modules, "settings": dict(settings)}).encode()
    return f"{len(payload):16d}".encode() + payload


class Worker:
    """An agent that answers one request at a time."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._loaded: Program | None = None

    @classmethod
    async def start(cls, channel: Channel, settings: Mapping[str, object]) -> Worker:
        """Sends the agent and waits until it is ready.

        Raises:
            SandboxUnavailable: it did not get ready; the message holds its last words.
        """
        worker = cls(channel)
        try:
            channel.writer.write(agent_payload(settings))
            await asyncio.wait_for(worker._receive(), _START_S)
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

    async def run(self, program: Program, stdin: bytes, limits: Limits, *, keep: str = "") -> Outcome:
        """Runs a program once.

        Args:
            keep: a file to bring back if the program ends with 0.

        Raises:
            WorkerLostError: no answer; kill this worker.
            SandboxUnavailable: the agent could not run it.
        """
        await self._load(program)
        return await self._ask({"do": "run", "command": program.command, "keep": keep}, stdin, limits)

    async def check_python(self, program: Program, limits: Limits) -> Outcome:
        """Parses a Python program's source; exit code 1 and a message on stderr if that fails.

        Raises:
            WorkerLostError: no answer; kill this worker.
            SandboxUnavailable: the agent could not do it.
        """
        await self._load(program)
        return await self._ask({"do": "check"}, b"", limits)

    async def kill(self) -> None:
        """Ends the agent; safe at any time."""
        await self._channel.kill()

    async def _load(self, program: Program) -> None:
        if self._loaded is program:
            return
        files = [(name, len(data), mode) for name, data, mode in program.files]
        await self._exchange({"do": "load", "files": files}, b"".join(data for _, data, _ in program.files), _GRACE_S)
        self._loaded = program

    async def _ask(self, header: dict[str, object], body: bytes, limits: Limits) -> Outcome:
        reply, out = await self._exchange({**header, "limits": asdict(limits)}, body, limits.wall_s + _GRACE_S)
        sizes = reply.pop("sizes")
        assert isinstance(sizes, list)
        parts: list[bytes] = []
        for size in sizes:
            parts.append(out[:size])
            out = out[size:]
        return Outcome(**reply, stdout=parts[0], stderr=parts[1], kept=parts[2])  # type: ignore[arg-type]

    async def _exchange(
        self, header: Mapping[str, object], body: bytes, limit_s: float
    ) -> tuple[dict[str, object], bytes]:
        encoded = json.dumps(header).encode()
        try:
            async with asyncio.timeout(limit_s):
                self._channel.writer.write(struct.pack("!II", len(encoded), len(body)) + encoded)
                self._channel.writer.write(body)
                await self._channel.writer.drain()
                reply, out = await self._receive()
        except (OSError, TimeoutError) as error:
            raise WorkerLostError(f"{type(error).__name__}: {error}") from None
        if "error" in reply:
            raise WorkerLostError(str(reply["error"]))
        return reply, out

    async def _receive(self) -> tuple[dict[str, object], bytes]:
        try:
            header_bytes, body_bytes = struct.unpack("!II", await self._channel.reader.readexactly(8))
            header = json.loads(await self._channel.reader.readexactly(header_bytes))
            return header, await self._channel.reader.readexactly(body_bytes)
        except asyncio.IncompleteReadError:
            raise WorkerLostError("the agent ended") from None

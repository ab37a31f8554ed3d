"""The pool: a fixed number of workers of one backend, each replaced when it is lost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

from mimo_sandbox import engine
from mimo_sandbox.local import find_python, start_local_worker
from mimo_sandbox.verdict import Limits, SandboxUnavailable
from mimo_sandbox.worker import Worker, WorkerLostError

ResultT = TypeVar("ResultT")


class Sandbox:
    """Runs programs in isolation, `num_workers` at a time.

    An async context manager: the workers start when it is entered and are gone when it is left.

    Attributes:
        backend: `docker`, `local` or `unsafe`; `auto` becomes one of the first two on entry.
        limits: of every test in it.
        python: the interpreter that programs get.
    """

    def __init__(self, backend: str = "auto", *, num_workers: int | None = None, limits: Limits | None = None) -> None:
        """Chooses the backend and the size; starts nothing.

        Args:
            backend: `auto` takes Docker if an engine answers and has the judge image, else `local`. `unsafe` runs
                programs with this user's rights and must be asked for by name.
            num_workers: default: the cores that this process may use.

        Raises:
            ValueError: no such backend, or no worker.
        """
        if backend not in ("auto", "docker", "local", "unsafe"):
            raise ValueError(f"backend {backend!r}: expected auto, docker, local or unsafe.")
        self.backend = backend
        self.limits = limits or Limits()
        self.num_workers = len(os.sched_getaffinity(0)) if num_workers is None else num_workers
        if self.num_workers < 1:
            raise ValueError(f"num_workers={num_workers}: expected at least 1.")
        self.python = ""
        self._idle: asyncio.LifoQueue[_Slot] = asyncio.LifoQueue()
        self._slots: list[_Slot] = []

    async def __aenter__(self) -> Self:
        """Starts the workers.

        Raises:
            SandboxUnavailable: no backend works here; the message says why and what to do.
        """
        start = await self._choose()
        self._idle = asyncio.LifoQueue()
        self._slots = [_Slot(start) for _ in range(self.num_workers)]
        try:
            async with asyncio.TaskGroup() as group:
                for slot in self._slots:
                    group.create_task(slot.ready())
        except BaseExceptionGroup as errors:
            await self._stop()
            raise errors.exceptions[0] from None
        except BaseException:
            await self._stop()
            raise
        for slot in self._slots:
            self._idle.put_nowait(slot)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def on_worker(self, action: Callable[[Worker], Awaitable[ResultT]]) -> ResultT:
        """Waits for a free worker and lets `action` use it; a lost worker is replaced and the action done once more.

        Raises:
            SandboxUnavailable: two workers were lost over the same action, or none could be started.
        """
        if not self._slots:
            raise SandboxUnavailable("the sandbox is not open. Use it inside `async with Sandbox(...) as sandbox:`.")
        reasons: list[str] = []
        while len(reasons) < 2:
            slot = await self._idle.get()
            whole = False
            try:
                result = await action(await slot.ready())
                whole = True
                return result
            except WorkerLostError as error:
                reasons.append(str(error))
            finally:
                # Also when the caller was cancelled: the agent is in the middle of something that nobody waits for.
                try:
                    if not whole:
                        await asyncio.shield(slot.drop())
                finally:
                    self._idle.put_nowait(slot)
        raise SandboxUnavailable(
            f"the judge failed twice over one program: {'; '.join(reasons)}. "
            "`mimo-sandbox doctor` says what this host lacks."
        )

    async def _choose(self) -> Callable[[], Awaitable[Worker]]:
        """Settles the backend; returns what starts one of its workers."""
        reason = ""
        if self.backend in ("auto", "docker"):
            try:
                client = await asyncio.to_thread(engine.connect)
                await asyncio.to_thread(engine.require_image, client)
            except SandboxUnavailable as error:
                if self.backend == "docker":
                    raise
                reason = str(error)
            else:
                self.backend, self.python = "docker", engine.PYTHON
                return lambda: engine.start_docker_worker(client, self.limits)
        self.python, _ = await asyncio.to_thread(find_python)
        isolated = self.backend != "unsafe"
        if self.backend == "auto":
            try:
                await (await start_local_worker(isolated=True)).kill()
            except SandboxUnavailable as error:
                raise SandboxUnavailable(f"no isolation on this host: {reason} Locally, {error}") from None
            self.backend = "local"
        return lambda: start_local_worker(isolated=isolated)

    async def _stop(self) -> None:
        slots, self._slots = self._slots, []
        await asyncio.gather(*(slot.drop() for slot in slots))


class _Slot:
    """A place for a worker, filled when it is needed."""

    def __init__(self, start: Callable[[], Awaitable[Worker]]) -> None:
        self._start = start
        self._worker: Worker | None = None

    async def ready(self) -> Worker:
        if self._worker is None:
            self._worker = await self._start()
        return self._worker

    async def drop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.kill()

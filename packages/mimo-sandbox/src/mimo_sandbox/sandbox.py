"""The pool: a fixed number of workers of one backend, each replaced when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mimo_sandbox import cache, engine, judging
from mimo_sandbox.judge import Judge
from mimo_sandbox.languages import LANGUAGES, PRECOMPILED, Program
from mimo_sandbox.local import Network, find_python, start_local_worker
from mimo_sandbox.verdict import CaseResult, Limits, Mode, Request, SandboxUnavailable, Submission, Verdict
from mimo_sandbox.worker import Outcome, Worker, WorkerLostError, lost

if TYPE_CHECKING:
    from docker import DockerClient

StartWorker = Callable[[tuple[str, ...]], Awaitable[Worker]]
"""Starts a worker whose warm interpreter has these modules loaded."""


class Sandbox(Judge):
    """Runs programs in isolation, `num_workers` at a time.

    An async context manager: the workers start when it is entered and are gone when it is left.

    Attributes:
        backend: `docker`, `local` or `unsafe`; `auto` becomes one of the first two on entry.
        limits: of a test, where a call names no others.
        python: the interpreter that programs get.
        toolchain: names the compilers and interpreter, for what is made with them.
    """

    def __init__(
        self,
        backend: str = "auto",
        *,
        num_workers: int | None = None,
        limits: Limits | None = None,
        runtime: str | None = None,
        cache_folder: Path | None = None,
    ) -> None:
        """Chooses the backend and the size; starts nothing.

        Args:
            backend: `auto` takes Docker if an engine answers and has the judge image, else `local`. `unsafe` runs
                programs with this user's rights and must be asked for by name.
            num_workers: default: the cores that this process may use.
            runtime: of the docker backend's containers, such as `runsc` for gVisor; default: the engine's.
            cache_folder: where compiled programs are kept; default: `cache.default_folder()`.

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
        self.toolchain = ""
        self._cache_folder = cache_folder or cache.default_folder()
        self.cache = cache.ProgramCache(self._cache_folder)
        self._runtime = runtime
        self._programs: Pool | None = None
        self._checkers: Pool | None = None
        self._client: DockerClient | None = None
        self._headers: asyncio.Task[None] | None = None
        self._headers_folder: Path | None = None

    async def __aenter__(self) -> Self:
        """Starts the workers.

        Raises:
            SandboxUnavailable: no backend works here; the message says why and what to do.
        """
        start = await self._choose()
        self._programs, self._checkers = Pool(start, self.num_workers), Pool(start, self.num_workers)
        try:
            await self._programs.fill()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def judge_requests(self, requests: Sequence[Request]) -> list[Verdict]:
        """See `Judge.judge_requests`."""
        return await judging.judge_requests(self, requests)

    def stream_request(self, request: Request) -> AsyncIterator[CaseResult]:
        """See `Judge.stream_request`."""
        return judging.stream_request(self, request)

    async def run(
        self, submission: Submission, stdin: bytes, *, limits: Limits | None = None, mode: Mode = "exec"
    ) -> judging.Run:
        """Runs a program once, with nothing to compare it to, and brings back all that it wrote.

        Raises:
            ValueError: an unknown language, or a submission with an entry point.
            SandboxUnavailable: the judge failed.
        """
        return await judging.run_once(self, submission, stdin, limits or self.limits, mode)

    @property
    def programs(self) -> Pool:
        """The workers for submissions and compilers.

        Raises:
            SandboxUnavailable: the sandbox is not open.
        """
        return _opened(self._programs)

    @property
    def checkers(self) -> Pool:
        """Workers of their own for what is told expected outputs, started when first needed.

        Raises:
            SandboxUnavailable: the sandbox is not open.
        """
        return _opened(self._checkers)

    def require_language(self, name: str) -> None:
        """Checks that what a language needs is there.

        Raises:
            SandboxUnavailable: it is not.
        """
        needs = LANGUAGES[name].needs.replace("{python}", self.python)
        if self.backend != "docker" and not Path(needs).exists():
            raise SandboxUnavailable(
                f"{name} programs need {needs}, which this host lacks. Install it, or use the docker backend."
            )

    async def precompiled(self, make: Callable[[Program], Awaitable[bytes]]) -> None:
        """Sees to it that the sandbox shows precompiled headers, made once on this host.

        Args:
            make: compiles a header. Without a result, compilations are slower and nothing else.
        """
        if self._headers_folder is None:
            return
        if self._headers is None:
            self._headers = asyncio.create_task(judging.precompile(self._headers_folder, make))
        # If the judge failed at it, the compilation that it was meant for will say so.
        await asyncio.wait([self._headers])

    async def _choose(self) -> StartWorker:
        """Settles the backend; returns what starts one of its workers."""
        reason = ""
        if self.backend in ("auto", "docker"):
            try:
                client = await asyncio.to_thread(engine.connect)
                image = await asyncio.to_thread(engine.require_image, client)
                await asyncio.to_thread(engine.remove_stale, client)
            except SandboxUnavailable as error:
                if self.backend == "docker":
                    raise
                reason = str(error)
            else:
                self.backend, self.python, self.toolchain = "docker", engine.PYTHON, image
                self._client = client
                return lambda modules: engine.start_docker_worker(client, self.limits, self._runtime, modules)
        self.python, _ = await asyncio.to_thread(find_python)
        self.toolchain = _host_toolchain(self.python)
        folder = self._cache_folder / f"headers-{cache.key(self.toolchain)[:16]}"
        shown: tuple[tuple[str, str], ...] = ()
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            shown = ((str(folder.resolve()), PRECOMPILED),)
            self._headers_folder = folder
        network = Network()
        isolated = self.backend != "unsafe"

        async def start(modules: tuple[str, ...]) -> Worker:
            return await start_local_worker(isolated=isolated, network=network, modules=modules, shown=shown)

        if self.backend == "auto":
            try:
                await (await start(())).kill()
            except SandboxUnavailable as error:
                raise SandboxUnavailable(f"no isolation on this host: {reason} Locally, {error}") from None
            network.path = ""
            self.backend = "local"
        return start

    async def _stop(self) -> None:
        pools = [pool for pool in (self._programs, self._checkers) if pool is not None]
        self._programs = self._checkers = None
        if self._headers is not None:
            self._headers.cancel()
        await asyncio.shield(asyncio.gather(*(pool.empty() for pool in pools)))
        if self._client is not None:
            # Once more: the engine may have been making a container for a host that is gone when this one began.
            await asyncio.to_thread(engine.remove_stale, self._client)


def _opened(pool: Pool | None) -> Pool:
    if pool is None:
        raise SandboxUnavailable("the sandbox is not open. Use it inside `async with Sandbox(...) as sandbox:`.")
    return pool


class Pool:
    """Slots for workers, each used by one task at a time."""

    def __init__(self, start: StartWorker, size: int) -> None:
        self.size = size
        self._slots = [_Slot(start) for _ in range(size)]
        self._idle: asyncio.LifoQueue[_Slot] = asyncio.LifoQueue()
        for slot in self._slots:
            self._idle.put_nowait(slot)
        self._is_closed = False
        self._loop = asyncio.get_running_loop()

    async def fill(self) -> None:
        """Starts a worker in every slot.

        Raises:
            SandboxUnavailable: one did not start.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for slot in self._slots:
                    group.create_task(slot.ready(()))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def empty(self) -> None:
        """Ends all workers, for good."""
        self._is_closed = True
        await asyncio.gather(*(slot.drop() for slot in self._slots))

    @contextlib.asynccontextmanager
    async def worker(self, modules: tuple[str, ...]) -> AsyncIterator[Worker]:
        """A free worker, when there is one; it is replaced if the block does not end well.

        Raises:
            SandboxUnavailable: none could be started.
        """
        slot = await self._idle.get()
        try:
            self._require_usable()
            worker = await slot.ready(modules)
            try:
                yield worker
            except BaseException:
                # Also when the caller was cancelled: the agent is in the middle of something that nobody waits for.
                await slot.drop()
                raise
        finally:
            self._idle.put_nowait(slot)

    async def run(
        self,
        program: Program,
        stdins: Sequence[bytes],
        limits: Limits,
        deliver: Callable[[int, Outcome], None],
        *,
        keep: str = "",
    ) -> None:
        """Runs a program once for each standard input; `deliver` is told number and outcome, once each, in order.

        When a worker is lost, what it had not delivered is run once more elsewhere.

        Raises:
            SandboxUnavailable: two workers were lost over the same input, or did not start.
        """
        reasons: list[Exception] = []
        num_done = 0
        while num_done < len(stdins):
            at_start = num_done
            self._require_usable()
            try:
                async with self.worker(program.modules) as worker:
                    async for outcome in worker.run(program, stdins[num_done:], limits, keep=keep):
                        deliver(num_done, outcome)
                        num_done += 1
                return
            except (WorkerLostError, SandboxUnavailable) as error:
                if num_done > at_start:
                    reasons = []
                reasons.append(error)
                # Counted apart: a worker that did not start was never told of the program.
                if max(Counter(map(type, reasons)).values()) == 2:
                    raise lost([str(reason) for reason in reasons]) from None

    async def run_once(self, program: Program, stdin: bytes, limits: Limits, *, keep: str = "") -> Outcome:
        """As `run`, for one standard input."""
        outcomes: list[Outcome] = []
        await self.run(program, [stdin], limits, lambda _, outcome: outcomes.append(outcome), keep=keep)
        return outcomes[0]

    def _require_usable(self) -> None:
        if self._is_closed:
            raise SandboxUnavailable("the sandbox was closed while it was judging.")
        if self._loop is not asyncio.get_running_loop():
            raise SandboxUnavailable("the sandbox belongs to another event loop. Open one in the loop that uses it.")


class _Slot:
    """A place for one worker, or one for each set of modules; only one of them works at a time."""

    def __init__(self, start: StartWorker) -> None:
        self._start = start
        self._workers: dict[tuple[str, ...], asyncio.Task[Worker]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def ready(self, modules: tuple[str, ...]) -> Worker:
        """The worker with these modules; one that ended while it was idle is replaced.

        A start goes on if its caller is cancelled, since half a worker cannot be undone: the next caller gets it.

        Raises:
            SandboxUnavailable: it did not start.
        """
        known = self._workers.get(modules)
        if known is not None and known.done() and (_failed(known) or known.result().is_over):
            self._end(modules)
        if modules not in self._workers:
            self._workers[modules] = asyncio.ensure_future(self._start(modules))
        return await asyncio.shield(self._workers[modules])

    async def drop(self) -> None:
        """Ends its workers, once they have started; goes on if its caller is cancelled."""
        for modules in list(self._workers):
            self._end(modules)
        if self._ending:
            await asyncio.shield(asyncio.gather(*self._ending))

    def _end(self, modules: tuple[str, ...]) -> None:
        ending = asyncio.create_task(_kill(self._workers.pop(modules)))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


def _failed(start: asyncio.Task[Worker]) -> bool:
    return start.cancelled() or start.exception() is not None


async def _kill(start: asyncio.Task[Worker]) -> None:
    """Ends a worker, which may still be starting."""
    await asyncio.wait([start])
    if not _failed(start):
        await start.result().kill()


def _host_toolchain(python: str) -> str:
    """Changes when a compiler or the interpreter of this host does."""
    found = []
    for path in (python, "/usr/bin/g++", "/usr/bin/gcc", "/usr/bin/rustc"):
        with contextlib.suppress(OSError):
            file = Path(path).resolve()
            found.append(f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}")
    return "\n".join(found)

"""Runs the parts of a corpus: on processes of this machine, or on Ray, with the same result.

A part is a unit of work that one process reads from start to end: a WARC file, a file of documents, a few hundred
pages. What a part gives depends on the part alone, so neither the number of workers nor their order shows in the
result. A part that is done leaves a record; a run that was killed does the others only.

Items of a part that may be slow, huge or hostile go through `guarded`: an item over its limits costs itself, not its
part. Not covered: a part's own reading (a process that dies there twice ends the run, with the part's name), and disks
that lose what was written before a power cut.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import resource
import signal
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

import msgspec

from mimo_data.run import DataError, RecipeError, Record, whole

TaskT = TypeVar("TaskT")
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
OutputT = TypeVar("OutputT", bound=Record)

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.5
# Wall time, as a multiple of the CPU time allowed, after which an item that sleeps is ended.
_WALL_FACTOR = 20
# CPU time beyond the limit before the process is killed: code in C does not see the signal.
_GRACE_S = 2.0
_MAX_DEATHS_OUTSIDE_ITEMS = 2
_COUNT_EVERY = 256
_RAY_ADDRESS = re.compile(r"auto|local|\[?(?P<host>[^/\s]+?)\]?:(?P<port>\d+)")
_JOIN_S = 10.0


class Engine(Record, frozen=True):
    """Where the parts run."""

    num_workers: int = 1
    """Processes on this machine; with Ray, parts in flight at a time."""
    ray: str = ""
    """Address of a Ray cluster ("auto", "local", "host:port"), whose machines see the same files; "" for none."""


class ItemError(Exception):
    """Why an item has no result: `time_limit`, `out_of_memory`, `crashed` or `failed`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def run_parts(
    function: Callable[[TaskT], OutputT],
    parts: Mapping[str, TaskT],
    *,
    output: type[OutputT],
    done: Path,
    engine: Engine | None,
    memory_limit_bytes: int | None = None,
    on_items: Callable[[int], None] | None = None,
) -> dict[str, OutputT]:
    """The output of every part by name, in the order of `parts`; parts that were done before are not run again.

    Args:
        function: importable by name. It writes its files under temporary names and renames them, because it may be
            killed and called again; what it returns is recorded once it has returned.
        parts: by a name that serves as a file name.
        output: the record that `function` returns.
        done: folder of the records, one `<name>.json` a part.
        engine: None for this process, one part after the other, without limits or supervision: for parts that are over
            before the first process of an engine has started.
        memory_limit_bytes: address space of one process.
        on_items: told of items that are done, as the parts on this machine tell by `guarded` and `count_items`.

    Raises:
        DataError: raised by `function`, or a process died twice outside of its items.
        RuntimeError: `function` failed otherwise; the message holds its traceback.
    """
    decoder = msgspec.json.Decoder(output)
    outputs: dict[str, OutputT] = {}
    waiting: dict[str, TaskT] = {}
    for name, task in parts.items():
        path = done / f"{name}.json"
        if path.exists():
            outputs[name] = decoder.decode(path.read_bytes())
        else:
            waiting[name] = task
    results: Iterator[tuple[str, OutputT]]
    if engine is None:
        results = ((name, function(task)) for name, task in waiting.items())
    else:
        execute = _on_ray if engine.ray else _on_processes
        results = execute(function, waiting, engine, memory_limit_bytes, on_items)
    for name, result in results:
        outputs[name] = result
        # Only now: a run that failed in its first part leaves nothing to resume from.
        done.mkdir(parents=True, exist_ok=True)
        with whole(done / f"{name}.json") as temporary:
            temporary.write_bytes(msgspec.json.encode(result))
    return {name: outputs[name] for name in parts}


def guarded(function: Callable[[ItemT], ResultT], item: ItemT, *, limit_s: float) -> ResultT | ItemError:
    """What `function` makes of one item of a part, or why it has none.

    Args:
        limit_s: CPU time. In an engine's process, code that does not return to Python is ended, too: the process
            is killed, and its part starts again without the item.

    Raises:
        ModuleNotFoundError: a library is missing, which is no fault of the item.
    """
    skipped = _watch.begin(limit_s)
    if skipped is not None:
        return skipped
    signal.signal(signal.SIGPROF, _over_limit)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        try:
            result = function(item)
            if _watch.is_over_limit:
                raise _OverLimitError  # a library swallowed the first
            return result
        except ModuleNotFoundError:
            raise
        except MemoryError:
            return ItemError("out_of_memory", "more than a worker's memory")
        except RecursionError:
            return ItemError("failed", "nested too deeply")
        except Exception as error:  # whatever an item provokes is that item's reason
            # Half a surrogate pair cannot be written as UTF-8.
            detail = f"{type(error).__name__}: {error}"[:200].encode("utf-8", "backslashreplace").decode()
            return ItemError("failed", detail)
    except _OverLimitError:
        signal.setitimer(signal.ITIMER_PROF, 0)
        return ItemError("time_limit", f"no result after {limit_s:g} s of CPU time")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        _watch.end()


def count_items(num_items: int) -> None:
    """Tells whoever watches the run that a part is done with so many more items that need no guard."""
    _watch.count(num_items)


class _OverLimitError(BaseException):
    """Raised inside an item; no `except Exception` of a library may swallow it."""


def _over_limit(_signal: int, frame: FrameType | None) -> None:
    if frame is not None and frame.f_code is guarded.__code__:
        return  # the item is over, if only just: its memory was being freed
    # Again, in case a library swallows this one.
    signal.setitimer(signal.ITIMER_PROF, 0.1)
    _watch.is_over_limit = True
    raise _OverLimitError


@dataclass(frozen=True)
class _Begun:
    """A worker is at a guarded item."""

    item: int
    limit_s: float


@dataclass(frozen=True)
class _Done:
    """A worker is done with items."""

    num_items: int


@dataclass
class _Watch:
    """The supervisor's view of this process: which item of its part it is at."""

    connection: Connection | None = None
    skipped: dict[int, ItemError] = field(default_factory=dict)
    item: int = 0
    num_counted: int = 0
    is_over_limit: bool = False

    def begin(self, limit_s: float) -> ItemError | None:
        self.item += 1
        self.is_over_limit = False
        if self.item in self.skipped:
            return self.skipped[self.item]
        if self.connection is not None:
            self.connection.send(_Begun(self.item, limit_s))
        return None

    def end(self) -> None:
        self.num_counted += 1
        self.flush()

    def count(self, num_items: int) -> None:
        self.num_counted += num_items
        if self.num_counted >= _COUNT_EVERY:
            self.flush()

    def flush(self) -> None:
        if self.connection is not None:
            self.connection.send(_Done(self.num_counted))
        self.num_counted = 0


_watch = _Watch()


@dataclass(frozen=True)
class _Returned(Generic[ResultT]):
    """What a worker sends when its part is over."""

    result: ResultT | None
    error: Exception | None


@dataclass
class _Job(Generic[TaskT, OutputT]):
    """A part that is not done, and what was learnt about it from processes that died."""

    name: str
    function: Callable[[TaskT], OutputT]
    task: TaskT
    skipped: dict[int, ItemError] = field(default_factory=dict)
    num_deaths: int = 0


# Processes without work, by their memory limit: the phases of a step are many runs, and each start costs a second.
_idle: dict[int | None, list[_Worker]] = {}


def end_idle_processes() -> None:
    """Ends the processes that wait for a next run; what they used counts as this process's children's from now on."""
    for workers in _idle.values():
        for worker in workers:
            worker.stop()


def _on_processes(
    function: Callable[[TaskT], OutputT],
    parts: Mapping[str, TaskT],
    engine: Engine,
    memory_limit_bytes: int | None,
    on_items: Callable[[int], None] | None,
) -> Iterator[tuple[str, OutputT]]:
    """Each part's name and output, as they finish."""
    waiting = deque(_Job(name, function, task) for name, task in parts.items())
    idle = _idle.setdefault(memory_limit_bytes, [])
    workers = [
        idle.pop() if idle else _Worker(memory_limit_bytes) for _ in range(min(engine.num_workers, len(waiting)))
    ]
    try:
        while True:
            for worker in workers:
                if worker.job is None and waiting:
                    worker.start(waiting.popleft())
            busy = {worker.connection: worker for worker in workers if worker.job is not None}
            if not busy:
                return
            for connection in wait(list(busy), timeout=_POLL_S):
                assert isinstance(connection, Connection)
                job = busy[connection].job
                assert job is not None
                result = busy[connection].collect(on_items)
                if result is not None:
                    yield job.name, result
            for worker in busy.values():
                worker.end_if_over_limit()
    finally:
        for worker in workers:
            if worker.job is not None:
                worker.stop()
        idle += workers


class _Worker:
    """One process and the part it is at."""

    def __init__(self, memory_limit_bytes: int | None) -> None:
        self._memory_limit_bytes = memory_limit_bytes
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._item = 0
        self._limit_s = 0.0
        self._wall_start_s = 0.0
        self._cpu_start_s = 0.0
        self.job: _Job[Any, Any] | None = None

    @property
    def connection(self) -> Connection:
        assert self._connection is not None
        return self._connection

    def start(self, job: _Job[Any, Any]) -> None:
        if self._process is None or not self._process.is_alive():
            self.stop()
            self._spawn()
        self.job = job
        self._item = 0
        # Where this process is now, which is where the paths in the task begin.
        self.connection.send((Path.cwd(), job.function, job.task, job.skipped))

    def collect(self, on_items: Callable[[int], None] | None) -> Any:
        """Takes what the process has sent: the output of its part, or where it is (None)."""
        job = self.job
        assert job is not None
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self._start_again("crashed", "")
            return None
        if isinstance(message, _Done):
            self._item = 0
            if on_items is not None:
                on_items(message.num_items)
            return None
        if isinstance(message, _Begun):
            self._item, self._limit_s = message.item, message.limit_s
            self._wall_start_s, self._cpu_start_s = time.monotonic(), self._cpu_s()
            return None
        self.job = None
        if message.error is not None:
            raise message.error
        return message.result

    def end_if_over_limit(self) -> None:
        if not self._item or self.job is None:
            return
        cpu_s = self._cpu_s() - self._cpu_start_s
        if cpu_s > self._limit_s + _GRACE_S:
            self._start_again("time_limit", f"no result after {self._limit_s:g} s of CPU time")
        elif time.monotonic() - self._wall_start_s > _WALL_FACTOR * self._limit_s + _GRACE_S:
            self._start_again("time_limit", f"no result after {_WALL_FACTOR * self._limit_s:g} s")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self.connection.close()
            self._process = None
            self.job = None

    def _start_again(self, reason: str, detail: str) -> None:
        """Begins the part anew in a new process, without the item that the old one was at."""
        job, process = self.job, self._process
        assert job is not None
        assert process is not None
        if not detail:
            process.join()
            detail = f"the process ended with code {process.exitcode}"
        if self._item:
            job.skipped[self._item] = ItemError(reason, detail)
        else:
            job.num_deaths += 1
            if job.num_deaths == _MAX_DEATHS_OUTSIDE_ITEMS:
                raise DataError(
                    f"part {job.name}: {detail}, twice. If it was killed for memory, use fewer workers; "
                    "parts that are done are kept."
                )
        self.stop()
        self.start(job)

    def _cpu_s(self) -> float:
        process = self._process
        assert process is not None
        assert process.pid is not None
        # The clock of another process, as clock_getcpuclockid(3) makes it.
        try:
            return time.clock_gettime(~process.pid << 3 | 2)
        except OSError:  # it has ended
            return 0.0

    def _spawn(self) -> None:
        # A new interpreter: a forked copy would inherit this one's threads and locks in mid-air.
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, self._memory_limit_bytes, os.getpid()), daemon=True
        )
        self._process.start()
        theirs.close()


def _serve(connection: Connection, memory_limit_bytes: int | None, supervisor: int) -> None:
    # A supervisor that is killed takes its workers with it: the next run must not meet them at their files.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if memory_limit_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit_bytes, hard))
    _watch.connection = connection
    while True:
        try:
            folder, function, task, _watch.skipped = connection.recv()
        except EOFError:
            return
        _watch.item = _watch.num_counted = 0
        try:
            os.chdir(folder)
            message: _Returned[object] = _Returned(function(task), None)
            _watch.flush()
        except DataError as error:
            message = _Returned(None, error)
        except OSError as error:
            # A library's own kind of it may not survive the way to the supervisor.
            told = (error.errno, error.strerror, error.filename) if error.errno else (str(error),)
            message = _Returned(None, OSError(*told))
        except BaseException:
            message = _Returned(None, RuntimeError(traceback.format_exc()))
        connection.send(message)


def _on_ray(
    function: Callable[[TaskT], OutputT],
    parts: Mapping[str, TaskT],
    engine: Engine,
    memory_limit_bytes: int | None,
    on_items: Callable[[int], None] | None,
) -> Iterator[tuple[str, OutputT]]:
    """Each part's name and output, as they finish on a Ray cluster; items are not told of while their part runs."""
    try:
        import ray
    except ImportError:
        raise DataError("running on Ray needs it: run `pip install 'mimo-data[ray]'`.") from None

    # Stays until this process ends: the phases of a step are many runs.
    if not ray.is_initialized():
        _join(ray, engine)
    remote: Any = ray.remote(_one_part)
    waiting = deque(parts.items())
    running: dict[object, str] = {}
    try:
        while waiting or running:
            while waiting and len(running) < engine.num_workers:
                name, task = waiting.popleft()
                running[remote.remote(Path.cwd(), function, name, task, memory_limit_bytes)] = name
            (finished,), _ = ray.wait(list(running), num_returns=1)
            name = running.pop(finished)
            try:
                yield name, ray.get(finished)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
    finally:
        # After a failure: the next run must not meet the other parts at their files.
        for unfinished in running:
            ray.cancel(unfinished, force=True)
        if running:
            ray.wait(list(running), num_returns=len(running))


def _join(ray: Any, engine: Engine) -> None:
    """Joins the cluster, or starts a local one.

    Raises:
        RecipeError: the address is none.
        DataError: there is no cluster. That something else than Ray has the port, Ray itself says after minutes.
    """
    found = _RAY_ADDRESS.fullmatch(engine.ray)
    if found is None:
        raise RecipeError(f"--ray {engine.ray}: not an address. Write auto, local or host:port, such as head:6379.")
    remedy = "Start one there with `ray start --head`, or use --ray local, or leave --ray out."
    if found["port"]:
        # Ray would try for minutes.
        try:
            socket.create_connection((found["host"], int(found["port"])), timeout=_JOIN_S).close()
        except (OSError, OverflowError) as error:
            raise DataError(f"--ray {engine.ray}: no Ray cluster answers ({error}). {remedy}") from None
    local = engine.ray == "local"
    try:
        ray.init(
            address=engine.ray,
            num_cpus=engine.num_workers if local else None,
            include_dashboard=False if local else None,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except ConnectionError:
        raise DataError(f"--ray {engine.ray}: no Ray cluster runs here, and RAY_ADDRESS names none. {remedy}") from None


def _one_part(
    folder: Path, function: Callable[[TaskT], OutputT], name: str, task: TaskT, memory_limit_bytes: int | None
) -> OutputT:
    """One part on the machine of a Ray worker, under a supervisor there."""
    os.chdir(folder)
    ((_, output),) = _on_processes(function, {name: task}, Engine(num_workers=1), memory_limit_bytes, None)
    return output

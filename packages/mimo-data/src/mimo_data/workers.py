"""Worker processes for pages that may be slow, huge or hostile: no page takes more than its own result.

Results come in the order of the tasks, whatever the number of processes. A task over its time limit is
ended with its process, a process that dies costs its one task, and memory is capped, so that a page
gives a result or a reason.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")

# Results that wait for a slow earlier one are held in memory; further tasks are not started.
_MAX_AHEAD_PER_WORKER = 32


class WorkError(Exception):
    """Why a task has no result: `time_limit`, `out_of_memory`, `crashed` or `failed`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def map_in_processes(
    function: Callable[[TaskT], ResultT],
    tasks: Iterable[TaskT],
    *,
    num_workers: int,
    task_limit_s: float,
    memory_limit_bytes: int,
) -> Iterator[tuple[TaskT, ResultT | WorkError]]:
    """Yields each task with its result, in order; `function` must be importable by name.

    Args:
        task_limit_s: wall time of one task, after which its process is killed.
        memory_limit_bytes: address space of one process.
    """
    remaining = enumerate(tasks)
    waiting: deque[int] = deque()
    started: dict[int, TaskT] = {}
    done: dict[int, ResultT | WorkError] = {}
    workers = [_Worker(function, memory_limit_bytes) for _ in range(num_workers)]
    try:
        while True:
            for worker in workers:
                if worker.task is None and len(waiting) < num_workers * _MAX_AHEAD_PER_WORKER:
                    number, task = next(remaining, (None, None))
                    if number is None or task is None:
                        break
                    waiting.append(number)
                    started[number] = task
                    worker.start(number, task, task_limit_s)
            busy = [worker for worker in workers if worker.task is not None]
            if busy:
                patience_s = max(0.0, min(worker.deadline for worker in busy) - time.monotonic())
                ready = wait([worker.connection for worker in busy], timeout=patience_s)
                for worker in busy:
                    number = worker.task
                    if number is None:
                        continue
                    if worker.connection in ready:
                        done[number] = worker.collect()
                    elif time.monotonic() >= worker.deadline:
                        done[number] = WorkError("time_limit", f"no result after {task_limit_s:g} s")
                        worker.restart()
            while waiting and waiting[0] in done:
                number = waiting.popleft()
                yield started.pop(number), done.pop(number)
            if not waiting and not busy:
                return
    finally:
        for worker in workers:
            worker.stop()


@dataclass
class _Process:
    process: multiprocessing.process.BaseProcess
    connection: Connection


class _Worker(Generic[TaskT, ResultT]):
    """One process and the task it is busy with."""

    def __init__(self, function: Callable[[TaskT], ResultT], memory_limit_bytes: int) -> None:
        self._function = function
        self._memory_limit_bytes = memory_limit_bytes
        self.task: int | None = None
        self.deadline = 0.0
        self._process: _Process | None = None

    @property
    def connection(self) -> Connection:
        assert self._process is not None
        return self._process.connection

    def start(self, number: int, task: TaskT, limit_s: float) -> None:
        if self._process is None:
            self._process = self._spawn()
            # The first task waits for the interpreter's own start.
            limit_s += 30
        self.task = number
        self.deadline = time.monotonic() + limit_s
        self.connection.send(task)

    def collect(self) -> ResultT | WorkError:
        """The result that the process has sent, or what ended it."""
        self.task = None
        try:
            result: ResultT | WorkError = self.connection.recv()
        except (EOFError, OSError):
            process = self._process
            assert process is not None
            process.process.join()
            self.restart()
            return WorkError("crashed", f"the process ended with code {process.process.exitcode}")
        if isinstance(result, WorkError) and result.reason == "out_of_memory":
            self.restart()
        return result

    def restart(self) -> None:
        """Ends the process; the next task gets a new one."""
        self.stop()
        self._process = None
        self.task = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.process.kill()
            self._process.process.join()
            self._process.connection.close()

    def _spawn(self) -> _Process:
        # A new interpreter: a forked copy would inherit this one's threads and locks in mid-air.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._function, self._memory_limit_bytes), daemon=True)
        process.start()
        theirs.close()
        return _Process(process, ours)


def _serve(connection: Connection, function: Callable[[TaskT], ResultT], memory_limit_bytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit_bytes, hard))
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            answer: ResultT | WorkError = function(task)
        except MemoryError:
            answer = WorkError("out_of_memory", f"more than {memory_limit_bytes} bytes")
        except RecursionError:
            answer = WorkError("failed", "nested too deeply")
        except Exception as error:  # whatever a page provokes is that page's reason
            answer = WorkError("failed", f"{type(error).__name__}: {error}"[:200])
        connection.send(answer)

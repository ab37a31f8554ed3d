"""The thread that drives an engine, and asyncio's way to it.

`Engine.step` blocks, so one thread owns the engine. Coroutines hand it commands through a thread-safe queue; after
each step it hands the event loop all that happened in one go.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

from mimo_model.decoding.engine import Engine
from mimo_model.decoding.sampling import Completion, Sampling

# More than this many requests that have not begun would wait for minutes: better to say so.
_MAX_WAITING = 1024

_log = logging.getLogger("mimo_model.serving.service")


@dataclass(frozen=True)
class Tokens:
    """New tokens of a response, with their log-probabilities."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass
class Statistics:
    """What the service has done since it began."""

    num_prompt_tokens: int = 0
    num_tokens: int = 0
    num_finished: dict[str, int] = field(default_factory=lambda: {"stop": 0, "length": 0, "abort": 0})
    """Requests by `Completion.finish`."""

    num_drafted: list[int] = field(default_factory=list)
    num_accepted: list[int] = field(default_factory=list)
    """Both per MTP layer, of finished requests."""


class ServiceBusyError(Exception):
    """Too many requests wait already."""


class ServiceStoppedError(Exception):
    """The service was closed, or its engine failed."""


Events = AsyncGenerator[tuple[int, Tokens | Completion]]
"""Of several prompts, each with its place among them."""

_Event = Tokens | Completion | Exception


class _Request:
    def __init__(
        self, place: int, prompt: Sequence[int], sampling: Sampling, events: asyncio.Queue[tuple[int, _Event]]
    ) -> None:
        self.prompt = prompt
        self.sampling = sampling
        self.id: int | None = None
        """The engine's, once it has the request."""
        self.has_begun = False
        self._place = place
        self._events = events

    def deliver(self, event: _Event) -> None:
        """Called in the event loop."""
        self.has_begun = self.has_begun or isinstance(event, Tokens)
        self._events.put_nowait((self._place, event))


class EngineService:
    """Serves an engine to the coroutines of one event loop."""

    def __init__(self, engine: Engine) -> None:
        self.statistics = Statistics()
        self.is_serving = False
        self._engine = engine
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mimo-engine", daemon=True)
        # The event loop's:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open: set[_Request] = set()
        # The thread's:
        self._live: dict[int, _Request] = {}
        self._outbox: list[tuple[_Request, _Event]] = []

    @property
    def num_running(self) -> int:
        """Requests that have got tokens and go on."""
        return sum(request.has_begun for request in self._open)

    @property
    def num_waiting(self) -> int:
        """Requests that have got no token yet."""
        return len(self._open) - self.num_running

    def start(self) -> None:
        """Begins to serve the event loop that runs."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        self.is_serving = True

    async def close(self) -> None:
        """Ends all requests with `ServiceStoppedError`, and the thread."""
        self._commands.put(None)
        await asyncio.to_thread(self._thread.join)
        self._stop("the server shuts down")

    def stream(self, prompts: Sequence[tuple[Sequence[int], Sampling]]) -> Events:
        """What happens to each of the prompts, with its place among them; each ends with its `Completion`.

        Leaving the iteration early aborts what has not ended.

        Raises:
            ServiceBusyError: too many requests wait.
            ServiceStoppedError: the service is closed, or its engine failed; while iterating, too.
            ValueError: while iterating: the engine refuses a prompt.
        """
        if not self.is_serving:
            raise ServiceStoppedError("The engine is not running. Start the server again.")
        if self.num_waiting + len(prompts) > _MAX_WAITING:
            raise ServiceBusyError(f"{self.num_waiting} requests wait already. Try again later.")
        return self._stream(prompts)

    async def _stream(self, prompts: Sequence[tuple[Sequence[int], Sampling]]) -> Events:
        events: asyncio.Queue[tuple[int, _Event]] = asyncio.Queue()
        requests = {place: _Request(place, *prompt, events) for place, prompt in enumerate(prompts)}
        self._open.update(requests.values())
        try:
            for request in requests.values():
                self._commands.put(functools.partial(self._submit, request))
            while requests:
                place, event = await events.get()
                if not isinstance(event, Tokens):
                    self._open.remove(requests.pop(place))
                if isinstance(event, Exception):
                    raise event
                yield place, event
        finally:
            for request in requests.values():
                self._open.discard(request)
                self._commands.put(functools.partial(self._abort, request))

    def _run(self) -> None:
        reason = "the server shuts down"
        try:
            while self._take_commands():
                for request_id, completion in self._engine.step():
                    self._end(self._live.pop(request_id), completion)
                self._hand_over(functools.partial(_deliver, self._outbox))
                self._outbox = []
        except Exception as error:
            _log.exception("The engine failed; no more requests are served.")
            reason = f"the engine failed: {error}"
        self._hand_over(functools.partial(self._stop, reason))

    def _take_commands(self) -> bool:
        """Does what was asked meanwhile, waiting for it while there is nothing to decode. False: to end."""
        block = not self._engine.pending and not self._outbox
        while True:
            try:
                command = self._commands.get(block=block)
            except queue.Empty:
                return True
            if command is None:
                return False
            command()
            block = False

    def _submit(self, request: _Request) -> None:
        def on_tokens(tokens: tuple[int, ...], logprobs: tuple[float, ...]) -> None:
            self.statistics.num_tokens += len(tokens)
            self._outbox.append((request, Tokens(tokens, logprobs)))

        try:
            request.id = self._engine.submit(request.prompt, request.sampling, on_tokens=on_tokens)
        except ValueError as error:
            self._outbox.append((request, error))
            return
        self._live[request.id] = request
        self.statistics.num_prompt_tokens += len(request.prompt)

    def _abort(self, request: _Request) -> None:
        if request.id in self._live:
            self._engine.abort(request.id)

    def _end(self, request: _Request, completion: Completion) -> None:
        statistics = self.statistics
        statistics.num_finished[completion.finish] += 1
        for totals, counts in (
            (statistics.num_drafted, completion.num_drafted),
            (statistics.num_accepted, completion.num_accepted),
        ):
            totals += [0] * (len(counts) - len(totals))
            for layer, count in enumerate(counts):
                totals[layer] += count
        self._outbox.append((request, completion))

    def _hand_over(self, callback: Callable[[], None]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop is closed: nobody listens
            _log.debug("The event loop ended before the engine.")

    def _stop(self, reason: str) -> None:
        self.is_serving = False
        for request in self._open:
            request.deliver(ServiceStoppedError(f"The request was not finished: {reason}."))


def _deliver(outbox: Sequence[tuple[_Request, _Event]]) -> None:
    for request, event in outbox:
        request.deliver(event)

"""Who is let in to the sandbox, and when work ends that nobody waits for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Coroutine, Iterator, Mapping
from typing import TypeVar

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from mimo_sandbox.metrics import Metrics
from mimo_sandbox.verdict import SandboxUnavailable

ResultT = TypeVar("ResultT")

_RETRY_AFTER_S = 1


class Refusal(Exception):  # noqa: N818 (an answer, not a failure)
    """A request that gets no verdict, and why."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message

    @property
    def body(self) -> dict[str, object]:
        return {"error": self.message, "kind": self.kind}

    def response(self) -> Response:
        headers = {"Retry-After": str(_RETRY_AFTER_S)} if self.status == 503 else {}
        if self.status == 401:
            headers = {"WWW-Authenticate": "Bearer"}
        return json_response(self.body, status=self.status, headers=headers)


class Gate:
    """Admits requests while there is room, and ends their work when nobody waits for it."""

    def __init__(self, max_cases: int) -> None:
        self.max_cases = max_cases
        self.metrics = Metrics()
        self.num_requests = 0
        self.num_cases = 0
        self.is_draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopped = asyncio.Event()

    @contextlib.contextmanager
    def admitted(self, num_cases: int) -> Iterator[None]:
        """A place for the work inside.

        Raises:
            Refusal: there is none.
        """
        if self.is_draining:
            raise _draining()
        if num_cases > self.max_cases:
            message = f"the request has {num_cases:,} cases; this server takes {self.max_cases:,} at once. Send fewer."
            raise Refusal(413, "too_large", message)
        if self.num_cases + num_cases > self.max_cases:
            message = f"{self.num_cases:,} cases wait or run; this server takes {self.max_cases:,}. Come later."
            raise Refusal(503, "busy", message)
        self.num_requests += 1
        self.num_cases += num_cases
        self._idle.clear()
        try:
            yield
        finally:
            self.num_requests -= 1
            self.num_cases -= num_cases
            if not self.num_requests:
                self._idle.set()

    async def run(self, http: HttpRequest, work: Coroutine[None, None, ResultT]) -> ResultT:
        """The work's result; it is cancelled when the client leaves first, or the server stops.

        Raises:
            Refusal: the work was cancelled, or it raised `ValueError` or `SandboxUnavailable`.
        """
        working = asyncio.create_task(work)
        leaving = asyncio.create_task(_disconnected(http))
        stopping = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait((working, leaving, stopping), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if stopping.done():
                raise _draining()
            self.metrics.num_cancelled += 1
            raise Refusal(499, "cancelled", "the client left.")
        except ValueError as error:
            raise Refusal(400, "bad_request", str(error)) from None
        except SandboxUnavailable as error:
            self.metrics.num_failures += 1
            raise Refusal(502, "unavailable", str(error)) from None
        finally:
            for task in (working, leaving, stopping):
                task.cancel()
            # The place is free only when the sandbox is.
            await asyncio.gather(working, leaving, stopping, return_exceptions=True)

    async def drain(self, limit_s: float) -> None:
        """Admits nobody; returns when all work is done, or has been cancelled after that time."""
        self.is_draining = True
        try:
            async with asyncio.timeout(limit_s):
                await self._idle.wait()
        except TimeoutError:
            print(
                f"mimo-sandbox: {self.num_requests} requests were not done {limit_s:g} s after the signal; cancelled.",
                file=sys.stderr,
            )
            await self.stop()

    async def stop(self) -> None:
        """Cancels all work."""
        self.is_draining = True
        self._stopped.set()
        await self._idle.wait()


def json_response(tree: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    # ASCII: what a program printed may hold half a surrogate pair, which UTF-8 does not have.
    return Response(json.dumps(tree), status_code=status, headers=headers, media_type="application/json")


def _draining() -> Refusal:
    return Refusal(503, "draining", "the server is stopping. Ask again when it is back, or ask another.")


async def _disconnected(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass

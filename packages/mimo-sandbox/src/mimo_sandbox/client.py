"""The client of `mimo-sandbox serve`: judges as `Sandbox` does, somewhere else.

Judging is idempotent, so a request is sent again while the server is full or cannot be reached, but never once an
answer has begun: what was handed out stays, and an answer that is cut is `SandboxUnavailable`. Proxies of the
environment are not used.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from mimo_sandbox.judge import Judge
from mimo_sandbox.verdict import Case, CaseResult, Request, SandboxUnavailable, Verdict, read_record

if TYPE_CHECKING:
    import httpx

_CONNECT_S = 10.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
# A host that went away without a word is noticed after a minute; a judge may be silent for as long as it needs.
_KEEP_ALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]
# Not the module's own: its seed belongs to whoever trains.
_JITTER = random.SystemRandom()


class SandboxClient(Judge):
    """Asks a server to judge. An async context manager.

    Attributes:
        url: the server's.
    """

    def __init__(self, url: str, *, token: str | None = None, busy_s: float = 600.0, lost_s: float = 30.0) -> None:
        """Settles whom to ask; connects to nobody.

        Args:
            url: such as http://127.0.0.1:8080.
            token: the server's, if it asks for one.
            busy_s: how long to keep asking a server that is full.
            lost_s: how long to keep asking a server that cannot be reached.

        Raises:
            ValueError: not the URL of a server, or a token that cannot stand in a header.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r}: expected a URL such as http://127.0.0.1:8080.")
        if token is not None and not (token.isascii() and token.isprintable()):
            raise ValueError("the token is not printable ASCII: give the one that the server was given.")
        self.url = url.rstrip("/")
        self._token = token
        self._busy_s = busy_s
        self._lost_s = lost_s
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        """Makes ready to ask.

        Raises:
            SandboxUnavailable: httpx is not installed.
        """
        try:
            import httpx
        except ImportError:
            raise SandboxUnavailable("httpx is missing: pip install 'mimo-sandbox[client]'") from None
        headers = {"Content-Type": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        self._http = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(None, connect=_CONNECT_S),
            transport=httpx.AsyncHTTPTransport(socket_options=_KEEP_ALIVE),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def judge_requests(self, requests: Sequence[Request]) -> list[Verdict]:
        """See `Judge.judge_requests`; all in one HTTP request, which may hold no more cases than the server admits."""
        tree = await self._ask("/v1/judge_many", {"requests": [request.to_json() for request in requests]})
        with self._whole_answer():
            trees = tree.get("verdicts") if isinstance(tree, dict) else None
            if not isinstance(trees, list) or len(trees) != len(requests):
                raise ValueError(f"expected {len(requests)} verdicts")
            return [_verdict(item, request.cases) for item, request in zip(trees, requests, strict=True)]

    async def stream_request(self, request: Request) -> AsyncIterator[CaseResult]:
        """See `Judge.stream_request`."""
        import httpx

        num_results = 0
        response = await self._send("/v1/stream", request.to_json())
        async with contextlib.aclosing(response):
            try:
                async for line in response.aiter_lines():
                    with self._whole_answer():
                        tree = json.loads(line)
                        if tree == {"end": True}:
                            _require_ids(request.cases[num_results:], ())
                            return
                        if isinstance(tree, dict) and "error" in tree:
                            raise SandboxUnavailable(f"{self.url}: {tree['error']}")
                        result = read_record(CaseResult, tree)
                        _require_ids(request.cases[num_results : num_results + 1], (result,))
                    num_results += 1
                    yield result
            except httpx.RequestError as error:
                raise self._cut(error) from None
        raise self._cut("no last line")

    async def _ask(self, path: str, tree: object) -> object:
        """The whole answer, as JSON."""
        import httpx

        response = await self._send(path, tree)
        async with contextlib.aclosing(response):
            try:
                body = await response.aread()
            except httpx.RequestError as error:
                raise self._cut(error) from None
        with self._whole_answer():
            answer: object = json.loads(body)
            return answer

    async def _send(self, path: str, tree: object) -> httpx.Response:
        """The open response to a request that the server took, which has been sent again as often as needed."""
        import httpx

        if self._http is None:
            raise SandboxUnavailable("the client is not open. Use it inside `async with SandboxClient(...):`.")
        # ASCII: a submission may hold half a surrogate pair, which UTF-8 does not have.
        body = json.dumps(tree).encode()
        pause_s = _FIRST_PAUSE_S
        failing_since: dict[str, float] = {}
        while True:
            try:
                request = self._http.build_request("POST", self.url + path, content=body)
                response = await self._http.send(request, stream=True)
            except httpx.RequestError as error:
                failure, patience_s = f"cannot be reached ({_words(error)})", self._lost_s
                advice = "Start it with `mimo-sandbox serve`, or correct the URL"
                wanted_s = 0.0
            else:
                if response.status_code == 200:
                    return response
                message = await _message(response)
                if response.status_code != 503:
                    raise self._refused(response.status_code, message)
                failure, patience_s = f"is full or stopping ({message})", self._busy_s
                advice = "Send fewer requests at once, or start more servers"
                wanted_s = _seconds(response.headers.get("retry-after", ""))
            kind = failure.partition(" (")[0]
            now = time.monotonic()
            failing_since = {kind: failing_since.get(kind, now)}
            wait_s = max(wanted_s, pause_s) * _JITTER.uniform(0.75, 1.25)
            if now + wait_s - failing_since[kind] > patience_s:
                raise SandboxUnavailable(f"{self.url} {failure}, for {patience_s:g} s. {advice}.")
            await asyncio.sleep(wait_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _refused(self, status: int, message: str) -> Exception:
        if status in (400, 413):
            return ValueError(message)
        if status == 401:
            return SandboxUnavailable(f"{self.url}: {message} Give `token=` what the server was given.")
        if status in (500, 502):
            return SandboxUnavailable(f"{self.url}: {message}")
        return SandboxUnavailable(
            f"{self.url} answered {status} ({message}). Is this the address of `mimo-sandbox serve`?"
        )

    def _cut(self, reason: Exception | str) -> SandboxUnavailable:
        words = reason if isinstance(reason, str) else _words(reason)
        return SandboxUnavailable(
            f"{self.url}: the answer was cut ({words}). The server or the connection to it ended; ask again."
        )

    @contextlib.contextmanager
    def _whole_answer(self) -> Iterator[None]:
        """Turns an answer that is not one to this request into `SandboxUnavailable`."""
        try:
            yield
        except ValueError as error:
            raise SandboxUnavailable(
                f"{self.url}: not an answer to this request ({error}). Server and client must be of one version, "
                "and nothing between them may change what they say."
            ) from None


def _verdict(tree: object, cases: Sequence[Case]) -> Verdict:
    if not isinstance(tree, dict) or not isinstance(tree.get("results"), list):
        raise ValueError(f"not a verdict: {str(tree)[:100]}")
    results = tuple(read_record(CaseResult, row) for row in tree["results"])
    _require_ids(cases, results)
    return Verdict(results)


def _require_ids(cases: Sequence[Case], results: Sequence[CaseResult]) -> None:
    wanted, found = [case.id for case in cases], [result.case_id for result in results]
    if wanted != found:
        raise ValueError(f"results of cases {found[:5]}, not of {wanted[:5]}")


async def _message(response: httpx.Response) -> str:
    """What a response says that is not the one hoped for."""
    import httpx

    async with contextlib.aclosing(response):
        try:
            text = (await response.aread()).decode(errors="replace")
        except httpx.RequestError as error:
            return _words(error)
    try:
        return str(json.loads(text)["error"])
    except (ValueError, TypeError, KeyError):
        return text[:200].strip() or "no message"


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _seconds(text: str) -> float:
    """Of a Retry-After header; a date is no number and counts as 0."""
    return min(float(text), 2 * _LONGEST_PAUSE_S) if text.isdecimal() and text.isascii() else 0.0

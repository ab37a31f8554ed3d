"""An HTTP server over one sandbox, for a judge that stands apart from those who ask it.

`/v1/judge`, `/v1/judge_many` and `/v1/stream` take what `Request.to_json` makes; `/run_code` is SandboxFusion's
(`sandbox_fusion.py`). Errors are `{"error": message, "kind": ...}`; judging is idempotent, so whoever got no answer may
ask again.

It trusts its operator, not its clients: bodies are limited and checked, the cases admitted at one time are bounded,
work that nobody waits for is cancelled, pages of other origins are kept out (JSON only, no CORS headers), and other
machines are let in with a token only. Not covered: TLS, fairness between clients, slow connections, clients that ask
for more time and memory than they need, and pages whose name is made to point here (the Host header is not checked, so
that any proxy can stand in front): use a token, or put a proxy in front, where that matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mimo_sandbox import sandbox_fusion
from mimo_sandbox.admission import Gate, Refusal, json_response
from mimo_sandbox.sandbox import Sandbox
from mimo_sandbox.verdict import CaseResult, Request, SandboxUnavailable, Verdict

ResultT = TypeVar("ResultT")

TOKEN_VARIABLE = "MIMO_SANDBOX_TOKEN"
MAX_CASES = 20_000
"""Cases that are admitted at one time: some minutes of work for a few cores."""

_MAX_BODY_BYTES = 64 << 20
_CLOSE_S = 5
"""So long connections may take to bring away their last bytes."""


def create_app(sandbox: Sandbox, *, token: str | None = None, max_cases: int = MAX_CASES) -> Starlette:
    """The ASGI application over a sandbox that is open, in the event loop it was opened in.

    Args:
        token: what clients must send as `Authorization: Bearer …` everywhere but to /health; None lets everybody in.
        max_cases: cases that may wait and run at one time; who comes with more is told to come later.
    """
    return _app(Gate(max_cases), sandbox, token)


async def serve(
    sandbox: Sandbox,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    token: str | None = None,
    max_cases: int = MAX_CASES,
    drain_s: float = 30.0,
) -> None:
    """Opens the sandbox and serves until SIGINT or SIGTERM, then drains; a second signal ends it at once.

    While it drains it refuses requests (503, /health too) and finishes those it has, for at most `drain_s`.

    Args:
        port: 0 is any free one; the line on stdout names it.

    Raises:
        ValueError: other machines could reach the address, and there is no token.
        SandboxUnavailable: cannot listen there, or no sandbox can be had.
    """
    listener = bind(host, port, token=token)
    with contextlib.closing(listener):
        async with sandbox:
            gate = Gate(max_cases)
            config = uvicorn.Config(
                _app(gate, sandbox, token),
                lifespan="off",
                ws="none",
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_CLOSE_S,
            )
            listener.listen(1024)
            address, port = listener.getsockname()[:2]
            print(
                f"mimo-sandbox: {sandbox.backend}, {sandbox.num_workers} workers, "
                f"at http://{f'[{address}]' if ':' in address else address}:{port}",
                flush=True,
            )
            await _Server(config, gate, drain_s).serve(sockets=[listener])


def bind(host: str, port: int, *, token: str | None) -> socket.socket:
    """A socket at that address.

    Raises:
        ValueError: other machines could reach it, and there is no token.
        SandboxUnavailable: no such host, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if token is None and not ipaddress.ip_address(address[0]).is_loopback:
            raise ValueError(
                f"{host}: other machines could run programs here. Give a token, in a file or as {TOKEN_VARIABLE}, "
                "or listen on 127.0.0.1."
            )
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        raise SandboxUnavailable(f"{host}:{port}: cannot listen there ({error}). Choose another address.") from None
    return listener


def read_token(path: Path | None) -> str | None:
    """The token in that file, or else in the environment; None if there is neither.

    Raises:
        ValueError: it is empty, or cannot stand in a header.
        OSError: the file cannot be read.
    """
    if path is None and TOKEN_VARIABLE not in os.environ:
        return None
    token = (os.environ[TOKEN_VARIABLE] if path is None else path.read_text(encoding="utf-8")).strip()
    if not token or not token.isascii() or not token.isprintable():
        wanted = "one line of printable ASCII, such as `openssl rand -hex 32` prints"
        raise ValueError(f"{path or TOKEN_VARIABLE}: not a token. Expected {wanted}.")
    return token


class _Server(uvicorn.Server):
    """Drains at the first signal, and ends at the second."""

    def __init__(self, config: uvicorn.Config, gate: Gate, drain_s: float) -> None:
        super().__init__(config)
        self._gate = gate
        self._drain_s = drain_s
        self._ending: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Python calls this between any two instructions: the loop does the rest, when it is its turn.
        self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        first = self._ending is None
        self._ending = asyncio.create_task(self._gate.drain(self._drain_s) if first else self._gate.stop())
        self._ending.add_done_callback(lambda _: setattr(self, "should_exit", True))


def _app(gate: Gate, sandbox: Sandbox, token: str | None) -> Starlette:
    api = _Api(gate, sandbox)
    return Starlette(
        routes=[
            Route("/v1/judge", api.judge, methods=["POST"]),
            Route("/v1/judge_many", api.judge_many, methods=["POST"]),
            Route("/v1/stream", _Stream(gate, sandbox), methods=["POST"]),
            Route("/run_code", api.run_code, methods=["POST"]),
            Route("/health", api.health),
            Route("/metrics", api.metrics),
        ],
        middleware=[Middleware(_Authorization, gate=gate, token=token)] if token is not None else [],
        exception_handlers={Refusal: api.refused, HTTPException: api.http_error, Exception: api.server_error},
    )


class _Api:
    """The routes that answer in one piece."""

    def __init__(self, gate: Gate, sandbox: Sandbox) -> None:
        self._gate = gate
        self._sandbox = sandbox

    async def judge(self, http: HttpRequest) -> Response:
        (verdict,) = await self._verdicts(http, [await _body(http, Request.from_json)])
        return json_response({"results": _trees(verdict)})

    async def judge_many(self, http: HttpRequest) -> Response:
        verdicts = await self._verdicts(http, await _body(http, _read_requests))
        return json_response({"verdicts": [{"results": _trees(verdict)} for verdict in verdicts]})

    async def _verdicts(self, http: HttpRequest, requests: list[Request]) -> list[Verdict]:
        with self._gate.admitted(sum(map(_num_cases, requests))):
            verdicts = await self._gate.run(http, self._sandbox.judge_requests(requests))
        for verdict in verdicts:
            self._gate.metrics.observe(verdict.results)
        return verdicts

    async def run_code(self, http: HttpRequest) -> Response:
        limits = self._sandbox.limits
        try:
            submission, stdin, limits = await _body(http, lambda tree: sandbox_fusion.read_request(tree, limits))
            with self._gate.admitted(1):
                run = await self._gate.run(http, self._sandbox.run(submission, stdin, limits=limits))
        except Refusal as refusal:
            if refusal.kind == "unavailable":
                return json_response(sandbox_fusion.failure(refusal.message))
            if refusal.kind == "bad_request":
                self._gate.metrics.num_refused[refusal.kind] += 1
                return json_response(sandbox_fusion.refusal(refusal.message), status=422)
            raise
        self._gate.metrics.observe([run.result])
        return json_response(sandbox_fusion.response(submission, run))

    async def health(self, http: HttpRequest) -> Response:
        draining = self._gate.is_draining
        return json_response(
            {
                "status": "draining" if draining else "ok",
                "backend": self._sandbox.backend,
                "num_workers": self._sandbox.num_workers,
            },
            status=503 if draining else 200,
        )

    async def metrics(self, http: HttpRequest) -> Response:
        gate = self._gate
        text = gate.metrics.text(
            num_requests=gate.num_requests,
            num_cases=gate.num_cases,
            max_cases=gate.max_cases,
            num_workers=self._sandbox.num_workers,
        )
        return Response(text, media_type="text/plain; version=0.0.4")

    async def refused(self, http: HttpRequest, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        if error.kind not in ("cancelled", "unavailable"):
            self._gate.metrics.num_refused[error.kind] += 1
        return error.response()

    async def http_error(self, http: HttpRequest, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = f"{http.method} {http.url.path}: {error.detail}."
        return json_response({"error": message, "kind": "bad_request"}, status=error.status_code, headers=error.headers)

    async def server_error(self, http: HttpRequest, error: Exception) -> Response:
        message = "the server failed on this request; its log says how."
        return json_response({"error": message, "kind": "unavailable"}, status=500)


class _Stream:
    """`/v1/stream`: a line per result, then `{"end": true}` or `{"error": ..., "kind": ...}`.

    An ASGI application and not a function, because work and answer go on together and are cancelled together.
    """

    def __init__(self, gate: Gate, sandbox: Sandbox) -> None:
        self._gate = gate
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = HttpRequest(scope, receive)
        request = await _body(http, Request.from_json)
        lines = _Lines(send)
        with self._gate.admitted(_num_cases(request)):
            try:
                await self._gate.run(http, self._results(request, lines))
            except Refusal as refusal:
                if not lines.started:
                    raise
                await lines.write(refusal.body)
        await lines.close()

    async def _results(self, request: Request, lines: _Lines) -> None:
        results: AsyncIterator[CaseResult] = self._sandbox.stream_request(request)
        async for result in results:
            self._gate.metrics.observe([result])
            await lines.write(asdict(result))
        await lines.write({"end": True})


class _Lines:
    """An answer of JSON lines; it starts with the first, so that what fails before can have a status of its own."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def write(self, tree: Mapping[str, object]) -> None:
        if not self.started:
            self.started = True
            headers = [(b"content-type", b"application/x-ndjson"), (b"cache-control", b"no-cache")]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        line = json.dumps(tree).encode() + b"\n"
        await self._send({"type": "http.response.body", "body": line, "more_body": True})

    async def close(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class _Authorization:
    """Lets only those in who have the token; /health says nothing that needs one."""

    def __init__(self, app: ASGIApp, *, gate: Gate, token: str) -> None:
        self._app = app
        self._gate = gate
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/health":
            given = HttpRequest(scope).headers.get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, self._expected):
                self._gate.metrics.num_refused["unauthorized"] += 1
                message = "the token is missing or wrong: send `Authorization: Bearer TOKEN`."
                await Refusal(401, "unauthorized", message).response()(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _body(http: HttpRequest, read: Callable[[object], ResultT]) -> ResultT:
    """What `read` makes of the body.

    Raises:
        Refusal: the body is too large, is not JSON, or `read` raised `ValueError`.
    """
    kind = http.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # A page of another origin can send only other types without asking first.
        raise Refusal(415, "bad_request", f"Content-Type is {kind or 'missing'}: send application/json.")
    body, num_bytes = bytearray(), 0
    try:
        async for piece in http.stream():
            num_bytes += len(piece)
            if num_bytes <= _MAX_BODY_BYTES:
                body += piece
    except ClientDisconnect:
        raise Refusal(499, "cancelled", "the client left.") from None
    if num_bytes > _MAX_BODY_BYTES:
        # Read to its end first: a client that is still sending would miss the answer.
        raise Refusal(413, "too_large", f"the body is larger than {_MAX_BODY_BYTES:,} bytes. Send fewer cases.")
    try:
        # A large body takes a while, in which the sandbox's workers want their next program.
        return await asyncio.to_thread(lambda: read(json.loads(body)))
    except RecursionError:
        raise Refusal(400, "bad_request", "the body is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise Refusal(400, "bad_request", f"the body is not JSON: {error}.") from None
    except UnicodeDecodeError as error:
        raise Refusal(400, "bad_request", f"the body is not text: {error}.") from None
    except ValueError as error:
        raise Refusal(400, "bad_request", str(error)) from None


def _read_requests(tree: object) -> list[Request]:
    if not isinstance(tree, dict) or set(tree) != {"requests"} or not isinstance(tree["requests"], list):
        raise ValueError('expected {"requests": [...]}.')
    requests = []
    for number, item in enumerate(tree["requests"]):
        try:
            requests.append(Request.from_json(item))
        except ValueError as error:
            raise ValueError(f"requests[{number}]: {error}") from None
    return requests


def _num_cases(request: Request) -> int:
    # A submission without cases is still compiled.
    return max(1, len(request.cases))


def _trees(verdict: Verdict) -> list[dict[str, object]]:
    return [asdict(result) for result in verdict.results]

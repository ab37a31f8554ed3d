"""An OpenAI-compatible HTTP server over one engine, with a small chat page.

It trusts its operator, not its clients: bodies are limited and checked, pages of other origins are kept out (JSON only,
no CORS headers), and a key can be asked for. Not covered: TLS, how often a client asks, slow connections, and pages
whose name is made to point here (the Host header is not checked, so that any proxy can stand in front): ask for a key,
or put a proxy in front, where that matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import json
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from importlib import resources

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from transformers import PreTrainedTokenizerBase

from mimo_model.decoding.engine import Engine
from mimo_model.errors import ModelError
from mimo_model.serving.answers import Answer, Delta, Json
from mimo_model.serving.metrics import prometheus_text
from mimo_model.serving.openai_api import ApiError, ApiRequest, parse_chat, parse_completion, prompts
from mimo_model.serving.service import EngineService, Events, ServiceBusyError, ServiceStoppedError

# Room for a full context of 32,768 token ids, several times over.
_MAX_BODY_BYTES = 4 * 2**20

_SHUTDOWN_S = 10
"""So long running answers may go on after the signal to stop."""

_PAGE_FILES = {
    "/": ("index.html", "text/html"),
    "/page/chat.css": ("chat.css", "text/css"),
    "/page/chat.js": ("chat.js", "text/javascript"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
}
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def create_app(
    engine: Engine, tokenizer: PreTrainedTokenizerBase, *, model_name: str, api_key: str | None = None
) -> Starlette:
    """The ASGI application; its lifespan starts and ends the thread that drives the engine.

    Args:
        api_key: what clients of /v1 must send as `Authorization: Bearer …`; None lets everybody in.
    """
    api = _Api(
        EngineService(engine), tokenizer, model_name=model_name, context=engine.model.config.max_position_embeddings
    )
    routes = [
        Route("/v1/models", api.models),
        Route("/v1/models/{name:path}", api.model),
        Route("/v1/chat/completions", api.chat_completions, methods=["POST"]),
        Route("/v1/completions", api.completions, methods=["POST"]),
        Route("/health", api.health),
        Route("/metrics", api.metrics),
        *(Route(path, _page(*file)) for path, file in _PAGE_FILES.items()),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(_Authorization, api_key=api_key)] if api_key else [],
        exception_handlers={ApiError: _api_error, HTTPException: _http_error, Exception: _server_error},
        lifespan=api.lifespan,
    )


def serve(
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    listener: socket.socket,
    *,
    model_name: str,
    api_key: str | None = None,
) -> None:
    """Serves until SIGINT or SIGTERM; answers under way may then go on for some seconds.

    Args:
        listener: bound, as `bind` makes it.
    """
    listener.listen()
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    if not (api_key or ipaddress.ip_address(host).is_loopback):
        print("Everybody who reaches this machine can use it: --api-key asks for a key.", file=sys.stderr)
    print(f"{model_name}: chat page at {address}, OpenAI-compatible API at {address}/v1", flush=True)
    app = create_app(engine, tokenizer, model_name=model_name, api_key=api_key)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_SHUTDOWN_S, server_header=False)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again when all is down
        uvicorn.Server(config).run(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """A socket at that address; port 0 is any free one.

    Raises:
        ModelError: no such host, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        raise ModelError(f"{host}:{port}: cannot listen there ({error}). Choose another --host or --port.") from None
    return listener


class _Api:
    def __init__(
        self, service: EngineService, tokenizer: PreTrainedTokenizerBase, *, model_name: str, context: int
    ) -> None:
        self._service = service
        self._tokenizer = tokenizer
        self._model_name = model_name
        self._context = context

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self._service.start()
        try:
            yield
        finally:
            await self._service.close()

    async def health(self, request: Request) -> Response:
        if not self._service.is_serving:
            raise ApiError("The engine is not running.", status=503)
        return JSONResponse({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        return Response(prometheus_text(self._service), media_type="text/plain; version=0.0.4")

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._describe()]})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name != self._model_name:
            raise ApiError(
                f"The model `{name}` is not served here; this is `{self._model_name}`.",
                status=404,
                param="model",
                code="model_not_found",
            )
        return JSONResponse(self._describe())

    def _describe(self) -> dict[str, object]:
        return {
            "id": self._model_name,
            "object": "model",
            "created": 0,
            "owned_by": "mimo-model",
            "max_model_len": self._context,
        }

    async def chat_completions(self, request: Request) -> Response:
        return await self._answer(request, parse_chat(await _json(request), model_name=self._model_name))

    async def completions(self, request: Request) -> Response:
        return await self._answer(request, parse_completion(await _json(request), model_name=self._model_name))

    async def _answer(self, request: Request, wanted: ApiRequest) -> Response:
        # A long text takes the tokenizer seconds, in which others want their tokens.
        made = await asyncio.to_thread(prompts, wanted, self._tokenizer, context=self._context)
        answer = Answer(wanted, made, self._tokenizer, model_name=self._model_name)
        try:
            events = self._service.stream([(prompt.tokens, prompt.sampling) for prompt in made])
            if wanted.stream:
                stream = _server_sent(_chunks(answer, events))
                return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
            return await _unless_disconnected(request, _whole(answer, events))
        except (ValueError, ServiceBusyError, ServiceStoppedError) as error:
            raise _refusal(error) from None


def _refusal(error: Exception) -> ApiError:
    if isinstance(error, ServiceBusyError):
        return ApiError(str(error), status=429, code="rate_limit_exceeded")
    return ApiError(str(error), status=503 if isinstance(error, ServiceStoppedError) else 400)


async def _chunks(answer: Answer, events: Events) -> AsyncGenerator[Json]:
    for chunk in answer.opening():
        yield chunk
    async with contextlib.aclosing(events):
        async for place, event in events:
            choice = answer.choices[place]
            for chunk in answer.chunks(choice, choice.push(event)):
                yield chunk
    for chunk in answer.closing():
        yield chunk


async def _server_sent(chunks: AsyncGenerator[Json]) -> AsyncGenerator[str]:
    """The stream as server-sent events; what goes wrong on the way is its last."""
    async with contextlib.aclosing(chunks):
        try:
            async for chunk in chunks:
                yield f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"
        except (ValueError, ServiceStoppedError) as error:
            yield f"data: {json.dumps(_refusal(error).body())}\n\n"
    yield "data: [DONE]\n\n"


async def _whole(answer: Answer, events: Events) -> Response:
    deltas = [Delta() for _ in answer.choices]
    async with contextlib.aclosing(events):
        async for place, event in events:
            deltas[place].add(answer.choices[place].push(event))
    return JSONResponse(answer.whole(deltas))


async def _unless_disconnected(request: Request, work: Coroutine[None, None, Response]) -> Response:
    """The work's response; when the client leaves first, the work is cancelled."""

    async def disconnected() -> Response:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        return Response(status_code=499)

    tasks = [asyncio.create_task(work), asyncio.create_task(disconnected())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task in done).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _json(request: Request) -> object:
    """The body of a request, which must be JSON.

    Raises:
        ApiError: it says or is something else, it is too large, or the client left before its end.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # A page of another origin can send only other types without asking first.
        raise ApiError(f"Content-Type is {kind or 'missing'}: send application/json.", status=415)
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > _MAX_BODY_BYTES:
                raise ApiError(f"The body is larger than {_MAX_BODY_BYTES:,} bytes: shorten it.", status=413)
    except ClientDisconnect:
        raise ApiError("The client left.", status=499) from None
    try:
        found: object = json.loads(body)
    except RecursionError:
        raise ApiError("The body is nested too deeply.") from None
    except ValueError as error:
        raise ApiError(f"The body is not JSON: {error}.") from None
    return found


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    # As ASCII: the message may quote a name of the body's with half of a surrogate pair.
    return Response(json.dumps(error.body()), status_code=error.status, media_type="application/json")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refusal = ApiError(f"{request.method} {request.url.path}: {error.detail}.", status=error.status_code)
    return JSONResponse(refusal.body(), status_code=error.status_code, headers=error.headers)


async def _server_error(request: Request, error: Exception) -> Response:
    refusal = ApiError("The server failed on this request; its log says how.", status=500)
    return JSONResponse(refusal.body(), status_code=500)


def _page(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    content = resources.files("mimo_model.serving").joinpath("page", name).read_bytes()

    async def endpoint(request: Request) -> Response:
        return Response(content, media_type=media_type, headers=_PAGE_HEADERS)

    return endpoint


class _Authorization:
    """Lets only those into /v1 who have the key."""

    def __init__(self, app: ASGIApp, *, api_key: str) -> None:
        self._app = app
        self._expected = f"Bearer {api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/v1"):
            given = Request(scope).headers.get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, self._expected):
                refusal = ApiError(
                    "The API key is missing or wrong: send `Authorization: Bearer KEY`.",
                    status=401,
                    code="invalid_api_key",
                )
                response = JSONResponse(refusal.body(), status_code=401, headers={"WWW-Authenticate": "Bearer"})
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

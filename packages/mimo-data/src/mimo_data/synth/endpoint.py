"""Asks an OpenAI-compatible endpoint (mimo-model's or vLLM's server, or a provider) for chat completions.

What may pass is tried again: no connection, a timeout, 408, 409, 425, 429, any 5xx, an answer that is not a completion.
Waits double, with jitter from a fixed seed; a `Retry-After` is obeyed, and holds for all requests. What cannot pass
ends the run and says what to do: a wrong key, address or model, an exhausted account. What is the request's own fault
(too long for the context, against a policy) comes back as a reply whose `finish` is "rejected", and costs nothing.

Not covered: tokens that a provider bills for an answer that never arrived.
"""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import os
import random
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlsplit

import msgspec

from mimo_data.jsonlines import NOT_JSON
from mimo_data.run import DataError, RecipeError, Record
from mimo_data.settings import MOST_COUNT, MOST_MONEY, check_number, check_numbers

if TYPE_CHECKING:
    import httpx

_CONNECT_S = 20.0
_MOST_S = 604_800.0
_REJECTIONS = {400, 413, 422}
_PASSING = {408, 409, 425, 429}
# A provider that asks for more than this has closed for the day: better to stop, and be started again.
_LONGEST_RETRY_AFTER_S = 3600.0
_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached"}


class EndpointRecipe(Record, frozen=True):
    """Where to ask, how patiently, and what it costs; nothing of it is in the report."""

    url: str
    """Of the API: `http://127.0.0.1:8000/v1`; `/chat/completions` is added."""
    model: str
    """As the server names it."""
    api_key_variable: str = ""
    """Environment variable that holds the key; the key itself is written nowhere. "" sends none."""
    concurrency: int = 16
    """Requests in flight."""
    request_limit_s: float = 1800.0
    """For one answer, which is not streamed: 32,768 tokens at 20 a second take 1,640 s."""
    max_tries: int = 8
    """Of one request, the first included."""
    first_wait_s: float = 1.0
    """Before the second try; doubles with each."""
    max_wait_s: float = 60.0
    """What waits double up to."""
    prompt_price: float = 0.0
    """For a million prompt tokens, in any currency."""
    completion_price: float = 0.0
    """For a million completion tokens, reasoning included."""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            # Read here for its error: it is no number, or no port's.
            _ = parts.port
        except ValueError as error:
            raise ValueError(f"url {self.url!r}: {error}; expected one such as http://127.0.0.1:8000/v1") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url {self.url!r}: expected one such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password:
            raise ValueError("url: holds a password; name an environment variable in api_key_variable instead")
        check_numbers(
            self,
            concurrency=(1, 100_000),
            request_limit_s=(0.01, _MOST_S),
            max_tries=(1, 1000),
            max_wait_s=(0, _MOST_S),
            prompt_price=(0, MOST_MONEY),
            completion_price=(0, MOST_MONEY),
        )
        check_number("first_wait_s", self.first_wait_s, 0, self.max_wait_s)


class SamplingRecipe(Record, frozen=True):
    """How an answer is drawn."""

    temperature: float = 0.6
    """0.6 and top-p 0.95 are the report's for evaluation (§3.5)."""
    top_p: float = 0.95
    """Share of the probability that tokens are drawn from; 1 for all of it."""
    max_tokens: int = 32_768
    """Of an answer, reasoning included; one that is cut there is not used."""

    def __post_init__(self) -> None:
        check_numbers(self, temperature=(0, 10), top_p=(1e-6, 1), max_tokens=(1, MOST_COUNT))


class Message(Record, frozen=True):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class Reply(Record, frozen=True):
    """What came back for one request."""

    text: str
    """The answer; for finish "rejected" or "refusal", what the endpoint said."""
    finish: str
    """`stop`, `length` (cut at max_tokens), `content_filter`, `refusal`, `rejected`, or the server's own word."""
    reasoning: str = ""
    """What the server kept apart from the answer; "" if it does not, and `text` may hold `<think>`."""
    prompt_tokens: int = 0
    """As the server counts; 0 if it does not say."""
    completion_tokens: int = 0
    """The same, reasoning included."""
    num_tries: int = 1
    """How often it was asked until it answered."""

    def with_reasoning(self) -> str:
        """Reasoning and answer as MiMo writes them: `<think>…</think>…`; the answer alone if there was no reasoning."""
        if self.reasoning:
            return f"<think>\n{self.reasoning.strip()}\n</think>\n\n{self.text.strip()}"
        # A chat template may end with the opening tag, which is then no part of the answer.
        if "</think>" in self.text and "<think>" not in self.text:
            return f"<think>\n{self.text.lstrip()}"
        return self.text


class Endpoint:
    """A pool of connections to one endpoint: `async with Endpoint(recipe) as endpoint: await endpoint.ask(…)`."""

    def __init__(self, recipe: EndpointRecipe) -> None:
        """
        Raises:
            RecipeError: the variable of the key is not set.
            DataError: httpx is missing.
        """
        self.recipe = recipe
        self._key = _key(recipe.api_key_variable)
        self._address = recipe.url.rstrip("/") + "/chat/completions"
        self._jitter = random.Random(0)
        self._places = asyncio.Semaphore(recipe.concurrency)
        self._closed_until_s = 0.0
        self._http = self._open()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ask(self, messages: Sequence[Message], sampling: SamplingRecipe, *, seed: int) -> Reply:
        """The endpoint's answer to one chat; at most `concurrency` are asked at a time, the rest wait here.

        Args:
            seed: of the sampling, for servers that heed it.

        Raises:
            DataError: the endpoint cannot be reached, stays busy or broken through `max_tries`, or refuses the key,
                the model or the account. Nothing is wrong with the request itself.
        """
        body = {
            "model": self.recipe.model,
            "messages": [msgspec.to_builtins(message) for message in messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": seed,
        }
        num_tries = 0
        async with self._places:
            while True:
                await asyncio.sleep(max(0.0, self._closed_until_s - time.monotonic()))
                answer = await self._try(body)
                num_tries += 1
                if isinstance(answer, Reply):
                    return msgspec.structs.replace(answer, num_tries=num_tries)
                if num_tries == self.recipe.max_tries:
                    raise DataError(
                        f"{self._address}: {num_tries} tries failed, the last with: {answer.problem}. "
                        "See that the server is well, and run the same command again."
                    )
                await self._wait(num_tries, answer)

    def cost(self, reply: Reply) -> float:
        """Price of one reply, in the currency of the recipe's prices."""
        recipe = self.recipe
        return (
            reply.prompt_tokens * recipe.prompt_price + reply.completion_tokens * recipe.completion_price
        ) / 1_000_000

    async def _try(self, body: Mapping[str, object]) -> Reply | _Failure:
        import httpx

        try:
            response = await self._http.post(self._address, json=body)
        except httpx.RequestError as error:
            return _Failure(problem=f"{type(error).__name__} {error}".strip())
        if response.status_code == 200:
            return self._read(response.content)
        return self._refuse(response)

    def _read(self, content: bytes) -> Reply | _Failure:
        try:
            completion = msgspec.json.decode(content, type=_Completion)
        except NOT_JSON as error:
            return _Failure(problem=f"an answer that is not a chat completion ({error})")
        if not completion.choices:
            return _Failure(problem="an answer without a choice")
        choice, usage = completion.choices[0], completion.usage
        if usage is None and (self.recipe.prompt_price or self.recipe.completion_price):
            raise DataError(
                f"{self._address}: answers do not say their `usage`, so they cannot be priced. "
                "Set prompt_price and completion_price to 0, or use a server that counts tokens."
            )
        message = choice.message
        return Reply(
            text=message.refusal or message.content or "",
            reasoning=message.reasoning_content or message.reasoning or "",
            finish="refusal" if message.refusal else choice.finish_reason or "stop",
            prompt_tokens=usage.prompt_tokens if usage else 0,
            completion_tokens=usage.completion_tokens if usage else 0,
        )

    def _refuse(self, response: httpx.Response) -> Reply | _Failure:
        """What a status other than 200 means for the request."""
        status = response.status_code
        code, message = _error(response.content)
        if self._key:
            # Providers repeat a wrong key in their complaint.
            message = message.replace(self._key, "…")
        # One sentence, whether or not the server ended it.
        problem = f"HTTP {status}: {message or 'no message'}".rstrip(". ")
        if target := response.headers.get("location"):
            problem += f", to {target}"
        if code in _QUOTA_CODES or status == 402:
            raise DataError(f"{self._address}: {problem}. The account is exhausted: top it up, and run again.")
        if status in _PASSING or status >= 500:
            return _Failure(problem=problem, retry_after_s=_retry_after_s(response.headers.get("retry-after", "")))
        if status in _REJECTIONS:
            return Reply(text=problem, finish="rejected")
        if status in (401, 403):
            remedy = "Name the environment variable that holds a key of this endpoint in api_key_variable."
        else:
            remedy = f"See that the url ends before /chat/completions, and that {self.recipe.model!r} is served there."
        raise DataError(f"{self._address}: {problem}. {remedy}")

    async def _wait(self, num_tries: int, failure: _Failure) -> None:
        """Sleeps before the next try; a `Retry-After` closes the endpoint for everybody."""
        recipe = self.recipe
        wait_s = min(recipe.max_wait_s, recipe.first_wait_s * 2 ** (num_tries - 1))
        wait_s *= 0.5 + 0.5 * self._jitter.random()
        if failure.retry_after_s > _LONGEST_RETRY_AFTER_S:
            raise DataError(
                f"{self._address}: asks to come back in {failure.retry_after_s:.0f} s ({failure.problem}). "
                "Run the same command again then."
            )
        if failure.retry_after_s:
            self._closed_until_s = max(self._closed_until_s, time.monotonic() + failure.retry_after_s)
            # On top of what was asked for, or all who wait would come back in one instant.
            wait_s += max(0.0, self._closed_until_s - time.monotonic())
        await asyncio.sleep(wait_s)

    def _open(self) -> httpx.AsyncClient:
        try:
            import httpx
        except ImportError:
            raise DataError("httpx is missing: pip install 'mimo-data[synth]'.") from None
        return httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(self.recipe.request_limit_s, connect=_CONNECT_S, pool=None),
            limits=httpx.Limits(max_connections=self.recipe.concurrency),
            # A proxy of the environment knows nothing of this machine's own ports.
            trust_env=not _is_this_machine(urlsplit(self.recipe.url).hostname or ""),
        )


class _Failure(Record, frozen=True):
    """A try that may go better the next time."""

    problem: str
    retry_after_s: float = 0.0


class _Message(msgspec.Struct, frozen=True):
    """The part of an answer's message that is read; servers add keys of their own."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    message: _Message
    finish_reason: str | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int = 0


class _Completion(msgspec.Struct, frozen=True):
    choices: list[_Choice]
    usage: _Usage | None = None


class _Error(msgspec.Struct, frozen=True):
    message: str = ""
    code: str | int | None = None


class _ErrorBody(msgspec.Struct, frozen=True):
    error: _Error


def _key(variable: str) -> str:
    if not variable:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise RecipeError(f"api_key_variable: ${variable} is not set. Export it, or name another variable.")
    if not (key.isascii() and key.isprintable()):
        raise RecipeError(f"api_key_variable: ${variable} holds no key: it is not printable ASCII.")
    return key


def _error(content: bytes) -> tuple[str, str]:
    """Code and message of OpenAI's error object, or the beginning of whatever came."""
    try:
        error = msgspec.json.decode(content, type=_ErrorBody).error
    except NOT_JSON:
        return "", " ".join(content[:300].decode(errors="replace").split())
    return str(error.code or ""), error.message


def _retry_after_s(value: str) -> float:
    """Seconds of a `Retry-After`, which is a number or a date; 0 if there is none or it is neither."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

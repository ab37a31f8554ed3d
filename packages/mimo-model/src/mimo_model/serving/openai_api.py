"""Requests of the OpenAI-compatible API: read, checked, and refused in OpenAI's error format.

A field that this server does not know, or whose effect it does not have, is an error that names it: an answer that
silently ignores `tools` is worse than none. Fields without effect on the answer, such as `user`, are accepted.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from transformers import PreTrainedTokenizerBase

from mimo_model.decoding.sampling import Sampling
from mimo_model.errors import ModelError
from mimo_model.generate import encode_chat
from mimo_model.text import opens_reasoning

DEFAULT_TEMPERATURE, DEFAULT_TOP_P = 0.6, 0.95
"""What is recommended for MiMo; OpenAI's own default is 1 for both."""

_MAX_CHOICES = 128
_MAX_STOP_STRINGS = 4
# Legacy default of the completions endpoint, where a prompt is often a whole document.
_COMPLETION_MAX_TOKENS = 16

_WITHOUT_EFFECT = {
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
}

# Fields of OpenAI's that would change the answer, with the values that do not.
_UNSUPPORTED: dict[str, tuple[object, ...]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "presence_penalty": (0,),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "tool_choice": ("none",),
    "tools": ([],),
    "verbosity": (),
    "web_search_options": (),
}


_JSON_TYPES = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


class ApiError(Exception):
    """A refusal: an HTTP status and OpenAI's error object."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code

    def body(self) -> dict[str, object]:
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True, kw_only=True)
class ApiRequest:
    """A checked request; `prompts` says what each of its generations is, in the order of the answer's choices."""

    kind: Literal["chat", "completion"]
    messages: tuple[dict[str, str], ...] = ()
    """Of a chat: role and content."""

    texts: tuple[str | tuple[int, ...], ...] = ()
    """Of a completion: prompts as text or as token ids."""

    num_choices: int
    """For each prompt."""

    max_tokens: int | None
    """None: as many as the context holds."""

    sampling: Sampling
    """Its `max_tokens` is not yet set; choice i has its seed plus i."""

    stream: bool
    include_usage: bool
    logprobs: bool
    separate_reasoning: bool


@dataclass(frozen=True)
class Prompt:
    """One generation."""

    tokens: tuple[int, ...]
    sampling: Sampling
    opens_reasoning: bool
    """The prompt ends with `<think>`."""


def parse_chat(body: object, *, model_name: str) -> ApiRequest:
    """The request in a body of POST /v1/chat/completions.

    Raises:
        ApiError: it asks for something impossible or unsupported.
    """
    fields = _Fields(body, model_name)
    messages = _messages(fields.take("messages"))
    legacy, max_tokens = fields.integer("max_tokens"), fields.integer("max_completion_tokens")
    if legacy is not None and max_tokens is not None and legacy != max_tokens:
        raise ApiError("max_tokens and max_completion_tokens differ: give one of them.", param="max_tokens")
    logprobs = fields.boolean("logprobs", default=False)
    _refuse_top_logprobs(fields.integer("top_logprobs", low=0), param="top_logprobs")
    return _finish(fields, kind="chat", messages=messages, max_tokens=max_tokens or legacy, logprobs=logprobs)


def parse_completion(body: object, *, model_name: str) -> ApiRequest:
    """The request in a body of POST /v1/completions.

    Raises:
        ApiError: it asks for something impossible or unsupported.
    """
    fields = _Fields(body, model_name)
    texts = _texts(fields.take("prompt"))
    max_tokens = fields.integer("max_tokens")
    logprobs = fields.integer("logprobs", low=0)
    _refuse_top_logprobs(logprobs, param="logprobs")
    max_tokens = _COMPLETION_MAX_TOKENS if max_tokens is None else max_tokens
    return _finish(fields, kind="completion", texts=texts, max_tokens=max_tokens, logprobs=logprobs is not None)


def prompts(request: ApiRequest, tokenizer: PreTrainedTokenizerBase, *, context: int) -> list[Prompt]:
    """The generations that a request asks for.

    Args:
        context: the most tokens of prompt and answer together.

    Raises:
        ApiError: a prompt does not fit, or the chat template refuses it.
    """
    found: list[Prompt] = []
    for tokens, opens in _encoded(request, tokenizer):
        room = context - len(tokens)
        if not tokens:
            raise ApiError("The prompt is empty: give at least one token.", param="prompt")
        if room < 1 or (request.max_tokens or 1) > room:
            raise ApiError(
                f"This model's context is {context} tokens, but the prompt has {len(tokens)} and "
                f"{request.max_tokens or 'at least 1'} are asked for. Shorten one of them.",
                param="messages" if request.kind == "chat" else "prompt",
                code="context_length_exceeded",
            )
        for _ in range(request.num_choices):
            sampling = replace(
                request.sampling, max_tokens=request.max_tokens or room, seed=request.sampling.seed + len(found)
            )
            found.append(Prompt(tokens, sampling, opens))
    return found


def _encoded(request: ApiRequest, tokenizer: PreTrainedTokenizerBase) -> list[tuple[tuple[int, ...], bool]]:
    if request.kind == "chat":
        try:
            tokens = tuple(encode_chat(tokenizer, request.messages))
        except ModelError as error:
            raise ApiError(str(error), param="messages") from None
        # The end of a long prompt is enough to see whether it opens reasoning.
        end = tokenizer.decode(list(tokens[-64:]))
        assert isinstance(end, str)
        return [(tokens, opens_reasoning(end))]
    found = []
    for text in request.texts:
        if isinstance(text, str):
            found.append((tuple(tokenizer(text).input_ids), opens_reasoning(text)))
        else:
            if max(text, default=0) >= len(tokenizer):
                raise ApiError(
                    f"prompt: token id {max(text)} is not one of the tokenizer's {len(tokenizer)}.", param="prompt"
                )
            found.append((text, False))
    return found


def _finish(
    fields: _Fields,
    *,
    kind: Literal["chat", "completion"],
    messages: tuple[dict[str, str], ...] = (),
    texts: tuple[str | tuple[int, ...], ...] = (),
    max_tokens: int | None,
    logprobs: bool,
) -> ApiRequest:
    """The part that both endpoints share."""
    num_choices = fields.integer("n") or 1
    num_answers = num_choices * max(len(texts), 1)
    if num_answers > _MAX_CHOICES:
        raise ApiError(f"n: {num_answers} answers in one request; at most {_MAX_CHOICES}.", param="n")
    seed = fields.integer("seed", low=-(2**63))
    temperature = fields.number("temperature", default=DEFAULT_TEMPERATURE, low=0.0, high=2.0)
    top_p = fields.number("top_p", default=DEFAULT_TOP_P, low=0.0, high=1.0, is_low_allowed=False)
    top_k = fields.integer("top_k", low=0) or 0
    stop = _stop(fields.take("stop"))
    seed = secrets.randbits(62) if seed is None else seed
    try:
        sampling = Sampling(max_tokens=1, temperature=temperature, top_p=top_p, top_k=top_k, seed=seed, stop=stop)
    except ValueError as error:  # so near to 0 that it vanishes in float32
        raise ApiError(str(error), param=str(error).partition("=")[0]) from None
    stream = fields.boolean("stream", default=False)
    request = ApiRequest(
        kind=kind,
        messages=messages,
        texts=texts,
        num_choices=num_choices,
        max_tokens=max_tokens,
        sampling=sampling,
        stream=stream,
        include_usage=_include_usage(fields.take("stream_options"), stream=stream),
        logprobs=logprobs,
        separate_reasoning=fields.boolean("separate_reasoning", default=False),
    )
    fields.require_all_taken()
    return request


class _Fields:
    """A JSON object's fields, each taken once; null is as good as absent."""

    def __init__(self, body: object, model_name: str) -> None:
        if not isinstance(body, dict):
            raise ApiError("The body must be a JSON object.")
        self._left = {name: value for name, value in body.items() if value is not None}
        model = self.take("model")
        if not isinstance(model, str | None):
            raise _wrong_type("model", model, "a string")
        if model is not None and model != model_name:
            raise ApiError(
                f"The model `{model}` is not served here; this is `{model_name}`.",
                status=404,
                param="model",
                code="model_not_found",
            )

    def take(self, name: str) -> object:
        return self._left.pop(name, None)

    def boolean(self, name: str, *, default: bool) -> bool:
        value = self._left.pop(name, default)
        if not isinstance(value, bool):
            raise _wrong_type(name, value, "true or false")
        return value

    def integer(self, name: str, *, low: int = 1) -> int | None:
        value = self._left.pop(name, None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong_type(name, value, "an integer")
        if not low <= value < 2**63:
            raise ApiError(f"{name}={value}: at least {low}, and less than 2^63.", param=name)
        return value

    def number(self, name: str, *, default: float, low: float, high: float, is_low_allowed: bool = True) -> float:
        value = self._left.pop(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _wrong_type(name, value, "a number")
        if not (math.isfinite(value) and low <= value <= high and (is_low_allowed or value > low)):
            raise ApiError(f"{name}={value}: {'from' if is_low_allowed else 'above'} {low} to {high}.", param=name)
        return float(value)

    def require_all_taken(self) -> None:
        for name, value in self._left.items():
            if name in _WITHOUT_EFFECT or value in _UNSUPPORTED.get(name, ()):
                continue
            if name in _UNSUPPORTED:
                raise ApiError(f"{name} is not supported by this server: leave it out.", param=name)
            raise ApiError(f"Unknown field {name}: leave it out.", param=name, code="unknown_parameter")


def _messages(value: object) -> tuple[dict[str, str], ...]:
    if value is None:
        raise ApiError("messages is missing.", param="messages", code="missing_required_parameter")
    if not isinstance(value, list) or not value:
        raise _wrong_type("messages", value, "a list of at least one message")
    messages = []
    for place, message in enumerate(value):
        param = f"messages[{place}]"
        if not isinstance(message, dict):
            raise _wrong_type(param, message, "an object")
        role = message.get("role")
        if role not in ("system", "developer", "user", "assistant"):
            raise ApiError(f'{param}.role={role!r}: "system", "user" or "assistant".', param=f"{param}.role")
        for name, part in message.items():
            # An answer as this server sent it may come back: its reasoning is not shown to the model again.
            if name not in ("role", "content", "name", "reasoning_content", "refusal") and part:
                raise ApiError(
                    f"{param}.{name} is not supported by this server: leave it out.", param=f"{param}.{name}"
                )
        content = _content(message.get("content"), f"{param}.content")
        messages.append({"role": "system" if role == "developer" else role, "content": content})
    return tuple(messages)


def _content(value: object, param: str) -> str:
    if isinstance(value, str):
        return _unicode(value, param)
    if not isinstance(value, list):
        raise _wrong_type(param, value, "a string or a list of text parts")
    parts = []
    for part in value:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ApiError(f'{param}: only parts {{"type": "text", "text": …}} are supported.', param=param)
        parts.append(_unicode(part["text"], param))
    return "\n".join(parts)


def _texts(value: object) -> tuple[str | tuple[int, ...], ...]:
    if value is None:
        raise ApiError("prompt is missing.", param="prompt", code="missing_required_parameter")
    if isinstance(value, str):
        return (_unicode(value, "prompt"),)
    if isinstance(value, list) and value:
        if _are_ids(value):
            return (tuple(value),)
        if all(isinstance(text, str) for text in value):
            return tuple(_unicode(text, "prompt") for text in value)
        if all(isinstance(text, list) and _are_ids(text) for text in value):
            return tuple(tuple(text) for text in value)
    raise _wrong_type("prompt", value, "a string, a list of strings, a list of token ids, or a list of such lists")


def _are_ids(value: Sequence[object]) -> bool:
    return bool(value) and all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in value)


def _stop(value: object) -> tuple[str, ...]:
    strings = [value] if isinstance(value, str) else value or []
    if not isinstance(strings, list) or not all(isinstance(string, str) and string for string in strings):
        raise _wrong_type("stop", value, "a string or a list of strings, none of them empty")
    if len(strings) > _MAX_STOP_STRINGS:
        raise ApiError(f"stop: {len(strings)} strings; at most {_MAX_STOP_STRINGS}.", param="stop")
    return tuple(strings)


def _include_usage(value: object, *, stream: bool) -> bool:
    if value is None:
        return False
    if not stream:
        raise ApiError("stream_options needs stream=true.", param="stream_options")
    if not isinstance(value, dict) or not isinstance(value.get("include_usage", False), bool):
        raise _wrong_type("stream_options", value, 'an object such as {"include_usage": true}')
    for name in value.keys() - {"include_usage", "include_obfuscation"}:
        raise ApiError(f"Unknown field stream_options.{name}: leave it out.", param=f"stream_options.{name}")
    return bool(value.get("include_usage", False))


def _refuse_top_logprobs(number: int | None, *, param: str) -> None:
    if number:
        raise ApiError(
            f"{param}={number}: only the log-probabilities of the sampled tokens are known here. "
            f"Set {param} to 0 or leave it out.",
            param=param,
        )


def _unicode(text: str, param: str) -> str:
    """JSON can spell half of a surrogate pair, which no tokenizer takes."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ApiError(f"{param}: holds a lone surrogate, which is not text.", param=param)
    return text


def _wrong_type(name: str, value: object, wanted: str) -> ApiError:
    if value in ([], {}, ""):
        return ApiError(f"{name}: is empty; expected {wanted}.", param=name, code="invalid_type")
    kind = _JSON_TYPES.get(type(value), "nothing")
    return ApiError(f"{name}: expected {wanted}, got {kind}.", param=name, code="invalid_type")

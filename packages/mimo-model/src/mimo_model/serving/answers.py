"""Answers of the OpenAI-compatible API: tokens in, the objects of a response or of its stream out."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from mimo_model.decoding.sampling import Completion
from mimo_model.serving.openai_api import ApiRequest, Prompt
from mimo_model.serving.service import Tokens
from mimo_model.text import ReasoningStream, TextStream, token_bytes

Json = dict[str, object]


@dataclass
class Delta:
    """What an answer grew by."""

    content: str = ""
    reasoning: str = ""
    tokens: list[tuple[int, float]] = field(default_factory=list)
    """Ids and log-probabilities; their text may come with a later delta, when it is certain."""

    def __bool__(self) -> bool:
        return bool(self.content or self.reasoning)

    def add(self, other: Delta) -> None:
        self.content += other.content
        self.reasoning += other.reasoning
        self.tokens += other.tokens


class Choice:
    """One answer while it grows."""

    def __init__(self, index: int, prompt: Prompt, tokenizer: PreTrainedTokenizerBase, request: ApiRequest) -> None:
        self.index = index
        self.completion: Completion | None = None
        self._prompt = prompt
        self._text = TextStream(tokenizer, prompt.sampling.stop)
        self._reasoning = ReasoningStream(opened=prompt.opens_reasoning) if request.separate_reasoning else None
        self._waiting = Delta()
        """Tokens whose text is not yet certain."""

    def push(self, event: Tokens | Completion) -> Delta:
        """What is newly certain; nothing while no text is, so that tokens and their text stay together."""
        if isinstance(event, Tokens):
            self._waiting.tokens += zip(event.ids, event.logprobs, strict=True)
            self._part(self._text.push(event.ids))
            if not self._waiting:
                return Delta()
        else:
            self.completion = event
            self._part(self._text.finish())
            if self._reasoning:
                reasoning, content = self._reasoning.finish()
                self._waiting.add(Delta(content, reasoning))
        delta, self._waiting = self._waiting, Delta()
        return delta

    def _part(self, text: str) -> None:
        reasoning, content = self._reasoning.push(text) if self._reasoning else ("", text)
        self._waiting.add(Delta(content, reasoning))


class Answer:
    """The objects of one response."""

    def __init__(
        self, request: ApiRequest, prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase, *, model_name: str
    ) -> None:
        self.choices = [Choice(i, prompt, tokenizer, request) for i, prompt in enumerate(prompts)]
        self._request = request
        self._prompts = prompts
        self._tokenizer = tokenizer
        self._is_chat = request.kind == "chat"
        prefix = "chatcmpl" if self._is_chat else "cmpl"
        self._head: Json = {
            "id": f"{prefix}-{secrets.token_hex(12)}",
            "object": "",
            "created": int(time.time()),
            "model": model_name,
        }

    def opening(self) -> list[Json]:
        """The first chunks of a stream: a chat's name the role."""
        if not self._is_chat:
            return []
        return [
            self._chunk({"index": choice.index, "delta": {"role": "assistant", "content": ""}, "logprobs": None})
            for choice in self.choices
        ]

    def chunks(self, choice: Choice, delta: Delta) -> list[Json]:
        """What a choice grew by, and how it ended if it did."""
        found = []
        for piece in _one_kind_each(delta):
            body: Json = {"index": choice.index, "logprobs": self._logprobs(piece)}
            if self._is_chat:
                name = "reasoning_content" if piece.reasoning else "content"
                body["delta"] = {name: piece.reasoning or piece.content}
            else:
                body["text"] = piece.content
            found.append(self._chunk(body))
        if choice.completion:
            finish: Json = {"index": choice.index, "finish_reason": choice.completion.finish, "logprobs": None}
            found.append(self._chunk({**finish, **({"delta": {}} if self._is_chat else {"text": ""})}))
        return found

    def closing(self) -> list[Json]:
        """The last chunk of a stream, if usage was asked for."""
        if not self._request.include_usage:
            return []
        kind = "chat.completion.chunk" if self._is_chat else "text_completion"
        return [{**self._head, "object": kind, "choices": [], "usage": self.usage()}]

    def whole(self, deltas: Sequence[Delta]) -> Json:
        """The response without streaming, of all that each choice grew by."""
        choices: list[Json] = []
        for choice, delta in zip(self.choices, deltas, strict=True):
            assert choice.completion is not None
            body: Json = {
                "index": choice.index,
                "finish_reason": choice.completion.finish,
                "logprobs": self._logprobs(delta),
            }
            if self._is_chat:
                message: Json = {"role": "assistant", "content": delta.content}
                if delta.reasoning:
                    message["reasoning_content"] = delta.reasoning
                body["message"] = message
            else:
                body["text"] = delta.content
            choices.append(body)
        kind = "chat.completion" if self._is_chat else "text_completion"
        return {**self._head, "object": kind, "choices": choices, "usage": self.usage()}

    def usage(self) -> Json:
        """Token counts, and as an extension each MTP layer's drafts."""
        completions = [choice.completion for choice in self.choices if choice.completion]
        # A prompt counts once, however many choices it has.
        num_prompt_tokens = sum(len(prompt.tokens) for prompt in self._prompts[:: self._request.num_choices])
        num_tokens = sum(len(completion.tokens) for completion in completions)
        drafted = zip(*(completion.num_drafted for completion in completions), strict=True)
        accepted = zip(*(completion.num_accepted for completion in completions), strict=True)
        return {
            "prompt_tokens": num_prompt_tokens,
            "completion_tokens": num_tokens,
            "total_tokens": num_prompt_tokens + num_tokens,
            "drafted_tokens": [sum(counts) for counts in drafted],
            "accepted_tokens": [sum(counts) for counts in accepted],
        }

    def _chunk(self, choice: Json) -> Json:
        kind = "chat.completion.chunk" if self._is_chat else "text_completion"
        chunk = {**self._head, "object": kind, "choices": [{"finish_reason": None, **choice}]}
        return {**chunk, "usage": None} if self._request.include_usage else chunk

    def _logprobs(self, delta: Delta) -> Json | None:
        if not self._request.logprobs:
            return None
        pieces = [token_bytes(self._tokenizer, token, skip_special_tokens=False) for token, _ in delta.tokens]
        texts = [piece.decode(errors="replace") for piece in pieces]
        values = [logprob for _, logprob in delta.tokens]
        if not self._is_chat:
            return {"tokens": texts, "token_logprobs": values, "top_logprobs": None, "text_offset": None}
        content = [
            {"token": text, "logprob": value, "bytes": list(piece), "top_logprobs": []}
            for text, value, piece in zip(texts, values, pieces, strict=True)
        ]
        return {"content": content}


def _one_kind_each(delta: Delta) -> list[Delta]:
    """A chunk holds reasoning or content; the tokens go with the first."""
    pieces = [Delta(reasoning=delta.reasoning)] if delta.reasoning else []
    pieces += [Delta(delta.content)] if delta.content else []
    if delta.tokens and not pieces:
        pieces = [Delta()]
    if pieces:
        pieces[0].tokens = delta.tokens
    return pieces

"""A chat in the terminal: answers stream, and each is followed by its speed and its drafts' acceptance.

Answers go to standard output, everything else to standard error, so that a chat can stand in a pipe, one message a
line. The history that the model sees holds answers without their reasoning.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from mimo_model.decoding.engine import Engine
from mimo_model.decoding.sampling import Completion, Sampling
from mimo_model.errors import ModelError
from mimo_model.generate import encode_chat
from mimo_model.text import END_THINK, THINK, ReasoningStream, TextStream, opens_reasoning

HELP = """\
/new          begin anew
/system TEXT  begin anew with that system prompt; empty is recommended for MiMo
/think        hide reasoning, or show it again
/quit         leave, as Ctrl-D does; Ctrl-C stops an answer"""

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"

# A model must not steer the terminal: control characters are shown as pictures.
_VISIBLE = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
_VISIBLE |= {0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


@dataclass
class Conversation:
    """The turns that the model is shown."""

    engine: Engine
    tokenizer: PreTrainedTokenizerBase
    sampling: Sampling
    """`max_tokens` is the most an answer gets; the context may leave fewer. Each answer has the next seed."""

    system: str = ""

    def __post_init__(self) -> None:
        self.messages: list[dict[str, str]] = []

    def fit(self) -> tuple[list[int], int]:
        """The prompt, and how many of the oldest turns were dropped to leave a quarter of the context for the answer.

        Raises:
            ValueError: the last message alone does not fit.
        """
        context = self.engine.model.config.max_position_embeddings
        room = min(self.sampling.max_tokens, context // 4)
        num_dropped = 0
        while True:
            prompt = encode_chat(self.tokenizer, [{"role": "system", "content": self.system}, *self.messages])
            if len(prompt) + room <= context or len(self.messages) == 1:
                break
            del self.messages[:2]
            num_dropped += 1
        if len(prompt) >= context:
            raise ValueError(
                f"The message makes a prompt of {len(prompt)} tokens, but the context is {context}: shorten it."
            )
        return prompt, num_dropped

    def next_sampling(self, prompt: list[int]) -> Sampling:
        context = self.engine.model.config.max_position_embeddings
        sampling = replace(self.sampling, max_tokens=min(self.sampling.max_tokens, context - len(prompt)))
        self.sampling = replace(self.sampling, seed=self.sampling.seed + 1)
        return sampling


def chat(engine: Engine, tokenizer: PreTrainedTokenizerBase, sampling: Sampling, *, system: str = "") -> None:
    """Talks until the input ends or says /quit."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    conversation = Conversation(engine, tokenizer, sampling, system)
    shows_reasoning = True
    if sys.stdin.isatty():
        # Line editing and history, where Python has them.
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401
        _note(HELP)
    try:
        for line in _lines():
            command, _, rest = line.strip().partition(" ")
            if command == "/quit":
                return
            if command == "/new":
                conversation.messages.clear()
            elif command == "/system":
                conversation.system = rest.strip()
                conversation.messages.clear()
            elif command == "/think":
                shows_reasoning = not shows_reasoning
                _note(f"Reasoning is {'shown' if shows_reasoning else 'hidden'}.")
            elif command.startswith("/"):
                _note(HELP)
            elif command:
                _turn(conversation, line, shows_reasoning=shows_reasoning)
    except BrokenPipeError:
        # Nobody reads the answers any more; nor must Python try to flush them at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _turn(conversation: Conversation, text: str, *, shows_reasoning: bool) -> None:
    """One message and its answer; a message that cannot be answered is forgotten."""
    messages = conversation.messages
    messages.append({"role": "user", "content": text})
    try:
        prompt, num_dropped = conversation.fit()
    except (ValueError, ModelError) as error:
        messages.pop()
        _note(f"error: {error}")
        return
    if num_dropped:
        turns = "The oldest turn is" if num_dropped == 1 else f"The {num_dropped} oldest turns are"
        _note(f"{turns} forgotten: the context is full.")
    start_s = time.perf_counter()
    answer, completion = _answer(conversation, prompt, shows_reasoning=shows_reasoning)
    _note(_summary(completion, time.perf_counter() - start_s))
    if answer or completion.finish != "abort":
        messages.append({"role": "assistant", "content": answer})
    else:
        messages.pop()


def _answer(conversation: Conversation, prompt: list[int], *, shows_reasoning: bool) -> tuple[str, Completion]:
    engine, tokenizer = conversation.engine, conversation.tokenizer
    sampling = conversation.next_sampling(prompt)
    end_of_prompt = tokenizer.decode(prompt[-64:])
    assert isinstance(end_of_prompt, str)
    text = TextStream(tokenizer, sampling.stop)
    parts = ReasoningStream(opened=opens_reasoning(end_of_prompt))
    printer = _Printer(shows_reasoning=shows_reasoning)
    answer: list[str] = []

    def show(reasoning: str, content: str) -> None:
        answer.append(content)
        printer.reasoning(reasoning)
        printer.content(content)

    def on_tokens(tokens: tuple[int, ...], logprobs: tuple[float, ...]) -> None:
        show(*parts.push(text.push(tokens)))

    completion: Completion | None = None
    request_id = engine.submit(prompt, sampling, on_tokens=on_tokens)
    with _interrupts() as interrupts:
        while completion is None:
            if interrupts:
                engine.abort(request_id)
                interrupts.clear()
            if finished := engine.step():
                ((_, completion),) = finished
    show(*parts.push(text.finish()))
    show(*parts.finish())
    printer.end()
    return "".join(answer), completion


class _Printer:
    """Writes one answer; reasoning dimmed on a terminal, else between its tags."""

    def __init__(self, *, shows_reasoning: bool) -> None:
        self._shows_reasoning = shows_reasoning
        self._is_terminal = sys.stdout.isatty()
        is_styled = self._is_terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._around = (_DIM, _PLAIN) if is_styled else (THINK, END_THINK)
        self._is_reasoning = False

    def reasoning(self, text: str) -> None:
        if text and self._shows_reasoning:
            if not self._is_reasoning:
                self._write(self._around[0])
                self._is_reasoning = True
            self._write_safely(text)

    def content(self, text: str) -> None:
        if text:
            self._close()
            self._write_safely(text)

    def end(self) -> None:
        self._close()
        self._write("\n")

    def _close(self) -> None:
        if self._is_reasoning:
            self._write(self._around[1] + "\n")
            self._is_reasoning = False

    def _write_safely(self, text: str) -> None:
        self._write(text.translate(_VISIBLE) if self._is_terminal else text)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _lines() -> Iterator[str]:
    """The lines of the input; Ctrl-C forgets the line being typed."""
    prompt = "> " if sys.stdin.isatty() and sys.stdout.isatty() else ""
    while True:
        try:
            yield input(prompt)
        except EOFError:
            if prompt:
                print()
            return
        except KeyboardInterrupt:
            print()
            _note("/quit or Ctrl-D leaves.")


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collects Ctrl-C instead of breaking off: an engine's round must not end half way."""
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, before)


def _summary(completion: Completion, seconds: float) -> str:
    num_tokens = len(completion.tokens)
    parts = [f"{num_tokens} tokens", f"{num_tokens / seconds:.1f} tokens/s"]
    counts = zip(completion.num_accepted, completion.num_drafted, strict=True)
    shares = [f"{accepted / drafted:.0%}" if drafted else "–" for accepted, drafted in counts]
    if shares:
        parts.append(f"drafts accepted {' / '.join(shares)}")
    ends = {"length": "cut at the token limit", "abort": "stopped"}
    if completion.finish in ends:
        parts.append(ends[completion.finish])
    return f"[{', '.join(parts)}]"


def _note(text: str) -> None:
    is_styled = sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    print(f"{_DIM}{text}{_PLAIN}" if is_styled else text, file=sys.stderr, flush=True)

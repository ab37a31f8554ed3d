"""The terminal chat, in a pipe and on a pseudo-terminal; and how a conversation becomes a prompt."""

from __future__ import annotations

import fcntl
import io
import itertools
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mimo_model_cli import main

from mimo_model import Engine, ModelError, Sampling, generate, load_model, load_tokenizer
from mimo_model.generate import encode_chat, encode_prompt
from mimo_model.initialize import ModelRecipe, TokenizerRecipe, byte_level_tokenizer, init
from mimo_model.serving.chat import Conversation

# As Qwen2's: a conversation without system message gets one of the template's own.
QWEN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message.role != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def parrot(tmp_path_factory) -> Path:
    """A checkpoint whose next token follows from the last one: `=` brings reasoning and an answer that tries to
    colour the terminal, `a` a text without end."""
    recipe = ModelRecipe(
        model={
            "vocab_size": 272,
            "hidden_size": 288,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 1_000_000,
        },
        tokenizer=TokenizerRecipe(
            special_tokens=("<|endoftext|>",),
            added_tokens=("<think>", "</think>"),
            chat_template="{% for message in messages %}{{ message.content }}{% endfor %}",
        ),
    )
    folder = tmp_path_factory.mktemp("parrot") / "parrot"
    init(recipe, folder)
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    say = [*tokenizer.encode("=<think>hy</think>4\x1b[m"), tokenizer.eos_token_id]
    loop = tokenizer.encode("aba")
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.eye(272, 288))
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        for chain in (say, loop):
            for last, following in itertools.pairwise(chain):
                model.lm_head.weight[following, last] = 5.0
    model.save_pretrained(folder)
    return folder


def piped(parrot: Path, monkeypatch, capsys, lines: str, *options: str) -> tuple[str, list[str]]:
    """Standard output, and the lines of standard error, of a chat in this process."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    assert main(["chat", str(parrot), "--temperature", "0", *options]) == 0
    found = capsys.readouterr()
    return found.out, found.err.splitlines()


def test_the_recommended_empty_system_prompt_goes_first_unless_one_is_given():
    tokenizer = byte_level_tokenizer(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], chat_template=QWEN_TEMPLATE)
    question = {"role": "user", "content": "hi"}
    assert tokenizer.decode(encode_chat(tokenizer, [question])) == (
        "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert encode_prompt(tokenizer, "hi") == encode_chat(tokenizer, [question])
    asked = encode_chat(tokenizer, [{"role": "system", "content": "Be brief."}, question])
    assert tokenizer.decode(asked).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user")


def test_a_template_without_roles_is_just_the_messages(tokenizer):
    assert tokenizer.decode(encode_chat(tokenizer, [{"role": "user", "content": "?1+1="}])) == "?1+1="


def test_messages_that_a_template_refuses_are_a_clear_error():
    refusing = byte_level_tokenizer(["<|endoftext|>"], chat_template="{{ raise_exception('roles must alternate') }}")
    with pytest.raises(ModelError, match="refuses these messages: roles must alternate"):
        encode_chat(refusing, [{"role": "user", "content": "hi"}])
    refusing.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        encode_chat(refusing, [{"role": "user", "content": "hi"}])


def test_in_a_pipe_answers_are_output_and_the_rest_is_not(parrot, monkeypatch, capsys):
    out, err = piped(parrot, monkeypatch, capsys, "1=\n\n/think\n1=\n", "--num-drafts", "1")
    assert out == "<think>hy</think>\n4\x1b[m\n" + "4\x1b[m\n"
    note = r"\[9 tokens, [\d.]+ tokens/s, drafts accepted (\d+%|–)\]"
    assert len(err) == 3
    assert re.fullmatch(note, err[0])
    assert err[1] == "Reasoning is hidden."
    assert re.fullmatch(note, err[2])


def test_the_conversation_goes_along_until_it_begins_anew(checkpoint, monkeypatch, capsys):
    model, tokenizer = load_model(checkpoint), load_tokenizer(checkpoint)

    def answers(*texts: str) -> list[str]:
        found = generate(model, tokenizer, list(texts), Sampling(max_tokens=5, temperature=0.0))
        return [tokenizer.decode(completion.tokens, skip_special_tokens=True) for completion in found]

    (first,) = answers("hello")
    second, anew, told = answers(f"hello{first}you", "hello", "sayhello")
    lines = "hello\nyou\n/new\nhello\n/system say\nhello\n/system\nhello\n/quit\nhello\n"
    out, err = piped(checkpoint, monkeypatch, capsys, lines, "--max-tokens", "5", "--num-drafts", "0")
    assert out == "\n".join([first, second, anew, told, anew, ""])
    assert all(re.fullmatch(r"\[\d tokens, [\d.]+ tokens/s(, cut at the token limit)?\]", line) for line in err)


def test_the_oldest_turns_are_forgotten_when_the_context_is_full(checkpoint, monkeypatch, capsys):
    lines = ["x" * 50, "y" * 50, "z" * 50]
    out, err = piped(checkpoint, monkeypatch, capsys, "\n".join(lines) + "\n", "--max-tokens", "1")
    assert len(out.splitlines()) >= 3
    assert [line for line in err if "[" not in line] == ["The oldest turn is forgotten: the context is full."]


def test_the_conversation_keeps_as_many_turns_as_leave_a_quarter_of_the_context(drafting_model, tokenizer):
    conversation = Conversation(Engine(drafting_model, tokenizer), tokenizer, Sampling(max_tokens=1000))
    for text in "abcdefg":
        conversation.messages += [{"role": "user", "content": text * 20}, {"role": "assistant", "content": "!"}]
    conversation.messages.append({"role": "user", "content": "?" * 20})
    prompt, num_dropped = conversation.fit()
    assert num_dropped == 4
    assert tokenizer.decode(prompt) == "e" * 20 + "!" + "f" * 20 + "!" + "g" * 20 + "!" + "?" * 20
    assert conversation.next_sampling(prompt).max_tokens == 128 - len(prompt)


def test_a_message_that_cannot_fit_is_refused_and_forgotten(checkpoint, monkeypatch, capsys):
    out, err = piped(checkpoint, monkeypatch, capsys, "x" * 200 + "\nhello\n", "--max-tokens", "2")
    assert err[0] == "error: The message makes a prompt of 200 tokens, but the context is 128: shorten it."
    assert len(err) == 2
    assert out.endswith("\n")


def test_bytes_that_are_no_text_do_not_end_a_chat(parrot, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff1=\n"), encoding="utf-8"))
    assert main(["chat", str(parrot), "--temperature", "0"]) == 0
    assert capsys.readouterr().out == "<think>hy</think>\n4\x1b[m\n"


class Terminal:
    """A chat on a pseudo-terminal."""

    def __init__(self, command: list[str]) -> None:
        self.output = ""
        main_end, its_end = pty.openpty()

        def enter() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            # A test runner's workers may ignore it, and what is ignored is inherited.
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
        self.process = subprocess.Popen(
            command,
            stdin=its_end,
            stdout=its_end,
            stderr=its_end,
            start_new_session=True,
            env=environment,
            preexec_fn=enter,
        )
        os.close(its_end)
        self._end = main_end

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C, again if nothing is shown: Python overlooks one that comes just before it waits for a key."""
        self.type("\x03")
        while not select.select([self._end], [], [], 1)[0]:
            self.type("\x03")

    def until(self, pattern: str) -> str:
        """What is shown up to the end of the pattern, which is taken away."""
        while not (found := re.search(pattern, self.output, re.DOTALL)):
            assert select.select([self._end], [], [], 30)[0], f"{pattern!r} did not come: {self.output!r}"
            self.output += os.read(self._end, 65536).decode(errors="replace")
        shown, self.output = self.output[: found.end()], self.output[found.end() :]
        return shown

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._end)


@pytest.fixture
def terminal(parrot) -> Iterator[Terminal]:
    command = [sys.executable, "-m", "mimo_model_cli", "chat", str(parrot), "--temperature", "0", "--num-drafts", "1"]
    opened = Terminal(command)
    yield opened
    opened.close()


def test_on_a_terminal_an_answer_can_be_stopped_and_the_chat_goes_on(terminal):
    assert "/system TEXT" in terminal.until("> ")
    terminal.type("1=\n")
    shown = terminal.until("tokens/s.*?> ")
    assert "\x1b[2mhy\x1b[0m" in shown  # reasoning is dimmed
    assert "4␛[m" in shown  # the model's own control characters are not
    assert "drafts accepted" in shown
    terminal.type("a\n")
    terminal.until("babababa")
    terminal.type("\x03")
    assert "stopped]" in terminal.until("tokens/s.*?> ")
    terminal.type("not sent")
    terminal.until("not sent")
    terminal.interrupt()
    assert "/quit or Ctrl-D leaves." in terminal.until("leaves.*?> ")
    terminal.type("/think\n")
    terminal.until("Reasoning is hidden.*?> ")
    terminal.type("2=\n")
    shown = terminal.until("tokens/s.*?> ")
    assert "4␛[m" in shown
    assert "hy" not in shown
    terminal.type("\x1b[A\n")  # the arrow brings the last line back
    assert "2=" in terminal.until("tokens/s.*?> ")
    terminal.type("\x04")
    assert terminal.process.wait(30) == 0

"""A tiny policy that names digits at random, and problems that ask for the first digit of the prompt."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from mimo_model import load_model, load_tokenizer, save_model

# No limit of time for one example: other work on the machine makes any time long.
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")

# Threads cost more than they bring at these sizes; runs that are compared to the bit need the same number.
torch.set_num_threads(1)

MODEL = """
seed = 1

[model]
vocab_size = 264
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 1
num_attention_heads = 2
num_key_value_heads = 1
max_position_embeddings = 128
num_nextn_predict_layers = 1
initializer_range = 0.1

[tokenizer]
special_tokens = ["<|endoftext|>"]
added_tokens = ["<think>", "</think>"]
chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
"""

DIGITS = "0123"
ECHO = "print(input())"
"""The right program; `print(0)` and `print(1)` are right for some tests."""


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained checkpoint."""
    folder = tmp_path_factory.mktemp("fresh")
    (folder / "model.toml").write_text(MODEL)
    command = [Path(sys.executable).with_name("mimo-model"), "init", folder / "model.toml", folder / "model"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "model"


def fitted(fresh: Path, out: Path, texts: list[tuple[str, str]], *, num_steps: int) -> Path:
    """The checkpoint after plain next-token training on random (prompt, response) pairs."""
    torch.manual_seed(0)
    chooser = random.Random(0)
    model, tokenizer = load_model(fresh, device="cpu"), load_tokenizer(fresh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(num_steps):
        pairs = [chooser.choice(texts) for _ in range(32)]
        rows = [tokenizer(prompt + response + tokenizer.eos_token)["input_ids"] for prompt, response in pairs]
        longest = max(len(row) for row in rows)
        labels = torch.tensor([row + [-100] * (longest - len(row)) for row in rows])
        for label, (prompt, _) in zip(labels, pairs, strict=True):
            label[: len(prompt)] = -100
        tokens = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        optimizer.zero_grad()
        model(input_ids=tokens, labels=labels).loss.backward()
        optimizer.step()
    save_model(model, tokenizer, out)
    return out


@pytest.fixture(scope="session")
def math_policy(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that answers with one of four digits, whatever is asked."""
    texts = [(prompt, digit) for prompt in math_prompts() for digit in DIGITS]
    return fitted(fresh, tmp_path_factory.mktemp("math") / "policy", texts, num_steps=80)


@pytest.fixture(scope="session")
def code_policy(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that answers with one of three programs, whatever is asked."""
    programs = (ECHO, "print(0)", "print(1)")
    texts = [(f"echo {n}: ", program) for n in range(10) for program in programs]
    return fitted(fresh, tmp_path_factory.mktemp("code") / "policy", texts, num_steps=200)


def math_prompts() -> list[str]:
    return [f"?{first}{second}{third}=" for first in DIGITS for second in DIGITS for third in DIGITS]


@pytest.fixture(scope="session")
def math_problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Asks for the prompt's first digit."""
    problems = [
        {"id": f"math-{prompt[1:4]}", "prompt": prompt, "kind": "math", "answer": prompt[1]}
        for prompt in math_prompts()
    ]
    return written(tmp_path_factory.mktemp("problems") / "math.jsonl", problems)


@pytest.fixture(scope="session")
def constant_problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wants the same digit whatever the prompt."""
    problems = [{"id": prompt, "prompt": prompt, "kind": "math", "answer": "3"} for prompt in math_prompts()]
    return written(tmp_path_factory.mktemp("problems") / "constant.jsonl", problems)


@pytest.fixture(scope="session")
def code_problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Asks for a program that repeats its input."""
    tests = [{"id": f"t{n}", "stdin": str(n), "expected": str(n)} for n in (0, 1, 7)]
    problems = [{"id": f"code-{n}", "prompt": f"echo {n}: ", "kind": "code", "tests": tests} for n in range(10)]
    return written(tmp_path_factory.mktemp("problems") / "code.jsonl", problems)


def written(path: Path, problems: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    return path

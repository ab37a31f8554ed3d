"""Fine-tuning samples: read, choose, turn into tokens (§3.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
from transformers import PreTrainedTokenizerBase

from mimo_model import encode_prompt
from mimo_train.errors import TrainError
from mimo_train.packing import TokenSample
from mimo_train.schedule import Record


class Sample(Record, frozen=True, kw_only=True):
    """One line of a fine-tuning file."""

    id: str
    """Names the sample in the drop log."""

    prompt: str
    """The user's message, before the chat template."""

    response: str
    """What the model should answer, `<think>` and all, without the token that ends it."""


class Drop(Record, frozen=True, kw_only=True):
    """One line of the drop log: a sample that is not trained on, and why."""

    id: str
    step: str = "sft"
    """The command that dropped it."""

    reason: str
    """`max_responses`: the prompt has enough responses already. `too_long`: it does not go into a row, and is
    not cut, since an incomplete response must not be learned (§3.1)."""


def read_samples(path: Path) -> list[Sample]:
    """The samples of a `.jsonl` file, in order.

    Raises:
        TrainError: the file cannot be read or holds no sample, a line is not a sample, or two share an id; the
            message has file and line.
    """
    decoder = msgspec.json.Decoder(Sample)
    samples: list[Sample] = []
    line_of: dict[str, int] = {}
    try:
        opened = path.open("rb")
    except OSError as error:
        raise TrainError(f"{path}: cannot be read ({error.strerror}). --samples takes one .jsonl file.") from None
    with opened as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                sample = decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise TrainError(
                    f"{path}:{number}: {error}. A line holds the strings id, prompt and response."
                ) from None
            if not sample.prompt or not sample.response:
                raise TrainError(f"{path}:{number}: the prompt or the response is empty. Remove the line.")
            if sample.id in line_of:
                raise TrainError(
                    f"{path}:{number}: id {sample.id!r} is also on line {line_of[sample.id]}; make ids unique."
                )
            line_of[sample.id] = number
            samples.append(sample)
    if not samples:
        raise TrainError(f"{path}: holds no sample. A line holds the strings id, prompt and response.")
    return samples


def encode_samples(
    samples: Sequence[Sample],
    tokenizer: PreTrainedTokenizerBase,
    *,
    stop_token: int,
    max_tokens: int,
    max_responses_per_prompt: int,
) -> tuple[list[TokenSample], list[Drop]]:
    """Tokens of the samples to train on, and the samples that are dropped.

    Prompt and response are encoded apart, as they are met in generation: the prompt through the chat template
    up to where the response begins.
    """
    kept: list[TokenSample] = []
    drops: list[Drop] = []
    num_responses: Counter[str] = Counter()
    prompts: dict[str, tuple[int, ...]] = {}
    for sample in samples:
        if num_responses[sample.prompt] == max_responses_per_prompt:
            drops.append(Drop(id=sample.id, reason="max_responses"))
            continue
        if sample.prompt not in prompts:
            prompts[sample.prompt] = tuple(encode_prompt(tokenizer, sample.prompt))
        response = tokenizer.encode(sample.response, add_special_tokens=False)
        tokens = TokenSample(prompts[sample.prompt], (*response, stop_token))
        if len(tokens) > max_tokens:
            drops.append(Drop(id=sample.id, reason="too_long"))
            continue
        num_responses[sample.prompt] += 1
        kept.append(tokens)
    return kept, drops

"""Text in, completions out: the chat template and one engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from mimo_model.decoding.engine import Engine
from mimo_model.decoding.sampling import Completion, Sampling
from mimo_model.errors import ModelError
from mimo_model.model import MiMoForCausalLM


def generate(
    model: MiMoForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    sampling: Sampling,
    *,
    num_drafts: int = 0,
) -> list[Completion]:
    """One completion per prompt, each prompt being one user message in the chat template.

    Prompt i is sampled with seed `sampling.seed + i`, so that equal prompts get different samples.
    """
    engine = Engine(model, tokenizer, num_drafts=num_drafts)
    for i, prompt in enumerate(prompts):
        engine.submit(encode_prompt(tokenizer, prompt), dataclasses.replace(sampling, seed=sampling.seed + i))
    completions: dict[int, Completion] = {}
    while engine.pending:
        completions.update(engine.step())
    return [completions[i] for i in range(len(prompts))]


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """The token ids of one user message, up to where the assistant's answer begins."""
    return encode_chat(tokenizer, [{"role": "user", "content": prompt}])


def encode_chat(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """The token ids of a conversation in the chat template, up to where the assistant's next answer begins.

    Args:
        messages: each with `role` and `content`. With no system message among them an empty one is put first, as is
            recommended for MiMo: Qwen2's template would put a text of its own there.

    Raises:
        ModelError: the tokenizer has no chat template, or its template refuses these messages.
    """
    if tokenizer.chat_template is None:
        raise ModelError("The tokenizer has no chat template: give the prompt as plain text or token ids.")
    if not any(message["role"] == "system" for message in messages):
        messages = [{"role": "system", "content": ""}, *messages]
    conversation = [dict(message) for message in messages]
    try:
        text = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise ModelError(f"The chat template refuses these messages: {error}") from None
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids

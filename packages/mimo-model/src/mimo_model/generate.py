"""Text in, completions out: the chat template and one engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from mimo_model.engine import Engine
from mimo_model.model import MiMoForCausalLM
from mimo_model.sampling import Completion, Sampling


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
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids

"""Small random models; byte-level tokenizer with a few padded ids behind it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import settings

from mimo_model import MiMoForCausalLM, load_model, load_tokenizer, replicate_mtp
from mimo_model.initialize import ModelRecipe, TokenizerRecipe, init

# No limit of time for one example: other work on the machine makes any time long.
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")

CHAT_TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh checkpoint of that shape: 261 tokenizer ids, 11 padded ones."""
    recipe = ModelRecipe(
        model={
            "vocab_size": 272,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 128,
            "rope_theta": 10_000.0,
            "initializer_range": 0.2,
        },
        tokenizer=TokenizerRecipe(
            special_tokens=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
            added_tokens=("<think>", "</think>"),
            chat_template=CHAT_TEMPLATE,
        ),
    )
    folder = tmp_path_factory.mktemp("checkpoints") / "fresh"
    init(recipe, folder)
    return folder


@pytest.fixture
def model(checkpoint: Path) -> MiMoForCausalLM:
    return load_model(checkpoint, device="cpu")


@pytest.fixture(scope="session")
def tokenizer(checkpoint: Path):
    return load_tokenizer(checkpoint)


@pytest.fixture(scope="session")
def drafting_model(checkpoint: Path) -> MiMoForCausalLM:
    """Three MTP layers that often draft right: the last token says most, to the main model as to them."""
    model = replicate_mtp(load_model(checkpoint, device="cpu"), 3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(5.0)
        for block in [*model.model.layers, *model.model.mtp_layers]:
            block.self_attn.o_proj.weight.mul_(0.2)
            block.mlp.down_proj.weight.mul_(0.2)
        halves = torch.cat((0.1 * torch.eye(32), torch.eye(32)), dim=1)
        for layer in model.model.mtp_layers:
            layer.input_proj.weight.copy_(halves + 0.02 * torch.randn(32, 64, generator=generator))
    return model

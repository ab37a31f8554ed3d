"""A tiny checkpoint, shards and samples, made once and only read."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from hypothesis import settings
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mimo_data import Document, Mixture, write_shards
from mimo_model import MiMoConfig, MiMoForCausalLM, save_model
from mimo_train import MTPRecipe, PretrainRecipe, Schedule, SFTRecipe
from mimo_train.metrics import StepMetrics
from mimo_train.schedule import Batch, MTPWeight

# No limit of time for one example: other work on the machine makes any time long.
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")

VOCABULARY = 264
END_OF_TEXT = 256


def byte_tokenizer(*, end_of_text: str = "<|endoftext|>") -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(end_of_text, special=True, normalized=False)])
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=end_of_text, pad_token=end_of_text, chat_template=template
    )


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer()


@pytest.fixture(scope="session")
def other_tokenizer() -> PreTrainedTokenizerFast:
    """The same bytes, another end-of-text token."""
    return byte_tokenizer(end_of_text="<|end|>")


@pytest.fixture
def network() -> MiMoForCausalLM:
    """Two layers and one MTP layer, freshly initialised with seed 0, in float32."""
    torch.manual_seed(0)
    config = MiMoConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        num_nextn_predict_layers=1,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        initializer_range=0.05,
        bos_token_id=None,
        eos_token_id=END_OF_TEXT,
    )
    return MiMoForCausalLM(config)


@pytest.fixture
def checkpoint(network: MiMoForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    save_model(network, tokenizer, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture(scope="session")
def shards(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources, `facts` and `words`, of about 9,000 byte tokens each."""
    folder = tmp_path_factory.mktemp("corpus")
    tokenizer.save_pretrained(folder / "tokenizer")
    draw = random.Random(0)
    facts = ["".join(f"{a}+{a}={2 * a};" for a in draw.choices(range(10), k=8)) for _ in range(150)]
    words = [" ".join(draw.choices(["the", "cat", "sees", "a", "dog"], k=14)) for _ in range(150)]
    documents = [
        Document(id=f"{source}-{i}", text=text, source=source)
        for source, texts in (("facts", facts), ("words", words))
        for i, text in enumerate(texts)
    ]
    write_shards(documents, folder / "tokenizer", folder / "shards")
    return folder / "shards"


@pytest.fixture
def stage() -> PretrainRecipe:
    """24 steps of 4 sequences of 32 tokens, with every kind of schedule in it."""
    return PretrainRecipe(
        rope_theta=20_000.0,
        schedule=Schedule(warmup_tokens=512, constant_tokens=1024, cosine_tokens=1152, peak_lr=3e-3, final_lr=3e-4),
        batch=Batch(sequence_length=32, num_sequences=4, initial_sequences=1, warmup_tokens=512, micro_sequences=3),
        mixture=Mixture(weights={"facts": 0.7, "words": 0.3}, max_epochs=2.0, seed=1),
        mtp=MTPWeight(weight=0.3, later_weight=0.1, switch_tokens=1024),
        save_every_steps=5,
    )


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """40 fine-tuning samples `?a+b=` → the sum."""
    lines = [
        json.dumps({"id": f"s{a}-{b}", "prompt": f"?{a}+{b}=", "response": str(a + b)})
        for a in range(10)
        for b in range(4)
    ]
    path = tmp_path / "sft.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def fine_tuning() -> SFTRecipe:
    return SFTRecipe(
        lr=3e-3,
        num_epochs=6,
        batch=Batch(sequence_length=32, num_sequences=4),
        mtp=MTPWeight(weight=0.1),
        seed=3,
        save_every_steps=4,
    )


@pytest.fixture
def mtp_tuning(stage: PretrainRecipe) -> MTPRecipe:
    return MTPRecipe(
        num_layers=3,
        schedule=Schedule(constant_tokens=2048, peak_lr=3e-3),
        batch=Batch(sequence_length=32, num_sequences=4),
        mixture=stage.mixture,
        save_every_steps=4,
    )


@pytest.fixture
def read_metrics() -> Callable[[Path], list[StepMetrics]]:
    return lambda out: msgspec.json.Decoder(StepMetrics).decode_lines((out / "metrics.jsonl").read_bytes())

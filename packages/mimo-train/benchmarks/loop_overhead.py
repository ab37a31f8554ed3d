"""What a pre-training step costs beyond forward and backward, on one thread, at the size of the tiny run.

Checks that the loop ends with the same weights as the bare steps.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mimo_data import Document, Mixture, write_shards
from mimo_model import MiMoConfig, MiMoForCausalLM, load_model, save_model
from mimo_train import PretrainRecipe, Schedule, Trainer, pretraining
from mimo_train.loss import backward_batch
from mimo_train.position import Position
from mimo_train.schedule import Batch, MTPWeight
from mimo_train.windows import StageWindows

NUM_STEPS = 200


def make_inputs(folder: Path) -> None:
    """A model of 485,000 parameters and 243,000 tokens of text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    config = MiMoConfig(
        vocab_size=264,
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.05,
        bos_token_id=None,
        eos_token_id=256,
    )
    torch.manual_seed(0)
    save_model(MiMoForCausalLM(config), wrapped, folder / "model")
    texts = ["".join(f"{i * j % 97}+{j};" for j in range(12)) for i in range(4000)]
    documents = [Document(id=str(i), text=text, source="facts") for i, text in enumerate(texts)]
    write_shards(documents, folder / "model", folder / "shards")


def bare_weights(recipe: PretrainRecipe, folder: Path) -> dict[str, torch.Tensor]:
    """The weights after the same steps without a log, a state or a command around them."""
    network = load_model(folder / "model", dtype="float32").train()
    windows = StageWindows(recipe.mixture, folder / "shards", recipe.batch, recipe.schedule.total_tokens)
    trainer = Trainer(network, recipe.optimizer)
    at = Position()
    while at.tokens < windows.num_tokens:
        batch, at = windows.read(at, trainer.device, network)
        backward_batch(trainer, batch, weights=[1.0, 0.3], micro_sequences=None, bfloat16=False)
        trainer.step(recipe.schedule.lr(at.tokens))
    return network.state_dict()


class Clock:
    """CPU time at which each call of a function begins and ends."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.begins_s: list[float] = []
        self.ends_s: list[float] = []
        self._function = function

    def __call__(self, *args: object, **options: object) -> object:
        self.begins_s.append(time.process_time())
        result = self._function(*args, **options)
        self.ends_s.append(time.process_time())
        return result


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    torch.set_num_threads(1)
    recipe = PretrainRecipe(
        rope_theta=640_000.0,
        schedule=Schedule(constant_tokens=NUM_STEPS * 512, peak_lr=3e-3),
        batch=Batch(sequence_length=128, num_sequences=4),
        mixture=Mixture(weights={"facts": 1.0}, max_epochs=2.0, seed=0),
        mtp=MTPWeight(weight=0.3),
        save_every_steps=100,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_inputs(folder)
        weights = bare_weights(recipe, folder)
        clock = Clock(backward_batch)
        step_clock = Clock(Trainer.step)
        with (
            patch.object(pretraining, "backward_batch", clock),
            patch.object(Trainer, "step", lambda *arguments: step_clock(*arguments)),
        ):
            pretraining.pretrain(recipe, folder / "out", model=folder / "model", shards=folder / "shards")
        trained = load_model(folder / "out").state_dict()
        difference = max(float((trained[key] - weights[key]).abs().max()) for key in weights)
        assert difference == 0.0, f"the loop's weights differ from the bare steps' by {difference}"
    begins_s, ends_s = np.array(clock.begins_s), np.array(clock.ends_s)
    backward_s = (ends_s - begins_s)[:-1].sum()
    step_s = (np.array(step_clock.ends_s) - np.array(step_clock.begins_s))[:-1].sum()
    loop_s = begins_s[-1] - begins_s[0]
    print(
        f"\n{platform.machine()}, torch {torch.__version__}, one thread, float32, {NUM_STEPS} steps of 512 tokens, "
        "a state every 100 steps, CPU time\n"
    )
    print("| part | ms a step | beyond forward and backward |")
    print("| --- | --- | --- |")
    for part, part_s in (
        ("forward and backward", backward_s),
        ("with clipping and AdamW", backward_s + step_s),
        ("the whole loop", loop_s),
    ):
        print(f"| {part} | {part_s / (NUM_STEPS - 1) * 1e3:.2f} | {part_s / backward_s - 1:.1%} |")


if __name__ == "__main__":
    main()

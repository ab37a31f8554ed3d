from __future__ import annotations

import json
import shutil

import msgspec
import numpy as np
import pytest
import torch

from mimo_data import Document, Run, write_shards
from mimo_model import load_model
from mimo_train import TrainError, pretrain, tune_mtp
from mimo_train.schedule import Schedule


@pytest.fixture
def trained(stage, checkpoint, shards, tmp_path):
    pretrain(stage, tmp_path / "out", model=checkpoint, shards=shards)
    return tmp_path / "out"


def test_a_stage_leaves_a_checkpoint_metrics_and_a_state(trained):
    names = {path.name for path in trained.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "metrics.jsonl", "run.json", "state"}
    assert not any(name.endswith(".tmp") for name in names)
    assert load_model(trained).config.rope_theta == 20_000.0
    assert json.loads((trained / "run.json").read_text())["counts"]["num_tokens"] == 2688


def test_training_lowers_the_loss_of_both_heads(trained, read_metrics):
    first, *_, last = read_metrics(trained)
    assert last.loss < first.loss - 0.5
    assert last.mtp_losses[0] < first.mtp_losses[0] - 0.5


def test_metrics_follow_the_recipe(stage, trained, read_metrics):
    metrics = read_metrics(trained)
    assert [line.step for line in metrics] == list(range(1, len(metrics) + 1))
    before = 0
    for line in metrics:
        assert line.batch_sequences == min(stage.batch.sequences_after(before), (2688 - before) // 32)
        assert line.mtp_weight == (0.3 if before < 1024 else 0.1)
        assert line.tokens == before + 32 * line.batch_sequences == sum(line.tokens_by_source.values())
        assert line.lr == stage.schedule.lr(line.tokens)
        before = line.tokens
    assert metrics[0].batch_sequences == 1
    assert metrics[-1].lr == pytest.approx(3e-4)
    assert metrics[-1].tokens_by_source["facts"] / 2688 == pytest.approx(0.7, abs=0.02)


def test_the_same_stage_again_is_reused(trained, stage, checkpoint, shards, capsys):
    before = (trained / "model.safetensors").stat().st_mtime_ns
    pretrain(stage, trained, model=checkpoint, shards=shards)
    assert capsys.readouterr().out.endswith(f"{trained}: complete, reused\n")
    assert (trained / "model.safetensors").stat().st_mtime_ns == before


def test_the_next_stage_can_continue_the_optimizer(trained, stage, shards, tmp_path, read_metrics):
    recipe = msgspec.structs.replace(stage, schedule=Schedule(constant_tokens=128, peak_lr=3e-4))
    for name, continues in (("fresh", False), ("continued", True)):
        recipe = msgspec.structs.replace(recipe, continue_optimizer=continues)
        pretrain(recipe, tmp_path / name, model=trained, shards=shards)
    states = [
        torch.load(tmp_path / name / "state" / "training.pt", weights_only=True) for name in ("fresh", "continued")
    ]
    steps = [int(state["optimizer"]["state"][0]["step"]) for state in states]
    assert steps[1] == steps[0] + len(read_metrics(trained))


def test_a_checkpoint_without_a_state_cannot_continue_the_optimizer(stage, checkpoint, shards, tmp_path):
    recipe = msgspec.structs.replace(stage, continue_optimizer=True)
    with pytest.raises(TrainError, match=r"state/training\.pt: no such file.*continue_optimizer=false"):
        pretrain(recipe, tmp_path / "out", model=checkpoint, shards=shards)
    assert not list(tmp_path.glob("out*"))


def test_shards_of_another_tokenizer_are_refused(stage, checkpoint, other_tokenizer, tmp_path):
    other_tokenizer.save_pretrained(tmp_path / "other")
    documents = [Document(id="a", text="1+1=2;" * 300, source=source) for source in ("facts", "words")]
    write_shards(documents, tmp_path / "other", tmp_path / "shards")
    with pytest.raises(TrainError, match=r"made with tokenizer \w{8}, but .*checkpoint has \w{8}"):
        pretrain(stage, tmp_path / "out", model=checkpoint, shards=tmp_path / "shards")
    assert not list(tmp_path.glob("out*"))


def test_token_ids_outside_of_the_vocabulary_are_refused(stage, mtp_tuning, checkpoint, shards, tmp_path):
    damaged = shutil.copytree(shards, tmp_path / "damaged")
    for path in damaged.rglob("*.tokens.bin"):
        np.full(path.stat().st_size // 4, 999, dtype="<u4").tofile(path)
    message = r"damaged: holds token id 999, but .*/checkpoint/config\.json has vocab_size 264"
    with pytest.raises(TrainError, match=message):
        pretrain(stage, tmp_path / "out", model=checkpoint, shards=damaged)
    with pytest.raises(TrainError, match=message):
        tune_mtp(mtp_tuning, tmp_path / "tuned", model=checkpoint, shards=damaged)


def test_too_little_text_is_refused_before_training(stage, checkpoint, shards, tmp_path):
    recipe = msgspec.structs.replace(stage, schedule=Schedule(constant_tokens=10**7, peak_lr=1e-3))
    with pytest.raises(TrainError, match=r"tokens of this mixture in 2 epochs, but the schedule needs 10,000,000"):
        pretrain(recipe, tmp_path / "out", model=checkpoint, shards=shards)


def test_a_sequence_longer_than_the_model_takes_is_refused(stage, checkpoint, shards, tmp_path):
    batch = msgspec.structs.replace(stage.batch, sequence_length=256)
    with pytest.raises(TrainError, match="max_position_embeddings is 128"):
        pretrain(msgspec.structs.replace(stage, batch=batch), tmp_path / "out", model=checkpoint, shards=shards)


def test_a_diverging_run_says_so(stage, checkpoint, shards, tmp_path, monkeypatch):
    monkeypatch.setattr(Schedule, "lr", lambda schedule, tokens: 1e30)
    with pytest.raises(TrainError, match=r"the gradient's norm is .* training has diverged"):
        pretrain(stage, tmp_path / "out", model=checkpoint, shards=shards)


def test_weights_that_the_last_step_broke_are_no_checkpoint(stage, checkpoint, shards, tmp_path, monkeypatch):
    recipe = msgspec.structs.replace(stage, schedule=Schedule(constant_tokens=32, peak_lr=1e-3))
    monkeypatch.setattr(Schedule, "lr", lambda schedule, tokens: float("inf"))
    with pytest.raises(TrainError, match="not all weights are finite after the last step"):
        pretrain(recipe, tmp_path / "out", model=checkpoint, shards=shards)
    assert not (tmp_path / "out").exists()


def test_another_recipe_does_not_overwrite(trained, stage, checkpoint, shards):
    recipe = msgspec.structs.replace(stage, rope_theta=1_000.0)
    with pytest.raises(Run.Error, match="was not made by `pretrain` from this recipe"):
        pretrain(recipe, trained, model=checkpoint, shards=shards)

from __future__ import annotations

import subprocess
import sys

import pytest

from mimo_train.cli import main

STAGE = """
rope_theta = 10_000.0
save_every_steps = 5
[schedule]
constant_tokens = 512
peak_lr = 1e-3
[batch]
sequence_length = 32
num_sequences = 4
[mtp]
weight = 0.3
[mixture]
weights = { facts = 0.5, words = 0.5 }
max_epochs = 1.0
seed = 0
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "stage.toml"
    path.write_text(STAGE)
    return path


def pretrain(recipe, out, checkpoint, shards, *more):
    return main(["pretrain", str(recipe), str(out), "--model", str(checkpoint), "--shards", str(shards), *more])


def test_pretrain_makes_a_checkpoint_once(recipe, checkpoint, shards, tmp_path, capsys):
    out = tmp_path / "out"
    assert pretrain(recipe, out, checkpoint, shards) == 0
    assert (out / "model.safetensors").exists()
    assert pretrain(recipe, out, checkpoint, shards) == 0
    assert capsys.readouterr().out == f"{out}: complete, reused\n"


def test_progress_in_a_log_is_plain_lines(recipe, checkpoint, shards, tmp_path, capsys):
    pretrain(recipe, tmp_path / "out", checkpoint, shards)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("100.0%  step 4  loss ")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("schedule.peak_lrr=1", "unknown field `peak_lrr` - at `$.schedule`. Did you mean `peak_lr`?"),
        ("schedule.warmup_tokens=84e9", "Expected `int"),
        ("schedule.peak_lr=1e38", "peak_lr is 1e+38, but must lie between 1e-12 and 1.0"),
        ("schedule.peak_lr=nan", "peak_lr is nan"),
        ("rope_theta=inf", "rope_theta is inf"),
        ("mtp.weight=nan", "weight is nan"),
        ("optimizer.clip_norm=nan", "clip_norm is nan"),
        ("optimizer.weight_decay=inf", "weight_decay is inf"),
        ("optimizer.epsilon=nan", "epsilon is nan"),
        ("batch.num_sequences=0", "num_sequences must be at least 1"),
        ("batch.sequence_length=1024", "the schedule is shorter than one sequence"),
    ],
)
def test_a_wrong_recipe_exits_with_2(override, message, recipe, checkpoint, shards, tmp_path, capsys):
    assert pretrain(recipe, tmp_path / "out", checkpoint, shards, "--set", override) == 2
    error = capsys.readouterr().err
    # A fault of several keys together is the recipe's.
    named = recipe if override == "batch.sequence_length=1024" else f"--set {override}"
    assert error.startswith(f"mimo-train: error: {named}: ")
    assert message in error


@pytest.mark.parametrize("override", ["lr=nan", "lr=inf", "lr=1e300", "num_epochs=0", "seed=-1", "seed=4294967296"])
def test_a_wrong_fine_tuning_recipe_exits_with_2(override, tmp_path, capsys):
    path = tmp_path / "sft.toml"
    path.write_text(
        "lr = 1e-4\nnum_epochs = 1\n[batch]\nsequence_length = 32\nnum_sequences = 4\n[mtp]\nweight = 0.1\n"
    )
    assert main(["check", "sft", str(path)]) == 0
    assert main(["check", "sft", str(path), "--set", override]) == 2
    assert f"{override.split('=')[0]} is " in capsys.readouterr().err


def test_a_missing_input_exits_with_1_and_leaves_nothing(recipe, checkpoint, tmp_path, capsys):
    assert pretrain(recipe, tmp_path / "out", checkpoint, tmp_path / "nowhere") == 1
    assert "nowhere: no such file or folder (the shards of `pretrain`)" in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))


def test_a_truncated_checkpoint_exits_with_1_and_leaves_nothing(recipe, checkpoint, shards, tmp_path, capsys):
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert pretrain(recipe, tmp_path / "out", checkpoint, shards) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"mimo-train: error: {weights}: ")
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("out*"))


def test_check_decodes_a_recipe(recipe, capsys):
    assert main(["check", "pretrain", str(recipe)]) == 0
    assert capsys.readouterr().out == f"{recipe}: a valid pretrain recipe\n"
    assert main(["check", "sft", str(recipe)]) == 2


def test_help_loads_no_torch():
    code = (
        "import sys, mimo_train.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0

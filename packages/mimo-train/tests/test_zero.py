"""Two processes under DeepSpeed train as one process does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch.distributed import TCPStore

from mimo_train import processes
from mimo_train.cli import main

needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs mimo-train[deepspeed]")

MIMO_TRAIN = str(Path(sys.executable).with_name("mimo-train"))

# float32: sums over processes are added up in another order.
RELATIVE_TOLERANCE = {"loss": 1e-5, "grad_norm": 1e-5}
WEIGHT_TOLERANCE = 2e-5

# The first steps have fewer sequences than processes, and later ones an odd number.
BATCH = """
[batch]
sequence_length = 32
num_sequences = 5
micro_sequences = 2
"""
MIXTURE = """
[mixture]
weights = { facts = 0.5, words = 0.5 }
max_epochs = 1.0
seed = 0
[schedule]
warmup_tokens = 256
constant_tokens = 1536
peak_lr = 3e-3
"""
STAGE = "rope_theta = 10_000.0\nsave_every_steps = 4\nmtp.weight = 0.3\n" + BATCH
STAGE += "initial_sequences = 1\nwarmup_tokens = 512\n" + MIXTURE
FINE_TUNING = "lr = 3e-3\nnum_epochs = 6\nsave_every_steps = 4\nmtp.weight = 0.1\n" + BATCH
MTP_TUNING = "num_layers = 3\nsave_every_steps = 4\n" + BATCH + MIXTURE


@pytest.fixture
def arguments_of(checkpoint, shards, samples, tmp_path):
    """Arguments of `mimo-train` for a command, with `OUT` to be filled in."""

    def fill_in(verb: str) -> list[str]:
        recipe, *data = {
            "pretrain": (STAGE, "--shards", str(shards)),
            "sft": (FINE_TUNING, "--samples", str(samples)),
            "tune-mtp": (MTP_TUNING, "--shards", str(shards)),
        }[verb]
        (tmp_path / "recipe.toml").write_text(recipe)
        return [verb, str(tmp_path / "recipe.toml"), "OUT", "--model", str(checkpoint), *data]

    return fill_in


def start_two(command, **options) -> subprocess.Popen:
    """Starts a command in two processes, as the README does."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    return subprocess.Popen(
        [*torchrun, *command], env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}, **options
    )


def run_two(arguments, out: Path, *, zero_stage: int, kill_after_steps: int | None = None) -> int:
    """Runs the command in two processes, which are ended once that many steps are logged; returns its exit code."""
    arguments = [str(out) if word == "OUT" else word for word in arguments]
    process = start_two([MIMO_TRAIN, *arguments, "--set", f"distributed.zero_stage={zero_stage}"])
    try:
        metrics = out.with_name(out.name + ".partial") / "metrics.jsonl"
        while kill_after_steps is not None and process.poll() is None:
            with suppress(FileNotFoundError):  # not begun, or done
                if metrics.read_bytes().count(b"\n") >= kill_after_steps:
                    break
            time.sleep(0.01)
        else:
            return process.wait(300)
    finally:
        process.terminate()  # torchrun ends both processes
    return process.wait(60)


def words_of_two(command, **options) -> str:
    """What a command says that fails in two processes; they end without help."""
    process = start_two(command, stderr=subprocess.PIPE, text=True, **options)
    try:
        _, words = process.communicate(timeout=120)
    finally:
        process.terminate()
    assert process.returncode != 0
    assert "[rank" not in words, words  # where PyTorch's tracebacks begin
    return words


@needs_deepspeed
@pytest.mark.parametrize(("verb", "zero_stage"), [("pretrain", 1), ("sft", 2), ("tune-mtp", 3)])
def test_two_processes_train_as_one_does_and_resume_to_the_last_bit(
    verb, zero_stage, arguments_of, tmp_path, read_metrics
):
    arguments = arguments_of(verb)
    assert main([str(tmp_path / "one") if word == "OUT" else word for word in arguments]) == 0
    assert run_two(arguments, tmp_path / "two", zero_stage=zero_stage) == 0
    one, two = read_metrics(tmp_path / "one"), read_metrics(tmp_path / "two")
    assert [line.tokens for line in two] == [line.tokens for line in one]
    for name, tolerance in RELATIVE_TOLERANCE.items():
        expected = [getattr(line, name) for line in one]
        assert [getattr(line, name) for line in two] == pytest.approx(expected, rel=tolerance), name
    weights, expected_weights = (load_file(tmp_path / name / "model.safetensors") for name in ("two", "one"))
    assert weights.keys() == expected_weights.keys()
    difference = max(float((weights[name] - expected_weights[name]).abs().max()) for name in weights)
    assert difference < WEIGHT_TOLERANCE

    assert run_two(arguments, tmp_path / "killed", zero_stage=zero_stage, kill_after_steps=6) != 0
    assert not (tmp_path / "killed").exists()
    assert run_two(arguments, tmp_path / "killed", zero_stage=zero_stage) == 0
    killed, calm = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("killed", "two"))
    assert killed == calm


@needs_deepspeed
def test_a_state_that_cannot_be_written_is_said_in_one_line_and_leaves_no_part(arguments_of, tmp_path):
    arguments = [*arguments_of("pretrain"), "--set", "distributed.zero_stage=1"]
    arguments[2] = str(tmp_path / "out")
    words = words_of_two(["bash", "-c", 'ulimit -f 64 && exec "$@"', "bash", MIMO_TRAIN, *arguments])
    assert "state/a/zero_pp_rank_1_mp_rank_00_optim_states.pt: cannot be written (File too large). Free" in words
    assert list((tmp_path / "out.partial" / "state" / "a").iterdir()) == []


@needs_deepspeed
def test_a_process_that_ends_while_states_are_read_does_not_make_them_broken(arguments_of, tmp_path):
    arguments = arguments_of("pretrain")
    assert run_two(arguments, tmp_path / "out", zero_stage=3, kill_after_steps=5) != 0
    arguments[2] = str(tmp_path / "out")
    # The other one is left the time to see it: torchrun asks it to end.
    dies = "import os, signal, sys, torch; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    dies += 'os.environ["RANK"] == "0" or setattr(torch, "load", lambda *_, **__: os._exit(1)); '
    dies += "from mimo_train.cli import main; sys.exit(main())"
    words = words_of_two([sys.executable, "-c", dies, *arguments, "--set", "distributed.zero_stage=3"])
    assert "another process of this run has ended; the same command goes on" in words
    assert "not a whole training state" not in words


@needs_deepspeed
def test_a_process_of_a_run_that_is_done_ends_before_python_takes_it_down(arguments_of, tmp_path):
    arguments = [*arguments_of("pretrain"), "--set", "distributed.zero_stage=1"]
    arguments[2] = str(tmp_path / "out")
    goes_on = "from mimo_train.cli import main; main(); raise SystemExit('it went on')"
    assert start_two([sys.executable, "-c", goes_on, *arguments]).wait(120) == 0


@needs_deepspeed
def test_processes_that_do_not_share_a_file_system_end_at_once(arguments_of, tmp_path):
    arguments = [*arguments_of("pretrain"), "--set", "distributed.zero_stage=1"]
    for rank in ("0", "1"):
        (tmp_path / rank).mkdir()
    words = words_of_two(["bash", "-c", 'cd "$RANK" && exec "$@"', "bash", MIMO_TRAIN, *arguments], cwd=tmp_path)
    assert "OUT.partial: the first process works there, but another one does not see it" in words
    assert "all of them share" in words


def test_several_processes_need_a_distributed_recipe(arguments_of, tmp_path, capsys, monkeypatch):
    arguments = arguments_of("pretrain")
    arguments[2] = str(tmp_path / "out")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(arguments) == 1
    assert "torchrun started 2 processes, but the recipe has no [distributed]. Add" in capsys.readouterr().err
    assert not (tmp_path / "out.partial").exists()


def test_an_error_of_all_processes_is_said_once(tmp_path, capsys, monkeypatch):
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)  # torchrun's
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    arguments = ["check", "sft", str(tmp_path / "none.toml")]
    assert [main(arguments), main(arguments)] == [2, 2]
    assert capsys.readouterr().err.count("none.toml: no such recipe") == 1


def test_a_distributed_recipe_without_deepspeed_names_the_extra(arguments_of, tmp_path, capsys, monkeypatch):
    arguments = arguments_of("pretrain")
    monkeypatch.setattr(processes, "find_spec", lambda name: None)
    arguments[2] = str(tmp_path / "out")
    assert main([*arguments, "--set", "distributed.zero_stage=1"]) == 1
    assert "pip install 'mimo-train[deepspeed]'" in capsys.readouterr().err
    assert not (tmp_path / "out.partial").exists()


@needs_deepspeed
def test_a_distributed_recipe_outside_torchrun_says_how_to_start(arguments_of, tmp_path, capsys, monkeypatch):
    arguments = arguments_of("pretrain")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    arguments[2] = str(tmp_path / "out")
    assert main([*arguments, "--set", "distributed.zero_stage=1"]) == 1
    assert "torchrun --nproc-per-node N --no-python mimo-train" in capsys.readouterr().err

"""RL on a policy of a few thousand parameters: it learns, it resumes, it refuses what it cannot do."""

from __future__ import annotations

import filecmp
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from mimo_model import load_model
from mimo_rl.cli import main
from mimo_train import Trainer

RECIPE = """
num_steps = 6
lr = 3e-3
clip_low = 0.2
clip_high = 0.28
code_reward = "soft"
budget = [{ from_step = 1, sequence_length = 32 }]
micro_batch_tokens = 512
save_every_steps = 2

[batch]
num_problems = 8
num_responses = 8
mini_batch_problems = 4

[generation]
num_drafts = 1

[optimizer]
weight_decay = 0.0
"""


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def rollouts(folder: Path, step: int) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / f"rollouts/step-{step:06d}.jsonl").read_text().splitlines()]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "rl.toml"
    path.write_text(RECIPE)
    return path


def command(recipe: Path, out: Path, model: Path, problems: Path, *overrides: str) -> list[str]:
    sets = [word for override in overrides for word in ("--set", override)]
    return ["train", str(recipe), str(out), "--model", str(model), "--problems", str(problems), *sets]


def test_a_policy_learns_the_answer_and_starves_dynamic_sampling(
    recipe: Path, tmp_path: Path, math_policy: Path, constant_problems: Path
) -> None:
    out = tmp_path / "out"
    assert main(command(recipe, out, math_policy, constant_problems, "num_steps=16")) == 0
    lines = metrics(out)
    assert [line["step"] for line in lines] == list(range(1, 17))
    assert lines[0]["reward_mean"] < 0.5
    assert lines[-1]["reward_mean"] > 0.95
    assert lines[-1]["easy_pool_size"] > 8
    assert lines[-1]["num_kept_groups"] < 8


def test_a_run_leaves_a_checkpoint_metrics_and_every_response(
    recipe: Path, tmp_path: Path, math_policy: Path, math_problems: Path
) -> None:
    out = tmp_path / "out"
    assert main(command(recipe, out, math_policy, math_problems, "num_steps=1")) == 0
    (line,) = metrics(out)
    written = rollouts(out, 1)
    assert len(written) == line["num_generated_groups"] * 8
    assert sum(bool(rollout["kept"]) for rollout in written) == line["num_kept_groups"] * 8 == 64
    assert line["num_updates"] == 2
    assert line["engine_gap"] < 1e-4, "the engine's log-probabilities differ from those of the training forward pass"
    grade = written[0]["grade"]
    assert isinstance(grade, dict)
    assert written[0]["reward"] == float(grade["correct"])
    trained, start = (load_model(folder, device="cpu").state_dict() for folder in (out, math_policy))
    changed = {name for name in start if not torch.equal(start[name], trained[name])}
    assert changed
    assert not any(".mtp_layers." in name for name in changed), "MTP layers are frozen in RL (§2.2)"


def test_weights_that_the_last_update_broke_are_no_checkpoint(
    recipe: Path,
    tmp_path: Path,
    math_policy: Path,
    math_problems: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    step = Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda trainer, lr: step(trainer, float("inf")))
    words = command(recipe, tmp_path / "out", math_policy, math_problems, "num_steps=1", "batch.mini_batch_problems=8")
    assert main(words) == 1
    assert "not all weights are finite after the last step" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_on_policy_updates_clip_nothing(recipe: Path, tmp_path: Path, math_policy: Path, math_problems: Path) -> None:
    out = tmp_path / "out"
    on_policy = "batch.mini_batch_problems=8"
    assert main(command(recipe, out, math_policy, math_problems, "num_steps=2", on_policy)) == 0
    assert [(line["clip_fraction"], line["num_updates"]) for line in metrics(out)] == [(0.0, 1), (0.0, 1)]
    assert all(line["ratio_max"] == pytest.approx(1.0, abs=1e-5) for line in metrics(out))


def test_micro_batches_change_the_memory_and_not_the_update(
    recipe: Path, tmp_path: Path, math_policy: Path, math_problems: Path
) -> None:
    states = []
    for size in (64, 100_000):
        out = tmp_path / str(size)
        assert main(command(recipe, out, math_policy, math_problems, "num_steps=1", f"micro_batch_tokens={size}")) == 0
        states.append(load_model(out, device="cpu").state_dict())
    for name, found in states[0].items():
        # Adam divides by the gradient's size, so last bits of tiny gradients show in the weights.
        torch.testing.assert_close(found, states[1][name], rtol=0, atol=5e-4)


def test_a_finished_run_is_reused_and_another_recipe_is_refused(
    recipe: Path,
    tmp_path: Path,
    math_policy: Path,
    math_problems: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    words = command(recipe, out, math_policy, math_problems, "num_steps=1")
    assert main(words) == main(words) == 0
    assert "complete, reused" in capsys.readouterr().out
    assert main([*words, "--set", "lr=1e-4"]) == 1
    assert "was not made by" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("budget=[{from_step=1, sequence_length=5}]",), "leaves no room"),
        (("budget=[{from_step=1, sequence_length=129}]",), "max_position_embeddings is 128"),
        (("budget=[{from_step=1, sequence_length=6}]", "sampling.max_rounds=1"), "nothing to learn from"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line_and_leaves_nothing(
    recipe: Path,
    tmp_path: Path,
    fresh: Path,
    math_problems: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: Sequence[str],
    message: str,
) -> None:
    out = tmp_path / "out"
    assert main(command(recipe, out, fresh, math_problems, *overrides)) == 1
    error = capsys.readouterr().err
    assert error.startswith("mimo-rl: error: ")
    assert message in error
    assert not list(tmp_path.glob("out*"))


def test_a_problem_without_an_answer_is_an_error(
    recipe: Path, tmp_path: Path, fresh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.jsonl").write_text('{"id": "a", "prompt": "?", "kind": "math"}\n')
    assert main(command(recipe, tmp_path / "out", fresh, tmp_path / "p.jsonl")) == 1
    assert "problem a: without an answer" in capsys.readouterr().err


def test_a_problem_without_a_prompt_is_an_error(
    recipe: Path, tmp_path: Path, fresh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.jsonl").write_text('{"id": "a", "prompt": "", "kind": "math", "answer": "1"}\n')
    assert main(command(recipe, tmp_path / "out", fresh, tmp_path / "p.jsonl")) == 1
    assert "problem a: its prompt is empty" in capsys.readouterr().err


def test_problem_files_must_be_there_and_whole(
    recipe: Path, tmp_path: Path, fresh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(recipe, tmp_path / "out", fresh, tmp_path / "none.jsonl")) == 1
    assert "none.jsonl: no such file" in capsys.readouterr().err
    (tmp_path / "p.jsonl").write_text('{"id": "a", "prompt": "?", "kind": "math", "answr": "1"}\n')
    assert main(command(recipe, tmp_path / "out", fresh, tmp_path / "p.jsonl")) == 1
    assert "p.jsonl:1: not a problem" in capsys.readouterr().err


def killed_and_resumed(words: list[str], out: Path, *, after_step: int) -> None:
    """Runs the command, kills it without warning once it has logged a step, and runs it again to its end."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    run = [str(Path(sys.executable).with_name("mimo-rl")), *words]
    process = subprocess.Popen(run, env=environment, stderr=subprocess.PIPE, start_new_session=True)
    log = out.with_name(out.name + ".partial") / "metrics.jsonl"
    while process.poll() is None and (not log.exists() or len(log.read_bytes().splitlines()) < after_step):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.stderr and process.stderr.read().decode()
    assert not out.exists()
    subprocess.run(run, env=environment, check=True, capture_output=True)


def test_a_kill_while_the_checkpoint_is_written_leaves_nothing_beside_the_run(
    recipe: Path, tmp_path: Path, math_policy: Path, math_problems: Path
) -> None:
    words = command(recipe, tmp_path / "runs" / "rl", math_policy, math_problems, "num_steps=1")
    code = """
import os, signal, sys
import mimo_model.checkpoint
from mimo_rl.cli import main
mimo_model.checkpoint.write_checkpoint = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
main(sys.argv[1:])
"""
    killed = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL

    assert main(words) == 0

    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["rl"]
    assert not list((tmp_path / "runs" / "rl").glob("*.tmp"))


def assert_same_run(first: Path, second: Path) -> None:
    # Not as bytes: pytest would spend minutes on showing where two files differ.
    assert filecmp.cmp(first / "model.safetensors", second / "model.safetensors", shallow=False)
    exact = ("step", "loss", "reward_mean", "num_generated_groups", "easy_pool_size", "grad_norm")
    for one, other in zip(metrics(first), metrics(second), strict=True):
        assert {key: one[key] for key in exact} == {key: other[key] for key in exact}


@pytest.mark.slow
@pytest.mark.parametrize("after_step", [1, 3, 5])
def test_killed_math_run_resumes_to_the_same_weights_bit_for_bit(
    recipe: Path, tmp_path: Path, math_policy: Path, math_problems: Path, after_step: int
) -> None:
    assert main(command(recipe, tmp_path / "whole", math_policy, math_problems)) == 0
    out = tmp_path / "killed"
    killed_and_resumed(command(recipe, out, math_policy, math_problems), out, after_step=after_step)
    assert_same_run(tmp_path / "whole", out)


@pytest.mark.slow
def test_killed_code_run_resumes_to_the_same_weights_bit_for_bit(
    recipe: Path, tmp_path: Path, code_policy: Path, code_problems: Path
) -> None:
    small = ("num_steps=4", "batch.num_problems=4", "sampling.max_rounds=2")
    assert main(command(recipe, tmp_path / "whole", code_policy, code_problems, *small)) == 0
    written = rollouts(tmp_path / "whole", 1)
    # One of three tests passes `print(0)` and `print(1)`, all pass the right program: programs were really run.
    assert {round(float(str(rollout["reward"])), 3) for rollout in written} >= {1.0, 0.333}
    out = tmp_path / "killed"
    killed_and_resumed(command(recipe, out, code_policy, code_problems, *small), out, after_step=3)
    assert_same_run(tmp_path / "whole", out)

"""A run that is killed and run again ends with the weights of one that was left alone, to the last bit."""

from __future__ import annotations

import filecmp
import multiprocessing
import signal
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from mimo_train import TrainError, pretrain, sft, tune_mtp

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["mimo_train.pretraining", "mimo_train.finetuning", "mimo_train.mtp_tuning"])


def run(command, recipe, out: Path, inputs, *, kill_after_steps: int | None = None) -> int:
    """Runs the command in a process of its own, killed once that many steps are logged; returns its exit code."""
    process = _FORKS.Process(target=command, args=(recipe, out), kwargs=inputs)
    process.start()
    metrics = out.with_name(out.name + ".partial") / "metrics.jsonl"
    deadline_s = time.monotonic() + 120
    while kill_after_steps is not None and process.is_alive() and time.monotonic() < deadline_s:
        with suppress(FileNotFoundError):  # not begun, begun again, or done
            if metrics.read_bytes().count(b"\n") >= kill_after_steps:
                process.kill()
    process.join(120)
    return process.exitcode


@pytest.fixture(
    params=["pretrain", pytest.param("sft", marks=pytest.mark.slow), pytest.param("tune-mtp", marks=pytest.mark.slow)]
)
def job(request, stage, fine_tuning, mtp_tuning, checkpoint, shards, samples):
    return {
        "pretrain": (pretrain, stage, {"model": checkpoint, "shards": shards}),
        "sft": (sft, fine_tuning, {"model": checkpoint, "samples": samples}),
        "tune-mtp": (tune_mtp, mtp_tuning, {"model": checkpoint, "shards": shards}),
    }[request.param]


def test_kills_do_not_change_a_bit(job, tmp_path, read_metrics):
    command, recipe, inputs = job
    assert run(command, recipe, tmp_path / "calm", inputs) == 0
    # Before the first state, between two states, right after one, and late; each run resumes the one before.
    for kill_after_steps in (1, 6, 10, 14):
        code = run(command, recipe, tmp_path / "killed", inputs, kill_after_steps=kill_after_steps)
        assert code == -signal.SIGKILL
        assert not (tmp_path / "killed").exists()
    assert run(command, recipe, tmp_path / "killed", inputs) == 0

    for name in ("model.safetensors", "config.json"):
        assert filecmp.cmp(tmp_path / "killed" / name, tmp_path / "calm" / name, shallow=False), name
    calm, killed = (
        [msgspec.structs.replace(line, seconds=0.0) for line in read_metrics(tmp_path / name)]
        for name in ("calm", "killed")
    )
    assert killed == calm


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [0.0, 0.005, 0.01, 0.02, 0.04, 0.08])
def test_a_kill_at_any_moment_of_saving_is_harmless(delay_s, stage, checkpoint, shards, tmp_path):
    inputs = {"model": checkpoint, "shards": shards}
    stage = msgspec.structs.replace(stage, save_every_steps=1)  # most of the time is spent saving
    assert run(pretrain, stage, tmp_path / "calm", inputs) == 0
    for _ in range(3):
        process = _FORKS.Process(target=pretrain, args=(stage, tmp_path / "killed"), kwargs=inputs)
        process.start()
        while process.is_alive() and not (tmp_path / "killed.partial" / "state").exists():
            pass
        time.sleep(delay_s)
        process.kill()
        process.join()
    assert run(pretrain, stage, tmp_path / "killed", inputs) == 0
    calm, killed = (tmp_path / name / "model.safetensors" for name in ("calm", "killed"))
    assert filecmp.cmp(killed, calm, shallow=False)


def test_a_truncated_state_is_named(stage, checkpoint, shards, tmp_path):
    inputs = {"model": checkpoint, "shards": shards}
    run(pretrain, stage, tmp_path / "out", inputs, kill_after_steps=8)
    state = tmp_path / "out.partial" / "state" / "training.pt"
    state.write_bytes(state.read_bytes()[:-5000])
    with pytest.raises(TrainError, match=r"state/training\.pt: not a whole training state.*Delete .*/state to"):
        pretrain(stage, tmp_path / "out", **inputs)

"""What mimo-train leaves for others: metrics, and the state that a training run goes on from."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from torch import nn

    from mimo_train import Trainer

COUNTERS = {"step": 3, "num_sequences": 12, "tokens": 384, "tokens_by_source": {"web": 384}}


def test_metrics_follow_their_schema(golden, validate):
    """Their reader is scripts/report.py. A step with nothing to predict has a loss of null."""
    for line in (golden / "training" / "metrics.jsonl").read_text().splitlines():
        validate("mimo-train/metrics.schema.json", json.loads(line))


def new_trainer(num_inputs: int) -> tuple[nn.Module, Trainer]:
    from torch import nn

    from mimo_train import Optimizer, Trainer

    model = nn.Linear(num_inputs, 1)
    return model, Trainer(model, Optimizer(beta1=0.5, beta2=0.5, epsilon=1.0, weight_decay=0.0, clip_norm=100.0))


@pytest.mark.slow
def test_a_state_is_read_as_it_was_written(golden, tmp_path):
    """Weights, counters and moments: one step with gradient (2, 4) left moments (1, 2) and (2, 8)."""
    import torch

    model, trainer = new_trainer(2)
    assert trainer.load_state(golden / "training" / "state") == COUNTERS
    assert {name: value.tolist() for name, value in model.state_dict().items()} == {
        "weight": [[0.5, -0.25]],
        "bias": [1.0],
    }
    # A step without a gradient: moments halve to (0.5, 1) and (1, 4); with their bias corrections over two steps,
    # 1 - 0.5² = 0.75, the step is lr * (m / 0.75) / (sqrt(v / 0.75) + 1).
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    trainer.step(0.75)
    found = model.state_dict()["weight"]
    wanted = [[0.5 - 0.5 / ((1 / 0.75) ** 0.5 + 1), -0.25 - 1 / ((4 / 0.75) ** 0.5 + 1)]]
    assert torch.allclose(found, torch.tensor(wanted), atol=1e-6), f"{found} is not {wanted}"


@pytest.mark.slow
def test_a_state_is_written_as_it_was_read(golden, tmp_path):
    import torch

    _, trainer = new_trainer(2)
    trainer.save_state(tmp_path / "new", trainer.load_state(golden / "training" / "state"))
    written, wanted = (
        torch.load(folder / "training.pt", weights_only=True)
        for folder in (tmp_path / "new", golden / "training/state")
    )
    assert written.keys() == wanted.keys()
    for key in ("parameters", "optimizer", "cpu_generator", "extra"):
        torch.testing.assert_close(written[key], wanted[key], rtol=0, atol=0)


@pytest.mark.slow
def test_a_state_of_other_parameters_is_refused(golden, tmp_path):
    from mimo_train import TrainError

    shutil.copytree(golden / "training" / "state", tmp_path / "state")
    _, trainer = new_trainer(3)
    with pytest.raises(TrainError, match=r"training\.pt: the state of a model with other parameters"):
        trainer.load_state(tmp_path / "state")

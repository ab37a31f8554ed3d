from __future__ import annotations

import pytest
import torch
from torch import nn

from mimo_train import Optimizer, Trainer, TrainError


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1, bias=False))


def train(trainer, num_steps):
    for _ in range(num_steps):
        trainer.backward(trainer.model(torch.randn(8, 3)).square().mean())
        trainer.step(1e-2)


def test_one_step_is_adamw_as_written_down():
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 2.0)
    trainer = Trainer(network, Optimizer(weight_decay=0.1, clip_norm=100.0))
    trainer.backward(3.0 * network.weight.sum())
    assert trainer.step(0.01) == pytest.approx(3.0)
    # Decay by lr * 0.1; the first bias-corrected step is lr * g / |g|.
    assert network.weight.item() == pytest.approx(2.0 * (1 - 0.001) - 0.01)


def test_norms_and_biases_do_not_decay():
    network = model()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    trainer = Trainer(network, Optimizer(weight_decay=0.5))
    trainer.backward(sum(0.0 * p.sum() for p in network.parameters()))
    trainer.step(0.1)
    for name, p in network.named_parameters():
        factor = 0.95 if p.ndim == 2 else 1.0
        assert torch.allclose(p, factor * before[name]), name


def test_the_gradient_is_clipped_as_a_whole_and_cleared():
    network = nn.Linear(2, 1, bias=False)
    trainer = Trainer(network, Optimizer(clip_norm=1.0))
    trainer.backward((network.weight * torch.tensor([30.0, 40.0])).sum())
    assert trainer.step(1e-3) == pytest.approx(50.0)
    assert network.weight.grad is None


def test_frozen_parameters_stay_and_are_not_in_the_state(tmp_path):
    network = model()
    network[0].requires_grad_(False)
    before = network[0].weight.clone()
    trainer = Trainer(network, Optimizer())
    train(trainer, 3)
    trainer.save_state(tmp_path, {})
    assert network[0].weight.equal(before)
    saved = torch.load(tmp_path / "training.pt", weights_only=True)["parameters"]
    assert set(saved) == {"1.weight", "1.bias", "2.weight"}


def test_a_loaded_state_goes_on_to_the_last_bit_random_draws_included(tmp_path):
    first = Trainer(model(), Optimizer())
    train(first, 5)
    first.save_state(tmp_path, {"step": 5, "pool": ["a", "b"], "draws": torch.arange(3)})
    train(first, 5)

    second = Trainer(model(), Optimizer())
    extra = second.load_state(tmp_path)
    assert extra["step"] == 5
    assert extra["pool"] == ["a", "b"]
    train(second, 5)
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert one.equal(other)


def test_without_a_state_there_is_nothing_to_load(tmp_path):
    assert Trainer(model(), Optimizer()).load_state(tmp_path / "state") == {}


def test_a_gradient_that_is_not_finite_is_an_error_and_moves_nothing():
    network = nn.Linear(1, 1, bias=False)
    before = network.weight.clone()
    trainer = Trainer(network, Optimizer())
    trainer.backward(network.weight.sum() * float("nan"))
    with pytest.raises(TrainError, match="norm is nan: training has diverged"):
        trainer.step(1e-3)
    assert network.weight.equal(before)


@pytest.mark.parametrize("num_rows", [1, 1_000_000])
def test_on_a_full_disk_the_old_state_stays_and_nothing_of_the_new(num_rows, tmp_path):
    network = nn.Linear(1, num_rows)
    trainer = Trainer(network, Optimizer())
    trainer.save_state(tmp_path, {"step": 1})
    (tmp_path / "training.pt.tmp").symlink_to("/dev/full")

    with pytest.raises(TrainError, match=r"training.pt.tmp: cannot be written \(No space left on device\)"):
        trainer.save_state(tmp_path, {"step": 2})

    assert [path.name for path in tmp_path.iterdir()] == ["training.pt"]
    assert trainer.load_state(tmp_path) == {"step": 1}


@pytest.mark.parametrize("num_bytes", [0, 1, 500, -1])
def test_a_truncated_state_is_an_error(num_bytes, tmp_path):
    trainer = Trainer(model(), Optimizer())
    train(trainer, 1)
    trainer.save_state(tmp_path, {})
    path = tmp_path / "training.pt"
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(TrainError, match="not a whole training state"):
        trainer.load_state(tmp_path)


def test_the_state_of_another_model_is_an_error(tmp_path):
    Trainer(nn.Linear(2, 2), Optimizer()).save_state(tmp_path, {})
    with pytest.raises(TrainError, match="the state of a model with other parameters"):
        Trainer(model(), Optimizer()).load_state(tmp_path)

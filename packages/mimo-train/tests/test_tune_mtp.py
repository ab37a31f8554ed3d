from __future__ import annotations

import msgspec
import pytest

from mimo_model import load_model
from mimo_train import TrainError, tune_mtp


@pytest.fixture
def tuned(mtp_tuning, checkpoint, shards, tmp_path):
    tune_mtp(mtp_tuning, tmp_path / "tuned", model=checkpoint, shards=shards)
    return tmp_path / "tuned"


def test_only_the_second_and_third_mtp_layers_change(tuned, checkpoint):
    before, after = load_model(checkpoint).state_dict(), load_model(tuned).state_dict()
    new = {name for name in after if name.startswith(("model.mtp_layers.1.", "model.mtp_layers.2."))}
    assert len(new) == 2 * 16
    assert after.keys() - before.keys() == new
    assert all(after[name].equal(before[name]) for name in before)
    for name in new:
        first = "model.mtp_layers.0." + name.split(".", 3)[3]
        assert not after[name].equal(after[first]), f"{name} was not trained"


def test_the_copies_learn_and_the_first_layer_stays(tuned, read_metrics):
    metrics = read_metrics(tuned)
    first, last = metrics[:4], metrics[-4:]
    for layer, falls in ((0, False), (1, True), (2, True)):
        change = sum(a.mtp_losses[layer] - b.mtp_losses[layer] for a, b in zip(last, first, strict=True)) / 4
        assert (change < -0.3) == falls, f"layer {layer + 1}: {change}"


def test_tuned_layers_can_be_tuned_again(tuned, mtp_tuning, shards, tmp_path):
    tune_mtp(mtp_tuning, tmp_path / "again", model=tuned, shards=shards)
    before, after = load_model(tuned).state_dict(), load_model(tmp_path / "again").state_dict()
    changed = {".".join(name.split(".")[:3]) for name in after if not after[name].equal(before[name])}
    assert changed == {"model.mtp_layers.1", "model.mtp_layers.2"}


def test_another_number_of_layers_is_refused(tuned, mtp_tuning, shards, tmp_path):
    recipe = msgspec.structs.replace(mtp_tuning, num_layers=4)
    with pytest.raises(TrainError, match="has 3 MTP layers, but the recipe asks for 4"):
        tune_mtp(recipe, tmp_path / "out", model=tuned, shards=shards)

"""The stages of `recipes/mimo-7b` fit together as the report says (§2.3)."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from mimo_train import MTPRecipe, PretrainRecipe, Run, SFTRecipe

RECIPES = Path(__file__).resolve().parents[3] / "recipes" / "mimo-7b"


@pytest.fixture(scope="module")
def stages() -> list[PretrainRecipe]:
    return [Run.load_recipe(RECIPES / f"pretrain-{number}.toml", PretrainRecipe) for number in (1, 2, 3)]


def test_the_stages_have_the_reports_tokens(stages):
    totals = [stage.schedule.total_tokens for stage in stages]
    assert totals == [17_784 * 10**9, 4_000 * 10**9, 2_000 * 10**9]
    assert sum(totals) == 23_784 * 10**9


def test_a_step_has_the_same_tokens_in_every_stage(stages):
    assert [stage.batch.step_tokens for stage in stages] == [20_971_520] * 3


def test_each_stage_starts_at_the_rate_the_one_before_ended_on(stages):
    for before, after in pairwise(stages):
        assert after.schedule.lr(0) == pytest.approx(before.schedule.lr(before.schedule.total_tokens))


@pytest.mark.parametrize(
    ("tokens_t", "lr"), [(0.042, 0.535e-4), (0.084, 1.07e-4), (10.284, 1.07e-4), (17.784, 3e-5), (20.0, 3e-5),
                         (23.284, 3e-5), (23.534, 2e-5), (23.784, 1e-5)]
)  # fmt: skip
def test_the_rate_over_the_whole_run(stages, tokens_t, lr):
    tokens = round(tokens_t * 1e12)
    for stage in stages:
        if tokens <= stage.schedule.total_tokens:
            break
        tokens -= stage.schedule.total_tokens
    assert stage.schedule.lr(tokens) == pytest.approx(lr)


def test_the_batch_and_the_mtp_weight_change_within_stage_1(stages):
    batch, mtp = stages[0].batch, stages[0].mtp
    assert [batch.sequences_after(tokens) for tokens in (84 * 10**9, 168 * 10**9)] == [(2_560 + 160) // 2, 2_560]
    assert [mtp.after(tokens) for tokens in (10_300 * 10**9 - 1, 10_300 * 10**9)] == [0.3, 0.1]
    assert [stage.mtp.after(stage.schedule.total_tokens) for stage in stages] == [0.1, 0.1, 0.1]


def test_mathematics_and_code_are_70_percent_of_stage_2_and_synthetic_text_10_of_stage_3(stages):
    weights = [stage.mixture.weights for stage in stages]
    assert weights[1]["mathematics"] + weights[1]["code"] == pytest.approx(0.7)
    assert "synthetic" not in weights[0]
    assert weights[2]["synthetic"] == pytest.approx(0.1)


def test_fine_tuning_and_mtp_tuning_decode():
    assert Run.load_recipe(RECIPES / "sft.toml", SFTRecipe).batch.step_tokens == 128 * 32_768
    assert Run.load_recipe(RECIPES / "tune-mtp.toml", MTPRecipe).num_layers == 3

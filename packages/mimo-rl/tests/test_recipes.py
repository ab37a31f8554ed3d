"""Recipes: what decodes, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimo_rl import CurateRecipe, RLRecipe
from mimo_rl.cli import main
from mimo_rl.recipe import Budget
from mimo_train import Run

RECIPE = """
num_steps = 10
lr = 1e-3
clip_low = 0.2
clip_high = 0.28
code_reward = "soft"
budget = [{ from_step = 1, sequence_length = 64 }]

[batch]
num_problems = 8
num_responses = 4
mini_batch_problems = 4
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "rl.toml"
    path.write_text(RECIPE)
    return path


def test_the_budget_grows_at_its_steps(recipe: Path) -> None:
    found = Run.load_recipe(
        recipe, RLRecipe, ["budget=[{from_step=1, sequence_length=32}, {from_step=3, sequence_length=48}]"]
    )
    assert found.budget[1] == Budget(from_step=3, sequence_length=48)
    assert [found.sequence_length(step) for step in (1, 2, 3, 9)] == [32, 32, 48, 48]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch.mini_batch_problems=3", "not a multiple"),
        ("batch.num_responses=1", "num_responses is 1, but must lie between 2 and 1_000_000_000"),
        ("budget=[{from_step=2, sequence_length=64}]", "from_step = 1"),
        ("budget=[{from_step=1, sequence_length=64}, {from_step=1, sequence_length=96}]", "later step"),
        ("generation.temperature=0.0", "differing responses"),
        ("batch.mini_batch_problems=0", "mini_batch_problems is 0"),
        ("lr=nan", "lr is nan, but must lie between 1e-12 and 1.0"),
        ("lr=1e300", "lr is 1e+300"),
        ("clip_low=nan", "clip_low is nan"),
        ("clip_high=inf", "clip_high is inf"),
        ("seed=-1", "seed is -1"),
        ("optimizer.clip_norm=nan", "clip_norm is nan"),
        ("generation.temperature=nan", "temperature is nan"),
        ("generation.num_drafts=-1", "num_drafts is -1"),
        ("generation.max_batch_size=0", "max_batch_size is 0"),
        ("sampling.oversampling=inf", "oversampling is inf"),
        ("judge.cpu_s=nan", "cpu_s is nan"),
        ("judge.num_workers=0", "num_workers is 0"),
        ("clip_lo=0.2", "Did you mean `clip_low`"),
        ('code_reward="vanilla"', "code_reward"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_a_usage_error(
    recipe: Path, override: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "train", str(recipe), "--set", override]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("max_pass_rate=nan", "max_pass_rate is nan"),
        ("level_cuts=[0.3, 0.7]", "level_cuts are (0.3, 0.7), but must fall"),
        ("level_cuts=[nan]", "level_cuts are (nan,)"),
        ("seed=-1", "seed is -1"),
    ],
)
def test_a_curation_that_makes_no_sense_is_a_usage_error(
    tmp_path: Path, override: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "curate.toml"
    path.write_text("sequence_length = 32\n")
    assert main(["check", "curate", str(path), "--set", override]) == 2
    assert message in capsys.readouterr().err


def test_check_accepts_a_whole_recipe(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "train", str(recipe)]) == 0
    assert "a whole train recipe" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["rl-zero", "rl", "rl-0530"])
def test_the_report_s_recipes_decode(name: str, recipes: Path) -> None:
    found = Run.load_recipe(recipes / f"{name}.toml", RLRecipe)
    assert found.batch.num_problems == 512
    assert found.lr == 1e-6
    assert found.sampling.easy_probability == 0.1
    num_updates = found.batch.num_problems // found.batch.mini_batch_problems
    assert num_updates == (1 if name == "rl-0530" else 16)


def test_the_report_s_curation_decodes(recipes: Path) -> None:
    found = Run.load_recipe(recipes / "curate.toml", CurateRecipe)
    assert (found.num_rollouts, found.max_pass_rate) == (16, 0.9)


@pytest.fixture
def recipes() -> Path:
    folder = Path(__file__).resolve().parents[3] / "recipes" / "mimo-7b"
    if not folder.is_dir():
        pytest.skip("recipes/ is not there: this package is tested outside the workspace")
    return folder

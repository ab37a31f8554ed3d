"""The evaluation recipe: strict, and the prompts it makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimo_eval import EvalError, Problem
from mimo_eval.recipe import BenchmarkRecipe, EvalRecipe
from mimo_eval.run import Run

RECIPES = Path(__file__).parents[3] / "recipes" / "mimo-7b"
SHOTS = [
    Problem(id=name, prompt=f"Q-{name}", kind="choice", answer="A", solution=f"S-{name}", source=name[0])
    for name in ("x1", "x2", "y1")
]


def write(folder, text):
    path = folder / "eval.toml"
    path.write_text(text)
    return path


def test_few_shot_examples_of_the_same_source_come_first():
    entry = BenchmarkRecipe(name="b", num_shots=2, shots="s.jsonl", template="Q: {prompt}\nA: {solution}\n\n")
    question = Problem(id="q", prompt="Why {solution}?", kind="choice", answer="A", source="y")
    assert entry.prompts([question], SHOTS) == ["Q: Q-y1\nA: S-y1\n\nQ: Q-x1\nA: S-x1\n\nQ: Why {solution}?\nA:"]


def test_a_problem_is_never_its_own_example():
    entry = BenchmarkRecipe(name="b", num_shots=3, shots="s.jsonl", template="{prompt}={solution} ")
    with pytest.raises(EvalError, match=r"s\.jsonl: has 2 problems"):
        entry.prompts([SHOTS[0]], SHOTS)


def test_without_a_template_the_prompt_is_the_problem_s():
    assert BenchmarkRecipe(name="b").prompts(SHOTS, ()) == ["Q-x1", "Q-x2", "Q-y1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "sampling"),
        ("[sampling]\ntemperature = 1\nmax_tokens = 1\nbenchmark = []", "unknown field"),
        ("[[benchmark]]\nname = 'a'\nnum_shot = 1", "Did you mean `num_shots`"),
        ("[[benchmark]]\nname = 'a'\n[[benchmark]]\nname = 'a'", "its own name"),
        ("[[benchmark]]\nname = 'a'\nnum_samples = 2\ntemperature = 0", "greedy samples are all the same"),
        ("[[benchmark]]\nname = 'a'\nnum_shots = 2", "need {solution}"),
        ("[[benchmark]]\nname = 'a'\nnum_shots = 2\ntemplate = '{prompt}{solution}'", "`shots` file"),
        ("[[benchmark]]\nname = 'a'\ntemplate = 'no field'", "must hold {prompt}"),
        ("[[benchmark]]\nname = 'a'\ntop_p = 0", "0 < top_p"),
        ("[[benchmark]]\nname = 'a'\nmax_tokens = 0", "max_tokens must be 1 to 10,000,000"),
        ("[[benchmark]]\nname = 'a'\nnum_samples = 999999999999999999999", "num_samples must be 1 to 100,000"),
        ("[[benchmark]]\nname = 'a'\nnum_samples = -1", "num_samples must be 1 to 100,000"),
        ("[[benchmark]]\nname = 'a'\ntemperature = nan", "temperature must be 0 to 100"),
        ("[[benchmark]]\nname = 'a'\ntemperature = inf", "temperature must be 0 to 100"),
        ("[[benchmark]]\nname = 'a'\ntop_p = nan", "0 < top_p"),
        ("[[benchmark]]\nname = 'a'\nnum_shots = -1", "num_shots must be 0 to 10,000"),
        ("num_drafts = -1\n[[benchmark]]\nname = 'a'", "num_drafts must be 0 to 100"),
        ("seed = -1\n[[benchmark]]\nname = 'a'", "seed must be 0 to"),
        (f"seed = 1{'0' * 5000}\n[[benchmark]]\nname = 'a'", "not a TOML file"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_a_usage_error(tmp_path, text, message):
    if text and "[sampling]" not in text:
        text += "\n[sampling]\ntemperature = 0.6\nmax_tokens = 8"
    with pytest.raises(EvalError) as caught:
        Run.load_recipe(write(tmp_path, text), EvalRecipe)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_override_of_thousands_of_digits_is_a_usage_error(tmp_path):
    path = write(tmp_path, "[sampling]\ntemperature = 1\nmax_tokens = 1\n[[benchmark]]\nname = 'a'")
    with pytest.raises(EvalError, match="int") as caught:
        Run.load_recipe(path, EvalRecipe, [f"sampling.num_samples=1{'0' * 5000}"])
    assert caught.value.exit_code == 2


def test_a_benchmark_overrides_only_what_it_says(tmp_path):
    path = write(
        tmp_path,
        "[sampling]\ntemperature = 0.6\ntop_p = 0.95\nmax_tokens = 8\n[[benchmark]]\nname = 'a'\nnum_samples = 4",
    )
    recipe = Run.load_recipe(path, EvalRecipe, ["sampling.max_tokens=9"])
    found = recipe.benchmark[0].sampling(recipe.sampling)
    assert (found.temperature, found.top_p, found.max_tokens, found.num_samples) == (0.6, 0.95, 9, 4)


@pytest.mark.skipif(not RECIPES.exists(), reason="needs the workspace's recipes/")
@pytest.mark.parametrize("name", ["eval-base.toml", "eval-rl.toml"])
def test_the_report_s_recipes_decode(name):
    assert Run.load_recipe(RECIPES / name, EvalRecipe).benchmark

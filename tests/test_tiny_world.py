"""The made world is what its documentation says, and its tests are not in its training text."""

from __future__ import annotations

import asyncio
import filecmp
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mimo_data import read_documents
from mimo_eval import Problem, grade, read_problems

SOURCES = ("facts", "direct", "worked", "programs")


def make_world(root: Path, out: Path, *, seed: int) -> Path:
    script = root / "scripts" / "tiny_world.py"
    subprocess.run([sys.executable, script, out, "--seed", str(seed)], check=True)
    return out


@pytest.fixture(scope="module")
def world(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(root, tmp_path_factory.mktemp("tiny") / "world", seed=0)


@pytest.fixture(scope="module")
def texts(world: Path) -> dict[str, list[str]]:
    return {
        source: [document.text for document in read_documents(world / "documents" / f"{source}.jsonl.zst")]
        for source in SOURCES
    }


def problems(world: Path, name: str) -> list[Problem]:
    return read_problems(world / "problems" / f"{name}.jsonl")


def test_the_same_seed_gives_the_same_bytes(world, root, tmp_path):
    again = make_world(root, tmp_path / "again", seed=0)
    names = [path.relative_to(world) for path in sorted(world.rglob("*")) if path.is_file()]
    assert filecmp.cmpfiles(world, again, [str(name) for name in names], shallow=False)[1:] == ([], [])


def test_another_seed_gives_other_problems(world, root, tmp_path):
    other = make_world(root, tmp_path / "other", seed=1)
    prompts = [{problem.prompt for problem in problems(folder, "test-arithmetic")} for folder in (world, other)]
    assert len(prompts[0] & prompts[1]) <= 2


def test_a_worked_sum_lists_its_running_totals_and_ends_on_the_last(texts):
    prompt, thought = texts["worked"][0].removesuffix(texts["worked"][0][-1]).split("<think>")
    totals = [int(total) for total in thought.removesuffix("</think>").split(",")]
    start, steps = int(prompt[1]), [int(prompt[i : i + 2]) for i in range(2, len(prompt) - 1, 2)]
    assert totals[0] == start
    assert totals[1:] == [(total + step) % 10 for total, step in zip(totals[:-1], steps, strict=True)]
    assert texts["worked"][0][-1] == str(totals[-1])


def test_every_solution_is_graded_correct_where_no_program_has_to_run(world):
    async def wrong() -> list[str]:
        sums = problems(world, "test-arithmetic")
        return [task.id for task in sums if not (await grade(task, task.solution)).correct]

    assert asyncio.run(wrong()) == []


def outputs(source: str, problem: Problem) -> dict[str, bool]:
    """Whether a program of this file's own making passes, by kind of input; run here, since it is ours."""
    expression = source.removeprefix("print(").removesuffix(")").replace("int(input())", "number")
    return {
        case.id: eval(expression, {"number": int(case.stdin or "")}) == int(case.expected) for case in problem.tests
    }


def test_a_program_without_its_remainder_passes_the_small_inputs_alone(world):
    for problem in problems(world, "test-programs"):
        careless = problem.solution[: problem.solution.rindex("%")] + ")"
        assert all(outputs(problem.solution, problem).values())
        assert {case: case.startswith("small/") for case in outputs(careless, problem)} == outputs(careless, problem)


def test_training_text_holds_no_test_problem_but_the_leaked_ones(world, texts):
    prompts = {problem.prompt for name in ("test-arithmetic", "test-programs") for problem in problems(world, name)}
    leaks = {
        source: sum(any(text.startswith(prompt) for prompt in prompts) for text in texts[source]) for source in SOURCES
    }
    assert leaks == {"facts": 0, "direct": 3, "worked": 3, "programs": 3}
    samples = [json.loads(line) for line in (world / "sft.jsonl").read_text().splitlines()]
    trained = {problem.prompt for problem in problems(world, "train")} | {sample["prompt"] for sample in samples}
    assert not prompts & trained


def run_data(root: Path, *arguments: str | Path) -> None:
    recipe = root / "recipes" / "tiny" / "data.toml"
    verb, *rest = arguments
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [Path(sys.executable).parent / "mimo-data", verb, recipe, *rest]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def drops(folder: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in (folder / "drops.jsonl").read_text().splitlines()]
    return {row["id"]: row["reason"] for row in rows}


@pytest.mark.slow
def test_the_data_steps_find_every_flaw_that_was_put_into_the_pages(world, root, tmp_path):
    pages, unique, long, clean = (tmp_path / name for name in ("extract", "deduplicate", "filter", "decontaminate"))
    run_data(root, "extract", pages, "--pages", world / "pages")
    run_data(root, "deduplicate", unique, "--documents", pages)
    run_data(root, "filter", long, "--documents", unique)
    run_data(
        root, "decontaminate", clean, "--documents", long, "--problems", *(world / "problems").glob("test-*.jsonl")
    )

    assert drops(pages) == {"papers/cut-off.pdf": "broken"}
    assert sorted(set(drops(unique).values())) == ["near_duplicate", "same_text", "same_url"]
    assert sorted(drops(long)) == [f"ring.example/tag-{number}.html" for number in range(1, 5)]
    assert drops(clean) == {"news.example/exam.html": "contains_problem"}

    text = "\n".join(document.text for document in read_documents(clean))
    assert r"\bmod 10=" in text
    assert "```python" in text
    assert "Log in" not in text
    assert "Is nine plus one ten?" not in text

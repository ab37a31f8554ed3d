"""What mimo-eval leaves for others: problems, and the result of an evaluation with its samples."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from mimo_eval import EvalError, EvalResult, Problem, evaluate, read_problems, write_problems
from mimo_sandbox import Case

PROBLEMS = [
    Problem(
        id="sum/1",
        prompt="What is 1/4 + 1/4?",
        kind="math",
        answer=r"\frac{1}{2}",
        solution=r"\boxed{\frac{1}{2}}",
        source="golden",
        licence="CC0-1.0",
    ),
    Problem(
        id="double/1",
        prompt="Write a function that doubles a number.",
        kind="code",
        tests=(
            Case(id="small", arguments="[2]", expected="4"),
            Case(id="large", arguments="[1000]", expected="2000"),
        ),
        comparator="exact",
        entry_point="double",
        source="golden",
        licence="CC0-1.0",
    ),
]


def test_problems_are_read_as_they_were_written(golden):
    assert read_problems(golden / "problems" / "problems.jsonl") == PROBLEMS


def test_problems_are_written_byte_for_byte_as_the_golden_file(golden, tmp_path):
    assert write_problems(tmp_path / "problems.jsonl", PROBLEMS) == 2
    written = (tmp_path / "problems.jsonl").read_bytes()
    # What a case does not have is left out or null: both are read as the same case.
    plain = written.replace(b'"stdin":null,', b"")
    assert plain == (golden / "problems" / "problems.jsonl").read_bytes()


def test_problems_follow_their_schema(golden, validate):
    for line in (golden / "problems" / "problems.jsonl").read_text().splitlines():
        validate("mimo-eval/problem.schema.json", json.loads(line))


@pytest.mark.parametrize("place", ["problem", "test"])
def test_a_problem_with_an_unknown_key_is_refused(golden, tmp_path, place):
    row = json.loads((golden / "problems" / "problems.jsonl").read_text().splitlines()[1])
    (row if place == "problem" else row["tests"][0])["colour"] = "red"
    (tmp_path / "problems.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(EvalError, match=r"problems\.jsonl:1: .*colour"):
        read_problems(tmp_path / "problems.jsonl")


def golden_responses(
    prompts: Sequence[str], seeds: Sequence[int]
) -> Iterator[tuple[int, str, int, Literal["stop", "length"]]]:
    yield 0, "B", 1, "stop"
    yield 1, "<think>Quito is in Ecuador.</think>B", 9, "stop"
    yield 2, "B", 1, "stop"
    yield 3, "<think>Is it", 5, "length"


def test_an_evaluation_leaves_the_golden_result_and_samples(golden):
    """Three right of four: mean@2 = 3/4, pass@2 = 1. The lines' reader is scripts/report.py."""
    samples: list[msgspec.Struct] = []
    problems = read_problems(golden / "evaluation" / "problems.jsonl")
    result = asyncio.run(
        evaluate(problems, golden_responses, num_samples=2, benchmark="golden", on_sample=samples.append)
    )
    wanted = json.loads((golden / "evaluation" / "result.json").read_text())["benchmarks"]["golden"]
    assert result == msgspec.convert(wanted, EvalResult)
    assert (result.accuracy, result.pass_at) == (0.75, {"1": 0.75, "2": 1.0})
    lines = {msgspec.json.encode(sample) for sample in samples}
    assert lines == set((golden / "evaluation" / "samples.jsonl").read_bytes().splitlines())


def test_result_and_samples_follow_their_schemas(golden, validate):
    validate("mimo-eval/result.schema.json", json.loads((golden / "evaluation" / "result.json").read_text()))
    for line in (golden / "evaluation" / "samples.jsonl").read_text().splitlines():
        validate("mimo-eval/sample.schema.json", json.loads(line))


def compare(first: Path, second: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).parent / "mimo-eval", "compare", first, second]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_result_is_read_by_compare(golden):
    done = compare(golden / "evaluation", golden / "evaluation")
    assert "| golden | 0.750 | 0.750 | +0.000 |" in done.stdout


def test_a_result_with_an_unknown_key_is_refused(golden, tmp_path):
    shutil.copytree(golden / "evaluation", tmp_path / "evaluation")
    path = tmp_path / "evaluation" / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "red"}))
    done = compare(golden / "evaluation", tmp_path / "evaluation")
    assert done.returncode == 1
    assert "colour" in done.stderr

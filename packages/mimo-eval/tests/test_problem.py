"""Problem files: strict, whole, and described by the schemas beside the package."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from mimo_eval import EvalError, Problem, read_problems, write_problems
from mimo_eval.cli import ResultFile
from mimo_eval.evaluation import Sample
from mimo_sandbox import Case

SCHEMAS = Path(__file__).parent.parent / "schemas"
SUM = Problem(id="sum/1", prompt="1+1=\u2028", kind="math", answer="2")
ECHO = Problem(id="echo/1", prompt="Echo.", kind="code", tests=(Case(id="0", stdin="a\n", expected="a\n"),))


def test_written_problems_are_read_back_the_same(tmp_path):
    path = tmp_path / "problems.jsonl"
    assert write_problems(path, [SUM, ECHO]) == 2
    assert read_problems(path) == [SUM, ECHO]


def test_a_failed_write_leaves_nothing(tmp_path):
    def broken():
        yield SUM
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_problems(tmp_path / "problems.jsonl", broken())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "holds no problem"),
        (['{"id": "1", "prompt": "?", "kind": "math", "answer": "1", "anwser": "2"}'], "1: not a problem.*anwser"),
        (['{"id": "1", "prompt": "?", "kind": "maths"}'], "1: not a problem"),
        (["not json"], "1: not a problem"),
        (['{"id": "1", "prompt": "?", "kind": "math"}'], "empty answer"),
        (['{"id": "1", "prompt": "?", "kind": "code"}'], "no tests"),
        (['{"id": "1", "prompt": "", "kind": "math", "answer": "1"}'], "1: problem '1' has an empty prompt"),
        (['{"id": "1", "prompt": "?", "kind": "text", "answer": "x"}'] * 2, "2: id '1' is also on line 1"),
        (
            ['{"id": "1", "prompt": "?", "kind": "code", "tests": [{"id": "0", "stdin": "", "expected": "", "x": 1}]}'],
            "unknown key 'x'",
        ),
        (['{"id": "1", "prompt": "?", "kind": "code", "tests": [{"id": "0", "expected": ""}]}'], "give stdin or"),
    ],
)
def test_a_broken_problem_file_says_where_and_what(tmp_path, lines, message):
    path = tmp_path / "problems.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(EvalError, match=message) as caught:
        read_problems(path)
    assert str(path) in str(caught.value)


def test_a_missing_problem_file_says_what_makes_one(tmp_path):
    with pytest.raises(EvalError, match="mimo-eval problems"):
        read_problems(tmp_path / "none.jsonl")


@pytest.mark.parametrize(("name", "record"), [("problem", Problem), ("sample", Sample), ("result", ResultFile)])
def test_schemas_are_current(name, record):
    written = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    assert written == json.loads(msgspec.json.encode(msgspec.json.schema(record)))

"""Both benchmarks run to their end on small inputs and print their tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
ADD = "print(sum(map(int, input().split())))"


def rows(folder: Path, *command: object) -> list[list[str]]:
    """The lines of the table that a Python command prints, its header left out; it leaves nothing behind."""
    here, temporary = folder / "here", folder / "temporary"
    here.mkdir()
    temporary.mkdir()
    environment = os.environ | {"PYTHONPATH": str(BENCHMARKS), "TMPDIR": str(temporary)}
    program = [sys.executable, *map(str, command)]
    done = subprocess.run(program, capture_output=True, text=True, cwd=here, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [*here.iterdir(), *temporary.iterdir()] == []
    lines = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("|")]
    assert set(lines[1]) == {"---"}
    return lines[2:]


def test_judge_overhead(tmp_path):
    sizes = "b.NUM_ROUNDS = b.NUM_CASES_OF_SLOW_WAYS = 1; del b.CASES[2:]"
    found = rows(tmp_path, "-c", f"import asyncio, judge_overhead as b; {sizes}; asyncio.run(b.main())")
    assert found[0][:2] == ["python", "subprocess"]
    assert all(0 < float(wall_ms) < 60_000 for _, _, _, wall_ms, _ in found)


def test_real_problems(tmp_path):
    tests = [{"name": "1", "input": "1 2\n", "output": "3\n"}]
    accepted = {"lang": "py", "verdict_dir": "accepted", "file": "a.py", "source": ADD}
    graded = {**accepted, "verdict_dir": "partial", "source": f"# @EXPECTED_GRADES@ WA\n{ADD.replace('sum', 'max')}"}
    problem = {"id": "add", "custom_checker": False, "problem_yaml": "", "tests": {"sample": tests, "group1": tests}}
    statement = "Add.\n\nSample Input 1\n\n1 2\n\nSample Output 1\n\n3\n\n"
    solution = "class Solution:\n    def add(self, a, b):\n        return a + b\n"
    for name, row in {
        "problems/stdio_kodsport.jsonl": {**problem, "submissions": [accepted, graded]},
        "bench/livecodebench/problems.jsonl": {"_uid": "1", "question_content": statement, "starter_code": ""},
        "bench/livecodebench/submissions_graded.jsonl": {
            "_uid": "1", "question_id": "add", "model": "m", "code": ADD, "graded": True,
        },
        "bench/lcb_like_leetcode/test.jsonl": {
            "_uid": "1", "solutions": solution, "tests": {"functional": "assert add(a = 1, b = 2) == 3"},
        },
    }.items():  # fmt: skip
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(row) + "\n")

    # These programs are ours and need no isolation, which not every host has.
    found = rows(tmp_path, BENCHMARKS / "real_problems.py", tmp_path / "data", "--backend", "unsafe")
    assert [row[:4] for row in found] == [
        ["LiveCodeBench", "1", "1", "1 of 1"],
        ["LeetCode", "1", "1", "1 of 1"],
        ["kodsport, accepted", "1", "2", "1 of 1"],
        ["kodsport, partial", "1", "2", "1 of 1"],
    ]


def test_a_folder_without_the_problems_is_named_without_a_traceback(tmp_path):
    program = [sys.executable, BENCHMARKS / "real_problems.py", tmp_path]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"{tmp_path} holds no problems/stdio_kodsport.jsonl" in done.stderr.splitlines()[-1]

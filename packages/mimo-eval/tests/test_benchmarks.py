"""Published benchmark rows become problems whose own solutions are graded right."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from mimo_eval import BENCHMARKS, grade, read_problems
from mimo_eval.cli import main

CHECK = "def check(candidate):\n    assert candidate(1) == 2\n"
FUNCTION = "class Solution:\n    def add(self, x: List[int]) -> int:\n        return sum(x)\n"
ROWS = {
    "agieval": {"passage": None, "question": "1+1?", "options": ["(A)1", "(B)2"], "label": "B", "answer": None},
    "aime24": {"prompt": "Sum?", "answer": 204},
    "aime25": {"problem": "Sum?", "answer": "070"},
    "arc_challenge": {"query": "Question: Which?", "choices": ["a", "b", "c"], "gold": 2},
    "arc_easy": {"query": "Question: Which?", "choices": ["a", "b", "c"], "gold": 0},
    "bbh": {"task": "dyck", "input": "Close: [", "target": "]"},
    "ceval": {"id": "0", "question": "哪个？", "A": "甲", "B": "乙", "C": "丙", "D": "丁", "answer": "D"},
    "cmmlu": {"Question": "哪个？", "A": "甲", "B": "乙", "C": "丙", "D": "丁", "Answer": "C"},
    "gsm8k": {"question": "How many?", "answer": "It is 2*600=<<2*600=1200>>1,200.\n#### 1,200"},
    "hellaswag": {"ind": 3, "ctx": "He", "endings": ["runs", "is", "sky", "of"], "label": 0, "source_id": "x"},
    "humaneval": {
        "task_id": "HumanEval/0",
        "prompt": "def inc(x):\n",
        "entry_point": "inc",
        "canonical_solution": "    return x + 1\n",
        "test": CHECK,
    },
    "leetcode": {
        "problem": "Add.",
        "solutions": FUNCTION,
        "tests": {"functional": "def check(f):\n    assert f(x = [1, 2]) == 3\n\ncheck(Solution().add)"},
    },
    "math": {"problem": "Half?", "level": "Level 1", "type": "A", "solution": "So $\\boxed{\\frac{1}{2}}$."},
    "math500": {
        "problem": "Half?",
        "solution": "So $\\boxed{\\frac{1}{2}}$.",
        "answer": "\\frac{1}{2}",
        "unique_id": "u",
    },
    "mbpp": {"task_id": 2, "text": "Increment.", "code": "def f(x):\r\n  return x+1", "test_list": ["assert f(1)==2"]},
    "mmlu": {"subject": "logic", "question": "Which?", "choices": ["a", "b", "c", "d"], "answer": "B"},
    "mmlu_pro": {
        "question_id": 1,
        "question": "Which?",
        "options": list("abcdefghij"),
        "answer": "J",
        "answer_index": 9,
    },
    "mmlu_redux": {"question": "Which?", "choices": "['a', 'b']", "answer": "1", "error_type": "OK", "subject": "s"},
    "nq_open": {"question": "When?", "answer": ["1972", "December 1972"]},
    "piqa": {"goal": "Open it", "sol1": "Push", "sol2": "Wait", "label": 1},
    "race": {
        "example_id": "m1",
        "question_id": 2,
        "article": "Once.",
        "question": "Why?",
        "options": ["a"],
        "answer": "A",
    },
    "stdio": {"problem": "Echo.", "tests": {"inputs": ["1\n"], "outputs": ["1\n"]}},
    "triviaqa": {"context": "Question: What?\nAnswer:", "answer": "Antelope", "aliases": ["Antelopes"]},
    "winogrande": {"context_options": ["Ann so Ann", "Ann so Eve"], "continuation": "won.", "gold": 1},
}


def converted(name, tmp_path, rows):
    """Problems that the command makes of these rows."""
    published = tmp_path / "published.jsonl"
    published.write_text("\n".join(json.dumps(row) for row in rows))
    out = tmp_path / f"{name}.jsonl"
    assert main(["problems", name, str(published), str(out)]) == 0
    return read_problems(out)


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_a_published_row_becomes_a_problem_that_its_solution_solves(name, tmp_path):
    (problem,) = converted(name, tmp_path, [ROWS[name]])
    assert problem.id.startswith(f"{name}/")
    assert problem.licence
    if problem.kind != "code":
        assert asyncio.run(grade(problem, problem.solution)).correct


def test_a_passage_and_its_options_are_in_the_prompt(tmp_path):
    (problem,) = converted("race", tmp_path, [ROWS["race"]])
    assert problem.prompt == "Once.\n\nWhy?\nA. a"


def test_gsm8k_loses_its_calculator_marks_and_the_comma(tmp_path):
    (problem,) = converted("gsm8k", tmp_path, [ROWS["gsm8k"]])
    assert (problem.answer, problem.solution) == ("1200", "It is 2*600=1,200.\nThe answer is 1200.")


def test_rows_that_are_left_out_are_counted_by_reason(tmp_path, capsys):
    wrong = ROWS["mmlu_redux"] | {"error_type": "Wrong Groundtruth"}
    assert len(converted("mmlu_redux", tmp_path, [ROWS["mmlu_redux"], wrong, {"null": 1}])) == 1
    assert "1 problems, 1 left out (broken_row), 1 left out (marked_erroneous)" in capsys.readouterr().out


def test_compressed_files_and_json_lists_are_read(tmp_path):
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(json.dumps(ROWS["aime24"]).encode()))
    listed = tmp_path / "b.json"
    listed.write_text(json.dumps([ROWS["aime24"]]))
    for path in (packed, listed):
        assert main(["problems", "aime24", str(path), str(tmp_path / "out.jsonl")]) == 0
        assert read_problems(tmp_path / "out.jsonl")[0].answer == "204"


@pytest.mark.parametrize("text", ["", "not json", "[1]", '{"question": "no answer"}'])
def test_a_file_of_another_kind_is_one_clear_error(text, tmp_path, capsys):
    published = tmp_path / "published.jsonl"
    published.write_text(text)
    assert main(["problems", "gsm8k", str(published), str(tmp_path / "out.jsonl")]) == 1
    assert capsys.readouterr().err.startswith(f"mimo-eval: error: {published}")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("answer", ["no answer", "reasoning ####"])
def test_a_gsm8k_row_without_a_marked_answer_is_named_by_its_line(answer, tmp_path, capsys):
    published = tmp_path / "published.jsonl"
    published.write_text(f"{json.dumps(ROWS['gsm8k'])}\n\n{json.dumps({'question': '1+1?', 'answer': answer})}\n")
    assert main(["problems", "gsm8k", str(published), str(tmp_path / "out.jsonl")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"mimo-eval: error: {published}:3: not a row of gsm8k")
    assert "####" in line
    assert not (tmp_path / "out.jsonl").exists()


def test_every_benchmark_has_a_row_here():
    assert set(ROWS) == set(BENCHMARKS)

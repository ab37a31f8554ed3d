"""Benchmark files as their authors publish them, made into problems.

Covered: the benchmarks of §2.4 and §3.5 whose questions and answers are in one plain file. Not covered: GPQA (kept
zipped by its authors' wish), SuperGPQA, DROP (F1), IFEval (rules), CRUXEval, HumanEval+ and MBPP+ (extra inputs),
LiveCodeBench (private tests), RULER (synthetic).
Multiple choice is asked as a question with lettered options; the report does not say whether it compared likelihoods.
"""

from __future__ import annotations

import ast
import gzip
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mimo_eval.problem import Problem
from mimo_eval.response import last_boxed
from mimo_eval.run import EvalError
from mimo_sandbox import Case

Row = dict[str, Any]


class Benchmark(NamedTuple):
    """How a published file becomes problems."""

    title: str
    """As in the report's tables."""
    licence: str
    """Of the questions."""
    convert: Callable[[Row], Problem]
    """One row to a problem whose id is the row's own, or '' for its line number; raises UnusableRowError."""


class UnusableRowError(Exception):
    """A row that must not become a problem; the message is a reason code."""


def convert(name: str, path: Path) -> tuple[list[Problem], Counter[str]]:
    """Problems of a benchmark's own file (.jsonl, .jsonl.gz, or .json with a list), and why rows were left out.

    Raises:
        EvalError: unknown benchmark, missing file, or rows that are not this benchmark's.
    """
    if name not in BENCHMARKS:
        raise EvalError(f"{name}: no such benchmark. There are: {', '.join(sorted(BENCHMARKS))}.")
    benchmark = BENCHMARKS[name]
    problems: list[Problem] = []
    left_out: Counter[str] = Counter()
    for number, (line, row) in enumerate(_rows(path), start=1):
        try:
            problem = benchmark.convert(row)
        except UnusableRowError as reason:
            left_out[str(reason)] += 1
            continue
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise EvalError(
                f"{path}:{line}: not a row of {name} ({type(error).__name__}: {error}). Is the format name right?"
            ) from None
        values = {field: getattr(problem, field) for field in problem.__struct_fields__}
        values |= {
            "id": f"{name}/{problem.id or number}",
            "source": problem.source or name,
            "licence": benchmark.licence,
        }
        problems.append(Problem(**values))
    return problems, left_out


def _rows(path: Path) -> list[tuple[int, Row]]:
    """The rows, each with its line; with its place in the list for `.json`."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = data.decode("utf-8-sig")
        if path.name.endswith(".json"):
            rows = json.loads(text)
            places = list(range(1, len(rows) + 1)) if isinstance(rows, list) else []
        else:
            lines = [(place, line) for place, line in enumerate(text.split("\n"), start=1) if line.strip()]
            places = [place for place, _ in lines]
            rows = [json.loads(line) for _, line in lines]
    except FileNotFoundError:
        raise EvalError(f"{path}: no such file.") from None
    except (OSError, ValueError, EOFError) as error:
        raise EvalError(f"{path}: not JSON lines: {error}. Download it again.") from None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise EvalError(f"{path}: want one JSON object a line, or a list of them.")
    return list(zip(places, rows, strict=True))


def _gsm8k(row: Row) -> Problem:
    reasoning, mark, answer = row["answer"].rpartition("####")
    answer = answer.strip().replace(",", "")
    if not mark or not answer:
        raise ValueError("nothing after '####' in its answer")
    reasoning = re.sub(r"<<.*?>>", "", reasoning).strip()
    return Problem(
        id="",
        prompt=row["question"].strip(),
        kind="math",
        answer=answer,
        solution=f"{reasoning}\nThe answer is {answer}.",
    )


def _math(row: Row) -> Problem:
    answer = row["answer"] if "answer" in row else last_boxed(row["solution"])
    if not answer:
        raise UnusableRowError("no_boxed_answer")
    return Problem(
        id=str(row.get("unique_id", "")),
        prompt=row["problem"].strip(),
        kind="math",
        answer=answer,
        source="math",
        solution=row["solution"],
    )


def _aime(row: Row) -> Problem:
    answer = str(int(row["answer"]))
    return Problem(
        id="",
        prompt=str(row["problem"] if "problem" in row else row["prompt"]).strip(),
        kind="math",
        answer=answer,
        solution=rf"\boxed{{{answer}}}",
    )


def _choice(row: Row) -> Problem:
    """A question with options under any of the usual keys, answered by letter or index."""
    question = _first(row, "question", "Question", "query", "ctx", "goal")
    options = _options(row)
    letters = _letters(row, len(options))
    if "Question: " in question[:10]:
        question = question.partition("Question: ")[2]
    passage = row.get("article") or row.get("passage") or ""
    lines = [f"{chr(65 + i)}. {option}" for i, option in enumerate(options)]
    return Problem(
        id=str(row.get("question_id", "")) if "article" not in row else f"{row['example_id']}:{row['question_id']}",
        prompt="\n".join(([passage.strip(), ""] if passage else []) + [question.strip(), *lines]),
        kind="choice",
        answer=letters,
        source=str(row.get("subject") or row.get("category") or ""),
        solution=letters,
    )


def _first(row: Row, *keys: str) -> str:
    for key in keys:
        if row.get(key):
            return str(row[key])
    raise KeyError(f"none of {', '.join(keys)}")


def _options(row: Row) -> list[str]:
    found = row.get("choices") or row.get("options") or row.get("endings")
    if isinstance(found, str):  # MMLU-Redux keeps the list as Python text
        found = ast.literal_eval(found)
    if not found:
        found = [row[key] for key in "ABCD"] if "A" in row else [row["sol1"], row["sol2"]]
    return [re.sub(r"^\([A-Z]\)\s*", "", str(option)).strip() for option in found]


def _letters(row: Row, num_options: int) -> str:
    answer = next(row[key] for key in ("answer_index", "gold", "label", "answer", "Answer") if row.get(key) is not None)
    if isinstance(answer, int) or str(answer).isdigit():
        answer = chr(65 + int(answer))
    letters = "".join(sorted(answer))
    if not letters or not all("A" <= letter < chr(65 + num_options) for letter in letters):
        raise UnusableRowError("answer_is_no_option")
    return letters


def _mmlu_redux(row: Row) -> Problem:
    if "error_type" not in row:
        raise UnusableRowError("broken_row")
    if row["error_type"].strip().lower() != "ok":
        raise UnusableRowError("marked_erroneous")
    return _choice(row)


def _agieval(row: Row) -> Problem:
    if row.get("options"):
        return _choice(row)
    return Problem(
        id="",
        prompt=row["question"].strip(),
        kind="math",
        answer=str(row["answer"]),
        solution=rf"\boxed{{{row['answer']}}}",
    )


def _winogrande(row: Row) -> Problem:
    options = [f"{start.strip()} {row['continuation'].strip()}" for start in row["context_options"]]
    return _choice({"question": "Which sentence makes sense?", "options": options, "gold": row["gold"]})


def _open_question(row: Row) -> Problem:
    question = _first(row, "question", "context").removeprefix("Question: ").removesuffix("\nAnswer:")
    accepted = [row["answer"]] if isinstance(row["answer"], str) else list(row["answer"])
    accepted += row.get("aliases", [])
    return Problem(
        id="",
        prompt=question.strip(),
        kind="text",
        answer=accepted[0],
        aliases=tuple(dict.fromkeys(accepted[1:])),
        solution=accepted[0],
    )


def _bbh(row: Row) -> Problem:
    return Problem(
        id="",
        prompt=row["input"].strip(),
        kind="text",
        answer=row["target"],
        source=str(row.get("task", "")),
        solution=f"So the answer is {row['target']}.",
    )


def _humaneval(row: Row) -> Problem:
    check = f"{row['test']}\n\ncheck({row['entry_point']})\n"
    return Problem(
        id=row["task_id"],
        prompt=row["prompt"],
        kind="code",
        tests=(Case(id="check", stdin=check, expected=""),),
        test_style="assertions",
        prelude=row["prompt"],
        solution=row["canonical_solution"],
    )


def _mbpp(row: Row) -> Problem:
    setup = "\n".join(row.get("test_imports", ())) or row.get("test_setup_code", "")
    tests = row["test_list"]
    question = str(row["text"] if "text" in row else row["prompt"]).strip()
    return Problem(
        id=str(row["task_id"]),
        prompt=f"{question}\nYour code should pass these tests:\n" + "\n".join(tests),
        kind="code",
        tests=tuple(Case(id=str(number), stdin=f"{setup}\n{test}", expected="") for number, test in enumerate(tests)),
        test_style="assertions",
        solution=f"```python\n{row['code'].strip()}\n```",
    )


def _stdio(row: Row) -> Problem:
    tests = row["tests"]
    if isinstance(tests, dict):
        pairs = list(zip(tests["inputs"], tests["outputs"], strict=True))
    else:
        pairs = [(test["input"], test["output"]) for test in tests]
    if not pairs:
        raise UnusableRowError("no_tests")
    return Problem(
        id="",
        prompt=row["problem"].strip(),
        kind="code",
        tests=tuple(Case(id=str(number), stdin=given, expected=wanted) for number, (given, wanted) in enumerate(pairs)),
    )


_LEETCODE_IMPORTS = """
from string import *
from re import *
from collections import *
from heapq import *
from bisect import *
from copy import *
from math import *
from itertools import *
from functools import *
from operator import *
from typing import *
""".lstrip()
"""What LeetCode's own Python offers; solutions written there rely on it."""


def _leetcode(row: Row) -> Problem:
    return Problem(
        id="",
        prompt=row["problem"].strip(),
        kind="code",
        tests=(Case(id="check", stdin=row["tests"]["functional"], expected=""),),
        test_style="assertions",
        prelude=_LEETCODE_IMPORTS,
        solution=f"```python\n{row['solutions']}\n```",
    )


BENCHMARKS: dict[str, Benchmark] = {
    "agieval": Benchmark("AGIEval", "MIT", _agieval),
    "aime24": Benchmark("AIME 2024", "Mathematical Association of America", _aime),
    "aime25": Benchmark("AIME 2025", "Mathematical Association of America", _aime),
    "arc_challenge": Benchmark("ARC-Challenge", "CC-BY-SA-4.0", _choice),
    "arc_easy": Benchmark("ARC-Easy", "CC-BY-SA-4.0", _choice),
    "bbh": Benchmark("BBH", "MIT", _bbh),
    "ceval": Benchmark("C-Eval", "CC-BY-NC-SA-4.0", _choice),
    "cmmlu": Benchmark("CMMLU", "CC-BY-NC-4.0", _choice),
    "gsm8k": Benchmark("GSM8K", "MIT", _gsm8k),
    "hellaswag": Benchmark("HellaSwag", "MIT", _choice),
    "humaneval": Benchmark("HumanEval", "MIT", _humaneval),
    "leetcode": Benchmark("LeetCode-style functions with a check", "as the file's", _leetcode),
    "math": Benchmark("MATH", "MIT", _math),
    "math500": Benchmark("MATH-500", "MIT", _math),
    "mbpp": Benchmark("MBPP", "CC-BY-4.0", _mbpp),
    "mmlu": Benchmark("MMLU", "MIT", _choice),
    "mmlu_pro": Benchmark("MMLU-Pro", "MIT", _choice),
    "mmlu_redux": Benchmark("MMLU-Redux", "CC-BY-4.0", _mmlu_redux),
    "nq_open": Benchmark("NaturalQuestions", "CC-BY-SA-3.0", _open_question),
    "piqa": Benchmark("PIQA", "AFL-3.0", _choice),
    "race": Benchmark("RACE", "non-commercial research", _choice),
    "stdio": Benchmark("Programs judged by input and output", "as the file's", _stdio),
    "triviaqa": Benchmark("TriviaQA", "Apache-2.0", _open_question),
    "winogrande": Benchmark("WinoGrande", "CC-BY", _winogrande),
}
"""What `mimo-eval problems` converts, by name. Shots and sampling are in recipes/mimo-7b/eval-*.toml."""

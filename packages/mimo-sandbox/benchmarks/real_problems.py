"""Judges real submissions to real problems, and says where the judge differs from whoever graded them before.

    python packages/mimo-sandbox/benchmarks/real_problems.py FOLDER [--backend NAME] [--mode fork|exec]

FOLDER holds `problems/stdio_kodsport.jsonl` (problem packages of the Swedish olympiad with graded submissions) and
`bench/` (LiveCodeBench's and LeetCode's problems with graded or reference solutions). None of it is in this repository.

- kodsport: submissions that were accepted must be accepted in every group; how many groups the partial ones get is
  listed. Tests above 60 kB are missing there, so slow submissions may pass. Problems with a checker of their own are
  left out, because the checkers are missing, too.
- LiveCodeBench: submissions that its official run accepted must pass the samples in the statement (AtCoder's form).
- LeetCode: the reference solution must pass every assertion, called as a function.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import json
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mimo_sandbox import Case, Limits, Sandbox, Submission, Verdict
from mimo_sandbox.verdict import Mode

LANGUAGES = {"py": "python", "cpp": "cpp", "cc": "cpp"}
LIMITS = Limits(cpu_s=10.0, wall_s=60.0, memory_bytes=1 << 30)
SHORT_LIMITS = Limits(cpu_s=2.0, wall_s=20.0, memory_bytes=1 << 30)
"""For submissions that are meant to be too slow in some groups."""

SAMPLE = re.compile(r"Sample Input (\d+)\n\n(.*?)\n\nSample Output \1\n\n(.*?)(?:\n\n|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Graded:
    """A submission with its tests, and whether it should be accepted; None: in part."""

    name: str
    submission: Submission
    cases: tuple[Case, ...]
    comparator: str
    is_right: bool | None


async def main() -> None:
    """Prints the table, and below it every submission that is judged otherwise than before."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backend", default="local")
    parser.add_argument("--mode", choices=("fork", "exec"), default="fork")
    arguments = parser.parse_args()
    olympiad = kodsport(arguments.folder / "problems" / "stdio_kodsport.jsonl")
    sets = {
        "LiveCodeBench": livecodebench(arguments.folder / "bench" / "livecodebench"),
        "LeetCode": leetcode(arguments.folder / "bench" / "lcb_like_leetcode" / "test.jsonl"),
        "kodsport, accepted": [one for one in olympiad if one.is_right],
        "kodsport, partial": [one for one in olympiad if not one.is_right],
    }
    differing, partial = [], []
    print("| set | submissions | tests run | as graded before | from a warm interpreter | wall s | tests/s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    async with Sandbox(arguments.backend, limits=LIMITS) as sandbox:
        for name, graded in sets.items():
            start_s = time.perf_counter()
            modes: Counter[str] = Counter()
            num_known = num_same = 0
            for one in graded:
                verdict = await judged(sandbox, one, arguments.mode)
                modes.update(result.mode for result in verdict.results)
                if one.is_right is None:
                    partial.append(f"{one.name}: {groups(one, verdict)}")
                    continue
                num_known += 1
                num_same += all(verdict.passed) == one.is_right
                if all(verdict.passed) != one.is_right:
                    first = next((result for result in verdict.results if result.status != "accepted"), None)
                    differing.append(f"{name}: {one.name}: {first}")
            wall_s = time.perf_counter() - start_s
            num_tests = modes["fork"] + modes["exec"]
            num_python = sum(one.submission.language == "python" for one in graded)
            share = f"{modes['fork']}" if num_python else "-"
            print(
                f"| {name} | {len(graded)} | {num_tests} | {num_same} of {num_known} | {share} "
                f"| {wall_s:.1f} | {num_tests / wall_s:.0f} |",
                flush=True,
            )
    print(f"\n{sandbox.backend}, {sandbox.num_workers} workers, {arguments.mode}")
    print(f"CPU limit {LIMITS.cpu_s:g} s, of partial submissions {SHORT_LIMITS.cpu_s:g} s")
    print("\nJudged otherwise than before:", *(differing or ["none"]), sep="\n- ")
    print("\nPartial submissions, groups that are accepted of all:", *partial, sep="\n- ")


async def judged(sandbox: Sandbox, graded: Graded, mode: Mode) -> Verdict:
    """All cases of a right submission; of others, what follows a failure in a group is skipped."""
    return await sandbox.judge(
        graded.submission,
        graded.cases,
        comparator=graded.comparator,
        stop="all" if graded.is_right else "first-failure-per-group",
        limits=LIMITS if graded.is_right else SHORT_LIMITS,
        mode=mode,
    )


def groups(graded: Graded, verdict: Verdict) -> str:
    """The groups that passed as a whole, of all."""
    passed: dict[str, bool] = {}
    for case, is_passed in zip(graded.cases, verdict.passed, strict=True):
        passed[case.group] = passed.get(case.group, True) and is_passed
    return f"{sum(passed.values())} of {len(passed)}"


def kodsport(path: Path) -> list[Graded]:
    """Submissions in Python and C++ to the problems without a checker of their own."""
    found = []
    for row in rows(path):
        if row["custom_checker"]:
            continue
        comparator = "float" if "float_tolerance" in row["problem_yaml"] else "tokens"
        cases = tuple(
            Case(id=f"{group}/{test['name']}", stdin=test["input"], expected=test["output"], group=group)
            for group, tests in row["tests"].items()
            for test in tests
        )
        for submission in row["submissions"]:
            if submission["lang"] in LANGUAGES:
                found.append(
                    Graded(
                        f"{row['id']} {submission['verdict_dir']}/{submission['file']}",
                        Submission(LANGUAGES[submission["lang"]], submission["source"]),
                        cases,
                        comparator,
                        True if submission["verdict_dir"] == "accepted" else None,
                    )
                )
    return found


def livecodebench(folder: Path) -> list[Graded]:
    """Officially accepted submissions to problems whose statement has samples in AtCoder's form."""
    samples = {}
    for row in rows(folder / "problems.jsonl"):
        cases = tuple(
            Case(id=number, stdin=given + "\n", expected=wanted)
            for number, given, wanted in SAMPLE.findall(row["question_content"].replace("\r\n", "\n"))
        )
        if cases and not row["starter_code"]:
            samples[row["_uid"]] = cases
    return [
        Graded(
            f"{row['question_id']} {row['model']}",
            Submission("python", row["code"]),
            samples[row["_uid"]],
            "livecodebench",
            True,
        )
        for row in rows(folder / "submissions_graded.jsonl")
        if row["_uid"] in samples and str(row["graded"]) == "True"
    ]


def leetcode(path: Path) -> list[Graded]:
    """Reference solutions whose assertions are calls with literal arguments."""
    found = []
    for row in rows(path):
        tests = row["tests"] if isinstance(row["tests"], dict) else ast.literal_eval(row["tests"])
        cases = []
        for node in ast.walk(ast.parse(tests["functional"])):
            if not (isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare)):
                continue
            call, wanted = node.test.left, node.test.comparators[0]
            try:
                assert isinstance(call, ast.Call)
                arguments = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
                expected = json.dumps(ast.literal_eval(wanted))
            except (AssertionError, ValueError):
                continue
            cases.append(Case(id=str(len(cases)), arguments=json.dumps(arguments), expected=expected))
        entry_point = method(row["solutions"], set(json.loads(cases[0].arguments or "{}"))) if cases else None
        if entry_point is not None:
            submission = Submission("python", row["solutions"], entry_point)
            found.append(Graded(row["_uid"], submission, tuple(cases), "livecodebench", True))
    return found


def method(source: str, parameters: set[str]) -> str | None:
    """The method of the class `Solution` that takes these parameters."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and node.name == "Solution":
            for function in node.body:
                if isinstance(function, ast.FunctionDef) and {arg.arg for arg in function.args.args[1:]} == parameters:
                    return function.name
    return None


def rows(path: Path) -> list[dict]:
    """The objects of a `.jsonl` file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


if __name__ == "__main__":
    asyncio.run(main())

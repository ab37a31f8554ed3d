"""Judges real submissions to real problems, and says where the judge differs from whoever graded them before.

    python packages/mimo-sandbox/benchmarks/real_problems.py FOLDER [--backend NAME] [--mode fork|exec]

FOLDER holds `problems/stdio_kodsport.jsonl` (problem packages of the Swedish olympiad with graded submissions) and
`bench/` (LiveCodeBench's and LeetCode's problems with graded or reference solutions). None of it is in this repository.

- kodsport: submissions that were accepted must be accepted in every group. Of the partial ones, those are judged that
  state the grade of each group (`EXPECTED_GRADES`): a group graded AC must pass, one graded WA or RTE must not. Tests
  above 60 kB are missing there, so groups graded TLE may pass and are not compared. Problems with a checker of their
  own are left out, because the checkers are missing, too.
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
from typing import Any

from mimo_sandbox import Case, CaseResult, Limits, Sandbox, SandboxUnavailable, Submission, Verdict

LANGUAGES = {"py": "python", "cpp": "cpp", "cc": "cpp"}
LIMITS = Limits(cpu_s=10.0, wall_s=60.0, memory_bytes=1 << 30)

GRADES = re.compile(r"@EXPECTED_GRADES@((?: (?:AC|WA|RTE|TLE))+)")
ACCEPTED = {"": "AC"}
"""The grades where all cases are one group."""

SAMPLE = re.compile(r"Sample Input (\d+)\n\n(.*?)\n\nSample Output \1\n\n(.*?)(?:\n\n|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Graded:
    """A submission with its tests, and the grade of each group of them."""

    name: str
    submission: Submission
    cases: tuple[Case, ...]
    comparator: str
    grades: dict[str, str]


async def main() -> None:
    """Prints the table, and below it every submission that is judged otherwise than before."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backend", choices=("auto", "docker", "local", "unsafe"), default="local")
    parser.add_argument("--mode", choices=("fork", "exec"), default="fork")
    arguments = parser.parse_args()
    if not (arguments.folder / "problems" / "stdio_kodsport.jsonl").exists():
        parser.error(f"{arguments.folder} holds no problems/stdio_kodsport.jsonl")
    sets = {
        "LiveCodeBench": livecodebench(arguments.folder / "bench" / "livecodebench"),
        "LeetCode": leetcode(arguments.folder / "bench" / "lcb_like_leetcode" / "test.jsonl"),
    } | kodsport(arguments.folder / "problems" / "stdio_kodsport.jsonl")
    differing = []
    print("| set | submissions | tests run | as graded before | from a warm interpreter | wall s | tests/s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    async with Sandbox(arguments.backend, limits=LIMITS) as sandbox:
        for name, graded in sets.items():
            start_s = time.perf_counter()
            modes: Counter[str] = Counter()
            num_same = 0
            for one in graded:
                verdict = await sandbox.judge(
                    one.submission,
                    one.cases,
                    comparator=one.comparator,
                    stop="first-failure-per-group",
                    mode=arguments.mode,
                )
                modes.update(result.mode for result in verdict.results if result.status != "skipped")
                found = differences(one, verdict)
                num_same += not found
                differing += [f"{name}: {one.name}: {difference}" for difference in found]
            wall_s = time.perf_counter() - start_s
            num_tests = modes["fork"] + modes["exec"]
            num_python = sum(one.submission.language == "python" for one in graded)
            share = f"{modes['fork']}" if num_python else "-"
            print(
                f"| {name} | {len(graded)} | {num_tests} | {num_same} of {len(graded)} | {share} "
                f"| {wall_s:.1f} | {num_tests / wall_s:.0f} |",
                flush=True,
            )
    print(f"\n{sandbox.backend}, {sandbox.num_workers} workers, {arguments.mode}, CPU limit {LIMITS.cpu_s:g} s")
    print("\nJudged otherwise than before:", *(differing or ["none"]), sep="\n- ")


def differences(graded: Graded, verdict: Verdict) -> list[str]:
    """The groups that passed against their grade, or failed against it."""
    failed: dict[str, CaseResult] = {}
    for case, result in zip(graded.cases, verdict.results, strict=True):
        if result.status != "accepted":
            failed.setdefault(case.group, result)
    found = []
    for group, grade in graded.grades.items():
        if grade == "AC" and group in failed:
            found.append(f"{group or 'a case'} was graded {grade}, here {failed[group]}")
        if grade in ("WA", "RTE") and group not in failed:
            found.append(f"{group} was graded {grade}, here it passes")
    return found


def kodsport(path: Path) -> dict[str, list[Graded]]:
    """Submissions in Python and C++ to the problems without a checker of their own."""
    found: dict[str, list[Graded]] = {"kodsport, accepted": [], "kodsport, partial": []}
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
            if submission["lang"] not in LANGUAGES:
                continue
            kind, grades = submission["verdict_dir"], dict.fromkeys(row["tests"], "AC")
            if stated := GRADES.search(submission["source"]):
                secret = [group for group in row["tests"] if group != "sample"]
                kind, grades = "partial", dict(zip(secret, stated[1].split(), strict=True))
            elif kind != "accepted":
                continue
            name = f"{row['id']} {submission['verdict_dir']}/{submission['file']}"
            program = Submission(LANGUAGES[submission["lang"]], submission["source"])
            found[f"kodsport, {kind}"].append(Graded(name, program, cases, comparator, grades))
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
            ACCEPTED,
        )
        for row in rows(folder / "submissions_graded.jsonl")
        if row["_uid"] in samples and str(row["graded"]) == "True"
    ]


def leetcode(path: Path) -> list[Graded]:
    """Reference solutions whose assertions are calls with literal arguments."""
    found = []
    for row in rows(path):
        tests = row["tests"] if isinstance(row["tests"], dict) else ast.literal_eval(row["tests"])
        cases: list[Case] = []
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
            found.append(Graded(row["_uid"], submission, tuple(cases), "livecodebench", ACCEPTED))
    return found


def method(source: str, parameters: set[str]) -> str | None:
    """The method of the class `Solution` that takes these parameters."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and node.name == "Solution":
            for function in node.body:
                if isinstance(function, ast.FunctionDef) and {arg.arg for arg in function.args.args[1:]} == parameters:
                    return function.name
    return None


def rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a `.jsonl` file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except SandboxUnavailable as error:
        raise SystemExit(str(error)) from None

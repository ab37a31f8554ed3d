"""Grading: is this response right? One body of code for evaluation, curation and rewards."""

from __future__ import annotations

import asyncio
import re
import secrets
import string
import unicodedata
from dataclasses import replace
from typing import Literal

from mimo_eval.equality import find_and_compare, math_equal
from mimo_eval.problem import Problem
from mimo_eval.response import choice_letters, final_text, last_boxed, program, short_answer
from mimo_eval.run import EvalError, Record
from mimo_sandbox import Case, Sandbox, Submission, judge


class Grade(Record, frozen=True, kw_only=True):
    """Whether one response is right, and why."""

    correct: bool
    """The answer equals the expected one, or the program passes every test."""
    answer: str
    """What was read from the response: expression, letters, words or program; '' if there was none."""
    passed: tuple[bool, ...] = ()
    """One per test, in the problem's order (code)."""
    reason: Literal["correct", "wrong_answer", "no_answer", "tests_failed"]
    """`no_answer`: nothing in the response commits to an answer, an unclosed `<think>` among others."""


async def grade(
    problem: Problem,
    response: str,
    sandbox: Sandbox | None = None,
    *,
    stop: Literal["all", "first-failure"] = "all",
) -> Grade:
    r"""Judges the text after the last `</think>` by the problem's kind; any response gets a grade.

    math: the last `\boxed{…}`, else the last expression that math-verify finds, compared by `math_equal`.
    choice: letters, see `choice_letters`. text: see `short_answer`; equal to the answer or an alias after
    lower-casing and without articles and punctuation. code: the last fenced block, else everything, run in
    `sandbox` on the problem's tests.

    Args:
        stop: "all" runs every test, for rewards by test; "first-failure" counts the tests after a failed one
            as failed without running them.

    Raises:
        EvalError: a code problem without a sandbox, or a broken math-verify worker.
        SandboxUnavailable: the judge is broken; never a grade.
    """
    text = final_text(response)
    if problem.kind == "code":
        return await _grade_code(problem, program(text), sandbox, stop)
    if problem.kind == "math":
        boxed = last_boxed(text)
        if boxed is None:
            answer, correct = (
                await asyncio.to_thread(find_and_compare, problem.answer, text) if text.strip() else ("", False)
            )
        else:
            answer, correct = boxed, await asyncio.to_thread(math_equal, problem.answer, boxed)
    elif problem.kind == "choice":
        answer = choice_letters(text)
        correct = answer == "".join(sorted(problem.answer))
    else:
        answer = short_answer(text)
        correct = _words(answer) in {_words(accepted) for accepted in (problem.answer, *problem.aliases)}
    if not answer:
        return Grade(correct=False, answer="", reason="no_answer")
    return Grade(correct=correct, answer=answer, reason="correct" if correct else "wrong_answer")


async def _grade_code(
    problem: Problem, source: str, sandbox: Sandbox | None, stop: Literal["all", "first-failure"]
) -> Grade:
    if sandbox is None:
        raise EvalError(f"Problem {problem.id!r} is code: pass grade() a mimo_sandbox.Sandbox to run its tests in.")
    if not source.strip():
        return Grade(correct=False, answer="", passed=(False,) * len(problem.tests), reason="no_answer")
    submitted, cases = problem.prelude + source, list(problem.tests)
    if problem.test_style == "assertions":
        submitted, cases = _with_assertions(submitted, cases)
    submission = Submission(language=problem.language, source=submitted, entry_point=problem.entry_point or None)
    verdict = await judge(sandbox, submission, cases, comparator=problem.comparator, stop=stop)
    passed = verdict.passed
    correct = all(passed)
    return Grade(correct=correct, answer=source, passed=passed, reason="correct" if correct else "tests_failed")


_ASSERTION_RUNNER = """
import io, sys
word, _, assertions = sys.stdin.read().partition("\\n")
stdout, sys.stdout, sys.stdin = sys.stdout, io.StringIO(), io.StringIO()
names = {"__name__": "submission"}
exec(compile(SOURCE, "submission.py", "exec"), names)
exec(compile(assertions, "assertions.py", "exec"), names)
stdout.write(word)
"""


def _with_assertions(source: str, cases: list[Case]) -> tuple[str, list[Case]]:
    """A program that runs the submission, then the assertions on its stdin, then repeats a word that came with them.

    What the submission prints is discarded, and leaving early leaves the word unsaid. The word is fresh each time:
    printing a fixed one passes nothing. A submission that walks the runner's frames for it is not defended against.
    """
    runner = f"SOURCE = {source!r}\n" + _ASSERTION_RUNNER
    word = secrets.token_hex(8)
    return runner, [replace(case, stdin=f"{word}\n{case.stdin}", expected=word) for case in cases]


def _words(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold()
    bare = "".join(" " if character in string.punctuation else character for character in text)
    # An answer that is nothing but punctuation or an article (BBH's brackets) is compared as it stands.
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split()) or "".join(text.split())

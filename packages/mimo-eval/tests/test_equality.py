"""Which mathematical answers are the same, and that no answer can break or stall the comparison."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimo_eval import EvalError, math_equal


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        (r"\frac{1}{2}", "0.5"),
        (r"\frac12", "1/2"),
        ("11\\frac{2}{3}", "35/3"),
        (r"2\sqrt3", r"\sqrt{12}"),
        (r"\sqrt{2}", "1.41421356"),
        ("1000", "1,000"),
        ("18", r"\$18"),
        ("18", "18 dollars"),
        ("18", r"18\text{ square inches}"),
        ("2000000", "2 million"),
        ("2000000", r"2\text{ million dollars}"),
        (r"50\%", "0.5"),
        (r"90^\circ", "90"),
        ("0", "-0.0"),
        ("012", "12"),
        ("(3,4]", "(3, 4]"),
        (r"(-\infty,0)\cup(1,\infty)", r"(-\infty, 0) \cup (1, \infty)"),
        (r"x\in[-2,7]", "[-2,7]"),
        (r"\{1,2\}", "2, 1"),
        ("x^2+2x+1", "(x+1)^2"),
        ("y=2x+3", "y = 3+2x"),
        ("3", "x=3"),
        ("6+9i", "9i+6"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
        (r"\text{Evelyn}", "Evelyn"),
        (r"\text{(A)}", "A"),
    ],
)
def test_answers_that_mean_the_same_are_equal(expected, answer):
    assert math_equal(expected, answer)


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        ("3", "4"),
        ("3", ""),
        ("3", "3 or 4"),
        ("3", "1, 2, 3"),
        ("5", "5.001"),
        ("18", "18 million"),
        ("18", r"18\text{ thousand}"),
        ("(3,4]", "[3,4]"),
        ("(1,2)", "(2,1)"),
        ("x^2+2x+1", "x^2+2x"),
        ("6+9i", "6-9i"),
        (r"\text{east}", "west"),
        ("12,34", "1234"),
    ],
)
def test_answers_that_differ_are_not_equal(expected, answer):
    assert not math_equal(expected, answer)


@pytest.mark.parametrize(
    "answer", ["{" * 200, r"\frac{1}{0}", "(" * 12 + "1", r"\sqrt{" * 40 + "x" + "}" * 40, "\x00\ufffd", "9" * 5000]
)
def test_an_answer_that_cannot_be_read_is_not_equal(answer):
    assert math_equal("2", answer) is False


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["9^{9^{9^9}}", "99999999999999999!", r"\int_0^1 x^{x^{x^x}} dx", "10^{10^{10}}+1"])
def test_an_answer_that_takes_for_ever_is_not_equal_after_a_few_seconds_of_cpu(answer):
    start_s = time.monotonic()
    assert math_equal("2", answer) is False
    assert time.monotonic() - start_s < 60


@pytest.mark.slow
def test_the_benchmark_times_every_kind_of_answer(tmp_path):
    benchmarks = Path(__file__).resolve().parent.parent / "benchmarks"
    code = "import math_equal; math_equal.NUM_PAIRS = 2; math_equal.main()"
    environment = os.environ | {"PYTHONPATH": str(benchmarks), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    _, _, *rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("|")]
    assert [len(row) for row in rows] == [3] * 7 + [2]
    assert all(0 <= float(time_ms) < 60_000 for _, *times_ms in rows for time_ms in times_ms)
    assert list(tmp_path.iterdir()) == []


@given(st.text(min_size=1).filter(str.strip))
def test_an_answer_equals_itself(text):
    assert math_equal(text, text)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4), st.decimals(-9, 9, places=1))
def test_plain_numbers_are_compared_exactly(a, b):
    assert math_equal(f"{a:f}", f"{b:f}") == (a == b)


@settings(max_examples=30)
@given(st.text(alphabet=r"0123456789+-*/^=()[]{}\,.xyabcdefint $%_&|!" + "\n", max_size=40))
def test_any_answer_gives_true_or_false(answer):
    assert math_equal("7", answer) in (True, False)


def test_comparing_works_in_threads_where_signals_do_not():
    found = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(math_equal(str(n), rf"\frac{{{2 * n}}}{{2}}")))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8


def test_a_killed_worker_is_an_error_and_not_a_wrong_answer():
    assert math_equal(r"\frac{3}{7}", "6/14")
    supervisors = _children(os.getpid())
    for supervisor in supervisors:
        for child in _children(supervisor):
            os.kill(child, signal.SIGKILL)
    for supervisor in supervisors:
        _wait_until_gone(supervisor)
    for n in range(len(supervisors)):
        with pytest.raises(EvalError, match="math-verify worker"):
            math_equal(r"\frac{4}{7}", rf"\frac{{{8 + n}}}{{14}}")
    assert math_equal(r"\frac{5}{7}", "10/14")


def _children(pid: int) -> list[int]:
    """Live math-verify processes whose parent is `pid`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        if int(parent) == pid and state != "Z" and "math_worker" in command:
            found.append(int(folder.name))
    return found


def _wait_until_gone(pid: int) -> None:
    deadline_s = time.monotonic() + 10
    while pid in _children(os.getpid()) and time.monotonic() < deadline_s:
        time.sleep(0.01)

"""Whatever the bytes of a source, an input, an answer or a name: a verdict, and the next program is judged rightly."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mimo_sandbox import COMPARATORS, Case, CaseResult, Limits, Status, Submission

if TYPE_CHECKING:
    from conftest import Judge

# Without shrinking: an example that fails is small already, and a broken worker takes seconds.
FUZZ = settings(
    derandomize=True,
    database=None,
    max_examples=25,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
LIMITS = Limits(cpu_s=0.2, wall_s=2.0, memory_bytes=128 << 20, output_bytes=1 << 20, num_processes=16)
HONEST = Submission("python", "a, b = map(int, input().split())\nprint(a + b)")
RIGHT, WRONG = Case(id="right", stdin="1 2", expected="3"), Case(id="wrong", stdin="1 2", expected="4")
COPY = Submission("python", "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())")
IDENTITY = Submission("python", "def same(value): return value", "same")

TEXT = (
    st.text(max_size=200)
    | st.text(st.characters(), max_size=60)
    | st.text("\0\n\r\t \ud800é\U0001f600a1-.e", max_size=60)
)
BYTES = st.binary(max_size=300)
# Every byte, as one character: half of a surrogate pair for what is no ASCII.
BYTES_AS_TEXT = BYTES.map(lambda data: data.decode("ascii", "surrogateescape"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)

PROGRAMS = (
    """
import sys
def solve():
    n, *rest = map(int, sys.stdin.read().split())
    print(sum(rest[:n]), n)
solve()
""",
    """
from collections import Counter
words = input().split()
for word, n in sorted(Counter(words).items()):
    print(f"{word}: {n}")
print(len(words), file=__import__("sys").stderr)
""",
    """
import heapq, threading
class Heap:
    def __init__(self, items=()): self.items = list(items)
    def push(self, x): heapq.heappush(self.items, x)
heap = Heap()
for x in (3, 1, 2): heap.push(x)
thread = threading.Thread(target=lambda: print(heap.items))
thread.start()
thread.join()
""",
    """
try:
    def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
    print([fib(n) for n in range(12)])
except RecursionError as error:
    print("deep", error)
finally:
    print("end")
raise SystemExit(3)
""",
    """
import atexit, os
atexit.register(print, "bye")
with open("f", "w") as f: f.write("text")
out = open(1, "w", closefd=False)
print(open("f").read(), os.listdir())
out.write("last")
""",
)
WORDS = (
    *("import", "from", "def", "class", "return", "yield", "with", "try", "except", "finally", "raise", "lambda", "if"),
    *(
        "else",
        "for",
        "while",
        "in",
        "not",
        "is",
        "None",
        "global",
        "nonlocal",
        "del",
        "async",
        "await",
        "print",
        "input",
    ),
    *("open", "exec", "sys", "os", ".", "(", ")", "[", "]", "{", "}", ":", ";", ",", "=", "==", "+", "-", "*", "**"),
    *("/", "%", "@", "\n", "\t", "#", "'", '"', "\\", "0", "1", "-1", "1e9", "10**9", "1/0", "\ud800", "sys.exit()"),
    *("exit()", "sys.stdout=None", "sys.stdin.close()", "os._exit(1)"),
)
CPP_WORDS = (
    *("int", "main", "(", ")", "{", "}", ";", "return", "0", "#", "include", "<iostream>", "template", "<", ">", "\n"),
    *('#include "/dev/zero"\n', "#include __FILE__\n", "int main() { for (;;); }", "#pragma once\n#error\n"),
)


@st.composite
def mutants(draw: st.DrawFn) -> str:
    """A program that was valid before pieces of it were cut out, doubled, moved or replaced."""
    source = draw(st.sampled_from(PROGRAMS))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(source)))
        end = min(len(source), start + draw(st.integers(0, 12)))
        piece = draw(st.sampled_from(("", source[start:end] * 2, *WORDS)) | st.text(max_size=3))
        source = source[:start] + piece + source[end:]
    return source


def result_of(judged: Judge, submission: Submission, case: Case, **options: object) -> CaseResult:
    """What happened; also checks that the sandbox judges an honest program rightly thereafter."""
    (result,) = judged.cases(submission, [case], limits=LIMITS, **options).results
    assert result.case_id == case.id
    assert result.status is not Status.SKIPPED
    assert judged.cases(HONEST, [RIGHT, WRONG]).passed == (True, False)
    return result


def stdin_case(stdin: str = "2 3 4", expected: str = "") -> Case:
    return Case(id="only", stdin=stdin, expected=expected)


@FUZZ
@given(
    TEXT | BYTES_AS_TEXT | st.lists(st.sampled_from(WORDS), max_size=20).map(" ".join),
    st.sampled_from(("fork", "exec")),
)
def test_any_text_as_a_python_source_gets_a_verdict(judged, source, mode):
    result_of(judged, Submission("python", source), stdin_case(), mode=mode)


@FUZZ
@given(mutants())
def test_a_damaged_program_does_the_same_forked_as_afresh(judged, source):
    forked, fresh = (
        result_of(judged, Submission("python", source), stdin_case(), mode=mode) for mode in ("fork", "exec")
    )

    def seen(result: CaseResult) -> tuple[Status, int | None, str]:
        return result.status, result.exit_code, re.sub("0x[0-9a-f]+", "0x", result.stdout_head)

    assert seen(forked) == seen(fresh)


@pytest.mark.slow
@settings(FUZZ, max_examples=12)
@given(TEXT | BYTES_AS_TEXT | st.lists(st.sampled_from(CPP_WORDS), max_size=20).map(" ".join))
def test_any_text_as_a_cpp_source_gets_a_verdict(judged, source):
    result_of(judged, Submission("cpp", source), stdin_case())


@FUZZ
@given(TEXT | BYTES_AS_TEXT)
def test_any_text_goes_in_and_is_equal_to_itself_alone(judged, text):
    assert result_of(judged, COPY, stdin_case(text, text), comparator="exact").status is Status.ACCEPTED
    assert result_of(judged, COPY, stdin_case(text, text + "x"), comparator="exact").status is Status.WRONG_ANSWER


@FUZZ
@given(BYTES)
def test_any_bytes_go_in_and_come_out(judged, data):
    assert judged.run(judged.sandbox.run(COPY, data, mode="fork")).stdout == data


@FUZZ
@given(st.sampled_from(sorted(COMPARATORS)), TEXT | BYTES_AS_TEXT, TEXT | BYTES_AS_TEXT)
def test_any_answer_to_any_expectation_is_right_or_wrong(judged, comparator, output, expected):
    result = result_of(judged, COPY, stdin_case(output, expected), comparator=comparator)

    assert result.status in (Status.ACCEPTED, Status.WRONG_ANSWER)


@FUZZ
@given(
    TEXT
    | st.sampled_from(("float:", "float:1e-9", "float:abs=", "tokens@", "tokens@1", "interactive", "@", ":"))
    | TEXT.map("float:{}".format)
)
def test_any_name_of_a_comparator_is_one_or_is_refused(judged, name):
    try:
        result = result_of(judged, COPY, stdin_case("1", "1"), comparator=name)
    except ValueError:
        return
    assert result.status is Status.ACCEPTED


@FUZZ
@given(JSON)
def test_a_value_that_goes_through_a_function_is_itself(judged, value):
    arguments, expected = json.dumps([value]), json.dumps(value)

    assert result_of(judged, IDENTITY, Case(id="1", arguments=arguments, expected=expected)).status is Status.ACCEPTED


@FUZZ
@given(
    TEXT
    | BYTES_AS_TEXT
    | st.sampled_from(
        (
            "[" * 100_000,
            "[1",
            "1",
            "null",
            '{"value": 1, "value": 2}',
            '{"other": 1}',
            "[NaN]",
            "[1e999]",
            "[" + "9" * 5000 + "]",
        )
    ),
    TEXT,
    st.sampled_from(("fork", "exec")),
)
def test_any_text_as_arguments_gets_a_verdict(judged, arguments, expected, mode):
    result_of(judged, IDENTITY, Case(id="1", arguments=arguments, expected=expected), mode=mode)


@FUZZ
@given(
    TEXT | BYTES_AS_TEXT | st.sampled_from(("print", "__builtins__", "main.py", "-c", "{program}", "x" * 100_000, "")),
    st.sampled_from(("fork", "exec")),
)
def test_any_text_as_an_entry_point_gets_a_verdict(judged, name, mode):
    submission = Submission("python", "def same(value): return value", name)

    assert result_of(judged, submission, Case(id="1", arguments="[1]", expected="1"), mode=mode).status in (
        Status.RUNTIME_ERROR,
        Status.WRONG_ANSWER,
    )


@FUZZ
@given(BYTES, st.integers(0, 255), st.booleans())
def test_a_checker_that_says_anything_and_ends_with_any_code_gives_a_verdict(judged, words, code, to_stderr):
    checker = Submission(
        "python", f"import os\nos.write({1 + to_stderr}, bytes.fromhex('{words.hex()}'))\nos._exit({code})"
    )

    status = result_of(judged, COPY, stdin_case(), checker=checker).status

    assert status is {0: Status.ACCEPTED, 1: Status.WRONG_ANSWER, 2: Status.WRONG_ANSWER}.get(
        code, Status.CHECKER_ERROR
    )


@FUZZ
@given(JSON | st.tuples(st.booleans(), TEXT))
def test_a_checker_function_that_returns_anything_gives_a_verdict(judged, value):
    checker = Submission("python", f"def check(stdin, output, expected): return {value!r}", "check")
    returned = value[0] if isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[1], str) else value
    verdicts = {True: Status.ACCEPTED, False: Status.WRONG_ANSWER}

    status = result_of(judged, COPY, stdin_case(), checker=checker).status

    assert status is (verdicts[returned] if isinstance(returned, bool) else Status.CHECKER_ERROR)


@FUZZ
@given(BYTES, BYTES)
def test_an_interactor_and_a_program_that_say_anything_get_a_verdict(judged, said, answered):
    program, interactor = (
        Submission("python", f"import os\nos.write(1, bytes.fromhex('{words.hex()}'))\nos.read(0, 100)")
        for words in (said, answered)
    )

    result_of(judged, program, stdin_case(), checker=interactor, comparator="interactive")

"""What one request can ask for: stop policies, streams, comparators, checkers, interactors, limits, languages."""

from __future__ import annotations

import asyncio

import pytest

from mimo_sandbox import Case, Limits, Sandbox, SandboxUnavailable, Status, Submission, judge_many
from mimo_sandbox.languages import LANGUAGES

ADD = Submission("python", "a, b = map(int, input().split())\nprint(a + b)")
ECHO = Submission("python", "print(input())")


def statuses(verdict):
    return [result.status.value for result in verdict.results]


def test_first_failure_per_group_skips_the_rest_of_the_failed_group_only(judged):
    cases = [
        Case(id=str(number), stdin=text, expected="right", group=group)
        for number, (group, text) in enumerate(
            [("easy", "right"), ("hard", "wrong"), ("easy", "right"), ("hard", "right"), ("easy", "wrong")]
        )
    ]

    verdict = judged.cases(ECHO, cases, stop="first-failure-per-group")

    assert statuses(verdict) == ["accepted", "wrong answer", "accepted", "skipped", "wrong answer"]


def test_a_stream_gives_every_result_once_in_the_order_of_the_cases(judged):
    late_first = Submission("python", "import time\nn = int(input())\ntime.sleep(0.3 if n == 0 else 0)\nprint(n)")
    cases = [Case(id=str(number), stdin=str(number), expected=str(number)) for number in range(12)]

    async def collect():
        return [result async for result in judged.sandbox.stream(late_first, cases)]

    results = judged.run(collect())

    assert [(result.case_id, result.status) for result in results] == [(case.id, Status.ACCEPTED) for case in cases]


def test_a_stream_that_is_left_early_frees_the_workers(judged):
    slow = Submission("python", "import time\nn = int(input())\ntime.sleep(0 if n == 0 else 60)\nprint(n)")
    cases = [Case(id=str(number), stdin=str(number), expected=str(number)) for number in range(6)]

    async def take_one():
        stream = judged.sandbox.stream(slow, cases)
        first = await anext(stream)
        await stream.aclose()
        return first

    assert judged.run(take_one()).status is Status.ACCEPTED
    assert judged.cases(ADD, [Case(id="1", stdin="1 2", expected="3")]).passed == (True,)


def test_results_that_are_sent_together_keep_to_their_cases(judged):
    slow = Submission("python", "import time\ntime.sleep(0.015)\nprint(input())")
    cases = [Case(id=str(number), stdin=str(number), expected=str(number)) for number in range(40)]

    assert all(judged.cases(slow, cases, mode="exec").passed)
    assert all(judged.cases(slow, cases, mode="fork").passed)


def test_each_request_has_its_own_limits(judged):
    hungry = Submission(
        "python", "data = bytearray(90 << 20)\nfor i in range(0, len(data), 4096): data[i] = 1\nprint(3)"
    )
    case = [Case(id="1", stdin="", expected="3")]

    for megabytes, status in ((128, "accepted"), (64, "memory limit"), (256, "accepted"), (64, "memory limit")):
        verdict = judged.cases(hungry, case, limits=Limits(cpu_s=2, memory_bytes=megabytes << 20))
        assert statuses(verdict) == [status], megabytes


def test_a_comparator_may_have_tolerances(judged):
    case = [Case(id="1", stdin="", expected="1000")]
    near = Submission("python", "print(1000.5)")

    assert judged.cases(near, case, comparator="float").passed == (False,)
    assert judged.cases(near, case, comparator="float:1e-3").passed == (True,)
    assert judged.cases(near, case, comparator="float:abs=0.5,rel=0").passed == (True,)
    with pytest.raises(ValueError, match="version"):
        judged.cases(near, case, comparator="float@9")


EVEN = Submission(
    "python",
    "def check(given, output, expected):\n"
    "    return int(output) % 2 == 0, f'{output.strip()} is odd, not {expected.strip()}'",
    "check",
)


def test_a_python_function_can_decide(judged):
    cases = [Case(id="1", stdin="4", expected="even"), Case(id="2", stdin="5", expected="even")]

    verdict = judged.cases(ECHO, cases, checker=EVEN)

    assert statuses(verdict) == ["accepted", "wrong answer"]
    assert verdict.results[1].stderr_head == "5 is odd, not even"


def test_a_checker_that_fails_says_nothing_about_the_program(judged):
    case = [Case(id="1", stdin="no number", expected="even")]

    crashed = judged.cases(ECHO, case, checker=EVEN).results[0]
    undecided = judged.cases(ECHO, case, checker=Submission("python", "def check(*_): return 'yes'", "check")).results[
        0
    ]
    broken = judged.cases(ECHO, case, checker=Submission("cpp", "int main( {")).results[0]

    assert [result.status.value for result in (crashed, undecided, broken)] == ["checker error"] * 3
    assert "invalid literal" in crashed.stderr_head
    assert "neither a bool" in undecided.stderr_head
    assert "does not compile" in broken.stderr_head


def test_a_checker_is_not_asked_about_a_program_that_failed(judged):
    case = [Case(id="1", stdin="", expected="")]

    verdict = judged.cases(Submission("python", "raise SystemExit(3)"), case, checker=EVEN)

    assert statuses(verdict) == ["runtime error"]


TESTLIB = """
#include <fstream>
#include <iostream>
int main(int argc, char **argv) {
    std::ifstream input(argv[1]), output(argv[2]), answer(argv[3]);
    long given, found, wanted;
    input >> given; answer >> wanted;
    if (!(output >> found)) { std::cerr << "not a number"; return 2; }
    if (given == 13) return 3;
    if (found != wanted) { std::cerr << "expected " << wanted << ", found " << found; return 1; }
    return 0;
}
"""


def test_exit_codes_of_testlib_checkers_mean_what_they_mean_there(judged):
    rows = [("7", "7"), ("7", "8"), ("word", "7"), ("13", "13")]
    cases = [Case(id=str(number), stdin=given, expected=wanted) for number, (given, wanted) in enumerate(rows)]

    verdict = judged.cases(ECHO, cases, checker=Submission("cpp", TESTLIB))

    assert statuses(verdict) == ["accepted", "wrong answer", "wrong answer", "checker error"]
    assert verdict.results[1].stderr_head == "expected 8, found 7"
    assert verdict.results[2].stderr_head == "not a number"


GUESSING = """
import sys
secret = int(open(sys.argv[1]).read())
for _ in range(10):
    guess = int(input())
    print("lower" if secret < guess else "higher" if secret > guess else "right", flush=True)
    if guess == secret:
        sys.exit(0)
sys.stderr.write("ten guesses are over")
sys.exit(1)
"""
BISECTING = """
low, high = 0, 1000
while True:
    guess = (low + high) // 2
    print(guess, flush=True)
    answer = input()
    if answer == "right":
        break
    low, high = (low, guess - 1) if answer == "lower" else (guess + 1, high)
"""


@pytest.mark.parametrize(
    ("source", "status"),
    [
        (BISECTING, "accepted"),
        ("for n in range(1000):\n    print(n, flush=True)\n    if input() == 'right': break", "wrong answer"),
        ("print('x' * 3_000_000)", "output limit"),
        ("input()", "idleness limit"),
        ("while True: pass", "time limit"),
        ("raise SystemExit(7)", "runtime error"),
        ("print('seven', flush=True)\ninput()", "checker error"),
    ],
)
def test_an_interactor_talks_with_the_program_and_decides(judged, source, status):
    case = [Case(id="1", stdin="700", expected="")]

    verdict = judged.cases(
        Submission("python", source), case, comparator="interactive", checker=Submission("python", GUESSING)
    )

    assert statuses(verdict) == [status]


DOUBLING = """
#include <cstdio>
int main() { long n; while (scanf("%ld", &n) == 1) { printf("%ld\\n", 2 * n); fflush(stdout); } }
"""
ASKING = """
#include <cstdio>
int main() {
    for (long n = 0, got; n < 200; n++) {
        printf("%ld\\n", n);
        fflush(stdout);
        if (scanf("%ld", &got) != 1 || got != 2 * n) return 1;
    }
}
"""


def test_both_sides_of_a_conversation_may_be_compiled_and_the_interactor_may_speak_first(judged):
    verdict = judged.cases(
        Submission("cpp", DOUBLING),
        [Case(id="1", stdin="", expected="")],
        comparator="interactive",
        checker=Submission("cpp", ASKING),
    )

    assert statuses(verdict) == ["accepted"]


def test_an_interactor_with_a_comparator_s_place_must_be_given(judged):
    case = [Case(id="1", stdin="", expected="")]

    with pytest.raises(ValueError, match="needs a checker"):
        judged.cases(ECHO, case, comparator="interactive")


PROGRAMS = {
    "python": "print(sum(map(int, input().split())))",
    "cpp": "#include <bits/stdc++.h>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b; }",
    "c": '#include <stdio.h>\nint main(void) { int a, b; scanf("%d %d", &a, &b); printf("%d", a + b); }',
    "rust": "use std::io;\nfn main() { let mut line = String::new(); io::stdin().read_line(&mut line).unwrap();\n"
    'println!("{}", line.split_whitespace().map(|w| w.parse::<i64>().unwrap()).sum::<i64>()); }',
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_program_of_each_language_is_judged(judged, language):
    cases = [Case(id="1", stdin="20 22\n", expected="42"), Case(id="2", stdin="1 1\n", expected="3")]
    try:
        verdict = judged.cases(Submission(language, PROGRAMS[language]), cases)
    except SandboxUnavailable as error:
        pytest.skip(str(error))

    assert statuses(verdict) == ["accepted", "wrong answer"]


def test_numpy_is_there_and_warm(judged):
    source = "import numpy as np\nprint(np.arange(4).sum())"
    judged.skip_without_numpy(source)

    result = judged.python(source, expected="6")

    assert (result.status, result.mode) == (Status.ACCEPTED, "fork")


def test_names_of_libraries_are_no_functions_of_a_solution(judged):
    empty = Submission("python", "class Solution:\n    def other(self): pass", "gcd")
    own = Submission("python", "class Solution:\n    def gcd(self, a, b): return [a, b]", "gcd")

    assert statuses(judged.cases(empty, [Case(id="1", arguments="[4, 6]", expected="2")])) == ["runtime error"]
    assert statuses(judged.cases(own, [Case(id="1", arguments="[4, 6]", expected="[4, 6]")])) == ["accepted"]


def test_leetcode_s_imports_are_there_for_a_solution(judged):
    source = (
        "class Solution:\n    def most(self, words: List[str], k: Optional[int] = None) -> str:\n"
        "        return Counter(words).most_common(1)[0][0] + str(gcd(4, 6)) + str(inf)"
    )

    verdict = judged.cases(
        Submission("python", source, "most"), [Case(id="1", arguments='[["a", "b", "b"]]', expected='"b2inf"')]
    )

    assert statuses(verdict) == ["accepted"], verdict


def test_a_program_is_compiled_once_and_kept_for_the_next_sandbox(tmp_path):
    source = f"#include <stdio.h>\n// {tmp_path}\nint main(void) {{ puts(__TIME__); }}"
    case = [Case(id="1", stdin="", expected="")]

    async def said() -> str:
        async with Sandbox("local", num_workers=1, cache_folder=tmp_path) as sandbox:
            return (await sandbox.judge(Submission("c", source), case)).results[0].stdout_head

    first = asyncio.run(said())
    (kept,) = (tmp_path / "programs").iterdir()

    assert first == asyncio.run(said())
    kept.unlink()
    assert asyncio.run(said()) >= first


def test_identical_programs_in_a_batch_run_once(judged):
    stamp = Submission("python", "import os\nprint(os.urandom(8).hex())")
    cases = [Case(id="1", stdin="same", expected="")]

    verdicts = judged.run(judge_many(judged.sandbox, [(stamp, cases)] * 3))

    assert len({verdict.results[0].stdout_head for verdict in verdicts}) == 1


def test_a_language_without_its_compiler_is_no_verdict(monkeypatch):
    monkeypatch.setitem(
        LANGUAGES,
        "rust",
        LANGUAGES["rust"].__class__(
            **{
                **{name: getattr(LANGUAGES["rust"], name) for name in LANGUAGES["rust"].__dataclass_fields__},
                "needs": "/nowhere/rustc",
            }
        ),
    )

    async def judge_it() -> None:
        async with Sandbox("local", num_workers=1) as sandbox:
            await sandbox.judge(Submission("rust", "fn main() {}"), [Case(id="1", stdin="", expected="")])

    with pytest.raises(SandboxUnavailable, match="/nowhere/rustc"):
        asyncio.run(judge_it())


def test_a_first_failure_does_not_wait_for_what_it_skips(judged):
    source = "import time\nn = int(input())\ntime.sleep(0 if n < 8 else 1.5)\nprint(n if n < 7 else -1)"
    cases = [Case(id=str(number), stdin=str(number), expected=str(number)) for number in range(40)]

    async def seconds() -> float:
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        verdict = await judged.sandbox.judge(Submission("python", source), cases, stop="first-failure")
        assert statuses(verdict) == ["accepted"] * 7 + ["wrong answer"] + ["skipped"] * 32
        return loop.time() - start_s

    # The eight cases that are begun beside the failed one would take six seconds on two workers.
    assert judged.run(seconds()) < 5

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from mimo_sandbox import Case, Limits, Sandbox, SandboxUnavailable, Status, Submission, judge, judge_many

ADD = Submission("python", "a, b = map(int, input().split())\nprint(a + b)")


def test_a_right_program_is_accepted_and_a_wrong_one_is_not(judged):
    cases = [Case(id="small", stdin="1 2\n", expected="3\n"), Case(id="large", stdin="10 20\n", expected="31\n")]

    verdict = judged.cases(ADD, cases)

    assert [result.case_id for result in verdict.results] == ["small", "large"]
    assert verdict.passed == (True, False)
    assert verdict.results[1].status is Status.WRONG_ANSWER
    assert verdict.results[1].stdout_head == "30\n"


def test_what_a_program_used_is_reported(judged):
    source = "data = bytearray(40 << 20)\nend = __import__('time').process_time() + 0.2\n"
    source += "while __import__('time').process_time() < end: pass"

    result = judged.python(source)

    assert 0.2 <= result.cpu_s < 0.5
    assert result.wall_s >= 0.2
    assert 40 << 20 < result.memory_bytes < 80 << 20


def test_an_exception_is_a_runtime_error_with_its_exit_code_and_message(judged):
    result = judged.python("print('so far')\nraise ValueError('no')")

    assert (result.status, result.exit_code) == (Status.RUNTIME_ERROR, 1)
    assert result.stdout_head == "so far\n"
    assert result.stderr_head.endswith("ValueError: no\n")


def test_a_signal_is_a_runtime_error_with_its_number(judged):
    assert judged.python("import os\nos.abort()").exit_code == -6


def test_what_does_not_parse_is_a_compile_error_in_every_case(judged):
    cases = [Case(id="1", stdin="", expected=""), Case(id="2", stdin="", expected="")]

    verdict = judged.cases(Submission("python", "print('a'"), cases)

    assert [result.status for result in verdict.results] == [Status.COMPILE_ERROR] * 2
    assert "SyntaxError" in verdict.results[0].stderr_head


@pytest.mark.parametrize(
    "source",
    ["\0", "\ud800", "# coding: nonsense\n", "(" * 100_000, "x = " + "-" * 100_000 + "1", "\ufeffprint(", "\x1a\r\f("],
)
def test_any_text_as_source_gives_a_verdict(judged, source):
    assert judged.python(source).status in (Status.COMPILE_ERROR, Status.RUNTIME_ERROR)


@pytest.mark.parametrize("text", ["", "\0", "\ud800", "é\U0001f600", "x" * 200_000])
def test_any_text_goes_in_and_comes_out_unchanged(judged, text):
    copy = "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())"
    case = Case(id="1", stdin=text, expected=text)

    assert judged.cases(Submission("python", copy), [case], comparator="exact").passed == (True,)


def test_memory_that_processes_share_counts_once(judged):
    source = "import os, time\ndata = b'x' * (60 << 20)\nfor _ in range(4):\n"
    source += (
        "    if os.fork() == 0:\n        time.sleep(0.3)\n        os._exit(0)\nfor _ in range(4): os.wait()\nprint(3)"
    )

    assert judged.python(source, expected="3").status is Status.ACCEPTED


def test_exit_is_there_as_in_an_ordinary_interpreter(judged):
    assert judged.python("print(3)\nexit()", expected="3").status is Status.ACCEPTED


def test_stdin_can_be_opened_by_its_path(judged):
    assert judged.python("print(open('/dev/stdin').read())", stdin="3", expected="3").status is Status.ACCEPTED


def test_a_function_is_called_with_json_arguments(judged):
    source = "def pair(a, b=2):\n    print('noise')\n    return (a, {'b': b})"
    cases = [
        Case(id="positional", arguments="[1, 3]", expected='[1, {"b": 3}]'),
        Case(id="keyword", arguments='{"a": "x"}', expected='["x", {"b": 2.0}]'),
        Case(id="wrong", arguments="[1]", expected='[true, {"b": 2}]'),
        Case(id="raises", arguments="[]", expected="null"),
    ]

    verdict = judged.cases(Submission("python", source, "pair"), cases)

    assert verdict.passed == (True, True, False, False)
    assert verdict.results[3].status is Status.RUNTIME_ERROR
    assert verdict.results[0].stderr_head == "noise\n"


def test_a_method_of_the_class_solution_is_called_too(judged):
    source = "class Solution:\n    def double(self, x): return 2 * x\nif __name__ == '__main__': raise SystemExit(1)"

    verdict = judged.cases(Submission("python", source, "double"), [Case(id="1", arguments="[4]", expected="8")])

    assert verdict.passed == (True,)


def test_a_missing_entry_point_is_a_runtime_error(judged):
    verdict = judged.cases(Submission("python", "x = 1", "f"), [Case(id="1", arguments="[4]", expected="8")])

    assert verdict.results[0].status is Status.RUNTIME_ERROR


def test_cpp_is_compiled_once_and_run(judged):
    source = "#include <iostream>\nint main() { long a, b; std::cin >> a >> b; std::cout << a + b; }"
    cases = [Case(id=str(n), stdin=f"{n} 1", expected=str(n + 1)) for n in range(4)]

    assert all(judged.cases(Submission("cpp", source), cases).passed)


def test_cpp_that_does_not_compile_says_why(judged):
    verdict = judged.cases(Submission("cpp", "int main() { return x; }"), [Case(id="1", stdin="", expected="")])

    assert verdict.results[0].status is Status.COMPILE_ERROR
    assert "x" in verdict.results[0].stderr_head


def test_a_binary_that_cannot_be_executed_is_a_runtime_error_and_no_failure_of_the_judge(judged):
    source = '__attribute__((used, section(".interp"))) const char interpreter[] = "/nowhere";\nint main() {}'

    verdict = judged.cases(Submission("cpp", source), [Case(id="1", stdin="", expected="")])

    assert verdict.results[0].status is Status.RUNTIME_ERROR


def test_first_failure_skips_what_follows(judged):
    cases = [Case(id=str(n), stdin=f"{n} 1", expected="2") for n in (1, 5, 1)]

    verdict = judged.cases(ADD, cases, stop="first-failure")

    assert [result.status for result in verdict.results] == [Status.ACCEPTED, Status.WRONG_ANSWER, Status.SKIPPED]


def test_a_program_meets_each_distinct_input_once(judged):
    number = "import os\nprint(os.urandom(8).hex())"
    cases = [Case(id=str(n), stdin="same", expected="") for n in range(3)]

    verdicts = judged.run(judge_many(judged.sandbox, [(Submission("python", number), cases)] * 2))

    assert len({result.stdout_head for verdict in verdicts for result in verdict.results}) == 1


def test_many_submissions_keep_their_order(judged):
    jobs = [(Submission("python", f"print({number})"), [Case(id="1", stdin="", expected="7")]) for number in range(10)]

    verdicts = judged.run(judge_many(judged.sandbox, jobs))

    assert [verdict.passed for verdict in verdicts] == [(number == 7,) for number in range(10)]


def test_a_submission_without_cases_is_compiled_and_has_an_empty_verdict(judged):
    assert judged.cases(ADD, []).results == ()


def test_what_cannot_be_judged_is_refused_before_anything_runs(judged):
    case = Case(id="1", stdin="", expected="")
    for submission, options, message in (
        (Submission("cobol", ""), {}, "cobol"),
        (Submission("cpp", "", "f"), {}, "entry_point"),
        (Submission("python", "", "f"), {}, "takes arguments"),
        (ADD, {"comparator": "vibes"}, "vibes"),
        (ADD, {"stop": "never"}, "never"),
    ):
        with pytest.raises(ValueError, match=message):
            judged.cases(submission, [case], **options)


def test_a_caller_that_gives_up_leaves_a_sandbox_that_works(judged):
    async def give_up() -> None:
        sleeper = Submission("python", "import time\ntime.sleep(60)")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(judge(judged.sandbox, sleeper, [Case(id="1", stdin="", expected="")]), 0.5)

    judged.run(give_up())

    assert judged.cases(ADD, [Case(id="1", stdin="1 2", expected="3")]).passed == (True,)


def test_a_judge_that_loses_every_worker_raises_and_gives_no_verdict(judged, monkeypatch):
    from mimo_sandbox.worker import Outcome, Worker, WorkerLostError

    async def lose(self: Worker, *_: object, **__: object) -> AsyncIterator[Outcome]:
        raise WorkerLostError("the host is on fire")
        yield

    monkeypatch.setattr(Worker, "run", lose)

    with pytest.raises(SandboxUnavailable, match="the host is on fire"):
        judged.cases(ADD, [Case(id="1", stdin="1 2", expected="3")])


def test_a_closed_sandbox_says_so():
    with pytest.raises(SandboxUnavailable, match="async with"):
        asyncio.run(judge(Sandbox("local"), ADD, [Case(id="1", stdin="1 2", expected="3")]))


def test_without_an_engine_auto_is_local_and_docker_refuses(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")

    async def backend(name: str) -> str:
        async with Sandbox(name, num_workers=1) as sandbox:
            return sandbox.backend

    assert asyncio.run(backend("auto")) == "local"
    with pytest.raises(SandboxUnavailable, match="no Docker engine answers"):
        asyncio.run(backend("docker"))


def test_without_any_isolation_nothing_runs_unless_asked_for(monkeypatch):
    from mimo_sandbox import sandbox as module

    async def refuse(*, isolated: bool, **options: object) -> object:
        if isolated:
            raise SandboxUnavailable("unshare: Operation not permitted.")
        return await start(isolated=False, **options)

    start = module.start_local_worker
    monkeypatch.setattr(module, "start_local_worker", refuse)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")

    async def verdict(backend: str) -> tuple[bool, ...]:
        async with Sandbox(backend, num_workers=1, limits=Limits(wall_s=5)) as sandbox:
            return (await judge(sandbox, ADD, [Case(id="1", stdin="1 2", expected="3")])).passed

    with pytest.raises(SandboxUnavailable, match="no isolation on this host"):
        asyncio.run(verdict("auto"))
    assert asyncio.run(verdict("unsafe")) == (True,)


def test_a_verdict_is_json_and_comes_back(judged):
    verdict = judged.cases(ADD, [Case(id="1", stdin="1 2", expected="3")])

    assert type(verdict).from_json(verdict.to_json()) == verdict
    assert json.loads(verdict.to_json())["results"][0]["status"] == "accepted"

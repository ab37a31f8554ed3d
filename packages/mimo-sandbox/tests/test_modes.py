"""A program does the same in an interpreter forked from a warm one as in one of its own, and on every backend."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from mimo_sandbox import Case, Limits, Status, Submission

if TYPE_CHECKING:
    from conftest import Judge

    from mimo_sandbox.verdict import Mode

PROGRAMS: dict[str, dict[str, Any]] = tomllib.loads((Path(__file__).parent / "modes.toml").read_text())
STDIN = "1 2\n3 4\n\nlast"
MB = 1_000_000


class Behaviour(NamedTuple):
    """What a program did, as far as a verdict depends on it."""

    is_sound: bool
    exit_code: int | None
    stdout: bytes


def behaviour(judged: Judge, program: dict[str, Any], mode: Mode) -> tuple[Behaviour, str]:
    """What it did, and the mode it really ran in."""
    submission = Submission("python", program["source"], program.get("entry_point"))
    if submission.entry_point is None:
        stdin = (program.get("stdin", STDIN) * program.get("stdin_times", 1)).encode()
        run = judged.run(judged.sandbox.run(submission, stdin, mode=mode))
        return Behaviour(run.result.status is Status.ACCEPTED, run.result.exit_code, run.stdout), run.result.mode
    case = Case(id="only", arguments=program["arguments"], expected="")
    result = judged.cases(submission, [case], mode=mode).results[0]
    is_sound = result.status in (Status.ACCEPTED, Status.WRONG_ANSWER)
    return Behaviour(is_sound, result.exit_code, result.stdout_head.encode()), result.mode


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_does_the_same_forked_as_afresh(judged, name):
    program = PROGRAMS[name]
    judged.skip_without_numpy(program["source"])

    forked, forked_mode = behaviour(judged, program, "fork")
    fresh, fresh_mode = behaviour(judged, program, "exec")

    assert forked == fresh
    assert fresh.exit_code == program.get("exit_code", 0)
    assert (forked_mode, fresh_mode) == (program.get("mode", "fork"), "exec")


@pytest.mark.parametrize(
    "number",
    [
        "import random; print(random.random())",
        "import random; random.seed(); print(random.getrandbits(64))",
        "from tempfile import mkdtemp; print(mkdtemp())",
        "import numpy; print(numpy.random.random())",
        "import numpy; print(numpy.random.default_rng().random())",
        "import secrets; print(secrets.token_hex())",
        "import uuid; print(uuid.uuid4())",
        "exec('import random'); print(eval('random.random()'))",
        "__import__('random').seed(); print(__import__('random').random())",
    ],
)
def test_a_number_that_nobody_seeded_differs_from_run_to_run(judged, number):
    judged.skip_without_numpy(number)
    cases = [Case(id=str(n), stdin=str(n), expected="") for n in range(3)]

    results = judged.cases(Submission("python", number), cases).results

    assert {result.mode for result in results} == {"fork"}
    assert len({result.stdout_head for result in results}) == 3


def test_what_a_program_changes_in_its_interpreter_is_gone_with_it(judged):
    source = """
import builtins, collections, decimal, math, os, random, signal, string, sys, threading
print(sys.getrecursionlimit(), math.pi, os.environ.get("X"), decimal.getcontext().prec, len(sys.path), print.__name__)
print(signal.getsignal(signal.SIGTERM), threading.active_count(), string.digits, hasattr(collections, "mine"))
sys.setrecursionlimit(5000)
math.pi = 3
os.environ["X"] = "1"
decimal.getcontext().prec = 5
sys.path.append("/")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
string.digits = collections.mine = ""
threading.Thread(target=threading.Event().wait, daemon=True).start()
builtins.print = None
"""
    cases = [Case(id=str(n), stdin=str(n), expected="") for n in range(6)]

    results = judged.cases(Submission("python", source), cases).results

    assert {result.mode for result in results} == {"fork"}
    assert len({result.stdout_head for result in results}) == 1
    assert results[0].stdout_head.startswith("1000 3.14159")


@pytest.mark.slow
@pytest.mark.parametrize("first", ["iostream", "bits/stdc++.h"])
@pytest.mark.parametrize("again", ["iostream", "bits/stdc++.h", "bits/extc++.h", "complex"])
def test_a_header_that_is_precompiled_may_be_included_again(judged, first, again):
    source = f"#include <{first}>\n#include <{again}>\n#include <{first}>\nint main() {{ std::cout << 3; }}"

    result = judged.cases(Submission("cpp", source), [Case(id="1", stdin="", expected="3")]).results[0]

    assert result.status is Status.ACCEPTED, result.stderr_head


@pytest.mark.parametrize(
    "source",
    [
        "\n" * MB,
        "import " * (MB // 7),
        "from sys " * (MB // 9),
        "from sys import " * (MB // 16),
        "from " + " " * MB,
        "import_module " * (MB // 14),
        "gc." * (MB // 3),
        "yield " * (MB // 6),
        "#" + "with " * (MB // 5),
    ],
    ids=lambda source: repr(source[:12]),
)
def test_a_source_of_any_shape_takes_time_that_only_grows_with_it(judged, source):
    case = Case(id="1", stdin="", expected="")
    limits = Limits(cpu_s=5.0)

    result = judged.cases(Submission("python", source), [case], limits=limits).results[0]

    assert result.status in (Status.COMPILE_ERROR, Status.ACCEPTED)

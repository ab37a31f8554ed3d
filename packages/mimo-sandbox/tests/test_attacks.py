"""Hostile programs: each gets an honest verdict, gains nothing, and the next test does not notice."""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mimo_sandbox import Case, CaseResult, Sandbox, Status, Submission, Verdict, judge, judge_many

if TYPE_CHECKING:
    from conftest import Judge

ATTACKS = tomllib.loads((Path(__file__).parent / "attacks.toml").read_text())


def _disguised(source: str) -> str:
    """The same program, for a judge that looks for words in a source."""
    return f"exec(bytes.fromhex('{source.encode().hex()}'))"


ATTACKS |= {
    f"{name}, disguised": {**attack, "source": _disguised(attack["source"])}
    for name, attack in ATTACKS.items()
    if attack.get("disguise")
}

pytestmark = pytest.mark.slow

HONEST = Submission("python", "print(sum(map(int, input().split())))")
HONEST_FUNCTION = Submission("python", "def add(a, b): return a + b", "add")
HONEST_BINARY = """
#include <cstdio>
int main() { int a, b; scanf("%d %d", &a, &b); printf("%d", a + b); }
"""

DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            open("/tmp/alive", "w").close()
            time.sleep(0.01)
    os._exit(0)
time.sleep(0.05)
print(3)
"""

SEARCH = """
import os, sys

found = [*os.environ.values(), *sys.argv]
for folder, _, names in os.walk("/tmp"):
    found += [open(os.path.join(folder, name), errors="replace").read() for name in names if name != "main.py"]
for process in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "cmdline", "mem"):
        try:
            found.append(open(f"/proc/{process}/{name}", errors="replace").read())
        except OSError:
            pass
for number in range(3, 100):
    try:
        found.append(os.read(number, 10_000).decode(errors="replace"))
    except OSError:
        pass
for text in found:
    at = text.find("-horse-")
    if at >= 0 and "find(" not in text:
        print(text[at - 7 : at + 21])
"""

SPINNING_CHILD = """
import os, time
if os.fork() == 0:
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    os._exit(0)
os.wait()
"""


FIND = """
import ctypes, sys

given = sys.stdin.read()
left, right = (bytes(byte ^ 0x55 for byte in bytes.fromhex(half)) for half in ("LEFT", "RIGHT"))

def pieces():
    try:
        memory = open("/proc/self/mem", "rb", 0)
    except OSError:
        memory = None
    for line in open("/proc/self/maps"):
        addresses, rights, _, _, _, *path = line.split()
        at, end = (int(word, 16) for word in addresses.split("-"))
        if not rights.startswith("r") or path and path[0].startswith(("[v", "/" if memory is None else "[v")):
            continue
        while at < end:
            size = min(end - at, 1 << 20)
            try:
                if memory is not None:
                    memory.seek(at)
                    yield memory.read(size)
                else:
                    yield ctypes.string_at(at, size)
            except (OSError, OverflowError, ValueError):
                pass
            at += size

# The two halves never lie side by side in this program's own memory.
found = False
for piece in pieces():
    at = piece.find(left)
    while at >= 0:
        found = found or piece[at + len(left) : at + len(left) + len(right)] == right
        at = piece.find(left, at + 1)
print("found" if found else "absent")
"""


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gets_an_honest_verdict_and_the_next_program_is_judged_rightly(judged, name):
    attack = ATTACKS[name]
    if attack.get("machine", platform.machine()) != platform.machine():
        pytest.skip(f"its numbers are {attack['machine']}'s, and this is {platform.machine()}")
    is_called = "entry_point" in attack
    submission = Submission(attack.get("language", "python"), attack["source"], attack.get("entry_point"))
    case = Case(id="only", expected=attack.get("expected", "3"), **_given(submission, "1", "2"))

    verdict = judged.cases(submission, [case], comparator=attack.get("comparator", "tokens"))

    assert verdict.results[0].status.value in attack["statuses"], verdict
    assert Verdict.from_json(verdict.to_json()) == verdict
    if "then" in attack:
        then = Submission("python", attack["then"])
        assert all(_on_every_worker(judged, then, stdin="1 2", expected="3").passed)
    _judge_honest(judged, (HONEST, HONEST_FUNCTION) if is_called or "then" in attack else (HONEST,))


def _judge_honest(judged: Judge, submissions: Sequence[Submission]) -> None:
    """Right after an attack, on every worker: what is right is accepted and what is wrong is not."""
    jobs = [
        (
            submission,
            [
                Case(id="right", expected="3", **_given(submission, "1", "2")),
                Case(id="wrong", expected="3", **_given(submission, "1", "3")),
            ],
        )
        for submission in submissions
    ]

    for verdict in judged.run(judge_many(judged.sandbox, jobs)):
        assert [result.status for result in verdict.results] == [Status.ACCEPTED, Status.WRONG_ANSWER], verdict


def _given(submission: Submission, *numbers: str) -> dict[str, str]:
    return {"stdin": " ".join(numbers)} if submission.entry_point is None else {"arguments": f"[{', '.join(numbers)}]"}


def _on_every_worker(judged: Judge, submission: Submission, *, expected: str, stdin: str = "") -> Verdict:
    """A program on as many different inputs, white space apart, as it takes to reach each worker."""
    cases = [Case(id=str(n), stdin=stdin + " " * n, expected=expected) for n in range(2 * judged.sandbox.num_workers)]
    return judged.cases(submission, cases)


def test_a_daemon_dies_with_its_program(judged):
    look = "import os\nprint(os.path.exists('/tmp/alive'), [name for name in os.listdir('/proc') if name.isdigit()])"

    assert judged.python(DAEMON, expected="3").status is Status.ACCEPTED

    for _ in range(judged.sandbox.num_workers):
        seen = judged.python(look)
        assert seen.stdout_head.startswith("False")
        assert seen.stdout_head.count("'") == 4, "only the agent and the program itself"


def test_nothing_written_by_one_test_is_there_in_the_next(judged):
    write = "import os\nos.makedirs('/tmp/b')\nfor name in ('a', 'b/c'): open('/tmp/' + name, 'w').write('x')"
    look = "import os\nprint(sorted(os.listdir('/tmp')))"

    judged.python(write)

    for _ in range(judged.sandbox.num_workers):
        assert judged.python(look).stdout_head.strip() in ("[]", "['main.py']")


def test_the_expected_output_is_nowhere_in_the_sandbox(judged):
    secret = "correct-horse-battery-staple"

    assert judged.python(SEARCH, expected=secret).status is Status.WRONG_ANSWER


def test_a_program_that_leaves_work_behind_is_charged_for_what_its_children_used(judged):

    result = judged.python(SPINNING_CHILD)

    assert 0.3 <= result.cpu_s < 0.6


def test_a_two_second_sleep_at_a_three_second_limit_is_no_time_limit(judged):
    result = judged.python("import time\ntime.sleep(2)\nprint(3)", expected="3")

    assert result.status is Status.ACCEPTED
    assert result.cpu_s < 0.5
    assert 2.0 <= result.wall_s < 3.0


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 1_000_000])
def test_output_longer_than_a_pipe_is_no_time_limit(judged, size):
    result = judged.python(f"print('x' * {size}, end='')", expected="x" * size)

    assert result.status is Status.ACCEPTED


def test_input_longer_than_a_pipe_that_nobody_reads_is_no_failure(judged):
    assert judged.python("print(3)", stdin="x" * 3_000_000, expected="3").status is Status.ACCEPTED


def test_no_process_is_left_when_the_sandbox_is_closed(judged):
    if judged.sandbox.backend != "local":
        pytest.skip("looks at this host's processes: the local backend's")
    judged.python("import os, time\nif os.fork() == 0: time.sleep(100)\nprint(os.getpid())")
    limit_s = time.monotonic() + 5

    while time.monotonic() < limit_s and _sleepers():
        time.sleep(0.01)

    assert _sleepers() == []


def _sleepers() -> list[str]:
    """Programs of any sandbox that are running on this host."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and process.name != str(os.getpid()):
            try:
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                parent = (process / "stat").read_text().rsplit(")", 1)[1].split()[1]
                mine = (Path("/proc") / parent / "stat").read_text().rsplit(")", 1)[1].split()[1]
            except (OSError, IndexError):
                continue
            if "-X utf8 main.py" in command and mine == str(os.getpid()):
                found.append(command)
    return found


def test_compiled_programs_are_confined_too(judged):
    source = (
        "#include <cstdio>\n#include <sys/socket.h>\n#include <unistd.h>\n#include <fcntl.h>\n"
        'int main() { int s = socket(AF_UNIX, SOCK_STREAM, 0), f = open("/usr/planted", O_CREAT | O_WRONLY, 0600);'
        ' printf("%d %d", s, f); }'
    )

    verdict = judged.cases(Submission("cpp", source), [Case(id="1", stdin="", expected="-1 -1")])

    assert verdict.results[0].status is Status.ACCEPTED, verdict


def test_a_compiler_cannot_be_made_to_read_the_host(judged):
    source = '__asm__(".incbin \\"/etc/shadow\\"");\nint main() {}'

    verdict = judged.cases(Submission("cpp", source), [Case(id="1", stdin="", expected="")])

    assert verdict.results[0].status is Status.COMPILE_ERROR


def _find(secret: str) -> list[Submission]:
    """A program that says whether its memory holds the secret, which its source does not; openly and in disguise."""
    half = len(secret) // 2
    left, right = (bytes(byte ^ 0x55 for byte in part.encode()).hex() for part in (secret[:half], secret[half:]))
    source = FIND.replace("LEFT", left).replace("RIGHT", right)
    return [Submission("python", source), Submission("python", _disguised(source))]


def test_the_memory_of_a_program_holds_nothing_of_the_tests_before_it(judged):
    secret = "marzipan-5309-schwein-0815"
    echo = Submission("python", "print(input())")
    function = Submission("python", "def same(text): return text", "same")
    returned = Case(id="1", arguments=f'["{secret}"]', expected=f'"{secret}"')

    assert all(_on_every_worker(judged, echo, stdin=secret, expected=secret).passed)
    assert judged.cases(function, [returned]).passed == (True,)

    for submission in _find(secret):
        assert all(_on_every_worker(judged, submission, expected="absent").passed)


def test_the_memory_of_a_program_does_not_hold_the_output_it_should_have(judged):
    secret = "lebkuchen-1871-herz-4711"

    for submission in _find(secret):
        verdict = _on_every_worker(judged, submission, expected=secret)
        assert {result.stdout_head for result in verdict.results} == {"absent\n"}


def test_a_program_that_looks_through_its_memory_finds_what_is_there(judged):
    secret = "streusel-1492-taler-2718"

    for submission in _find(secret):
        assert all(_on_every_worker(judged, submission, stdin=secret, expected="found").passed)


def test_no_two_programs_draw_the_same_random_numbers(judged):
    draw = """
import os, random, tempfile, uuid
try:
    import numpy
    drawn = [numpy.random.random(), numpy.random.default_rng().random()]
except ImportError:
    drawn = []
drawn += [random.random(), random.SystemRandom().random(), uuid.uuid4(), os.urandom(8).hex(), tempfile.mktemp()]
print(*drawn)
"""

    results = [
        result
        for source in (draw, _disguised(draw))
        for result in _on_every_worker(judged, Submission("python", source), expected="").results
    ]

    for numbers in zip(*(result.stdout_head.split() for result in results), strict=True):
        assert len(set(numbers)) == len(results), numbers


def test_a_program_that_rewrites_its_own_files_changes_nothing_for_its_next_case(judged):
    rewrite = """
import os
print(sum(map(int, input().split())))
for folder in ("/tmp", ".", "/program"):
    for name in ("main.py", "call.py", "main", "input", "stdin"):
        try:
            path = os.path.join(folder, name)
            os.path.exists(path) and os.unlink(path)
            open(path, "w").write("print(3)")
        except OSError:
            pass
"""
    cases = [Case(id=str(n), stdin=f"{n} 2", expected=str(n + 2)) for n in range(6)]

    assert all(judged.cases(Submission("python", rewrite), cases).passed)


def test_a_compiler_uses_nothing_that_a_program_left_for_it(judged):
    plant = """
import os
for name in "cc1plus as ld collect2 g++ gcc cstdio stdio.h crt1.o libstdc++.a libc.a libc.so specs cstdio.gch".split():
    for folder in ("/tmp", ".", "/tmp/bin"):
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/{name}", "w") as file:
            file.write("#!/bin/sh\\necho planted >&2; exit 1\\n")
        os.chmod(f"{folder}/{name}", 0o755)
print(3)
"""
    cases = [Case(id="right", stdin="1 2", expected="3"), Case(id="wrong", stdin="1 3", expected="3")]

    assert all(_on_every_worker(judged, Submission("python", plant), expected="3").passed)

    new = Submission("cpp", f"{HONEST_BINARY}// {os.urandom(8).hex()}")
    assert judged.cases(new, cases).passed == (True, False)


def test_programs_that_run_at_the_same_moment_do_not_see_each_other(judged):
    secret = "windbeutel-2357"
    hold = f"""
import os, sys, time
open("/tmp/{secret}", "w").write("{secret}")
if os.fork() == 0: os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(1)", "{secret}"])
time.sleep(0.6)
print(3)
"""
    look = """
import os, time
time.sleep(0.3)
needle = ("teuleb" + "-")[::-1][1:]
for process in filter(str.isdigit, os.listdir("/proc")):
    for name in ("cmdline", "environ", "mem", "maps"):
        try:
            text = open(f"/proc/{process}/{name}", errors="replace").read(1 << 20)
        except (OSError, ValueError):
            continue
        if needle in text and process != str(os.getpid()): print("read", process, name)
print(*[name for folder in ("/tmp", "/dev/shm") for name in os.listdir(folder) if needle in name])
for process in range(2, 3000):
    if process != os.getpid():
        try: os.kill(process, 9)
        except OSError: pass
print(3)
"""
    case = Case(id="1", stdin="", expected="3")
    jobs = [(Submission("python", source), [case]) for source in (hold, look)]

    verdicts = judged.run(judge_many(judged.sandbox, jobs))

    assert [verdict.passed for verdict in verdicts] == [(True,), (True,)], verdicts


def test_a_program_does_not_learn_the_name_environment_or_files_of_the_host(monkeypatch, tmp_path):
    monkeypatch.setenv("MIMO_ATTACK_PROBE", "pfefferkuchen")
    look = """
import os, sys
texts = [repr(os.uname()), repr(os.environ)]
for name in ("self/environ", "self/mountinfo", "self/cgroup", "sys/kernel/hostname", "mounts", "self/maps"):
    try: texts.append(open("/proc/" + name, errors="replace").read())
    except OSError: pass
for word in sys.stdin.read().splitlines():
    if os.path.exists(word) or any(word in text for text in texts): print("seen", word)
print(len(texts) > 5 and "sandbox" in texts[0])
"""
    words = ["pfefferkuchen", "PROBE", str(tmp_path), str(Path(__file__).parent), f"'{socket.gethostname()}'"]

    async def result() -> CaseResult:
        async with Sandbox("local", num_workers=1) as sandbox:
            case = Case(id="1", stdin="\n".join(words), expected="True")
            return (await judge(sandbox, Submission("python", look), [case])).results[0]

    seen = asyncio.run(result())

    assert seen.status is Status.ACCEPTED, seen


@pytest.mark.parametrize(
    "line",
    ['#include "PATH"', '__asm__(".incbin \\"PATH\\"");', '__asm__(".include \\"PATH\\"");', "#include <PATH>"],
    ids=["include", "incbin", "assembler's include", "include of the system's"],
)
def test_a_compiler_reads_no_file_of_the_host_that_its_user_could(judged, tmp_path, line):
    secret = tmp_path / "secret.h"
    secret.write_text("pfefferkuchen\n")
    for path in (secret, *secret.parents[:3]):
        path.chmod(0o755)
    source = f"{line.replace('PATH', str(secret))}\nint main() {{}}"

    verdict = judged.cases(Submission("cpp", source), [Case(id="1", stdin="", expected="")])

    assert verdict.results[0].status is Status.COMPILE_ERROR
    assert "pfefferkuchen" not in verdict.results[0].stderr_head


CHECK = """
def check(given, output, expected):
    return [word for word in output.split() if word.isprintable()] == expected.split()
"""

CHECK_LIKE_TESTLIB = """
#include <cstdio>
#include <cstring>
char found[1 << 20], wanted[1 << 20];
int main(int, char** names) {
    bool is_read = fscanf(fopen(names[2], "r"), "%1000000s", found) == 1;
    return !is_read || fscanf(fopen(names[3], "r"), "%1000000s", wanted) != 1 || strcmp(found, wanted);
}
"""


@pytest.mark.parametrize(
    "output",
    [
        *(b"", b"4", b"3\x01", b"\xff3", b"\xed\xa0\x803", b"\x1b[2J\x1b[H3", b"true", b'[true, ""]', b'"]\n[true, "'),
        *(b"\\u0033", b"nan", b"1e999", b"[" * 100_000, b"3" * 500_000, b"{program}/answer", b"/program/answer"),
    ],
    ids=lambda output: repr(output[:12]),
)
def test_no_output_talks_a_checker_round(judged, output):
    source = f"import os\nos.write(1, {output[:100]!r} * {max(1, len(output) // 100)})"
    case = Case(id="1", stdin="", expected="3")

    for checker in (Submission("python", CHECK, "check"), Submission("cpp", CHECK_LIKE_TESTLIB)):
        verdict = judged.cases(Submission("python", source), [case], checker=checker)
        assert verdict.results[0].status is Status.WRONG_ANSWER


def test_sixty_four_mebibytes_that_nobody_reads_are_no_failure(judged):
    assert judged.python("print(3)", stdin="x" * (64 << 20), expected="3").status is Status.ACCEPTED


def test_sixty_four_mebibytes_come_in_and_are_too_much_to_go_out(judged):
    copy = "import shutil, sys\nshutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"

    assert judged.python(copy, stdin="x" * (64 << 20)).status is Status.OUTPUT_LIMIT

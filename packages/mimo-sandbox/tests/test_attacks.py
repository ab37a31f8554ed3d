"""Hostile programs: each gets an honest verdict, gains nothing, and the next test does not notice."""

from __future__ import annotations

import os
import time
import tomllib
from pathlib import Path

import pytest

from mimo_sandbox import Case, Status, Submission

HONEST = "print(sum(map(int, input().split())))"

ATTACKS = tomllib.loads((Path(__file__).parent / "attacks.toml").read_text())

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


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gets_an_honest_verdict_and_the_next_program_is_judged_rightly(judged, name):
    attack = ATTACKS[name]

    result = judged.python(attack["source"], stdin="1 2\n", expected="3")

    assert result.status.value in attack["statuses"], result
    assert judged.python(HONEST, stdin="1 2\n", expected="3").status is Status.ACCEPTED


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
        assert judged.python(look).stdout_head.strip() == "['main.py']"


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

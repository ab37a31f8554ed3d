from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from importlib.util import find_spec

import pytest

from mimo_sandbox.cli import main
from mimo_sandbox.doctor import MODULES, find_modules


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A folder with a program that adds and its tests, on a host without an engine."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    (tmp_path / "add.py").write_text("print(sum(map(int, input().split())))")
    rows = [{"id": "small", "stdin": "1 2", "expected": "3"}, {"id": "wrong", "stdin": "1 2", "expected": "4"}]
    (tmp_path / "tests.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def judge(program):
    return ["judge", str(program / "add.py"), "--tests", str(program / "tests.jsonl"), "--num-workers", "1"]


def test_judge_prints_a_table(program, capsys):
    assert main(judge(program)) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["case", "status", "CPU", "s", "wall", "s", "MB", "exit"]
    assert lines[1].startswith("small  accepted")
    assert lines[2].startswith("wrong  wrong answer")
    assert lines[3].startswith("1 of 2 accepted (local, fork, measured by ")


def test_judge_prints_the_verdict_as_json(program, capsys):
    assert main([*judge(program), "--json", "--set", "cpu_s=2", "--stop", "first-failure"]) == 0

    assert [row["status"] for row in json.loads(capsys.readouterr().out)["results"]] == ["accepted", "wrong answer"]


def test_a_reader_that_wants_no_more_of_the_table_ends_the_command_quietly(program):
    code = "import sys; from mimo_sandbox.cli import main; sys.exit(main(sys.argv[1:]))"
    running = subprocess.Popen(
        [sys.executable, "-c", code, *judge(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    running.stdout.close()

    assert (running.stderr.read(), running.wait()) == ("", 0)
    running.stderr.close()


def test_a_checker_in_python_is_called_when_it_is_a_function_and_run_when_it_is_a_program(program, capsys):
    (program / "function.py").write_text("def check(input, output, expected):\n    return output == expected + '\\n'")
    (program / "program.py").write_text(
        "import sys\nsys.exit(open(sys.argv[2]).read() != open(sys.argv[3]).read() + '\\n')"
    )
    for name in ("function.py", "program.py"):
        assert main([*judge(program), "--json", "--checker", str(program / name)]) == 0
        statuses = [row["status"] for row in json.loads(capsys.readouterr().out)["results"]]
        assert statuses == ["accepted", "wrong answer"], name


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (["--set", "speed=9"], 2, "cpu_s"),
        (["--set", "cpu_s=fast"], 2, "not a number"),
        (["--set", "cpu_s=-1"], 2, "positive"),
        (["--set", "memory_bytes=1"], 2, "memory_bytes=1): no program starts"),
        (["--tests", "{}/binary.jsonl"], 1, "binary.jsonl: not a file of cases"),
        (["--num-workers", "0"], 2, "at least 1"),
        (["--entry-point", "f"], 2, "arguments"),
        (["--backend", "docker"], 1, "no Docker engine answers"),
        (["--tests", "{}/nothing.jsonl"], 1, "nothing.jsonl"),
        (["--tests", "{}/add.py"], 1, "add.py:1: not a case"),
        (["--tests", "{}/empty.jsonl"], 1, "holds no cases"),
        (["--tests", "{}/call.jsonl", "--entry-point", "f"], 1, "call.jsonl:1: not a case (arguments: expected"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(program, capsys, change, code, message):
    (program / "empty.jsonl").write_text("\n")
    (program / "binary.jsonl").write_bytes(b"\xff\x00")
    (program / "call.jsonl").write_text('{"id": "1", "arguments": "5", "expected": "5"}')
    command = ["judge", str(program / "add.py"), "--tests", str(program / "tests.jsonl")]

    assert main([*command, *(part.format(program) for part in change)]) == code

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mimo-sandbox: error: ")
    assert message in line


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["serve", "--port", "99999999"], "--port 99999999"),
        (["serve", "--port", "-1"], "--port -1"),
        (["capacity", "--program-cpu-s", "-1"], "--program-cpu-s"),
        (["capacity", "--program-cpu-s", "nan"], "--program-cpu-s"),
        (["capacity", "--duration-s", "nan"], "--duration-s"),
        (["capacity", "--duration-s", "inf"], "--duration-s"),
        (["capacity", "--num-tests", "1" + "0" * 400], "--num-tests"),
    ],
)
def test_a_number_out_of_range_is_refused(capsys, monkeypatch, command, option):
    monkeypatch.setattr("mimo_sandbox.cli._sandbox", lambda _: pytest.fail("it went on"))

    assert main(command) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"mimo-sandbox: error: {option}")
    assert "must be" in line


def test_a_missing_program_and_an_unknown_suffix_are_told_apart(program, capsys):
    (program / "add.txt").write_text("")

    assert main(["judge", str(program / "gone.py"), "--tests", str(program / "tests.jsonl")]) == 1
    assert main(["judge", str(program / "add.txt"), "--tests", str(program / "tests.jsonl")]) == 2
    assert "gone.py" in capsys.readouterr().err


def test_doctor_says_which_modules_the_programs_of_the_local_backend_lack():
    found, meaning = find_modules(sys.executable)

    there = {name for name in MODULES if find_spec(name)}
    assert set(found.split(", ")) - {"none"} == there
    assert [name for name in MODULES if name in meaning] == [name for name in MODULES if name not in there]


def test_the_judge_image_has_these_modules():
    packages = (files("mimo_sandbox") / "judge_image" / "packages.txt").read_text().split()

    assert {f"python3-{name}" for name in MODULES} <= set(packages)


def test_doctor_says_which_backend_it_takes(monkeypatch, capsys):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")

    assert main(["doctor"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split() == ["auto", "takes", "local"]


def test_build_without_an_engine_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")

    assert main(["build"]) == 1

    assert "no Docker engine answers" in capsys.readouterr().err


def test_importing_the_package_does_not_load_docker():
    code = "import mimo_sandbox.cli, sys; sys.exit('docker' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

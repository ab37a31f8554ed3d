from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from mimo_data.engine import Engine, ItemError, guarded, run_parts
from mimo_data.run import DataError

# A module of its own, for the processes import what they are told to run.
BEHAVIOUR = """
import os
import signal
import sys
import time
from pathlib import Path

from mimo_data.engine import Engine, ItemError, guarded, run_parts
from mimo_data.run import DataError, Record


class Words(Record, frozen=True):
    words: tuple[str, ...]


def part(items: list[str]) -> Words:
    return Words(words=tuple(word if isinstance(word := guarded(item, one, limit_s=1.0), str) else word.reason
        for one in items))


def item(task: str) -> str:
    match task:
        case "slow":
            sum(range(10**12))
        case "busy":
            while True:
                pass
        case "crash":
            os._exit(3)
        case "swallow":
            try:
                item("busy")
            except BaseException:
                return "no text"
        case "fail":
            raise ValueError("broken page")
        case "half":
            raise ValueError("half a pair: \\ud800")
        case "long":
            raise LongError
        case "missing":
            import no_such_module
        case "large":
            return "x" * 4_000_000_000
        case "deep":
            return item("deep")
    return task.upper()


def bad(items: list[str]) -> Words:
    match items[0]:
        case "data":
            raise DataError("x.parquet: is not whole")
        case "bug":
            raise KeyError("bug")
        case "die":
            os._exit(9)
        case "network":
            raise OddError("host", reason="no answer")
    return Words(words=tuple(items))


class LongError(Exception):
    def __str__(self) -> str:
        return item("busy")


class OddError(OSError):
    # Cannot be made again from its arguments, as some errors of libraries.

    def __init__(self, host: str, *, reason: str) -> None:
        super().__init__(f"{host}: {reason}")


def process(_: str) -> Words:
    return Words(words=(str(os.getpid()),))


def listed(folder: str) -> Words:
    return Words(words=tuple(sorted(path.name for path in Path(folder).iterdir())))


def counted(folder: str) -> Words:
    path = Path(folder)
    with (path / "calls").open("a") as file:
        file.write("x")
    return Words(words=("done",))


def slow_parts(folder: str) -> Words:
    path, name = folder.rsplit(":", 1)
    if name == "bad":
        while not (Path(path) / "calls").exists():
            pass
        raise DataError("x.parquet: is not whole")
    with (Path(path) / "calls").open("a") as file:
        file.write(f"{name} {os.getpid()}\\n")
    if name == "2" and not (Path(path) / "go").exists():
        time.sleep(60)
    return Words(words=(name,))


if __name__ == "__main__":
    tasks = {name: f"{sys.argv[1]}:{name}" for name in "0123"}
    print(run_parts(slow_parts, tasks, output=Words, done=Path(sys.argv[1]) / "done", engine=Engine(num_workers=2)))
"""


@pytest.fixture
def behaviour(tmp_path, monkeypatch) -> ModuleType:
    (tmp_path / "behaviour.py").write_text(BEHAVIOUR)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.delitem(sys.modules, "behaviour", raising=False)
    # One that is running does not know the module.
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()
    return import_module("behaviour")


@pytest.mark.slow
def test_every_item_has_its_result_or_its_reason_in_order(behaviour, tmp_path):
    tasks = {"first": ["a", "busy", "b", "crash", "c", "fail"], "second": ["large", "deep", "slow", "d"]}
    found = run_parts(
        behaviour.part, tasks, output=behaviour.Words, done=tmp_path / "done", engine=Engine(num_workers=1),
        memory_limit_bytes=2_000_000_000,
    )  # fmt: skip
    assert list(found) == ["first", "second"]
    assert found["first"].words == ("A", "time_limit", "B", "crashed", "C", "failed")
    assert found["second"].words == ("out_of_memory", "failed", "time_limit", "D")


@pytest.mark.parametrize(
    "engine", [Engine(num_workers=2), pytest.param(Engine(num_workers=2, ray="local"), marks=pytest.mark.slow)]
)
def test_the_result_does_not_depend_on_where_the_parts_run(behaviour, tmp_path, engine):
    tasks = {f"{number:02}": ["a", str(number)] for number in range(6)}
    found = run_parts(behaviour.part, tasks, output=behaviour.Words, done=tmp_path / "done", engine=engine)
    assert {name: output.words for name, output in found.items()} == {
        name: ("A", task[1]) for name, task in tasks.items()
    }
    assert list(found) == list(tasks)


def test_an_error_that_never_ends_telling_what_it_is_is_over_the_limit_too(behaviour):
    error = guarded(behaviour.item, "long", limit_s=0.1)
    assert isinstance(error, ItemError)
    assert error.reason == "time_limit"


def test_a_limit_that_a_library_swallows_holds(behaviour):
    error = guarded(behaviour.item, "swallow", limit_s=0.1)
    assert isinstance(error, ItemError)
    assert error.reason == "time_limit"
    assert guarded(behaviour.item, "next", limit_s=0.1) == "NEXT"


def test_what_an_item_provokes_can_be_written(behaviour):
    error = guarded(behaviour.item, "half", limit_s=1.0)
    assert isinstance(error, ItemError)
    assert error.detail == r"ValueError: half a pair: \ud800"


def test_a_library_that_is_missing_is_no_fault_of_an_item(behaviour, tmp_path):
    with pytest.raises(RuntimeError, match="No module named 'no_such_module'"):
        run_parts(behaviour.part, {"a": ["missing"]}, output=behaviour.Words, done=tmp_path, engine=Engine())


def test_a_process_that_dies_without_work_is_replaced(behaviour, tmp_path):
    first = run_parts(behaviour.process, {"a": ""}, output=behaviour.Words, done=tmp_path / "1", engine=Engine())
    os.kill(int(first["a"].words[0]), signal.SIGKILL)
    again = run_parts(behaviour.process, {"a": ""}, output=behaviour.Words, done=tmp_path / "2", engine=Engine())
    assert again != first


def test_paths_are_relative_to_where_the_run_is_started(behaviour, tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name / "pages").mkdir(parents=True)
        (tmp_path / name / "pages" / name).touch()
        monkeypatch.chdir(tmp_path / name)
        found = run_parts(
            behaviour.listed, {"a": "pages"}, output=behaviour.Words, done=tmp_path / name / "done", engine=Engine()
        )
        assert found["a"].words == (name,)


def test_a_part_that_is_done_is_not_run_again(behaviour, tmp_path):
    for _ in range(2):
        run_parts(
            behaviour.counted, {"a": str(tmp_path)}, output=behaviour.Words, done=tmp_path / "done", engine=Engine()
        )
    assert (tmp_path / "calls").read_text() == "x"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("foo", "--ray foo: not an address. Write auto, local or host:port"),
        ("127.0.0.1:1", r"--ray 127.0.0.1:1: no Ray cluster answers .*Connection refused.* `ray start --head`"),
        ("127.0.0.1:99999", "--ray 127.0.0.1:99999: no Ray cluster answers"),
        ("auto", "--ray auto: no Ray cluster runs here, and RAY_ADDRESS names none. .* `ray start --head`"),
    ],
)
def test_a_ray_cluster_that_is_not_there_is_an_error_at_once(behaviour, tmp_path, monkeypatch, address, message):
    pytest.importorskip("ray", reason="needs Ray: install mimo-data[ray]")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    engine = Engine(num_workers=1, ray=address)
    with pytest.raises(DataError, match=message):
        run_parts(behaviour.part, {"a": ["a"]}, output=behaviour.Words, done=tmp_path / "done", engine=engine)


@pytest.mark.slow
def test_on_ray_a_part_that_fails_ends_the_others(behaviour, tmp_path):
    tasks = {name: f"{tmp_path}:{name}" for name in ("2", "bad")}
    engine = Engine(num_workers=2, ray="local")
    with pytest.raises(DataError, match="is not whole"):
        run_parts(behaviour.slow_parts, tasks, output=behaviour.Words, done=tmp_path / "done", engine=engine)
    sleeper = Path("/proc") / (tmp_path / "calls").read_text().split()[1]
    while sleeper.exists() and "Z" not in (sleeper / "stat").read_text().split()[2]:
        pass


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("data", DataError, "x.parquet: is not whole"),
        ("bug", RuntimeError, "KeyError: 'bug'"),
        ("network", OSError, "host: no answer"),
        ("die", DataError, "part b: the process ended with code 9, twice"),
    ],
)
def test_a_part_that_fails_is_named_and_the_others_stay_done(behaviour, tmp_path, kind, error, message):
    with pytest.raises(error, match=message):
        run_parts(behaviour.bad, {"a": ["fine"], "b": [kind]}, output=behaviour.Words, done=tmp_path, engine=Engine())
    assert [path.name for path in tmp_path.glob("*.json")] == ["a.json"]


def test_a_run_that_is_killed_leaves_no_process_and_goes_on_with_the_rest(behaviour, tmp_path):
    command = [sys.executable, str(tmp_path / "behaviour.py"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
        # Parts 0 and 1 are done, 2 sleeps, 3 follows on the other process.
        while not (tmp_path / "done" / "3.json").exists():
            assert killed.poll() is None
        killed.send_signal(signal.SIGKILL)
    first = (tmp_path / "calls").read_text().split("\n")
    sleeper = next(int(line.split()[1]) for line in first if line.startswith("2 "))
    while Path(f"/proc/{sleeper}").exists() and "Z" not in Path(f"/proc/{sleeper}/stat").read_text().split()[2]:
        pass
    (tmp_path / "go").touch()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stdout == "".join(f"{{{', '.join(repr(name) + f': Words(words=({name!r},))' for name in '0123')}}}\n")
    calls = [line.split()[0] for line in (tmp_path / "calls").read_text().splitlines()]
    assert sorted(calls) == ["0", "1", "2", "2", "3"]

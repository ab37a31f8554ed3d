from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mimo_data import Run
from mimo_data.run import DataError, RecipeError, Record


class Optimizer(Record, frozen=True):
    peak_lr: float
    steps: int = 1


class Recipe(Record, frozen=True):
    optimizer: Optimizer
    name: str = ""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text("[optimizer]\npeak_lr = 0.5\n")
    return path


def start(out: Path, *, resumable: bool = False, inputs: dict[str, Path] | None = None, value: int = 1) -> Run:
    return Run.open(
        out, package="mimo-data", command="make", recipe={"value": value}, inputs=inputs or {}, resumable=resumable
    )


def test_a_file_of_a_folder_may_have_any_name(tmp_path):
    folder = tmp_path / "pages"
    folder.mkdir()
    Path(os.fsdecode(bytes(folder) + b"/\xff.html")).touch()
    with start(tmp_path / "one", inputs={"pages": folder}) as run:
        run.finish()
    Path(os.fsdecode(bytes(folder) + b"/\xfe.html")).touch()
    with pytest.raises(DataError, match="was not made by"):
        start(tmp_path / "one", inputs={"pages": folder})


def test_overrides_change_a_recipe(recipe):
    loaded = Run.load_recipe(recipe, Recipe, ["optimizer.peak_lr=1e-3", "name=plain words"])
    assert loaded == Recipe(optimizer=Optimizer(peak_lr=1e-3), name="plain words")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.peak_rl=1", "Did you mean `peak_lr`"),
        ("optimizer.steps=1.5", "Expected `int`"),
        ("optimizer", "expected key=value"),
        ("name.x=1", "has no|not a table|Expected"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(recipe, override, message):
    with pytest.raises(RecipeError, match=message):
        Run.load_recipe(recipe, Recipe, [override])


def test_a_missing_or_broken_recipe_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"gone\.toml: no such recipe"):
        Run.load_recipe(tmp_path / "gone.toml", Recipe)
    (tmp_path / "broken.toml").write_text("= 1")
    with pytest.raises(RecipeError, match=r"broken\.toml: not a TOML file"):
        Run.load_recipe(tmp_path / "broken.toml", Recipe)


def test_an_output_has_its_name_only_once_it_is_whole(tmp_path):
    out = tmp_path / "out"
    with start(out) as run:
        (run.folder / "result").write_text("x")
        assert not out.exists()
        run.finish(count=3)
    header = json.loads((out / "run.json").read_text())
    assert header["counts"] == {"count": 3}
    assert header["recipe"] == {"value": 1}
    assert sorted(path.name for path in out.iterdir()) == ["result", "run.json"]


def test_a_complete_output_is_reused_by_the_same_command_only(tmp_path):
    with start(tmp_path / "out") as run:
        run.finish()
    assert start(tmp_path / "out").complete
    with pytest.raises(DataError, match="Choose another output folder"):
        start(tmp_path / "out", value=2)


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), start(tmp_path / "out"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_with_its_place(tmp_path):
    with pytest.raises(DataError, match=r"out\.partial: No space left on device\. Make room"), start(tmp_path / "out"):
        os.write(os.open("/dev/full", os.O_WRONLY), b"x")


def test_a_failure_keeps_a_state_to_resume_from(tmp_path):
    run = start(tmp_path / "out", resumable=True)
    (run.folder / "state").mkdir()
    (run.folder / "state" / "part").write_text("done")
    with pytest.raises(RuntimeError), run:
        raise RuntimeError
    del run  # and with it its lock
    with start(tmp_path / "out", resumable=True) as again:
        assert (again.folder / "state" / "part").exists()


def test_a_run_that_failed_before_its_first_work_does_not_stand_in_the_way_of_another(tmp_path):
    run = start(tmp_path / "out", resumable=True)
    (run.folder / "state").mkdir()
    (run.folder / "journal").write_text("")
    with pytest.raises(RuntimeError), run:
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_command_left_is_cleared_when_it_cannot_resume(tmp_path):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "half").write_text("x")
    with start(tmp_path / "out") as run:
        assert not (run.folder / "half").exists()


def test_two_processes_do_not_write_one_output(tmp_path):
    with start(tmp_path / "out"), pytest.raises(DataError, match="another process is writing"):
        start(tmp_path / "out")


def test_other_inputs_are_another_run(tmp_path):
    source = tmp_path / "input"
    source.write_text("a")
    with start(tmp_path / "out", inputs={"text": source}) as run:
        run.finish()
    source.write_text("b")
    with pytest.raises(DataError, match="was not made"):
        start(tmp_path / "out", inputs={"text": source})


def test_a_missing_input_is_named(tmp_path):
    with pytest.raises(DataError, match="gone: no such file or folder"):
        start(tmp_path / "out", inputs={"text": tmp_path / "gone"})


def test_a_folder_with_a_run_json_of_its_own_counts_by_its_files(tmp_path):
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "run.json").write_text("{}")
    with start(tmp_path / "out", inputs={"text": tmp_path / "input"}) as run:
        run.finish()
    assert start(tmp_path / "out", inputs={"text": tmp_path / "input"}).complete
    (tmp_path / "input" / "page").write_text("x")
    with pytest.raises(DataError, match="was not made"):
        start(tmp_path / "out", inputs={"text": tmp_path / "input"})


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("input", "input, the text of `make`, is this folder"),
        (".", "no name for a new folder"),
        ("..", "no name for a new folder"),
        ("input/below/out", "lies in .*input, the text of `make`. Choose an output folder outside of it"),
    ],
)
def test_nobody_is_told_to_delete_an_input(tmp_path, monkeypatch, out, message):
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "page").write_text("x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        start(Path(out), inputs={"text": tmp_path / "input"})
    assert (tmp_path / "input" / "page").exists()


def test_a_folder_that_holds_an_input_is_no_output(tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "page").write_text("x")
    with pytest.raises(DataError, match="page, the text of `make`, lies in this folder"):
        start(tmp_path / "corpus", inputs={"text": tmp_path / "corpus" / "page"})


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"out\.partial: cannot be made: Not a directory"):
        start(tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("optimizer.peak_lr = 1\nstep = 1", [], "recipe.toml: .*unknown field `step`. Remove it"),
        ("optimizer.peak_lr = 1\noptimizer.step = 1", [], "recipe.toml: .*Did you mean `steps`"),
        ("optimizer.peak_lr = 1", ["name=2"], "--set name=2: Expected `str`"),
        ("optimizer.peak_lr = 1\nname = 1", ["optimizer.steps=2"], "recipe.toml: Expected `str`"),
        ("optimizer.peak_lr = 1", ["name='a'", "optimizer.steps=2", "name=2"], "^--set name=2: Expected `str`"),
    ],
)
def test_a_fault_is_of_the_file_or_of_an_override_and_a_suggestion_of_the_same_table(recipe, text, overrides, message):
    recipe.write_text(text)
    with pytest.raises(RecipeError, match=message):
        Run.load_recipe(recipe, Recipe, overrides)


def test_a_file_is_no_output_folder(tmp_path):
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(DataError, match=r"recipe\.toml: is a file"):
        start(tmp_path / "recipe.toml")

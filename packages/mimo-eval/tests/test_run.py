"""Output folders: what they depend on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mimo_eval import EvalError
from mimo_eval.run import Run


def start(out: Path, folder: Path) -> Run:
    return Run.open(out, package="mimo-eval", command="make", recipe={}, inputs={"checkpoint": folder}, resumable=False)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("checkpoint", "checkpoint, the checkpoint of `make`, is this folder. Choose another one."),
        (".", "no name for a new folder"),
        ("checkpoint/../../world", "lies in this folder"),
        ("checkpoint/deep/out", "Choose an output folder outside of it."),
        ("file/out", "file/out: cannot be made: Not a directory"),
    ],
)
def test_an_output_folder_is_apart_from_the_inputs_and_can_be_made(tmp_path, monkeypatch, out, message):
    world = tmp_path / "world"
    (world / "checkpoint").mkdir(parents=True)
    (world / "file").touch()
    monkeypatch.chdir(world)
    before = sorted(world.rglob("*"))
    with pytest.raises(EvalError) as caught:
        start(Path(out), Path("checkpoint"))
    assert message in str(caught.value)
    assert "delete" not in str(caught.value)
    assert sorted(world.rglob("*")) == before


def test_an_output_folder_may_lie_in_the_folder_of_a_run(tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "run.json").write_text('{"fingerprint": "1"}')
    with start(folder / "out", folder) as run:
        run.finish()
    assert start(folder / "out", folder).complete


def test_a_file_of_a_folder_may_have_any_name(tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    Path(os.fsdecode(bytes(folder) + b"/\xff.json")).touch()
    with start(tmp_path / "out", folder) as run:
        run.finish()
    assert start(tmp_path / "out", folder).complete
    Path(os.fsdecode(bytes(folder) + b"/\xfe.json")).touch()
    with pytest.raises(EvalError, match="was not made by"):
        start(tmp_path / "out", folder)

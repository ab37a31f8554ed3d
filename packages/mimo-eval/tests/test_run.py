"""Output folders: what they depend on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mimo_eval import EvalError
from mimo_eval.run import Run


def start(out: Path, folder: Path) -> Run:
    return Run.open(out, package="mimo-eval", command="make", recipe={}, inputs={"checkpoint": folder}, resumable=False)


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

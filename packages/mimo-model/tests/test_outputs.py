"""What the fingerprint of an output depends on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mimo_model import ModelError
from mimo_model.outputs import header, new_folder, write_json


def test_a_file_of_a_folder_may_have_any_name(tmp_path):
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.json")).touch()
    before = header("export", {}, {"checkpoint": tmp_path})["fingerprint"]
    Path(os.fsdecode(bytes(tmp_path) + b"/\xfe.json")).touch()
    assert header("export", {}, {"checkpoint": tmp_path})["fingerprint"] != before


def test_two_processes_do_not_write_one_output(tmp_path):
    out = tmp_path / "out"
    with new_folder(out, {}) as partial:
        partial.mkdir()
        for write in (lambda: new_folder(out, {}).__enter__(), lambda: write_json(out, {}, {})):
            with pytest.raises(ModelError, match="out: another process is writing it"):
                write()
        (partial / "config.json").touch()
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "run.json"]
    assert list(tmp_path.iterdir()) == [out]

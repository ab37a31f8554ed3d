"""What the fingerprint of an output depends on."""

from __future__ import annotations

import os
from pathlib import Path

from mimo_model.outputs import header


def test_a_file_of_a_folder_may_have_any_name(tmp_path):
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.json")).touch()
    before = header("export", {}, {"checkpoint": tmp_path})["fingerprint"]
    Path(os.fsdecode(bytes(tmp_path) + b"/\xfe.json")).touch()
    assert header("export", {}, {"checkpoint": tmp_path})["fingerprint"] != before

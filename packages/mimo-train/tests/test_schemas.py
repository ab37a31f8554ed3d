"""The JSON Schemas of the records on disk are those of the code."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from mimo_train.metrics import StepMetrics
from mimo_train.samples import Drop, Sample

SCHEMAS = Path(__file__).resolve().parents[1] / "schemas"


@pytest.mark.parametrize(("name", "record"), [("metrics", StepMetrics), ("sample", Sample), ("drop", Drop)])
def test_a_schema_is_current(name, record):
    path = SCHEMAS / f"{name}.schema.json"
    wanted = msgspec.json.schema(record)
    assert json.loads(path.read_text()) == wanted, f"write to {path}:\n{json.dumps(wanted, indent=1)}"

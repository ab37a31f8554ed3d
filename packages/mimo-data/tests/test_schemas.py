from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from mimo_data import Document, Mixture
from mimo_data.decontaminate import Hit
from mimo_data.documents import Drop
from mimo_data.shards import Manifest

SCHEMAS = Path(__file__).parents[1] / "schemas"


@pytest.mark.parametrize("record", [Document, Drop, Hit, Manifest, Mixture], ids=lambda record: record.__name__.lower())
def test_the_schema_beside_the_package_is_current(record):
    path = SCHEMAS / f"{record.__name__.lower()}.schema.json"
    current = json.dumps(msgspec.json.schema(record), indent=1) + "\n"
    assert path.read_text() == current, f"write it again: python {SCHEMAS.name}/write.py"

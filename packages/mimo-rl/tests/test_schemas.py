"""The JSON Schemas of the files that this package writes. Run this file to write them anew."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from mimo_rl.curation import Drop, Measurement
from mimo_rl.problems import CuratedProblem
from mimo_rl.records import RolloutRecord, StepMetrics

FOLDER = Path(__file__).resolve().parent.parent / "schemas"
RECORDS = {
    "curated-problem": CuratedProblem,
    "drop": Drop,
    "measurement": Measurement,
    "rollout": RolloutRecord,
    "step-metrics": StepMetrics,
}


def schema(record: type[msgspec.Struct]) -> str:
    return json.dumps(msgspec.json.schema(record), indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", RECORDS)
def test_the_schema_on_disk_is_the_record_s(name: str) -> None:
    found = (FOLDER / f"{name}.schema.json").read_text()
    assert found == schema(RECORDS[name]), f"run `python {Path(__file__).name}` to write the schemas anew"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, record in RECORDS.items():
        (FOLDER / f"{name}.schema.json").write_text(schema(record))

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimo_sandbox import Case, CaseResult, Limits, Status, Verdict

SCHEMAS = Path(__file__).parent.parent / "schemas"


def test_a_case_has_either_stdin_or_arguments():
    with pytest.raises(ValueError, match="'both'"):
        Case(id="both", stdin="", arguments="[]", expected="")
    with pytest.raises(ValueError, match="'neither'"):
        Case(id="neither", expected="")


def test_limits_are_positive():
    with pytest.raises(ValueError, match="wall_s"):
        Limits(wall_s=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_limits_are_finite(value):
    with pytest.raises(ValueError, match="cpu_s"):
        Limits(cpu_s=value)


def test_a_memory_limit_in_which_nothing_starts_is_refused():
    with pytest.raises(ValueError, match=r"memory_bytes=1048576.*at least 4,194,304"):
        Limits(memory_bytes=1 << 20)
    assert Limits(memory_bytes=4 << 20).memory_bytes == 4 << 20


@given(st.text(), st.sampled_from(Status), st.none() | st.integers(-64, 255))
def test_any_verdict_comes_back_from_its_json(text, status, exit_code):
    verdict = Verdict((CaseResult(case_id=text, status=status, exit_code=exit_code, stdout_head=text),))

    assert Verdict.from_json(verdict.to_json()) == verdict


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"results": 1}', '{"results": [{}]}', '{"results": [], "score": 1}',
             '{"results": [{"case_id": "1", "status": "great"}]}',
             '{"results": [{"case_id": "1", "status": "accepted", "reward": 1}]}']
)  # fmt: skip
def test_what_is_no_verdict_is_refused(text):
    with pytest.raises(ValueError, match="not a verdict"):
        Verdict.from_json(text)


def test_schemas_name_the_fields_of_the_records():
    verdict = json.loads((SCHEMAS / "verdict.schema.json").read_text())
    result = verdict["properties"]["results"]["items"]
    case = json.loads((SCHEMAS / "case.schema.json").read_text())

    assert list(result["properties"]) == [field.name for field in dataclasses.fields(CaseResult)]
    assert result["properties"]["status"]["enum"] == [status.value for status in Status]
    assert list(case["properties"]) == [field.name for field in dataclasses.fields(Case)]

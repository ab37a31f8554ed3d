from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimo_sandbox import COMPARATORS, Case, CaseResult, Limits, Status, Verdict
from mimo_sandbox.compare import json_values

SCHEMAS = Path(__file__).parent.parent / "schemas"


@pytest.mark.parametrize(
    ("name", "expected", "output", "same"),
    [
        ("exact", b"1 2\n", b"1 2\n", True),
        ("exact", b"1 2\n", b"1 2", False),
        ("tokens", b"1 2\n", b"1\n\n2", True),
        ("tokens", b"1 2", b"12", False),
        ("tokens", b"1 2", b"1 2 3", False),
        ("tokens", b"1.0", b"1.00", False),
        ("tokens", b"", b"\n", True),
        ("float", b"1.0 x", b"1.0000001 x", True),
        ("float", b"1000000", b"1000000.5", True),
        ("float", b"1.0", b"1.00001", False),
        ("float", b"nan", b"nan", True),
        ("float", b"nan", b"0", False),
        ("float", b"inf", b"1e400", False),
        ("float", b"10", b"1_0", False),
        ("float", b"9" * 500, b"9" * 499 + b"8", False),
    ],
)
def test_comparators(name, expected, output, same):
    assert COMPARATORS[name](expected, output) is same


@pytest.mark.parametrize(
    ("expected", "output", "tolerant", "same"),
    [
        ("[1, 2]", "[1,2]", False, True),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', False, True),
        ("1", "1.0", False, True),
        ("1", "true", False, False),
        ("0.3", "0.30000000000000004", False, False),
        ("0.3", "0.30000000000000004", True, True),
        ("[[0.3]]", "[[0.3000000001]]", True, True),
        ("1", "", False, False),
        ("1", "1 1", False, False),
        ("NaN", "NaN", True, False),
        ("null", "[" * 100_000, False, False),
        ("1" + "0" * 400, "1" + "0" * 399, True, False),
    ],
)
def test_json_values(expected, output, tolerant, same):
    assert json_values(expected, output, tolerant=tolerant) is same


@given(st.binary(), st.binary(), st.sampled_from(sorted(COMPARATORS)))
def test_comparators_are_total_reflexive_and_symmetric(left, right, name):
    compare = COMPARATORS[name]

    assert compare(left, left)
    assert compare(left, right) == compare(right, left)


@given(st.binary(), st.binary())
def test_each_comparator_accepts_what_a_stricter_one_does(left, right):
    accepted = [COMPARATORS[name](left, right) for name in ("exact", "tokens", "float")]

    assert accepted == sorted(accepted)


def test_a_case_has_either_stdin_or_arguments():
    with pytest.raises(ValueError, match="'both'"):
        Case(id="both", stdin="", arguments="[]", expected="")
    with pytest.raises(ValueError, match="'neither'"):
        Case(id="neither", expected="")


def test_limits_are_positive():
    with pytest.raises(ValueError, match="wall_s"):
        Limits(wall_s=0)


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

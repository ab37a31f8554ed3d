"""What mimo-sandbox leaves for others: the verdict."""

from __future__ import annotations

import json

import pytest

from mimo_sandbox import CaseResult, Status, Verdict

VERDICT = Verdict(
    (
        CaseResult(
            case_id="small",
            status=Status.ACCEPTED,
            cpu_s=0.0625,
            wall_s=0.125,
            memory_bytes=9_437_184,
            exit_code=0,
            stdout_head="4\n",
        ),
        CaseResult(
            case_id="large",
            status=Status.TIME_LIMIT,
            cpu_s=4.0,
            wall_s=4.25,
            memory_bytes=9_437_184,
            exit_code=-9,
        ),
        CaseResult(case_id="last", status=Status.SKIPPED),
    )
)


def test_a_verdict_is_read_as_it_was_written(golden):
    verdict = Verdict.from_json((golden / "verdict.json").read_text())
    assert verdict == VERDICT
    assert verdict.passed == (True, False, False)


def test_a_verdict_is_written_byte_for_byte_as_the_golden_one(golden):
    assert VERDICT.to_json() + "\n" == (golden / "verdict.json").read_text()


def test_a_verdict_follows_its_schema(golden, validate):
    validate("mimo-sandbox/verdict.schema.json", json.loads((golden / "verdict.json").read_text()))


@pytest.mark.parametrize("place", ["verdict", "result"])
def test_a_verdict_with_an_unknown_key_is_refused(golden, place):
    tree = json.loads((golden / "verdict.json").read_text())
    (tree if place == "verdict" else tree["results"][0])["colour"] = "red"
    with pytest.raises(ValueError, match="colour"):
        Verdict.from_json(json.dumps(tree))

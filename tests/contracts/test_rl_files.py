"""What mimo-rl leaves for others: curated problems, rollouts, metrics.

Curated problems are read by `mimo-rl train` and `mimo-rl curate` (tests/test_bad_input.py shows what they refuse),
rollouts and metrics by scripts/report.py. The package's own tests hold the schemas to its records.
"""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize(
    ("file", "schema"),
    [
        ("problems/curated.jsonl", "curated-problem.schema.json"),
        (
            "problems/problems.jsonl",
            "curated-problem.schema.json",
        ),  # a plain problem is one of which nothing was measured
        ("rollouts/step-000001.jsonl", "rollout.schema.json"),
        ("rollouts/metrics.jsonl", "step-metrics.schema.json"),
    ],
)
def test_every_line_follows_its_schema(golden, validate, file, schema):
    lines = (golden / file).read_text().splitlines()
    assert len(lines) == 2
    for line in lines:
        validate(f"mimo-rl/{schema}", json.loads(line))


def test_a_curated_problem_is_a_problem_and_what_was_measured(golden):
    plain, curated = (
        [json.loads(line) for line in (golden / "problems" / name).read_text().splitlines()]
        for name in ("problems.jsonl", "curated.jsonl")
    )
    for problem, measured in zip(plain, curated, strict=True):
        assert measured.keys() - problem.keys() == {"pass_rate", "test_pass_rates", "test_levels", "measured_by"}
        assert problem.keys() <= measured.keys()

"""A shortened run of the whole pipeline through the packages' own commands, and what its files promise."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jsonschema
import pytest

from mimo_data import open_shards, read_documents
from mimo_eval import read_problems

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow


def pipeline(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "scripts" / "pipeline.py", "--short", "--out", out, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("pipeline") / "run"
    result = pipeline(out)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return out


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def test_a_second_run_reuses_every_folder(run):
    def times() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in run.rglob("*") if path.name != "report.html"}

    before = times()
    result = pipeline(run)
    assert result.returncode == 0, result.stderr[-3000:]
    after = times()
    assert {path for path in before if before[path] != after[path]} <= {str(run)}
    assert not list(run.rglob("*.partial"))


def test_every_document_is_kept_or_dropped_for_a_reason(run):
    for step in ("extract", "deduplicate", "filter", "decontaminate"):
        counts = json.loads((run / "data" / step / "run.json").read_text())["counts"]
        kept = [document.id for document in read_documents(run / "data" / step)]
        drops = records(run / "data" / step / "drops.jsonl")
        assert counts["num_in"] == counts["num_out"] + counts["num_dropped"]
        assert (counts["num_out"], counts["num_dropped"]) == (len(kept), len(drops))
        assert not set(kept) & {drop["id"] for drop in drops}


def test_the_generated_corpus_meets_every_kind_of_drop(run):
    reasons = {
        step: Counter(drop["reason"] for drop in records(run / "data" / step / "drops.jsonl"))
        for step in ("extract", "deduplicate", "filter", "decontaminate")
    }
    assert set(reasons["extract"]) == {"broken"}
    assert set(reasons["deduplicate"]) == {"same_url", "same_text", "near_duplicate"}
    assert "too_short" in reasons["filter"]
    assert set(reasons["decontaminate"]) == {"contains_problem"}


def test_no_test_problem_is_left_in_the_training_text(run):
    prompts = {
        problem.prompt
        for family in ("arithmetic", "programs")
        for problem in read_problems(run / "world" / "problems" / f"test-{family}.jsonl")
    }
    for document in read_documents(run / "data" / "decontaminate"):
        assert not any(word in prompts for word in document.text.split())


def test_formulas_and_code_of_the_pages_reach_the_shards(run):
    texts = [document.text for document in read_documents(run / "data" / "decontaminate") if document.source == "web"]
    assert any("$" in text for text in texts)
    assert any("```" in text for text in texts)
    manifest = open_shards(run / "data" / "tokenize").sources["web"].manifest
    assert manifest.num_tokens >= sum(len(text.encode()) for text in texts)  # one id a byte, and the documents' ends


@pytest.mark.parametrize(
    ("pattern", "schema"),
    [
        ("pretrain-1/metrics.jsonl", "mimo-train/schemas/metrics.schema.json"),
        ("sft/metrics.jsonl", "mimo-train/schemas/metrics.schema.json"),
        ("rl/metrics.jsonl", "mimo-rl/schemas/step-metrics.schema.json"),
        ("rl/rollouts/step-000001.jsonl", "mimo-rl/schemas/rollout.schema.json"),
        ("curate/problems.jsonl", "mimo-rl/schemas/curated-problem.schema.json"),
        ("world/problems/train.jsonl", "mimo-eval/schemas/problem.schema.json"),
        ("eval/rl/samples.jsonl", "mimo-eval/schemas/sample.schema.json"),
        ("data/filter/drops.jsonl", "mimo-data/schemas/drop.schema.json"),
    ],
)
def test_what_the_commands_write_is_what_their_schemas_say(run, pattern, schema):
    validator = jsonschema.Draft202012Validator(json.loads((ROOT / "packages" / schema).read_text()))
    lines = records(run / pattern)
    assert lines
    for line in lines:
        validator.validate(line)


def test_the_report_is_one_file_that_asks_for_nothing_else(run):
    html = (run / "report.html").read_text()
    assert "<script" not in html
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', html)
    assert not re.findall(r"@import|url\((?!#)", html)
    assert html.count("<svg") >= 10
    assert html.count("<article") == 10


def test_the_report_escapes_what_models_and_pages_wrote(run, tmp_path):
    samples = run / "eval" / "rl" / "samples.jsonl"
    original = samples.read_text()
    hostile = [{**line, "response": "<img src=x onerror=alert(1)>"} for line in records(samples)]
    samples.write_text("".join(json.dumps(line) + "\n" for line in hostile))
    try:
        subprocess.run([sys.executable, ROOT / "scripts" / "report.py", run], check=True, capture_output=True)
        assert "<img" not in (run / "report.html").read_text()
    finally:
        samples.write_text(original)


def test_an_unfinished_run_gives_a_message_and_no_report(tmp_path):
    result = subprocess.run(
        [sys.executable, ROOT / "scripts" / "report.py", tmp_path], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "the run is not finished" in result.stderr
    assert not list(tmp_path.iterdir())


def test_pages_that_are_not_there_are_a_usage_error(tmp_path):
    result = pipeline(tmp_path / "run", "--pages", str(tmp_path / "nothing"))
    assert result.returncode == 2
    assert "no such folder" in result.stderr

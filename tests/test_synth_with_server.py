"""Synthetic data from mimo-model's own server, checked by mimo-eval, filtered for mimo-train."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from mimo_data import read_documents

pytestmark = pytest.mark.slow
pytest.importorskip("httpx", reason="needs httpx: install mimo-data[synth]")
pytest.importorskip("uvicorn", reason="needs uvicorn: install mimo-model[serve]")

RECIPE = """
[synthesize.endpoints.tiny]
url              = "{url}"
model            = "tiny"
api_key_variable = "TINY_KEY"
concurrency      = 8
completion_price = 1.0

[synthesize.strategies.solve]
endpoint         = "tiny"
prompts          = ["answer"]
samples_per_seed = 4
sampling         = {{ temperature = 1.0, top_p = 1.0, max_tokens = 40 }}
{checker}
"""


def command(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name(name)
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def url(root, tmp_path_factory) -> Iterator[str]:
    """Of a server of a random model that asks for the key `open-sesame`."""
    checkpoint = tmp_path_factory.mktemp("server") / "tiny"
    made = command("mimo-model", "init", root / "recipes" / "tiny" / "model.toml", checkpoint)
    assert made.returncode == 0, made.stderr
    serve = [Path(sys.executable).with_name("mimo-model"), "serve", checkpoint, "--port", "0"]
    with subprocess.Popen(
        [*serve, "--model-name", "tiny", "--api-key", "open-sesame", "--num-drafts", "0"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        found = re.search(r"API at (\S+)", process.stdout.readline())
        assert found
        yield found[1]
        process.send_signal(signal.SIGTERM)


@pytest.fixture
def synthesize(root, url, tmp_path, monkeypatch):
    """Runs the command on twelve sums; a checker as in the recipe."""
    monkeypatch.setenv("TINY_KEY", "open-sesame")
    seeds = tmp_path / "problems.jsonl"
    lines = [
        {
            "id": f"sum/{n}",
            "prompt": f"What is {n * n} plus {n + 7} in all?",
            "kind": "math",
            "answer": str(n * n + n + 7),
        }
        for n in range(12)
    ]
    seeds.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def run(out: Path, checker: str = "") -> subprocess.CompletedProcess[str]:
        recipe = tmp_path / "data.toml"
        recipe.write_text(RECIPE.format(url=url, checker=checker))
        return command("mimo-data", "synthesize", recipe, out, "--strategy", "solve", "--seeds", seeds)

    return run


def test_every_request_to_the_server_is_a_document_or_a_drop_and_a_second_run_gives_the_same(
    synthesize, root, tmp_path
):
    for name in ("first", "second"):
        done = synthesize(tmp_path / name)
        assert done.returncode == 0, done.stderr
    for name in ("documents-00000.jsonl.zst", "drops.jsonl", "ledger.jsonl", "samples.jsonl"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    counts = json.loads((tmp_path / "first" / "run.json").read_text())["counts"]
    documents = list(read_documents(tmp_path / "first"))
    assert counts["num_in"] == counts["num_out"] + counts["num_dropped"] == 48
    assert counts["num_out"] == len(documents)
    schema = json.loads((root / "packages" / "mimo-train" / "schemas" / "sample.schema.json").read_text())
    samples = [json.loads(line) for line in (tmp_path / "first" / "samples.jsonl").read_text().splitlines()]
    assert [sample["id"] for sample in samples] == [document.id for document in documents]
    for sample in samples:
        jsonschema.validate(sample, schema)
    # A random model seldom ends by itself.
    assert counts["drops"]["cut"] > 10
    totals = json.loads((tmp_path / "first" / "totals.json").read_text())
    assert totals["num_replies"] == 48
    assert totals["prompt_tokens"] > 48 * 20
    assert totals["price"] == pytest.approx(totals["completion_tokens"] / 1e6)


def test_a_checker_by_mimo_eval_judges_what_the_server_answers(synthesize, root, tmp_path):
    checker = f"checker = {json.dumps([sys.executable, str(root / 'scripts' / 'check_answers.py')])}"
    done = synthesize(tmp_path / "out", checker)
    assert done.returncode == 0, done.stderr
    drops = [json.loads(line) for line in (tmp_path / "out" / "drops.jsonl").read_text().splitlines()]
    # A random model is right about nothing: what is not dropped before is wrong.
    assert list(read_documents(tmp_path / "out")) == []
    assert {drop["reason"] for drop in drops} >= {"cut"}


def test_the_checker_knows_right_wrong_and_unknown(root):
    math = {"id": "a", "prompt": "2 + 2?", "kind": "math", "answer": "4"}
    cases = [{"id": "1", "stdin": "2 2", "expected": "4"}]
    code = {"id": "b", "prompt": "Add.", "kind": "code", "tests": cases, "pass_rate": 0.5}
    program = "```python\nprint(sum(map(int, input().split())))\n```"
    questions = [
        {"id": "right", "problem": math, "response": "<think>2 and 2</think>\\boxed{4}"},
        {"id": "wrong", "problem": math, "response": "\\boxed{5}"},
        {"id": "runs", "problem": code, "response": program},
        {"id": "unknown", "problem": {"id": "c", "prompt": "Write a poem."}, "response": "Roses."},
    ]
    done = subprocess.run(
        [sys.executable, root / "scripts" / "check_answers.py"],
        input="".join(json.dumps(question) + "\n" for question in questions),
        capture_output=True,
        text=True,
        check=True,
    )
    judged = {line["id"]: line["right"] for line in map(json.loads, done.stdout.splitlines())}
    assert judged == {"right": True, "wrong": False, "runs": True, "unknown": None}


def test_a_wrong_key_is_one_line_that_names_the_remedy(synthesize, tmp_path, monkeypatch):
    monkeypatch.setenv("TINY_KEY", "open-wheat")
    done = synthesize(tmp_path / "out")
    assert done.returncode == 1
    assert "HTTP 401" in done.stderr
    assert "api_key_variable" in done.stderr
    assert "open-wheat" not in done.stderr
    assert "Traceback" not in done.stderr

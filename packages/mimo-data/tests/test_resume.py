"""Killed at any moment and run again, with any number of workers, on processes or Ray: the same bytes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from mimo_data.cli import main

SENTENCE = "the model reads each page once and keeps what it can learn from in mind for every later step"
PROBLEM = "Which of the four numbers that Ada wrote on the board on Monday is the largest prime of all?"
COPY = "A page that is on the site again and again. " * 9


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, 60 pages in parts of 10, some of them copies or empty, and a benchmark problem that one page holds."""
    folder = tmp_path_factory.mktemp("world")
    pages = folder / "pages"
    pages.mkdir()
    chance = random.Random(1)
    for number in range(60):
        text = " ".join(chance.choices(SENTENCE.split(), k=120)) if number % 7 else COPY
        if number == 23:
            text += PROBLEM
        body = "" if number % 11 == 3 else f"<p>{text}</p>"
        (pages / f"{number:02}.html").write_text(f"<html><body>{body}</body></html>")
    (folder / "problems.jsonl").write_text(json.dumps({"id": "ada", "prompt": PROBLEM}))
    (folder / "data.toml").write_text("[extract.pages]\npages_per_part = 10\n")
    return folder


def commands(world: Path, out: Path, tokenizer: Path) -> dict[str, list[str]]:
    """The pipeline, each step from the folder of the one before."""
    recipe = str(world / "data.toml")
    steps: dict[str, list[str]] = {
        "extract": ["--pages", str(world / "pages")],
        "deduplicate": ["--documents", str(out / "extract")],
        "decontaminate": ["--documents", str(out / "deduplicate"), "--problems", str(world / "problems.jsonl")],
        "filter": ["--documents", str(out / "decontaminate")],
        "tokenize": ["--documents", str(out / "filter"), "--tokenizer", str(tokenizer)],
    }
    return {step: [step, recipe, str(out / step), *words] for step, words in steps.items()}


def mimo_data(*words: str) -> list[str]:
    return [sys.executable, "-c", "from mimo_data.cli import main; raise SystemExit(main())", *words]


def run(words: list[str]) -> None:
    done = subprocess.run(mimo_data(*words), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def whole(world: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one worker makes without a break."""
    out = tmp_path_factory.mktemp("whole")
    for words in commands(world, out, tokenizer).values():
        run([*words, "--workers", "1"])
    return out


@pytest.mark.slow
def test_every_document_is_kept_or_dropped(whole):
    num_in = 60
    for step in ("extract", "deduplicate", "decontaminate", "filter"):
        counts = json.loads((whole / step / "run.json").read_text())["counts"]
        lines = (whole / step / "drops.jsonl").read_text().splitlines()
        assert counts["num_in"] == num_in
        assert counts["num_dropped"] == len(lines) == sum(counts["drops"].values())
        assert counts["num_out"] == num_in - len(lines)
        assert step == "filter" or lines
        num_in = counts["num_out"]


@pytest.mark.slow
def test_three_workers_make_the_same_bytes(world, whole, tokenizer, tmp_path):
    for words in commands(world, tmp_path, tokenizer).values():
        run([*words, "--workers", "3"])
    assert contents(tmp_path) == contents(whole)


@pytest.fixture
def cluster() -> Iterator[str]:
    """The address of three Ray nodes, the first of which takes no work: three machines to Ray, all of them here."""
    ray = pytest.importorskip("ray", reason="needs Ray: install mimo-data[ray]")
    from ray.cluster_utils import Cluster

    # This process is connected once, and an earlier test may have been.
    ray.shutdown()
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        nodes.add_node(num_cpus=1)
    yield nodes.address
    ray.shutdown()
    nodes.shutdown()


@pytest.mark.slow
def test_ray_makes_the_same_bytes_on_other_nodes(world, whole, tokenizer, tmp_path, cluster):
    for words in commands(world, tmp_path, tokenizer).values():
        assert main([*words, "--ray", cluster]) == 0
    assert contents(tmp_path) == contents(whole)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["extract", "deduplicate", "decontaminate", "filter", "tokenize"])
def test_a_step_that_is_killed_again_and_again_makes_the_same_bytes(world, whole, tokenizer, tmp_path, step):
    words = commands(world, whole, tokenizer)[step]
    words[2] = str(tmp_path / step)
    # Each time a little later, until it is done before it is killed.
    for tenths in count(1):
        with subprocess.Popen(mimo_data(*words, "--workers", "2"), stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + tenths / 10
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            if process.poll() is not None:
                break
            process.kill()
    assert tenths > 1
    assert process.returncode == 0
    assert contents(tmp_path / step) == contents(whole / step)

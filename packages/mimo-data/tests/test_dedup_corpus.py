from __future__ import annotations

import hashlib
import json
import os
import random
import signal
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimo_data import Document, read_documents, write_documents
from mimo_data.dedup.corpus import deduplicate_corpus
from mimo_data.dedup.groups import PAIRS, contracted
from mimo_data.dedup.minhash import DeduplicateRecipe, find_duplicates
from mimo_data.dedup.shuffle import ShuffleWriter, read_records
from mimo_data.engine import Engine
from mimo_data.run import DataError, Run

RECIPE = DeduplicateRecipe()
WORDS = [f"word{number}" for number in range(300)]


def corpus(seed: int, num_documents: int = 60) -> list[Document]:
    """Copies by every rule in chains, and a crowd that shares bands."""
    chance = random.Random(seed)
    bases = [" ".join(chance.choices(WORDS, k=80)) for _ in range(num_documents // 4)]
    found = []
    for number in range(num_documents):
        words = chance.choice(bases).split()
        for place in chance.sample(range(80), chance.choice([0, 0, 1, 2, 5, 20])):
            words[place] = chance.choice(WORDS)
        url = chance.choice(["", f"http://a.org/{chance.randrange(num_documents)}"])
        found.append(Document(id=f"d{number}", text=" ".join(words), source="web", url=url))
    crowd = [f"{bases[0]} at the end {number}" for number in range(40)]
    found += [Document(id=f"crowd{number}", text=text, source="web") for number, text in enumerate(crowd)]
    return [*found, *(Document(id=f"empty{number}", text="", source="web") for number in range(2))]


def files(folder: Path, documents: Sequence[Document], num_parts: int) -> list[Path]:
    paths = [folder / f"part-{number}.jsonl.zst" for number in range(num_parts)]
    for number, path in enumerate(paths):
        write_documents(path, documents[number::num_parts])
    return paths


def run(out: Path, paths: Sequence[Path], *, engine: Engine | None = None, partition_bytes: int = 1 << 30) -> Path:
    with Run.open(out, package="mimo-data", command="deduplicate", recipe=RECIPE, inputs={}, resumable=True) as opened:
        if not opened.complete:
            deduplicate_corpus(opened, paths, RECIPE, engine=engine, partition_bytes=partition_bytes)
    return out


def dropped(out: Path) -> list[tuple[str, str, str]]:
    rows = map(json.loads, (out / "drops.jsonl").read_text().splitlines())
    return sorted((row["id"], row["detail"], row["reason"]) for row in rows)


def digests(out: Path) -> dict[str, str]:
    """Of every file but `run.json`, which says how long it took."""
    assert not list(out.rglob("*.tmp"))
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


@pytest.mark.parametrize(("num_parts", "num_partitions"), [(1, 1), (3, 1), (1, 4), (4, 3)])
def test_a_corpus_on_disk_gives_what_it_gives_in_memory(tmp_path, num_parts, num_partitions):
    documents = corpus(num_parts)
    paths = files(tmp_path, documents, num_parts)
    size = sum(path.stat().st_size for path in paths)
    out = run(tmp_path / "out", paths, partition_bytes=-(-size // num_partitions))
    wanted = find_duplicates(documents, RECIPE)
    assert {reason for *_, reason in wanted} == {"same_url", "same_text", "near_duplicate"}
    assert dropped(out) == wanted
    left = {document.id for document in documents} - {name for name, *_ in wanted}
    assert sorted(document.id for document in read_documents(out)) == sorted(left)
    assert sorted(path.name for path in out.iterdir())[:num_parts] == [
        f"documents-{number:05d}.jsonl.zst" for number in range(num_parts)
    ]


class Killed:
    """Kills this process with signal 9 the first time that a file is about to get its name, for each file."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._rename = Path.rename

    def __enter__(self) -> None:
        def rename(path: Path, target: Path) -> Path:
            seen = self._log.read_text().splitlines() if self._log.exists() else []
            if str(target) not in seen:
                with self._log.open("a") as file:
                    file.write(f"{target}\n")
                os.kill(os.getpid(), signal.SIGKILL)
            return self._rename(path, target)

        Path.rename = rename  # type: ignore[method-assign, assignment]

    def __exit__(self, *_: object) -> None:
        Path.rename = self._rename  # type: ignore[method-assign]


def test_a_run_that_is_killed_before_each_of_its_files_gives_the_same_bytes(tmp_path):
    paths = files(tmp_path, corpus(1, 30), 2)
    size = sum(path.stat().st_size for path in paths)
    undisturbed = run(tmp_path / "undisturbed", paths, partition_bytes=-(-size // 2))
    log, out = tmp_path / "killed-at", tmp_path / "out"

    def attempt() -> None:
        with Killed(log):
            run(out, paths, partition_bytes=-(-size // 2))

    num_killed = 0
    while True:
        process = get_context("fork").Process(target=attempt)
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        num_killed += 1
    assert digests(out) == digests(undisturbed)
    phases = {Path(line).parent.name for line in log.read_text().splitlines()}
    assert {"sketches", "losses-url", "losses-text", "bands-0", "pairs-0", "shingles-0"} <= phases
    assert {"alike-0", "stars-0-0", "losses-near-0-0", "questions-0", "answers-0", "filter"} <= phases
    assert num_killed == len(log.read_text().splitlines()) > 50


@pytest.mark.slow
@pytest.mark.parametrize("engine", [Engine(num_workers=1), Engine(num_workers=3), Engine(num_workers=2, ray="local")])
def test_every_engine_gives_the_same_bytes(tmp_path, engine):
    paths = files(tmp_path, corpus(1), 3)
    here = run(tmp_path / "here", paths)
    size = sum(path.stat().st_size for path in paths)
    there = run(tmp_path / "there", paths, engine=engine, partition_bytes=-(-size // 2))
    assert digests(there) == digests(here)


def test_the_order_and_the_division_into_files_do_not_matter(tmp_path):
    documents = corpus(2)
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    one = run(tmp_path / "one" / "out", files(tmp_path / "one", documents, 2))
    other = run(tmp_path / "other" / "out", files(tmp_path / "other", documents[::-1], 3))
    assert dropped(one) == dropped(other)


def test_a_second_pass_drops_nothing(tmp_path):
    once = run(tmp_path / "once", files(tmp_path, corpus(3), 2))
    twice = run(tmp_path / "twice", sorted(once.glob("documents-*")))
    assert dropped(twice) == []


def test_an_id_that_occurs_in_two_files_is_named(tmp_path):
    documents = corpus(4)
    paths = files(tmp_path, [*documents, documents[7]], 2)
    with pytest.raises(DataError, match=f"{paths[0]} and {paths[1]}: two documents have the id 'd7'"):
        run(tmp_path / "out", paths)


def test_an_empty_corpus_stays_empty(tmp_path):
    out = run(tmp_path / "out", files(tmp_path, [], 1))
    assert list(read_documents(out)) == []


@settings(max_examples=50)
@given(edges=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_contracted_pairs_join_each_member_of_a_group_to_its_best(edges):
    pairs = np.array([(a, a, b, b) for a, b in (sorted(edge) for edge in edges) if a != b], dtype=PAIRS)
    groups = {node: {node} for node in range(31)}
    for a, _, b, _ in pairs.tolist():
        merged = groups[a] | groups[b]
        for node in merged:
            groups[node] = merged
    wanted = sorted((min(group), node) for node, group in groups.items() if min(group) != node)
    assert sorted((a, b) for a, _, b, _ in contracted(pairs).tolist()) == wanted


def test_records_come_out_of_a_shuffle_by_partition_and_in_order(tmp_path):
    records = np.array([(number, number, number % 3, number) for number in range(100)], dtype=PAIRS)
    with ShuffleWriter(tmp_path / "file", 4) as writer:
        for start in range(0, 100, 10):
            chunk = records[start : start + 10]
            writer.add_records(chunk["rank_b"].astype(np.int64), chunk)
    for partition in range(4):
        assert read_records([tmp_path / "file"], partition, PAIRS)["number_b"].tolist() == [
            *range(partition, 100 if partition < 3 else 0, 3)
        ]


def test_a_shuffle_that_fails_leaves_no_file(tmp_path):
    with pytest.raises(IndexError), ShuffleWriter(tmp_path / "file", 1) as writer:
        writer.add(1, bytes(8))
    assert not (tmp_path / "file").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["file.tmp"]

"""Deduplication: what it finds of planted near-copies, how fast, and how much memory a corpus on disk takes.

    python benchmarks/deduplication.py                        # a minute
    python benchmarks/deduplication.py --gigabytes 10 --workers 2
    python benchmarks/deduplication.py --pairs SET.jsonl PAIRS.jsonl

The last form reads rows with `text` and `id` and writes a row [id, id] for each pair that is found, copies of the same
text among them, for any program that scores pairs.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from mimo_data import write_documents
from mimo_data.dedup.corpus import PhaseUse, deduplicate_corpus
from mimo_data.dedup.generated import sample_documents
from mimo_data.dedup.minhash import DeduplicateRecipe, find_duplicates, similar_pairs
from mimo_data.dedup.words import split_words
from mimo_data.engine import Engine
from mimo_data.run import Run

RECIPE = DeduplicateRecipe()
PART_BYTES = 250_000_000
BINS = ((0.0, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=0.1, help="of generated text, on disk")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--pairs", type=Path, nargs=2, metavar=("SET", "PAIRS"))
    arguments = parser.parse_args()
    if arguments.pairs and not arguments.pairs[0].exists():
        parser.error(f"{arguments.pairs[0]}: no such file")
    print(f"{platform.machine()}, Python {platform.python_version()}, ", end="")
    print(f"numpy {version('numpy')}, numba {version('numba')}; {RECIPE}, {RECIPE.num_bands} bands\n")
    if arguments.pairs:
        write_pairs(*arguments.pairs)
        return
    warm_up()
    planted_copies()
    on_disk(round(arguments.gigabytes * 1e9), arguments.workers)


def warm_up() -> None:
    """Compiles, so that no table counts it."""
    list(find_duplicates([*sample_documents(100_000, 2000, 0.5)], RECIPE))


def shingles(text: str) -> set[tuple[str, ...]]:
    words = split_words(text)
    size = RECIPE.shingle_words
    return {tuple(words[start : start + size]) for start in range(max(1, len(words) - size + 1))}


def planted_copies() -> None:
    """Recall by exact similarity, and precision, of pairs among originals and their edited copies."""
    chance = random.Random(1)
    texts: list[str] = []
    wanted: dict[tuple[int, int], float] = {}
    for document in sample_documents(6_000_000, 3000, 0.0):
        words = document.text.split()
        copy = list(words)
        for place in chance.sample(
            range(len(words)), round(len(words) * chance.choice([0.002, 0.01, 0.02, 0.03, 0.06]))
        ):
            copy[place] = f"edit{chance.randrange(10**6)}"
        texts += [document.text, " ".join(copy)]
        one, other = shingles(texts[-2]), shingles(texts[-1])
        wanted[len(texts) - 2, len(texts) - 1] = len(one & other) / len(one | other)
    start_s = time.process_time()
    found = set(similar_pairs(texts, RECIPE))
    cpu_s = time.process_time() - start_s
    print("| exact similarity | pairs | found |")
    print("| --- | --- | --- |")
    for low, high in BINS:
        pairs = [pair for pair, similarity in wanted.items() if low <= similarity < high]
        print(f"| {low:g} to {high:g} | {len(pairs)} | {sum(pair in found for pair in pairs)} |")
    right = sum(wanted.get(pair, 0.0) >= RECIPE.threshold for pair in found)
    size = sum(map(len, texts)) / 1e6
    print(f"\n{right} of {len(found)} pairs found are that similar. ", end="")
    print(f"{size:.0f} MB in memory, half of it copies: {size / cpu_s:.0f} MB/s per core.\n")
    assert right == len(found), "a pair below the threshold was found"


def on_disk(num_bytes: int, num_workers: int) -> None:
    """Rate by phase and peak memory of a worker."""
    with TemporaryDirectory(prefix="deduplication-", dir=Path.cwd()) as name:
        folder = Path(name)
        paths: list[Path] = []
        first = size = 0
        while size < num_bytes:
            path = folder / f"part-{len(paths):05d}.jsonl.zst"
            count = 0

            def counted(start: int = first, rest: int = num_bytes - size):
                nonlocal count, size
                for document in sample_documents(min(PART_BYTES, rest), 5000, 0.4, first=start):
                    count += 1
                    size += len(document.text)
                    yield document

            write_documents(path, counted())
            first += count
            paths.append(path)
        uses: list[PhaseUse] = []
        start_s = time.monotonic()
        with Run.open(
            folder / "out", package="mimo-data", command="deduplicate", recipe=RECIPE, inputs={}, resumable=True
        ) as run:
            counts = deduplicate_corpus(
                run, paths, RECIPE, engine=Engine(num_workers=num_workers), on_phase=uses.append
            )
        wall_s = time.monotonic() - start_s
        print(f"{size / 1e9:.2f} GB in {counts.num_in} documents of {len(paths)} parts; dropped {counts.drops}\n")
        print("| phase | CPU s | MB/s per core | written, MB | on disk, MB |")
        print("| --- | --- | --- | --- | --- |")
        for use in uses:
            rate = size / 1e6 / use.cpu_s
            written, on_disk_mb = max(0, use.written_bytes) / 1e6, use.disk_bytes / 1e6
            print(f"| {use.name} | {use.cpu_s:.1f} | {rate:.0f} | {written:.0f} | {on_disk_mb:.0f} |")
        cpu_s = sum(use.cpu_s for use in uses)
        finding_s = cpu_s - uses[-1].cpu_s
        print(f"| all but filter | {finding_s:.1f} | {size / 1e6 / finding_s:.0f} | | |")
        print(f"| all | {cpu_s:.1f} | {size / 1e6 / cpu_s:.0f} | | |\n")
        peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)]
        print(
            f"{num_workers} workers, {wall_s:.0f} s of wall time; peak memory {peaks[0]:.0f} MiB of the largest ",
            end="",
        )
        print(f"worker, {peaks[1]:.0f} MiB of the supervisor, which made the text.")


def write_pairs(path: Path, out: Path) -> None:
    warm_up()
    start_s = time.process_time()
    with path.open() as file:
        rows = [json.loads(line) for line in file]
    found = similar_pairs([row["text"] for row in rows], RECIPE)
    with out.open("w") as file:
        file.writelines(json.dumps([rows[a]["id"], rows[b]["id"]]) + "\n" for a, b in found)
    cpu_s = time.process_time() - start_s
    size = sum(len(row["text"].encode()) for row in rows) / 1e6
    print(f"{len(found)} pairs of {len(rows)} texts; {size:.1f} MB, {size / cpu_s:.1f} MB/s per core", file=sys.stderr)


if __name__ == "__main__":
    main()

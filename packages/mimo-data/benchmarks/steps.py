"""The steps that stream documents, on a corpus of generated text: time, and the largest process's memory.

    python benchmarks/steps.py [--gigabytes 0.2] [--workers 2] [--folder FOLDER]

Deduplication, which does not stream, has `deduplication.py`. The tokenizer is a byte-level BPE of 8,000 tokens trained
on the same text; the problems are 1,000 pieces of the documents.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from mimo_data import read_documents, write_documents
from mimo_data.dedup.generated import sample_documents

PART_BYTES = 250_000_000
DOCUMENT_BYTES = 5000
RECIPE = """
[decontaminate]
[filter]
[tokenize]
shard_tokens = 100_000_000
"""


def write_part(place: tuple[Path, int, int]) -> int:
    """One file of documents; the bytes of text in it."""
    path, number, num_bytes = place
    size = 0

    def counted():
        nonlocal size
        for document in sample_documents(num_bytes, DOCUMENT_BYTES, 0.4, first=number * PART_BYTES):
            size += len(document.text)
            yield document

    write_documents(path, counted())
    return size


def write_tokenizer(folder: Path, documents: Path) -> None:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=8000, show_progress=False, special_tokens=["<|endoftext|>"])
    made.train_from_iterator((document.text for document in islice(read_documents(documents), 1000)), trainer)
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))


def write_problems(path: Path, documents: Path) -> None:
    with path.open("w") as file:
        for number, document in enumerate(islice(read_documents(documents), 1000)):
            prompt = " ".join(document.text.split()[:40])
            problem = {"id": str(number), "prompt": prompt, "kind": "short-text", "answer": "x", "source": "benchmark"}
            file.write(json.dumps(problem) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=0.2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the corpus may lie; deleted at the end")
    arguments = parser.parse_args()
    if arguments.folder and not arguments.folder.is_dir():
        parser.error(f"{arguments.folder}: no such folder")
    with TemporaryDirectory(prefix="steps-", dir=arguments.folder) as name:
        folder = Path(name)
        (folder / "documents").mkdir()
        whole = round(arguments.gigabytes * 1e9)
        parts = [
            (folder / "documents" / f"documents-{number:05d}.jsonl.zst", number, min(PART_BYTES, whole - start))
            for number, start in enumerate(range(0, whole, PART_BYTES))
        ]
        with multiprocessing.Pool(arguments.workers) as pool:
            size = sum(pool.imap_unordered(write_part, parts))
        write_tokenizer(folder / "tokenizer", parts[0][0])
        write_problems(folder / "problems.jsonl", parts[0][0])
        (folder / "data.toml").write_text(RECIPE)
        print(
            f"{platform.machine()}, Python {platform.python_version()}, {arguments.workers} workers; "
            f"{size / 1e9:.2f} GB of text in {len(parts)} files\n"
        )
        print(
            "| step | CPU s | MB/s per core | wall s | largest process so far, MiB |\n| --- | --- | --- | --- | --- |"
        )
        documents = ["--documents", folder / "documents"]
        for verb, options in (
            ("filter", []),
            ("decontaminate", ["--problems", folder / "problems.jsonl"]),
            ("tokenize", ["--tokenizer", folder / "tokenizer"]),
        ):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            start_s = time.monotonic()
            command = [
                Path(sys.executable).with_name("mimo-data"),
                verb,
                folder / "data.toml",
                folder / verb,
                *documents,
            ]
            subprocess.run([*command, *options, "--workers", str(arguments.workers)], check=True, capture_output=True)
            wall_s = time.monotonic() - start_s
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            peak_mib = after.ru_maxrss / 1024
            print(f"| {verb} | {cpu_s:.0f} | {size / 1e6 / cpu_s:.0f} | {wall_s:.0f} | {peak_mib:.0f} |", flush=True)


if __name__ == "__main__":
    main()

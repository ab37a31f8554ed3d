"""Tokenizing as a step: a part is a file of documents, and gives shards of its own to every source in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mimo_data.documents import Document, document_files, read_documents
from mimo_data.engine import Engine, count_items, run_parts
from mimo_data.run import STATE, Record, Run
from mimo_data.shards import PartWriter, ShardEntry, TokenizeRecipe, sha256_of, write_manifests
from mimo_data.steps import forget_parts, part_names
from mimo_data.tokens import Encoder

_COUNT_EVERY = 256


class PartShards(Record, frozen=True):
    """The shards that a part gave, by source."""

    entries: dict[str, list[ShardEntry]]


@dataclass(frozen=True)
class _Part:
    path: Path
    out: Path
    name: str
    tokenizer: Path
    recipe: TokenizeRecipe
    num_threads: int
    run: str
    """The run's fingerprint."""


def tokenize_documents(
    run: Run,
    inputs: Sequence[Path],
    tokenizer: Path,
    recipe: TokenizeRecipe,
    *,
    engine: Engine,
    on_items: Callable[[int], None] | None = None,
) -> None:
    """Writes the shards of documents files and step folders, and finishes the run.

    Raises:
        DataError: see `write_shards`.
    """
    files = document_files(*inputs)
    # Parts share the machine; one alone has all of it, through the tokenizer's own threads.
    num_threads = max(1, len(os.sched_getaffinity(0)) // max(1, min(engine.num_workers, len(files))))
    parts = {
        name: _Part(file, run.folder, name, tokenizer, recipe, num_threads, run.fingerprint)
        for name, file in zip(part_names(), files, strict=False)
    }
    outputs = run_parts(
        _tokenize_part, parts, output=PartShards, done=run.folder / STATE, engine=engine, on_items=on_items
    )
    if not any(output.entries for output in outputs.values()):
        # The error that follows leaves nothing to resume from.
        shutil.rmtree(run.folder / STATE)
    manifests = write_manifests(
        run.folder,
        [output.entries for output in outputs.values()],
        _encoder(tokenizer, run.fingerprint).end_of_text,
        sha256_of(tokenizer / "tokenizer.json"),
    )
    run.finish(
        num_documents=sum(manifest.num_documents for manifest in manifests.values()),
        num_tokens=sum(manifest.num_tokens for manifest in manifests.values()),
    )
    forget_parts(run)


def _tokenize_part(part: _Part) -> PartShards:
    # Read once, when the tokenizer first works with several texts.
    os.environ["RAYON_NUM_THREADS"] = str(part.num_threads)

    def counted() -> Iterator[Document]:
        number = 0
        for number, document in enumerate(read_documents(part.path), start=1):
            if number % _COUNT_EVERY == 0:
                count_items(_COUNT_EVERY)
            yield document
        count_items(number % _COUNT_EVERY)

    with PartWriter(part.out, part.name, part.recipe) as writer:
        for document, tokens in _encoder(part.tokenizer, part.run).encode(counted()):
            writer.add(document, tokens)
    return PartShards(entries=writer.entries)


@lru_cache(maxsize=1)
def _encoder(tokenizer: Path, _run: str) -> Encoder:
    """One for all the parts of a run that a process does; for the next run, the folder may hold another."""
    return Encoder(tokenizer)

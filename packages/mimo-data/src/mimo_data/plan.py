"""What deduplicating a corpus would take, from a measurement on this machine.

A sample of generated documents of the asked size, with the asked share of copies, goes through every phase here, on
one core; the corpus is taken to need the same per byte. Covered: CPU time, files between the phases, what has to be
read and written. Not covered: a machine with another CPU, storage that does not keep up (the plan says what it must
deliver), the extraction of the documents, and copies that come in crowds of thousands, which take rounds of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mimo_data.dedup.corpus import PhaseUse, deduplicate_corpus
from mimo_data.dedup.minhash import DeduplicateRecipe
from mimo_data.documents import Document, write_documents
from mimo_data.run import Run

# Workers wait for the last task of each phase and for storage.
_BUSY_SHARE = 0.7
_VOCABULARY = 50_000


@dataclass(frozen=True)
class Demand:
    """What is asked for."""

    text_bytes: float
    hours: float
    document_bytes: float
    copies: float
    """Share of the documents that are copies, exact or near."""
    cores_per_machine: int


@dataclass(frozen=True)
class Plan:
    """What it would take."""

    demand: Demand
    sample_bytes: int
    stored_share: float
    """Bytes of a documents file for one byte of text, in the sample."""
    phases: tuple[PhaseUse, ...]
    """As measured on the sample."""

    @property
    def scale(self) -> float:
        return self.demand.text_bytes / self.sample_bytes

    @property
    def core_hours(self) -> float:
        return sum(use.cpu_s for use in self.phases) * self.scale / 3600

    @property
    def num_cores(self) -> int:
        return math.ceil(self.core_hours / self.demand.hours / _BUSY_SHARE)

    @property
    def num_machines(self) -> int:
        return math.ceil(self.num_cores / self.demand.cores_per_machine)

    @property
    def disk_bytes(self) -> float:
        """Most that lies between the phases at a time, on storage that all machines see."""
        return max(use.disk_bytes for use in self.phases) * self.scale

    @property
    def exchanged_bytes(self) -> float:
        """Written between the phases; as much is read."""
        return sum(max(0, use.written_bytes) for use in self.phases) * self.scale

    @property
    def document_file_bytes(self) -> float:
        """Of documents files: read for the sketches, the copies once more, all of it again for the output; written."""
        return (3 + self.demand.copies) * self.stored_share * self.demand.text_bytes

    @property
    def bytes_per_machine_s(self) -> float:
        """What storage must read and write for one machine, on average."""
        total = 2 * self.exchanged_bytes + self.document_file_bytes
        return total / self.num_machines / (self.demand.hours * 3600)


def make_plan(demand: Demand, recipe: DeduplicateRecipe, *, sample_bytes: int) -> Plan:
    """Measures a sample and scales it to the demand.

    Raises:
        ValueError: the demand is not for a positive amount of anything.
    """
    if min(demand.text_bytes, demand.hours, demand.document_bytes, demand.cores_per_machine) <= 0:
        raise ValueError("text, hours, bytes of a document and cores of a machine must be positive")
    if not 0 <= demand.copies < 1:
        raise ValueError(f"the share of copies must lie in [0, 1), not {demand.copies:g}")
    phases: list[PhaseUse] = []
    with TemporaryDirectory(prefix="mimo-data-plan-") as name:
        folder = Path(name)
        # So that compiling does not count.
        _deduplicate(folder / "first", [*sample_documents(1 << 16, demand.document_bytes, 0.5)], recipe, phases)
        phases.clear()
        documents = list(sample_documents(sample_bytes, demand.document_bytes, demand.copies))
        stored_bytes = _deduplicate(folder / "sample", documents, recipe, phases)
        size = sum(len(document.text) for document in documents)
    return Plan(demand, size, stored_bytes / size, tuple(phases))


def sample_documents(
    num_bytes: int, document_bytes: float, copies: float, *, first: int = 0, num_originals: int | None = None
) -> Iterator[Document]:
    """Generated documents of random words, about as frequent as words are, until there are so many bytes of text.

    Args:
        document_bytes: mean size.
        copies: share that repeats an original: a third each by address, by text and nearly.
        first: number of the first document; a document depends on its number alone.
        num_originals: copies are of documents with a smaller number than this, so that any part of a corpus may hold
            them; None for the documents up to the copy itself.
    """
    vocabulary = _vocabulary()
    mean_word_bytes = 7.0
    number = first
    while num_bytes > 0:
        generator = np.random.default_rng((1, number))
        kind = generator.random()
        source = number
        if kind < copies and number:
            source = int(generator.integers(0, num_originals or number))
        words = _words(source, document_bytes / mean_word_bytes, vocabulary)
        url = f"https://www.site{number % 997}.example/page/{number}"
        if source != number:
            if kind < copies / 3:
                url = f"http://site{source % 997}.example/page/{source}/?utm_source=feed"
                words = _words(number, document_bytes / mean_word_bytes, vocabulary)
            elif kind < copies * 2 / 3:
                words = list(words)
            else:
                places = generator.integers(0, len(words), size=1 + len(words) // 100)
                for place in places.tolist():
                    words[place] = vocabulary[(place * 31 + number) % _VOCABULARY]
        text = " ".join(words)
        num_bytes -= len(text)
        yield Document(id=f"{number:012d}", text=text, source="web", url=url)
        number += 1


def _words(number: int, mean_words: float, vocabulary: list[str]) -> list[str]:
    generator = np.random.default_rng((2, number))
    # A few long documents hold much of the text, as on the web.
    count = max(8, int(generator.lognormal(math.log(mean_words) - 0.5, 1.0)))
    # Uniform in the logarithm of the rank: Zipf's law.
    ranks = np.exp(generator.random(count) * math.log(_VOCABULARY)).astype(np.int64) - 1
    return [vocabulary[rank] for rank in ranks.tolist()]


def _vocabulary() -> list[str]:
    generator = np.random.default_rng(0)
    syllables = [consonant + vowel for consonant in "bdfghklmnprstvz" for vowel in "aeiou"]
    words: dict[str, None] = {}
    while len(words) < _VOCABULARY:
        chosen = generator.integers(0, len(syllables), size=int(generator.integers(1, 5)))
        words.setdefault("".join(syllables[place] for place in chosen.tolist()))
    return list(words)


def _deduplicate(out: Path, documents: list[Document], recipe: DeduplicateRecipe, phases: list[PhaseUse]) -> int:
    """Runs the step in this process; bytes of the documents file."""
    path = out.with_name(out.name + ".jsonl.zst")
    write_documents(path, documents)
    with Run.open(out, package="mimo-data", command="deduplicate", recipe=recipe, inputs={}, resumable=True) as run:
        deduplicate_corpus(run, [path], recipe, engine=None, on_phase=phases.append)
    return path.stat().st_size

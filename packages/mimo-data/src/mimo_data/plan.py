"""What deduplicating a corpus would take, from a measurement on this machine.

A sample of generated documents of the asked size, with the asked share of copies, goes through every phase here, on
one core; the corpus is taken to need the same per byte. Covered: CPU time, files between the phases, what has to be
read and written. Not covered: a machine with another CPU, storage that does not keep up (the plan says what it must
deliver), the extraction of the documents, and copies that come in crowds of thousands, which take rounds of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mimo_data.dedup.corpus import PhaseUse, deduplicate_corpus
from mimo_data.dedup.generated import sample_documents
from mimo_data.dedup.minhash import DeduplicateRecipe
from mimo_data.documents import Document, write_documents
from mimo_data.run import Run
from mimo_data.settings import check_number

# Workers wait for the last task of each phase and for storage.
_BUSY_SHARE = 0.7


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
        ValueError: the demand is for what nobody has, or of documents that the sample does not hold some of.
    """
    check_number("terabytes", demand.text_bytes / 1e12, 1e-6, 1_000_000)
    check_number("hours", demand.hours, 0.01, 100_000)
    check_number("document-bytes", demand.document_bytes, 10, 1_000_000)
    check_number("copies", demand.copies, 0, 0.99)
    check_number("cores", demand.cores_per_machine, 1, 10_000)
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


def _deduplicate(out: Path, documents: list[Document], recipe: DeduplicateRecipe, phases: list[PhaseUse]) -> int:
    """Runs the step in this process; bytes of the documents file."""
    path = out.with_name(out.name + ".jsonl.zst")
    write_documents(path, documents)
    with Run.open(out, package="mimo-data", command="deduplicate", recipe=recipe, inputs={}, resumable=True) as run:
        deduplicate_corpus(run, [path], recipe, engine=None, on_phase=phases.append)
    return path.stat().st_size

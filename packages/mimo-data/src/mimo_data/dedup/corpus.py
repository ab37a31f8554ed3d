"""Copies out of a corpus of any size on disk, on processes of one machine or on Ray: the rules of `minhash.py`.

The result is that of `find_duplicates` on the same documents, whatever the number of workers and however often the run
was killed and begun again. `layout.py` lists the phases; here is their order.

A worker holds at most some hundred megabytes, and two hundred bytes for each document that its part drops: parts of a
few gigabytes each are a good size, and there cannot be more workers busy than parts. Files between the phases take
about a kilobyte a document on disk, and eight bytes for each word of the documents that look like copies.
"""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from mimo_data.dedup import exact, names, near
from mimo_data.dedup.layout import Counted, Layout, Task
from mimo_data.dedup.minhash import DeduplicateRecipe
from mimo_data.documents import document_files
from mimo_data.engine import Engine, end_idle_processes, run_parts
from mimo_data.run import STATE, Record, Run
from mimo_data.steps import PartCounts, finish_step, part_names

OutputT = TypeVar("OutputT", bound=Record)

_PARTITION_BYTES = 64 << 20
# More would make the pieces small that a partition is read in; larger partitions are read in several turns instead.
_MAX_PARTITIONS = 16384


@dataclass(frozen=True)
class PhaseUse:
    """What a phase took."""

    name: str
    cpu_s: float
    """Of this machine; what a Ray cluster does elsewhere is not seen."""
    written_bytes: int
    """Written for the phases after it."""
    disk_bytes: int
    """Of all files between the phases when it ended."""


def deduplicate_corpus(
    run: Run,
    inputs: Sequence[Path],
    recipe: DeduplicateRecipe,
    *,
    engine: Engine | None,
    partition_bytes: int = _PARTITION_BYTES,
    on_items: Callable[[int], None] | None = None,
    on_phase: Callable[[PhaseUse], None] | None = None,
) -> PartCounts:
    """Runs the step over documents files and step folders, and finishes it.

    Args:
        engine: where the phases run; None for this process.
        partition_bytes: of the input files, to each of which comes one partition of the hashes. The result is the
            same for any.
        on_items: told of documents; each counts twice, when it is sketched and when it is written or dropped.
        on_phase: told of each phase that has ended.

    Raises:
        DataError: two documents have the same id, or a file is damaged.
    """
    files = document_files(*inputs)
    num_partitions = -(-sum(file.stat().st_size for file in files) // partition_bytes)
    num_partitions = min(max(1, num_partitions), _MAX_PARTITIONS)
    layout = Layout(run.folder / STATE / "deduplicate", recipe, len(files), num_partitions)
    layout.write_files(files)
    return _Phases(run, layout, files, engine, on_items, on_phase).run_all()


class _Phases:
    """Runs the phases one after the other."""

    def __init__(
        self,
        run: Run,
        layout: Layout,
        files: Sequence[Path],
        engine: Engine | None,
        on_items: Callable[[int], None] | None,
        on_phase: Callable[[PhaseUse], None] | None,
    ) -> None:
        self._run = run
        self._layout = layout
        self._files = files
        self._engine = engine
        self._on_items = on_items
        self._on_phase = on_phase
        self._losses: tuple[tuple[str, str], ...] = ()

    def run_all(self) -> PartCounts:
        self._parts(exact.sketch)
        self._partitions(exact.addresses)
        self._forget("id-hashes", "url-hashes")
        self._losses += (("losses-url", "same_url"),)
        self._parts(exact.words)
        self._partitions(exact.texts)
        self._forget("text-hashes")
        self._losses += (("losses-text", "same_text"),)
        number = 0
        while self._near_duplicates(number):
            number += 1
        self._forget("sketches")
        turn = 0
        while _total(self._parts(names.names, turn=turn)):
            turn += 1
        outputs = self._run_tasks("filter", names.filter_part, self._part_tasks(turn=turn), PartCounts)
        return finish_step(self._run, outputs)

    def _near_duplicates(self, number: int) -> bool:
        """One round; whether there is anything left for another one."""
        self._parts(near.bands, round=number)
        num_crowded = _total(self._partitions(near.pairs, round=number))
        self._forget(f"bands-{number}")
        self._parts(near.shingles, round=number)
        self._partitions(near.verify, round=number)
        self._forget(f"shingles-{number}", f"pairs-{number}", f"needs-{number}")
        turn = 0
        joined = self._partitions(near.stars, round=number)
        while any(counted.changed for counted in joined.values()):
            turn += 1
            joined = self._partitions(near.stars, round=number, turn=turn)
        self._losses += ((f"losses-near-{number}-{turn}", "near_duplicate"),)
        return num_crowded > 0 and _total(joined) > 0

    def _parts(self, phase: Callable[[Task], Counted], *, round: int = 0, turn: int = 0) -> dict[str, Counted]:
        return self._run_tasks(_name(phase, round, turn), phase, self._part_tasks(round=round, turn=turn), Counted)

    def _partitions(self, phase: Callable[[Task], Counted], *, round: int = 0, turn: int = 0) -> dict[str, Counted]:
        task = Task(self._layout, 0, losses=self._losses, round=round, turn=turn)
        tasks = [replace(task, number=number) for number in range(self._layout.num_partitions)]
        return self._run_tasks(_name(phase, round, turn), phase, tasks, Counted)

    def _part_tasks(self, *, round: int = 0, turn: int = 0) -> list[Task]:
        return [
            Task(self._layout, number, file, self._losses, round, turn, self._run.folder)
            for number, file in enumerate(self._files)
        ]

    def _run_tasks(
        self, name: str, phase: Callable[[Task], OutputT], tasks: Sequence[Task], output: type[OutputT]
    ) -> dict[str, OutputT]:
        done = self._run.folder / STATE / "done" / name
        parts = dict(zip(part_names(), tasks, strict=False))
        cpu_s, disk_bytes = self._use()
        outputs = run_parts(phase, parts, output=output, done=done, engine=self._engine, on_items=self._on_items)
        if self._on_phase is not None:
            cpu_s_after, disk_bytes_after = self._use()
            self._on_phase(PhaseUse(name, cpu_s_after - cpu_s, disk_bytes_after - disk_bytes, disk_bytes_after))
        return outputs

    def _use(self) -> tuple[float, int]:
        """CPU time of this process and its workers until now, and bytes of the files between the phases."""
        if self._on_phase is None:
            return 0.0, 0
        end_idle_processes()
        uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        sizes = [path.stat().st_size for path in self._layout.folder.rglob("*") if path.is_file()]
        return sum(use.ru_utime + use.ru_stime for use in uses), sum(sizes)

    def _forget(self, *names: str) -> None:
        """Removes what the phases that are done have read."""
        for name in names:
            shutil.rmtree(self._layout.folder / name, ignore_errors=True)


def _name(phase: Callable[[Task], Counted], round: int, turn: int) -> str:
    return f"{phase.__name__}-{round}-{turn}"


def _total(outputs: dict[str, Counted]) -> int:
    return sum(counted.num_records for counted in outputs.values())

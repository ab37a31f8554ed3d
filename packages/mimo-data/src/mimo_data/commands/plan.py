"""`mimo-data plan`: what deduplicating a corpus would take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mimo_data.commands.step import Verbs, load

if TYPE_CHECKING:
    from mimo_data.plan import Plan

_SAMPLE_BYTES = 48_000_000


def add(verbs: Verbs) -> None:
    """Adds the verb."""
    verb = verbs.add("plan", _run, "machines, disk and hours that deduplicating a corpus takes, measured on a sample")
    verb.add_argument("--terabytes", type=float, required=True, metavar="TB", help="text of the corpus")
    verb.add_argument("--hours", type=float, required=True, metavar="H", help="until when it must be done")
    verb.add_argument("--document-bytes", type=float, default=5000.0, metavar="N", help="mean size (default: 5000)")
    verb.add_argument("--copies", type=float, default=0.4, metavar="SHARE", help="of the documents (default: 0.4)")
    verb.add_argument("--cores", type=int, default=64, metavar="N", help="of one machine (default: 64)")


def _run(arguments: argparse.Namespace) -> None:
    from mimo_data.plan import Demand, make_plan
    from mimo_data.run import RecipeError

    recipe = load(arguments).deduplicate
    demand = Demand(
        text_bytes=arguments.terabytes * 1e12,
        hours=arguments.hours,
        document_bytes=arguments.document_bytes,
        copies=arguments.copies,
        cores_per_machine=arguments.cores,
    )
    try:
        plan = make_plan(demand, recipe, sample_bytes=_SAMPLE_BYTES)
    except ValueError as error:
        raise RecipeError(f"plan: {error}.") from None
    print(_text(plan))


def _text(plan: Plan) -> str:
    demand = plan.demand
    lines = [
        f"Measured here, one core, {plan.sample_bytes / 1e6:.0f} MB of generated text in documents of "
        f"{demand.document_bytes:g} bytes, {demand.copies:.0%} of them copies; scaled to "
        f"{demand.text_bytes / 1e12:g} TB:",
        "",
        "| phase | MB/s per core | core hours | written, TB |",
        "| --- | --- | --- | --- |",
    ]
    for use in plan.phases:
        rate = plan.sample_bytes / 1e6 / use.cpu_s if use.cpu_s > 0 else float("inf")
        hours, written = use.cpu_s * plan.scale / 3600, max(0, use.written_bytes) * plan.scale / 1e12
        lines.append(f"| {use.name} | {rate:.0f} | {hours:.1f} | {written:.2f} |")
    rate = plan.sample_bytes / 1e6 / sum(use.cpu_s for use in plan.phases)
    lines += [
        f"| all | {rate:.0f} | {plan.core_hours:.0f} | {plan.exchanged_bytes / 1e12:.2f} |",
        "",
        f"{demand.text_bytes / 1e12:g} TB in {demand.hours:g} hours need {_count(plan.num_cores, 'core')} like this "
        f"one: {_count(plan.num_machines, 'machine')} of {demand.cores_per_machine}, with "
        f"{plan.disk_bytes / 1e12:.1f} TB between the "
        f"phases at a time, and storage that reads and writes {plan.bytes_per_machine_s / 1e6:.0f} MB/s for each.",
        "",
        "Assumed: cores are busy 70% of the time; every machine sees the same storage; documents files are compressed "
        f"to {plan.stored_share:.0%} of their text, as the sample is; parts of some gigabytes, at least one a core.",
    ]
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

"""A tagger beside the usual heuristic rules: what each drops of documents whose labels are known.

That nothing is dropped would be no merit: junk is counted, too. A tagger is judged by documents of sites that it
was not trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import get_args

from mimo_data.documents import Document
from mimo_data.heuristics import RuleSet, findings
from mimo_data.run import Record

_RULE_SETS = get_args(RuleSet)
_JUNK = "junk (quality 0)"


class Row(Record, frozen=True):
    """The documents of one domain, junk apart; or all junk."""

    name: str
    num_documents: int
    dropped_by_rules: int
    """By any of the rules."""
    kept_of_dropped: int
    """Of these, kept by the tagger."""
    dropped_by_tagger: int
    """Of all."""
    by_set: dict[str, int]
    """Documents that a set of rules drops."""
    by_rule: dict[str, int]
    """Documents that a rule drops."""


def compare(labelled: Iterable[Document], tagged: Iterable[Document], *, min_quality: int) -> list[Row]:
    """A row for each labelled domain, and one for what is labelled as junk.

    Args:
        labelled: with `domain`, `quality` or both as they should be; without either a document counts as `unlabelled`.
        tagged: the same documents, as the tagger tags them.
        min_quality: a document with less is one that the tagger drops.
    """
    counts: dict[str, Counter[str]] = {}
    for truth, found in zip(labelled, tagged, strict=True):
        name = _JUNK if truth.tags.get("quality") == "0" else truth.tags.get("domain", "unlabelled")
        row = counts.setdefault(name, Counter())
        rules = [finding.rule for finding in findings(truth.text)]
        is_kept = int(found.tags["quality"]) >= min_quality
        row["documents"] += 1
        row["dropped"] += bool(rules)
        row["kept"] += bool(rules) and is_kept
        row["tagger"] += not is_kept
        row.update(f"rule {rule}" for rule in rules)
        row.update({f"set {rule.partition('_')[0]}" for rule in rules})
    return [
        Row(
            name=name,
            num_documents=row["documents"],
            dropped_by_rules=row["dropped"],
            kept_of_dropped=row["kept"],
            dropped_by_tagger=row["tagger"],
            by_set={name: row[f"set {name}"] for name in _RULE_SETS},
            by_rule={key.removeprefix("rule "): row[key] for key in sorted(row) if key.startswith("rule ")},
        )
        for name, row in sorted(counts.items(), key=lambda item: (item[0] == _JUNK, item[0]))
    ]


def to_markdown(rows: Sequence[Row]) -> str:
    """Two tables: rows by what is dropped and kept, and the rules by what they drop."""
    lines = [
        f"| documents | number | {' | '.join(f'dropped by {name}' for name in _RULE_SETS)} | by any rule "
        "| of these kept by the tagger | dropped by the tagger |",
        "| --- " * (len(_RULE_SETS) + 5) + "|",
    ]
    for row in rows:
        share = f" ({row.kept_of_dropped / row.dropped_by_rules:.1%})" if row.dropped_by_rules else ""
        cells = [row.name, row.num_documents, *(row.by_set[name] for name in _RULE_SETS), row.dropped_by_rules]
        cells += [f"{row.kept_of_dropped}{share}", f"{row.dropped_by_tagger} ({_share(row):.1%})"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    rules = sorted({rule for row in rows for rule in row.by_rule})
    lines += ["", f"| rule | {' | '.join(row.name for row in rows)} |", "| --- " * (len(rows) + 1) + "|"]
    lines += [f"| {rule} | {' | '.join(str(row.by_rule.get(rule, 0)) for row in rows)} |" for rule in rules]
    return "\n".join(lines) + "\n"


def _share(row: Row) -> float:
    return row.dropped_by_tagger / row.num_documents

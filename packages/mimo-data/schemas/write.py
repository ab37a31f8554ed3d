"""Writes the JSON Schema of every record that this package owns on disk, beside this file."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from mimo_data import Document, Mixture
from mimo_data.decontaminate import Hit
from mimo_data.decontaminate.step import Unsearched
from mimo_data.documents import Drop
from mimo_data.shards import Manifest
from mimo_data.synth.journal import Entry, LedgerLine
from mimo_data.synth.writing import SampleLine, Totals
from mimo_data.tag.card import LabelCard
from mimo_data.tag.checkpoint import TaggerFile

RECORDS = {
    "card": LabelCard,
    "document": Document,
    "drop": Drop,
    "hit": Hit,
    "ledger": LedgerLine,
    "manifest": Manifest,
    "mixture": Mixture,
    "reply": Entry,
    "sample": SampleLine,
    "tagger": TaggerFile,
    "totals": Totals,
    "unsearched": Unsearched,
}


def schemas() -> dict[str, str]:
    """By the name of its file, what that file should hold."""
    return {
        f"{name}.schema.json": json.dumps(msgspec.json.schema(record), indent=1) + "\n"
        for name, record in RECORDS.items()
    }


if __name__ == "__main__":
    for name, text in schemas().items():
        Path(__file__).with_name(name).write_text(text)

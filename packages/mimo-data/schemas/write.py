"""Writes the JSON Schema of every record that this package owns on disk, beside this file."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from mimo_data import Document, Mixture
from mimo_data.decontaminate import Hit
from mimo_data.documents import Drop
from mimo_data.shards import Manifest

for record in (Document, Drop, Hit, Manifest, Mixture):
    path = Path(__file__).with_name(f"{record.__name__.lower()}.schema.json")
    path.write_text(json.dumps(msgspec.json.schema(record), indent=1) + "\n")

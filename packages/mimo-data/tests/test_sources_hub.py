from __future__ import annotations

import json
from pathlib import Path

import pytest

from mimo_data import DataError, Document
from mimo_data.documents import Drop
from mimo_data.sources import hub
from mimo_data.sources.hub import ImportRecipe

# The first use of `datasets` takes some seconds.
pytestmark = pytest.mark.slow


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    """Two files of three rows, one of which has no text."""
    for name in ("a", "b"):
        rows = [{"text": f"{name}{number}" if number != 1 else None, "year": number} for number in range(3)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")


def test_each_file_is_a_part_and_each_row_a_document_or_a_drop(files):
    recipe = ImportRecipe(path="json", files=files, source="books", meta_columns=("year",))
    first, second = hub.parts(recipe)
    assert [result.id for part in (first, second) for result in hub.read(part, recipe)] == [
        f"books-{shard:05d}-{row:09d}" for shard in range(2) for row in range(3)
    ]
    kept, dropped, _ = hub.read(second, recipe)
    assert kept == Document(id="books-00001-000000000", text="b0", source="books", meta={"year": "0"})
    assert isinstance(dropped, Drop)
    assert dropped.reason == "no_content"
    assert len(list(hub.import_documents(recipe))) == 6


def test_a_file_that_is_damaged_is_an_error(files):
    Path(files[1]).write_text('{"text": ')
    with pytest.raises(DataError, match="cannot be read"):
        list(hub.import_documents(ImportRecipe(path="json", files=files, source="books")))

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from msgspec.structs import replace

from mimo_data import Document
from mimo_data.documents import Drop
from mimo_data.run import DataError
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


def test_values_become_text_as_those_of_tables_do(tmp_path):
    columns = {
        "text": pyarrow.array(["größer".encode("latin-1"), b"two", b"three"]),
        "key": pyarrow.array([None, "k", ""]),
        "list": pyarrow.array([["a", "b"], None, None]),
        "day": pyarrow.array([0, 0, 10**7], pyarrow.int32()).cast(pyarrow.date32()),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    recipe = ImportRecipe(path="parquet", files=(str(tmp_path / "a.parquet"),), source="books")
    recipe = replace(recipe, id_column="key", meta_columns=("list", "day"))
    first, second, third = hub.import_documents(recipe)
    assert (first.id, first.text) == ("books-00000-000000000", "größer")
    assert first.meta == {"list": '["a", "b"]', "day": "1970-01-01"}
    assert (second.id, second.meta) == ("k", {"day": "1970-01-01"})
    assert (third.id, third.step, third.reason) == ("books-00000-000000002", "import", "broken")
    (drop, *_) = hub.import_documents(replace(recipe, text_column="list"))
    assert (drop.reason, drop.detail) == ("not_text", "list is of type list")


def test_a_missing_column_is_an_error_that_names_those_there_are(files):
    recipe = ImportRecipe(path="json", files=files, source="books", meta_columns=("date",))
    with pytest.raises(DataError, match="no column date; it has text, year"):
        list(hub.import_documents(recipe))


def test_an_empty_file_is_an_error(files):
    Path(files[1]).write_text("")
    with pytest.raises(DataError, match=r"b\.jsonl: an empty file\. Make it again"):
        hub.parts(ImportRecipe(path="json", files=files, source="books"))


def test_nothing_is_left_for_multiprocessing_to_complain_of(tmp_path, files):
    recipe = f'[import]\npath = "json"\nsource = "books"\nfiles = {list(files)}\n'
    (tmp_path / "data.toml").write_text(recipe)
    command = [sys.executable, "-c", "from mimo_data.cli import main; raise SystemExit(main())"]
    words = ["import", "data.toml", "out", "--workers", "2"]
    done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("out: 4 documents kept, 2 dropped (2 no_content)\n", "")


def test_a_file_that_is_damaged_is_an_error(files):
    Path(files[1]).write_text('{"text": ')
    with pytest.raises(DataError, match="cannot be read"):
        list(hub.import_documents(ImportRecipe(path="json", files=files, source="books")))

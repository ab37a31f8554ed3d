"""What mimo-data leaves for others: documents, drop log, token shards."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from mimo_data import DataError, Document, open_shards, read_documents, write_documents, write_shards

DOCUMENTS = [
    Document(id="papers/euler.pdf", text=r"Euler wrote $e^{i\pi} + 1 = 0$.", source="papers"),
    Document(
        id="web/sort.html",
        text="# Sorting\n\n```python\nprint(sorted([3, 1, 2]))\n```",
        source="web",
        url="https://example.org/sort",
        tags={"domain": "code", "language": "en"},
        meta={"licence": "CC0-1.0"},
    ),
    Document(id="web/exam.html", text="Exam of today: What is 1/4 + 1/4? Take your time.", source="web"),
]


def decompressed(path: Path) -> bytes:
    with path.open("rb") as file:
        return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()


@pytest.mark.parametrize("name", ["documents.jsonl.zst", "documents.parquet"])
def test_documents_are_read_as_they_were_written(golden, name):
    assert list(read_documents(golden / "documents" / name)) == DOCUMENTS


def test_documents_are_written_as_the_golden_lines(golden, tmp_path):
    lines = (golden / "documents" / "documents.jsonl").read_bytes()
    assert decompressed(golden / "documents" / "documents.jsonl.zst") == lines
    assert write_documents(tmp_path / "documents.jsonl.zst", DOCUMENTS) == 3
    assert decompressed(tmp_path / "documents.jsonl.zst") == lines


def test_documents_are_written_as_the_golden_parquet_columns(golden, tmp_path):
    write_documents(tmp_path / "documents.parquet", DOCUMENTS)
    written, wanted = (
        pyarrow.parquet.read_table(folder / "documents.parquet") for folder in (tmp_path, golden / "documents")
    )
    assert written.schema == wanted.schema
    assert written.equals(wanted)


def test_documents_follow_their_schema(golden, validate):
    for line in (golden / "documents" / "documents.jsonl").read_text().splitlines():
        validate("mimo-data/document.schema.json", json.loads(line))


def test_a_document_with_an_unknown_key_is_refused(golden, tmp_path):
    line = (golden / "documents" / "documents.jsonl").read_bytes().splitlines()[0]
    path = tmp_path / "documents.jsonl.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(line[:-1] + b',"colour":"red"}\n'))
    with pytest.raises(DataError, match=r"line 1 .*colour"):
        list(read_documents(path))


def test_a_parquet_file_with_an_unknown_column_is_refused(golden, tmp_path):
    table = pyarrow.parquet.read_table(golden / "documents" / "documents.parquet")
    path = tmp_path / "documents.parquet"
    pyarrow.parquet.write_table(table.append_column("colour", pyarrow.array(["red"] * 3)), path)
    with pytest.raises(DataError, match="colour"):
        list(read_documents(path))


def test_a_step_leaves_the_golden_drop_log(golden, tmp_path, root):
    """The step finds the problem of mimo-eval's golden file. The log's readers are scripts/report.py and people."""
    command = [Path(sys.executable).parent / "mimo-data", "decontaminate", root / "recipes" / "tiny" / "data.toml"]
    inputs = ["--documents", golden / "documents" / "documents.jsonl.zst"]
    inputs += ["--problems", golden / "problems" / "problems.jsonl"]
    subprocess.run([*command, tmp_path / "clean", *inputs], check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "clean" / "drops.jsonl").read_bytes() == (golden / "documents" / "drops.jsonl").read_bytes()
    assert list(read_documents(tmp_path / "clean")) == DOCUMENTS[:2]


def test_the_drop_log_follows_its_schema(golden, validate):
    validate("mimo-data/drop.schema.json", json.loads((golden / "documents" / "drops.jsonl").read_text()))


def test_shards_are_read_as_they_were_written(golden):
    shards = open_shards(golden / "shards")
    shards.verify()
    assert list(shards.sources) == ["sums"]
    assert shards.sources["sums"].tokens.tolist() == [1, 0, 2, 5, 3, 6, 4, 6]
    assert shards.sources["sums"].document_ends.tolist() == [6, 8]
    assert shards.sources["sums"].manifest.end_of_text == 6
    [shard] = shards.sources["sums"].shards
    assert [entry.tags for entry in shard.entry.classes] == [{"domain": "mathematics", "quality": "2"}, {}]
    assert shard.document_classes.tolist() == [0, 1]
    assert shard.document_keys.tolist() == [3405396810240292928, 8453121595177857668]
    assert shards.tokenizer_sha256.startswith("72886ef0")


def test_shards_are_written_byte_for_byte_as_the_golden_ones(golden, tmp_path):
    """Tokenized with the golden checkpoint, which has one id for each of `+1234=` and 6 for the end of text."""
    documents = [
        Document(id="a", text="1+2=3", source="sums", tags={"domain": "mathematics", "quality": "2"}),
        Document(id="b", text="4", source="sums"),
    ]
    write_shards(documents, golden / "checkpoint", tmp_path / "shards")
    names = sorted(path.name for path in (golden / "shards" / "sums").iterdir())
    assert sorted(path.name for path in (tmp_path / "shards" / "sums").iterdir()) == names
    for name in names:
        assert (tmp_path / "shards" / "sums" / name).read_bytes() == (golden / "shards" / "sums" / name).read_bytes()


def test_the_manifest_follows_its_schema(golden, validate):
    validate("mimo-data/manifest.schema.json", json.loads((golden / "shards" / "sums" / "manifest.json").read_text()))


def test_a_manifest_with_an_unknown_key_is_refused(golden, tmp_path):
    shutil.copytree(golden / "shards", tmp_path / "shards")
    path = tmp_path / "shards" / "sums" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "red"}))
    with pytest.raises(DataError, match="colour"):
        open_shards(tmp_path / "shards")

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from mimo_data import Document, read_documents, write_documents
from mimo_data.documents import document_files
from mimo_data.run import DataError

texts = st.text(st.characters(codec="utf-8"), max_size=40)
mappings = st.dictionaries(texts, texts, max_size=2)
corpora = st.lists(
    st.builds(Document, id=texts, text=texts, source=texts, url=texts, tags=mappings, meta=mappings), max_size=8
)


@pytest.mark.parametrize("name", ["documents.jsonl.zst", "documents.parquet"])
@settings(max_examples=25)
@given(corpus=corpora)
def test_documents_come_back_as_written(name, corpus):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        assert write_documents(path, corpus) == len(corpus)
        assert list(read_documents(path)) == corpus


def test_a_step_folder_is_read_by_its_documents_files_in_order(tmp_path):
    corpus = [Document(id=name, text="text", source="web") for name in "ab"]
    for number in (1, 0):
        write_documents(tmp_path / f"documents-0000{number}.jsonl.zst", corpus[number : number + 1])
    assert list(read_documents(tmp_path)) == corpus


def test_the_hundred_thousandth_part_follows_the_one_before_it(tmp_path):
    for number in (99999, 100000):
        write_documents(tmp_path / f"documents-{number}.jsonl.zst", [Document(id=f"{number}", text="", source="")])
    assert [document.id for document in read_documents(tmp_path)] == ["99999", "100000"]


def test_parquet_with_text_that_is_not_utf8_or_a_key_twice_is_refused(tmp_path):
    twice = pyarrow.array([[("a", "1"), ("a", "2")]], pyarrow.map_(pyarrow.string(), pyarrow.string()))
    broken = pyarrow.array([b"\xff"], pyarrow.binary()).view(pyarrow.string())
    for name, column in (("tags", twice), ("text", broken)):
        fields = {field: pyarrow.array(["a"]) for field in ("id", "text", "source")} | {name: column}
        pyarrow.parquet.write_table(pyarrow.table(fields), tmp_path / "documents.parquet")
        with pytest.raises(DataError, match="not a Parquet file of documents"):
            list(read_documents(tmp_path / "documents.parquet"))


def test_what_is_no_parquet_is_an_error_in_whole_sentences(tmp_path):
    (tmp_path / "documents.parquet").write_bytes(b"PAR1" + b"no Parquet" + b"no footer")
    with pytest.raises(DataError, match=r"[a-z]\. Make it again\."):
        list(read_documents(tmp_path / "documents.parquet"))


def test_a_truncated_file_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "documents.jsonl.zst"
    write_documents(path, [Document(id=str(number), text="word " * 50, source="web") for number in range(500)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"documents\.jsonl\.zst: truncated"):
        list(read_documents(path))


def test_files_of_several_zstd_frames_are_read_whole(tmp_path):
    path = tmp_path / "documents.jsonl.zst"
    line = b'{"id":"%d","text":"t","source":"web"}\n'
    path.write_bytes(b"".join(zstandard.compress(line % number) for number in range(3)))
    assert [document.id for document in read_documents(path)] == ["0", "1", "2"]


@pytest.mark.parametrize("line", [b'{"id":"\xff","text":"t","source":"web"}', b'{"id":' + b"[" * 100_000])
def test_a_line_that_is_no_document_is_named_whatever_it_is(tmp_path, line):
    path = tmp_path / "documents.jsonl.zst"
    path.write_bytes(zstandard.compress(line + b"\n"))
    with pytest.raises(DataError, match="line 1 is not a document"):
        list(read_documents(path))


def test_an_unknown_key_is_refused(tmp_path):
    path = tmp_path / "documents.jsonl.zst"
    path.write_bytes(zstandard.compress(b'{"id":"a","text":"t","source":"web","score":1}\n'))
    with pytest.raises(DataError, match=r"line 1 is not a document.*score"):
        list(read_documents(path))


@pytest.mark.parametrize("name", ["documents.jsonl.zst", "documents.parquet"])
def test_bytes_that_are_no_documents_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"not a file of documents")
    with pytest.raises(DataError, match=name):
        list(read_documents(tmp_path / name))


def test_a_missing_file_says_what_to_name(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        list(read_documents(tmp_path / "gone.jsonl.zst"))


def test_what_is_named_twice_or_is_of_another_kind_is_refused_before_anything_is_read(tmp_path):
    first, second = tmp_path / "documents-00000.jsonl.zst", tmp_path / "documents-00001.jsonl.zst"
    for file in (first, second):
        file.touch()
    (tmp_path / "rows.jsonl").touch()
    assert document_files(second, first) == [second, first]
    with pytest.raises(DataError, match=r"documents-00001.jsonl.zst: is named twice"):
        document_files(tmp_path, second)
    with pytest.raises(DataError, match=r"rows.jsonl: .*Use `mimo-data import`"):
        document_files(tmp_path / "rows.jsonl")


def test_a_failed_write_leaves_nothing(tmp_path):
    def failing():
        yield Document(id="a", text="t", source="web")
        raise RuntimeError("lost")

    with pytest.raises(RuntimeError):
        write_documents(tmp_path / "documents.jsonl.zst", failing())
    assert list(tmp_path.iterdir()) == []

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from mimo_data import DataError, Document, read_documents, write_documents

texts = st.text(st.characters(codec="utf-8"), max_size=40)
mappings = st.dictionaries(texts, texts, max_size=2)
corpora = st.lists(
    st.builds(Document, id=texts, text=texts, source=texts, url=texts, tags=mappings, meta=mappings), max_size=8
)


@pytest.mark.parametrize("name", ["documents.jsonl.zst", "documents.parquet"])
@settings(max_examples=25, deadline=None)
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


def test_a_failed_write_leaves_nothing(tmp_path):
    def failing():
        yield Document(id="a", text="t", source="web")
        raise RuntimeError("lost")

    with pytest.raises(RuntimeError):
        write_documents(tmp_path / "documents.jsonl.zst", failing())
    assert list(tmp_path.iterdir()) == []

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from mimo_data import DataError, Document, open_shards, write_shards

END_OF_TEXT = 256


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=30), min_size=1, max_size=12))
def test_documents_come_back_from_their_tokens(tokenizer, texts):
    decoder = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        write_shards([Document(id=str(i), text=text, source="web") for i, text in enumerate(texts)], tokenizer, out)
        shard = open_shards(out).sources["web"]
        starts = [0, *shard.document_ends[:-1].tolist()]
        for text, start, end in zip(texts, starts, shard.document_ends.tolist(), strict=True):
            tokens = shard.tokens[start:end].tolist()
            assert tokens[-1] == END_OF_TEXT
            assert decoder.decode(tokens[:-1]) == text


def test_an_end_of_text_spelled_in_a_text_is_not_the_token(shards):
    tokens = open_shards(shards({"web": ["a<|endoftext|>b<|endoftext|>"]})).sources["web"].tokens
    assert tokens.tolist().count(END_OF_TEXT) == 1


def test_sources_lie_in_folders_of_their_own(shards):
    opened = open_shards(shards({"web": ["ab", "c"], "papers": ["def"]}))
    assert {name: shard.manifest.num_tokens for name, shard in opened.sources.items()} == {"papers": 4, "web": 5}


@pytest.mark.parametrize("name", ["tokens.bin", "document_ends.bin"])
def test_a_truncated_shard_is_refused(shards, name):
    folder = shards({"web": ["some text"]})
    path = folder / "web" / name
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=f"{name}.*truncated.*mimo-data tokenize"):
        open_shards(folder)


def test_a_changed_byte_fails_verification(shards):
    folder = shards({"web": ["some text"]})
    path = folder / "web" / "tokens.bin"
    path.write_bytes(b"\x01" + path.read_bytes()[1:])
    with pytest.raises(DataError, match="checksum"):
        open_shards(folder).verify()


def test_a_shard_without_manifest_is_unfinished(shards):
    folder = shards({"web": ["some text"]})
    (folder / "web" / "manifest.json").unlink()
    with pytest.raises(DataError, match="no finished shard"):
        open_shards(folder)


def test_shards_of_two_tokenizers_do_not_open_together(shards):
    folder = shards({"web": ["some text"], "papers": ["more"]})
    path = folder / "papers" / "manifest.json"
    path.write_text(path.read_text().replace(open_shards(folder).tokenizer_sha256, "0" * 64))
    with pytest.raises(DataError, match="different tokenizers"):
        open_shards(folder)


def test_no_document_is_an_error(tokenizer, tmp_path):
    with pytest.raises(DataError, match="no document"):
        write_shards([], tokenizer, tmp_path)


def test_a_source_that_cannot_name_a_folder_is_refused(tokenizer, tmp_path):
    with pytest.raises(DataError, match="cannot name a folder"):
        write_shards([Document(id="a", text="t", source="../up")], tokenizer, tmp_path)


def test_a_tokenizer_without_end_of_text_is_refused(tokenizer, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes((tokenizer / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<gone>"}))
    with pytest.raises(DataError, match="eos_token is '<gone>'"):
        write_shards([Document(id="a", text="t", source="web")], tmp_path, tmp_path / "out")


def test_token_files_are_little_endian_and_flat(shards):
    folder = shards({"web": ["ab"]})
    assert np.fromfile(folder / "web" / "tokens.bin", "<u4")[-1] == END_OF_TEXT
    assert np.fromfile(folder / "web" / "document_ends.bin", "<u8").tolist() == [3]

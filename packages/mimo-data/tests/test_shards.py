from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from mimo_data import Document, open_shards, write_documents, write_shards
from mimo_data.cli import main
from mimo_data.run import DataError
from mimo_data.shards import TokenizeRecipe

END_OF_TEXT = 256


@settings(max_examples=25)
@given(texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=30), min_size=1, max_size=12))
def test_documents_come_back_from_their_tokens(tokenizer, texts):
    decoder = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        write_shards([Document(id=str(i), text=text, source="web") for i, text in enumerate(texts)], tokenizer, out)
        shard = open_shards(out).sources["web"]
        all_tokens, ends = shard.tokens, shard.document_ends.tolist()
        for text, start, end in zip(texts, [0, *ends[:-1]], ends, strict=True):
            tokens = all_tokens[start:end].tolist()
            assert tokens[-1] == END_OF_TEXT
            assert decoder.decode(tokens[:-1]) == text


def test_an_end_of_text_spelled_in_a_text_is_not_the_token(shards):
    tokens = open_shards(shards({"web": ["a<|endoftext|>b<|endoftext|>"]})).sources["web"].tokens
    assert tokens.tolist().count(END_OF_TEXT) == 1


def test_sources_lie_in_folders_of_their_own(shards):
    opened = open_shards(shards({"web": ["ab", "c"], "papers": ["def"]}))
    assert {name: shard.manifest.num_tokens for name, shard in opened.sources.items()} == {"papers": 4, "web": 5}


@pytest.mark.parametrize("name", ["tokens.bin", "document_ends.bin", "document_keys.bin", "document_classes.bin"])
def test_a_truncated_shard_is_refused(shards, name):
    folder = shards({"web": ["some text"]})
    path = folder / "web" / f"00000-0000.{name}"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{name}.*truncated.*mimo-data tokenize"):
        open_shards(folder)


def test_a_changed_byte_fails_verification(shards):
    folder = shards({"web": ["some text"]})
    path = folder / "web" / "00000-0000.tokens.bin"
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
    folder = shards({"web": ["ab"]}) / "web"
    assert np.fromfile(folder / "00000-0000.tokens.bin", "<u4")[-1] == END_OF_TEXT
    assert np.fromfile(folder / "00000-0000.document_ends.bin", "<u8").tolist() == [3]
    assert np.fromfile(folder / "00000-0000.document_classes.bin", "<u2").tolist() == [0]


def test_a_shard_ends_with_the_document_that_fills_it(tokenizer, tmp_path):
    documents = [Document(id=str(number), text="x" * 9, source="web") for number in range(5)]
    write_shards(documents, tokenizer, tmp_path, TokenizeRecipe(shard_tokens=15))
    source = open_shards(tmp_path).sources["web"]
    assert [(shard.entry.name, len(shard.tokens)) for shard in source.shards] == [
        ("00000-0000", 20),
        ("00000-0001", 20),
        ("00000-0002", 10),
    ]
    assert source.document_ends.tolist() == [10, 20, 30, 40, 50]


def test_shards_know_the_tags_that_the_recipe_names(tokenizer, tmp_path):
    tags = [{"domain": "code", "quality": "3", "other": "x"}, {"domain": "news"}, {"domain": "code", "quality": "3"}]
    documents = [Document(id=str(number), text="x", source="web", tags=own) for number, own in enumerate(tags)]
    write_shards(documents, tokenizer, tmp_path, TokenizeRecipe(tags=("quality", "domain")))
    [shard] = open_shards(tmp_path).sources["web"].shards
    assert [entry.tags for entry in shard.entry.classes] == [{"quality": "3", "domain": "code"}, {"domain": "news"}]
    assert [entry.num_documents for entry in shard.entry.classes] == [2, 1]
    assert shard.document_classes.tolist() == [0, 1, 0]
    assert len(set(shard.document_keys.tolist())) == 3


def test_a_long_text_has_the_tokens_of_its_lines(tokenizer, tmp_path):
    text = "some line of text\n" * 300_000
    write_shards([Document(id="a", text=text, source="web")], tokenizer, tmp_path)
    tokens = open_shards(tmp_path).sources["web"].tokens
    assert bytes_of(tokens[:-1], tokenizer) == text.encode()


def test_an_older_format_is_refused_with_the_remedy(shards):
    folder = shards({"web": ["some text"]})
    (folder / "web" / "manifest.json").write_text('{"version": 1, "source": "web", "files": {}}')
    with pytest.raises(DataError, match=r"format version 1.* reads 2.*mimo-data tokenize"):
        open_shards(folder)


def test_a_failure_leaves_no_manifest_and_no_half_file(tokenizer, tmp_path):
    documents = [Document(id="a", text="t", source="web"), Document(id="b", text="t", source="../up")]
    with pytest.raises(DataError, match="cannot name a folder"):
        write_shards(documents, tokenizer, tmp_path / "out")
    assert list((tmp_path / "out" / "web").iterdir()) == []


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def command(tokenizer, tmp_path):
    for part in range(3):
        rows = [
            Document(id=f"{part}-{n}", text=f"part {part} text {n} " * 5, source=("web", "code")[n % 2])
            for n in range(40)
        ]
        write_documents(tmp_path / f"{part}.jsonl.zst", rows)
    (tmp_path / "data.toml").write_text("[tokenize]\nshard_tokens = 1000\n")
    files = [str(tmp_path / f"{part}.jsonl.zst") for part in range(3)]

    def run(out: str, *more: str) -> dict[str, bytes]:
        arguments = ["tokenize", str(tmp_path / "data.toml"), str(tmp_path / out), "--tokenizer", str(tokenizer)]
        assert main([*arguments, "--documents", *files, *more]) == 0
        return files_of(tmp_path / out)

    return run


def test_a_tokenizer_that_was_changed_between_two_runs_is_read_again(command, tokenizer, tmp_path, monkeypatch):
    mine = tmp_path / "tokenizer"
    shutil.copytree(tokenizer, mine)
    arguments = ["--tokenizer", str(mine), "--workers", "1"]
    command("first", *arguments)
    tree = json.loads((mine / "tokenizer.json").read_text())
    vocabulary = tree["model"]["vocab"]
    vocabulary["t"], vocabulary["x"] = vocabulary["x"], vocabulary["t"]
    (mine / "tokenizer.json").write_text(json.dumps(tree))
    command("second", *arguments)
    first, second = (open_shards(tmp_path / name).sources["web"] for name in ("first", "second"))
    text = bytes_of(second.tokens[:40], mine)
    assert text == bytes_of(first.tokens[:40], tokenizer)
    assert text.startswith(b"part 0 text 0")


def test_one_worker_and_two_write_the_same_bytes(command):
    assert command("one", "--workers", "1") == command("two", "--workers", "2")


def test_a_run_that_was_killed_in_a_part_writes_the_same_bytes(command, tmp_path):
    whole = command("whole", "--workers", "1")
    # What such a run leaves: the parts that were done with their records, and half of another.
    shutil.copytree(tmp_path / "whole", tmp_path / "again.partial")
    (tmp_path / "again.partial" / ".lock").touch()
    state = tmp_path / "again.partial" / "state"
    state.mkdir()
    manifests = [tmp_path / "again.partial" / source / "manifest.json" for source in ("code", "web")]
    entries = {path.parent.name: json.loads(path.read_text())["shards"] for path in manifests}
    done = {source: [entry for entry in own if entry["name"].startswith("00000")] for source, own in entries.items()}
    (state / "00000.json").write_text(json.dumps({"entries": done}))
    for path in [*manifests, *(tmp_path / "again.partial").glob("*/00002*")]:
        path.unlink()
    (tmp_path / "again.partial" / "web" / "00002-0000.tokens.bin.tmp").write_bytes(b"half")
    assert command("again", "--workers", "1") == whole


def bytes_of(tokens: np.ndarray, tokenizer: Path) -> bytes:
    return Tokenizer.from_file(str(tokenizer / "tokenizer.json")).decode(tokens.tolist()).encode()

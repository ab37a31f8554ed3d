"""Fixtures: a byte-level tokenizer folder and documents on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from mimo_data import Document, write_documents, write_shards


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """256 byte symbols and `<|endoftext|>`, id 256."""
    folder = tmp_path_factory.mktemp("tokenizer")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={symbol: number for number, symbol in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>"])
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    return folder


@pytest.fixture
def documents(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Writes documents of source "web" from texts by id, and returns the file."""

    def write(texts: dict[str, str]) -> Path:
        path = tmp_path / "documents.jsonl.zst"
        write_documents(path, [Document(id=name, text=text, source="web") for name, text in texts.items()])
        return path

    return write


@pytest.fixture
def shards(tmp_path: Path, tokenizer: Path) -> Callable[[dict[str, list[str]]], Path]:
    """Tokenizes texts by source, and returns the folder."""

    def write(texts: dict[str, list[str]]) -> Path:
        found = [
            Document(id=f"{source}-{number}", text=text, source=source)
            for source, all_texts in texts.items()
            for number, text in enumerate(all_texts)
        ]
        write_shards(found, tokenizer, tmp_path / "shards")
        return tmp_path / "shards"

    return write

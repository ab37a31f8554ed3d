"""Texts to token ids, in batches that the tokenizer's own threads share."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mimo_data.documents import Document
from mimo_data.run import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# A batch is about this long, so that threads have enough to do, and memory is that of one batch.
_BATCH_CHARACTERS = 2_000_000
_BATCH_DOCUMENTS = 10_000
# The tokenizer holds some 100 bytes a token until a text is done, so a longer text goes in pieces. They end where a
# line does and the next one begins with something visible: no tokenizer that splits texts into words joins the two.
_PIECE_CHARACTERS = 2_000_000
_LINE_START = re.compile(r"\n(?=\S)")


class Encoder:
    """A tokenizer folder's tokenizer: `tokenizer.json`, and `tokenizer_config.json` naming `eos_token`.

    Where a text spells that token out, it becomes ordinary tokens: only the end of a document is an end of text.

    Attributes:
        end_of_text: id of the token after each document.

    Raises:
        DataError: the folder is incomplete or broken.
    """

    def __init__(self, folder: Path) -> None:
        self._tokenizer, self.end_of_text, self._spelling = _load(folder)

    def encode(self, documents: Iterable[Document]) -> Iterator[tuple[Document, NDArray[np.uint32]]]:
        """Each document with its tokens, an end of text after the last."""
        for batch in _batches(documents):
            pieces = [list(self._pieces(document.text)) for document in batch]
            encoded = iter(
                self._tokenizer.encode_batch_fast([piece for own in pieces for piece in own], add_special_tokens=False)
            )
            for document, own in zip(batch, pieces, strict=True):
                ids = [token for encoding in islice(encoded, len(own)) for token in encoding.ids]
                ids.append(self.end_of_text)
                yield document, np.array(ids, dtype=np.uint32)

    def _pieces(self, text: str) -> Iterator[str]:
        """The text in pieces none of which holds the end-of-text token's spelling: each is cut in two there."""
        head, tail = self._spelling[:1], self._spelling[1:]
        parts = text.split(self._spelling)
        last = len(parts) - 1
        for number, part in enumerate(parts):
            yield from _cut((tail if number > 0 else "") + part + (head if number < last else ""))


def _cut(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > _PIECE_CHARACTERS:
        found = _LINE_START.search(text, start + _PIECE_CHARACTERS // 2)
        # A line of millions of characters is cut anywhere, at the cost of a token or two.
        end = start + _PIECE_CHARACTERS
        if found is not None and found.end() <= start + 2 * _PIECE_CHARACTERS:
            end = found.end()
        yield text[start:end]
        start = end
    yield text[start:]


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    num_characters = 0
    for document in documents:
        batch.append(document)
        num_characters += len(document.text)
        if num_characters >= _BATCH_CHARACTERS or len(batch) == _BATCH_DOCUMENTS:
            yield batch
            batch, num_characters = [], 0
    if batch:
        yield batch


def _load(folder: Path) -> tuple[Tokenizer, int, str]:
    """The tokenizer, the id of its end-of-text token and how that token is spelled."""
    from tokenizers import Tokenizer

    for name in ("tokenizer.json", "tokenizer_config.json"):
        if not (folder / name).exists():
            raise DataError(f"{folder / name}: no such file. --tokenizer takes a Hugging Face checkpoint folder.")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    token = config.get("eos_token")
    spelling = token.get("content") if isinstance(token, dict) else token
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # tokenizers raises bare Exception for every broken file
        raise DataError(f"{folder / 'tokenizer.json'}: not a tokenizer: {error}") from None
    end_of_text = tokenizer.token_to_id(spelling) if isinstance(spelling, str) else None
    if end_of_text is None or not isinstance(spelling, str):
        raise DataError(
            f"{folder / 'tokenizer_config.json'}: eos_token is {spelling!r}, which tokenizer.json does not know. "
            "Name its end-of-text token there."
        )
    return tokenizer, end_of_text, spelling

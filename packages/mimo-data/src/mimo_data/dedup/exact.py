"""The phases that read every document and find those with the address or the text of another: sketch to texts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec
import numpy as np

from mimo_data.dedup.groups import EXACT, exact_losses
from mimo_data.dedup.layout import (
    CHUNK_DOCUMENTS,
    MAX_RECORDS_BYTES,
    ROW_BITS,
    Counted,
    Layout,
    Task,
    among,
    bounded,
    ids_of,
    lost_numbers,
    numbers_of,
    part_of,
    row_mask,
    sketches_of,
    spread,
)
from mimo_data.dedup.minhash import Sketcher, text_records, url_hash
from mimo_data.dedup.shuffle import ShuffleWriter
from mimo_data.documents import Document, read_documents, repeated_id
from mimo_data.engine import count_items
from mimo_data.run import whole


def sketch(task: Task) -> Counted:
    """Reads the documents for the first time; counts them."""
    layout, part = task.layout, task.number
    sketcher = Sketcher(layout.recipe)
    num_documents = 0
    sketches, ids = layout.file("sketches", part), layout.file("ids", part)
    sketches.parent.mkdir(parents=True, exist_ok=True)
    ids.parent.mkdir(parents=True, exist_ok=True)
    with (
        whole(sketches) as sketches_path,
        whole(ids) as ids_path,
        sketches_path.open("wb") as sketch_file,
        ids_path.open("wb") as id_file,
        ShuffleWriter(layout.file("id-hashes", part), layout.num_partitions) as id_hashes,
        ShuffleWriter(layout.file("url-hashes", part), layout.num_partitions) as url_hashes,
    ):
        for chunk in _chunks(read_documents(task.documents)):
            numbers = numbers_of(part, num_documents, len(chunk))
            found = np.array([sketcher.sketch(document) for document in chunk], sketcher.record)
            sketch_file.write(found.tobytes())
            id_file.writelines(msgspec.json.encode(document.id) + b"\n" for document in chunk)
            names = ((_id_hash(document.id), place) for place, document in enumerate(chunk))
            addresses = ((url_hash(document.url), place) for place, document in enumerate(chunk))
            for writer, halves in ((id_hashes, names), (url_hashes, addresses)):
                rows = [(*pair, found["rank"][place], numbers[place]) for pair, place in halves if pair]
                spread(writer, np.array(rows, dtype=EXACT), layout)
            num_documents += len(chunk)
            count_items(len(chunk))
    return Counted(num_records=num_documents)


def addresses(task: Task) -> Counted:
    """Counts documents whose address another one has; refuses two documents with one id."""
    layout = task.layout
    for ids in bounded(layout.parts("id-hashes"), task.number, EXACT):
        repeated = exact_losses(ids)
        if len(repeated):
            first = repeated[repeated["number"].argmin()]
            numbers = sorted((int(first["number"]), int(first["kept"])))
            files = layout.read_files()
            raise repeated_id(_id_of(layout, numbers[0]), *(files[number >> int(ROW_BITS)] for number in numbers))
    return _exact(task, "url-hashes", "losses-url")


def words(task: Task) -> Counted:
    """Sends the texts that are left to where their copies are; counts them."""
    layout, part = task.layout, task.number
    gone = lost_numbers(task)
    num_left = 0
    with ShuffleWriter(layout.file("text-hashes", part), layout.num_partitions) as writer:
        for numbers, sketches in sketches_of(layout, part):
            left = ~among(numbers, gone)
            spread(writer, text_records(sketches[left], numbers[left]), layout)
            num_left += int(left.sum())
    return Counted(num_records=num_left)


def texts(task: Task) -> Counted:
    """Counts documents whose text another one has."""
    return _exact(task, "text-hashes", "losses-text")


def _id_hash(name: str) -> tuple[int, int]:
    """128 bits of an id, in halves."""
    first, second = np.frombuffer(hashlib.blake2b(name.encode(), digest_size=16).digest(), dtype="<u8")
    return int(first), int(second)


def _id_of(layout: Layout, number: int) -> str:
    part, row = number >> int(ROW_BITS), number & int(row_mask())
    return next(name for place, name in enumerate(ids_of(layout, part)) if place == row)


def _exact(task: Task, source: str, target: str) -> Counted:
    layout = task.layout
    num_losses = 0
    with ShuffleWriter(layout.file(target, task.number), layout.num_parts) as writer:
        for records in bounded(layout.parts(source), task.number, EXACT):
            losses = exact_losses(records)
            writer.add_records(part_of(losses["number"]), losses)
            num_losses += len(losses)
    return Counted(num_records=num_losses)


def _chunks(documents: Iterator[Document]) -> Iterator[list[Document]]:
    """Some documents at a time, fewer where they are large."""
    chunk: list[Document] = []
    num_characters = 0
    for document in documents:
        chunk.append(document)
        num_characters += len(document.text)
        if len(chunk) == CHUNK_DOCUMENTS or num_characters > MAX_RECORDS_BYTES // 4:
            yield chunk
            chunk, num_characters = [], 0
    if chunk:
        yield chunk

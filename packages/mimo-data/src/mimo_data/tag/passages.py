"""Which parts of a long document are read, by the teacher and by the student."""

from __future__ import annotations


def cut(text: str, num_passages: int, passage_characters: int) -> list[str]:
    """A short text whole; of a long one, passages at even distances: its head, its tail, and the middle between them.

    The work for a document is bounded however long it is. What lies between the passages is not read.
    """
    surplus = len(text) - passage_characters
    if surplus <= 0:
        return [text]
    if num_passages == 1:
        return [text[:passage_characters]]
    count = min(num_passages, -(-len(text) // passage_characters))
    starts = [surplus * number // (count - 1) for number in range(count)]
    return [text[start : start + passage_characters] for start in starts]

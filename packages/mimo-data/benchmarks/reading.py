"""Reading speed: our readers beside plain loops over FastWARC, pyarrow and json, on files of generated pages.

    python benchmarks/reading.py

The plain loops take each record's bytes and look at nothing; ours give every record as a page or a document, check its
length, its digest and its encoding, and would step over damage. MB are of the pages.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import platform
import random
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import fastwarc
import pyarrow
import pyarrow.parquet
import zstandard

from mimo_data.documents import Document, Drop
from mimo_data.sources import tables, warc
from mimo_data.sources.page import Page
from mimo_data.sources.tables import TablesRecipe
from mimo_data.sources.warc import WarcRecipe

NUM_PAGES = 1000
REPEATS = 5

Count = tuple[int, int]


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    pages = list(_pages())
    expected = (len(pages), sum(map(len, pages)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        _write(path, pages)
        rows: list[tuple[str, str, Callable[[Path], Count], Callable[[Path], Count], str]] = [
            ("WARC, gzip", "fastwarc", _plain_warc, _our_warc, "digests.warc.gz"),
            ("WARC, gzip, no digests", "fastwarc", _plain_warc, _our_warc, "a.warc.gz"),
            ("WARC, zstd, no digests", "fastwarc", _plain_warc, _our_warc, "a.warc.zst"),
            ("WARC, no digests", "fastwarc", _plain_warc, _our_warc, "a.warc"),
            ("Parquet, zstd", "pyarrow", _plain_parquet, _our_table, "a.parquet"),
            ("JSON Lines", "json", _plain_json, _our_table, "a.jsonl"),
            ("JSON Lines, zstd", "zstandard, json", _plain_zstd_json, _our_table, "a.jsonl.zst"),
        ]
        print(f"{platform.machine()}, one core; {expected[0]} pages of {expected[1] / 1e6:.0f} MB; best of {REPEATS}")
        print(", ".join(f"{name} {version(name)}" for name in ("fastwarc", "pyarrow", "msgspec", "zstandard")), "\n")
        print("| input | compressed MB | beside it | its MB/s | ours MB/s | ours records/s |")
        print("| --- | --- | --- | --- | --- | --- |")
        for name, other, plain, ours, file in rows:
            for read in (plain, ours):
                if (found := read(path / file)) != expected:
                    raise AssertionError(f"{name}: {found} records and bytes, not {expected}")
            plain_s, ours_s = _best_s(plain, path / file), _best_s(ours, path / file)
            megabytes = expected[1] / 1e6
            print(
                f"| {name} | {(path / file).stat().st_size / 1e6:.0f} | {other} | {megabytes / plain_s:.0f} "
                f"| {megabytes / ours_s:.0f} | {NUM_PAGES / ours_s:.0f} |"
            )


def _pages() -> Iterable[bytes]:
    """Pages of 30 to 200 kB with text and markup, which compress to about a fifth."""
    chance = random.Random(0)
    words = ["".join(chance.choices("etaoinshrdlucmfw", k=chance.randint(2, 9))) for _ in range(2000)]
    for number in range(NUM_PAGES):
        lines = [
            f'<p class="paragraph main-text"><a class="reference" href="/page/{line}.html">{chance.choice(words)}</a> '
            f"{' '.join(chance.choices(words, k=15))} é</p>\n"
            for line in range(chance.randint(200, 1200))
        ]
        yield f"<!DOCTYPE html><html><head><title>{number}</title></head><body>{''.join(lines)}</body></html>".encode()


def _record(number: int, page: bytes, *, digest: bool) -> bytes:
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nServer: benchmark\r\n\r\n" + page
    fields = {
        "WARC-Type": "response",
        "WARC-Date": "2024-01-01T00:00:00Z",
        "WARC-Record-ID": f"<urn:uuid:{number}>",
        "WARC-Target-URI": f"http://example.org/{number}",
        "Content-Type": "application/http; msgtype=response",
        "Content-Length": str(len(block)),
    }
    if digest:
        fields["WARC-Block-Digest"] = "sha1:" + base64.b32encode(hashlib.sha1(block).digest()).decode()
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"WARC/1.0\r\n{lines}\r\n".encode() + block + b"\r\n\r\n"


def _write(folder: Path, pages: list[bytes]) -> None:
    records = [_record(number, page, digest=False) for number, page in enumerate(pages)]
    with_digests = [_record(number, page, digest=True) for number, page in enumerate(pages)]
    (folder / "a.warc").write_bytes(b"".join(records))
    (folder / "a.warc.gz").write_bytes(b"".join(gzip.compress(record, 6) for record in records))
    (folder / "digests.warc.gz").write_bytes(b"".join(gzip.compress(record, 6) for record in with_digests))
    (folder / "a.warc.zst").write_bytes(b"".join(zstandard.compress(record, 6) for record in records))
    table = pyarrow.table({"text": [page.decode() for page in pages]})
    pyarrow.parquet.write_table(
        table, folder / "a.parquet", compression="zstd", row_group_size=500, use_dictionary=False
    )
    lines = b"".join(json.dumps({"text": page.decode()}, ensure_ascii=False).encode() + b"\n" for page in pages)
    (folder / "a.jsonl").write_bytes(lines)
    (folder / "a.jsonl.zst").write_bytes(zstandard.compress(lines, 6))


def _best_s(read: Callable[[Path], Count], path: Path) -> float:
    times_s = []
    for _ in range(REPEATS):
        start_s = time.process_time()
        read(path)
        times_s.append(time.process_time() - start_s)
    return min(times_s)


def _count(contents: Iterable[bytes | str]) -> Count:
    """Records, and bytes of all of them."""
    num_records = num_bytes = 0
    for content in contents:
        num_records += 1
        num_bytes += len(content) if isinstance(content, bytes) else len(content.encode())
    return num_records, num_bytes


def _content(result: Page | Document | Drop) -> bytes | str:
    if isinstance(result, Drop):
        raise AssertionError(result)
    return result.data if isinstance(result, Page) else result.text


def _our_warc(path: Path) -> Count:
    recipe = WarcRecipe()
    return _count(_content(found) for part in warc.parts([path], recipe) for found in warc.read(part, recipe))


def _our_table(path: Path) -> Count:
    recipe = TablesRecipe()
    return _count(_content(found) for part in tables.parts([path], recipe) for found in tables.read(part, recipe))


def _plain_warc(path: Path) -> Count:
    return _count(record.reader.read() for record in fastwarc.ArchiveIterator(str(path)))


def _plain_parquet(path: Path) -> Count:
    batches = pyarrow.parquet.ParquetFile(path).iter_batches(64, columns=["text"])
    return _count(text for batch in batches for text in batch.column(0).to_pylist())


def _plain_json(path: Path) -> Count:
    with path.open("rb") as file:
        return _count(json.loads(line)["text"] for line in file)


def _plain_zstd_json(path: Path) -> Count:
    lines = zstandard.ZstdDecompressor().decompress(path.read_bytes()).splitlines()
    return _count(json.loads(line)["text"] for line in lines)


if __name__ == "__main__":
    main()

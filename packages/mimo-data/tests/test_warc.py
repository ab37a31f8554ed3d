from __future__ import annotations

import base64
import gzip
import hashlib
import io
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest
import zstandard
from fastwarc import GzipWriter, Lz4Writer, WarcRecord, WarcRecordType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mimo_data import Document
from mimo_data.documents import Drop
from mimo_data.run import DataError
from mimo_data.sources import warc
from mimo_data.sources.http import parse_response
from mimo_data.sources.page import Page, PageError, Part
from mimo_data.sources.warc import WarcRecipe

HTML = b"<html><body><p>A page.</p></body></html>"


def record(number: int, block: bytes, *, kind: str = "response", length: int | None = None, **headers: str) -> bytes:
    fields = {
        "WARC-Type": kind,
        "WARC-Record-ID": f"<urn:uuid:{number}>",
        "WARC-Target-URI": f"http://a.org/{number}",
        "WARC-Date": "2024-01-02T03:04:05Z",
        **{name.replace("_", "-"): value for name, value in headers.items()},
        "Content-Length": str(len(block) if length is None else length),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"WARC/1.0\r\n{lines}\r\n".encode() + block + b"\r\n\r\n"


def response(body: bytes, *, status: str = "200 OK", **headers: str) -> bytes:
    fields = {"Content-Type": "text/html", **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def lz4(data: bytes) -> bytes:
    file = io.BytesIO()
    writer = Lz4Writer(file)
    writer.write(data)
    writer.close()
    return file.getvalue()


def read(path: Path, recipe: WarcRecipe = WarcRecipe()) -> list[Page | Document | Drop]:  # noqa: B008
    return [result for part in warc.parts([path], recipe) for result in warc.read(part, recipe)]


@pytest.fixture
def archive(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "crawl.warc.gz"
        path.write_bytes(data)
        return path

    return write


def test_an_empty_file_is_a_drop(archive):
    assert ids(read(archive(b""))) == ["broken crawl.warc.gz@0"]


def ids(results: list[Page | Document | Drop]) -> list[str]:
    """Ids, and the reasons of drops."""
    return [
        f"{result.reason} {result.id}" if isinstance(result, Drop) else result.id.removeprefix("urn:uuid:")
        for result in results
    ]


COMPRESSIONS = [bytes, gz, zstandard.compress, lz4]


@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_a_response_is_a_page_whatever_compresses_its_record(archive, compress):
    records = [
        record(0, b"software: a crawler\r\n", kind="warcinfo"),
        record(1, b"GET / HTTP/1.1\r\n\r\n", kind="request"),
        record(2, response(HTML, Content_Type="text/html; charset=Shift_JIS")),
        record(3, b"fetched: yes\r\n", kind="metadata"),
        record(4, response(b"%PDF-1.5 ...", Content_Type="application/pdf")),
    ]
    page, pdf = read(archive(b"".join(map(compress, records))))
    assert page == Page(
        id="urn:uuid:2",
        data=HTML,
        kind="html",
        source="web",
        url="http://a.org/2",
        charset="Shift_JIS",
        meta={"date": "2024-01-02T03:04:05Z"},
    )
    assert (pdf.kind, pdf.source, pdf.data) == ("pdf", "papers", b"%PDF-1.5 ...")


def chunked(body: bytes) -> bytes:
    pieces = [body[start : start + 7] for start in range(0, len(body), 7)]
    return b"".join(b"%x;name=value\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(body) + stream.flush()


@pytest.mark.parametrize(
    ("encode", "headers"),
    [
        (chunked, {"Transfer_Encoding": "chunked"}),
        (gz, {"Content_Encoding": "gzip"}),
        (lambda body: gz(body[:9]) + gz(body[9:]), {"Content_Encoding": "x-gzip"}),
        (zlib.compress, {"Content_Encoding": "deflate"}),
        (raw_deflate, {"Content_Encoding": "deflate"}),
        (brotli.compress, {"Content_Encoding": "br"}),
        (zstandard.compress, {"Content_Encoding": "zstd"}),
        (lambda body: brotli.compress(gz(body)), {"Content_Encoding": "gzip, br"}),
        (lambda body: chunked(gz(body)), {"Content_Encoding": "gzip", "Transfer_Encoding": "chunked"}),
        # Many tools store the body decoded, with its headers as they were.
        (bytes, {"Content_Encoding": "gzip"}),
        (bytes, {"Content_Encoding": "br"}),
        (bytes, {"Content_Encoding": "deflate"}),
        (bytes, {"Transfer_Encoding": "chunked"}),
    ],
)
def test_encodings_of_a_body_are_undone(archive, encode, headers):
    (page,) = read(archive(record(1, response(encode(HTML), **headers))))
    assert page.data == HTML


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (response(HTML, status="404 Not Found"), "http_status"),
        (response(HTML, status="301 Moved"), "http_status"),
        (response(b"GIF89a", Content_Type="image/gif"), "not_a_page"),
        (response(b"\x00\x01\x02", Content_Type="application/octet-stream"), "not_a_page"),
        (response(b"  \r\n"), "broken"),
        (b"no HTTP at all", "broken"),
        (response(gz(HTML)[:-9], Content_Encoding="gzip"), "broken"),
        (response(brotli.compress(HTML)[:-3], Content_Encoding="br"), "broken"),
        (response(HTML, Content_Encoding="rot13"), "broken"),
        (response(HTML, Content_Encoding="gzip, gzip, gzip, gzip"), "broken"),
        (response(b"5\r\n<html\r\nzz\r\n", Transfer_Encoding="chunked"), "broken"),
        (response(b"5\r\n<html\r\nff\r\n>", Transfer_Encoding="chunked"), "broken"),
        (response(b"a\x00b\x00" * 2 + b"\x00" * 90, Content_Type="text/plain"), "not_text"),
        (response(HTML * 100), "too_large"),
        (response(gz(bytes(100_000_000)), Content_Encoding="gzip"), "too_large"),
        (response(brotli.compress(bytes(100_000_000), quality=1), Content_Encoding="br"), "too_large"),
        (response(zstandard.compress(bytes(100_000_000)), Content_Encoding="zstd"), "too_large"),
        (response(gz(gz(bytes(100_000_000))), Content_Encoding="gzip, gzip"), "too_large"),
    ],
)
def test_a_response_without_a_page_is_dropped_and_the_next_is_read(archive, block, reason):
    path = archive(gz(record(1, block)) + gz(record(2, response(HTML))))
    assert ids(read(path, WarcRecipe(max_page_bytes=2000))) == [f"{reason} urn:uuid:1", "2"]


def test_the_bytes_of_a_body_outweigh_its_type(archive):
    blocks = [
        response(b"%PDF-1.4", Content_Type="text/html"),
        response(HTML, Content_Type="application/pdf"),
        response(b"%PDF-1.4", Content_Type="application/octet-stream"),
        response(b"<!-- x --><HTML>", Content_Type=""),
    ]
    found = read(archive(b"".join(record(number, block) for number, block in enumerate(blocks))))
    assert [page.kind for page in found] == ["pdf", "html", "pdf", "html"]


def test_what_the_crawler_found_counts_where_the_server_says_nothing(archive):
    body = response(b"<p>No other sign.", Content_Type="application/octet-stream")
    path = archive(record(1, body, WARC_Identified_Payload_Type="text/html") + record(2, body))
    assert ids(read(path)) == ["1", "not_a_page urn:uuid:2"]


def test_what_fastwarc_writes_is_read(tmp_path):
    path = tmp_path / "crawl.warc.gz"
    with path.open("wb") as file:
        for number in range(3):
            written = WarcRecord()
            written.init_headers(WarcRecordType.response, f"uuid:{number}".encode())
            written.headers["WARC-Target-URI"] = "http://a.org/"
            written.headers["Content-Type"] = "application/http; msgtype=response"
            written.set_bytes_content(response(HTML))
            member = GzipWriter(file)
            written.write(member, checksum_data=True)
            member.finish()
    assert b"WARC-Block-Digest" in gzip.decompress(path.read_bytes())
    assert ids(read(path)) == ["0", "1", "2"]


def test_ids_of_damage_tell_files_of_one_name_apart(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "crawl.warc").write_bytes(b"damage")
    assert ids(read(tmp_path)) == ["broken a/crawl.warc@0", "broken b/crawl.warc@0"]


def test_plain_text_and_wet_records_are_documents(archive):
    text = "Extracted text: π ≈ 3"
    path = archive(
        record(1, text.encode(), kind="conversion", Content_Type="text/plain")
        + record(2, response("naïve".encode("latin-1"), Content_Type="text/plain; charset=iso-8859-1"))
    )
    wet, plain = read(path)
    assert (wet.id, wet.text, wet.url, wet.source) == ("urn:uuid:1", text, "http://a.org/1", "web")
    assert plain.text == "naïve"


def test_a_resource_is_a_page_by_its_own_type(archive):
    (page,) = read(archive(record(1, HTML, kind="resource", Content_Type="text/html; charset=utf-8")))
    assert (page.data, page.charset) == (HTML, "utf-8")


def test_a_page_cut_off_by_the_crawler_says_so_and_such_a_pdf_is_broken(archive):
    pdf = response(b"%PDF-1.4", Content_Type="application/pdf")
    path = archive(record(1, response(HTML), WARC_Truncated="length") + record(2, pdf, WARC_Truncated="length"))
    page, drop = read(path)
    assert page.meta["truncated"] == "length"
    assert drop.reason == "broken"


def test_a_block_that_does_not_match_its_digest_is_dropped(archive):
    block = response(HTML)
    right = base64.b32encode(hashlib.sha1(block).digest()).decode()
    digests = [f"sha1:{right}", f"sha256:{hashlib.sha256(block).hexdigest()}", "sha1:" + right[::-1], "own:abc"]
    path = archive(b"".join(record(number, block, WARC_Block_Digest=digest) for number, digest in enumerate(digests)))
    assert ids(read(path)) == ["0", "1", "broken urn:uuid:2", "3"]


@pytest.mark.parametrize("compress", COMPRESSIONS)
@pytest.mark.parametrize("length", [0, 1, 30, 75, 200, 5000, 10**15, 10**30, -1])
def test_a_wrong_length_costs_its_record_only(archive, compress, length):
    records = [record(1, response(HTML)), record(2, response(HTML), length=length), record(3, response(HTML))]
    first, damage, last = ids(read(archive(b"".join(map(compress, records)))))
    assert (first, last) == ("1", "3")
    assert damage.startswith("broken ")


# LZ4 has no checksum: only a record's digest tells such damage.
@pytest.mark.parametrize("compress", [gz, zstandard.compress])
def test_a_damaged_member_costs_its_record_only(archive, compress):
    members = [compress(record(number, response(HTML * 9))) for number in range(3)]
    for place in (0, len(members[1]) // 2):
        damaged = bytearray(members[1])
        damaged[place : place + 4] = b"\xff\x00\xff\x00"
        first, damage, last = ids(read(archive(members[0] + bytes(damaged) + members[2])))
        assert (first, damage.split()[0], last) == ("0", "broken", "2")


@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_a_truncated_file_gives_what_is_whole_and_a_drop(archive, compress):
    whole = compress(record(1, response(HTML)))
    last = compress(record(2, response(HTML)))
    for cut in (1, 2, 12, 40, len(last) - 20):
        first, damage = ids(read(archive(whole + last[:cut])))
        assert first == "1"
        assert damage.startswith("broken ")


@pytest.mark.parametrize("store", [bytes, zstandard.compress])
def test_zstd_with_a_dictionary_is_read_before_and_after_damage(archive, store):
    records = [record(number, response(HTML)) for number in range(300)]
    dictionary = zstandard.train_dictionary(2000, records)
    compressor = zstandard.ZstdCompressor(dict_data=dictionary)
    stored = store(dictionary.as_bytes())
    first, damaged, last = (compressor.compress(data) for data in records[:3])
    data = b"\x5d\x2a\x4d\x18" + len(stored).to_bytes(4, "little") + stored + first + damaged[:-9] + last
    found = ids(read(archive(data)))
    assert (found[0], found[1].split()[0], found[2]) == ("0", "broken", "2")
    (drop,) = read(archive(b"\x5d\x2a\x4d\x18\x09\0\0\0\x28\xb5\x2f\xfdgarbage"))
    assert drop.reason == "broken"


def test_a_file_compressed_as_one_piece_is_read(archive):
    records = b"".join(record(number, response(HTML)) for number in range(5))
    assert ids(read(archive(gz(records)), WarcRecipe(part_bytes=100))) == ["0", "1", "2", "3", "4"]


def test_what_is_no_archive_is_one_drop(archive):
    for data in (b"hello world\n" * 1000, gz(b"hello world\n" * 1000), b"\x1f\x8b\x08garbage"):
        (drop,) = read(archive(data))
        assert drop.reason == "broken"


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(part_bytes=st.integers(50, 3000), sizes=st.lists(st.integers(0, 400), min_size=1, max_size=12))
def test_parts_of_any_size_give_each_record_once_and_in_order(tmp_path, part_bytes, sizes):
    path = tmp_path / "crawl.warc.gz"
    records = [
        record(number, b"x" * size, kind="conversion", Content_Type="text/plain") for number, size in enumerate(sizes)
    ]
    path.write_bytes(b"".join(map(gz, records)))
    whole = read(path)
    assert len(whole) == len(sizes)
    assert read(path, WarcRecipe(part_bytes=part_bytes)) == whole


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    compress=st.sampled_from([gz, zstandard.compress]),
    damaged=st.integers(0, 4),
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6),
    part_bytes=st.sampled_from([200, 10**9]),
)
def test_whatever_happens_to_one_record_all_others_are_read(tmp_path, compress, damaged, flips, part_bytes):
    members = [bytearray(compress(record(number, response(HTML * 5)))) for number in range(5)]
    for place, value in flips:
        members[damaged][place % len(members[damaged])] = value
    path = tmp_path / "crawl.warc.gz"
    # What compresses a file is told by its first bytes.
    path.write_bytes(compress(record(9, response(HTML))) + b"".join(members))
    found = [result.id for result in read(path, WarcRecipe(part_bytes=part_bytes)) if isinstance(result, Page)]
    others = [f"urn:uuid:{number}" for number in (9, 0, 1, 2, 3, 4) if number != damaged]
    assert [id for id in found if id != f"urn:uuid:{damaged}" and id in others] == others


BLOCKS = [
    response(HTML),
    response(gz(HTML), Content_Encoding="gzip"),
    response(chunked(HTML), Transfer_Encoding="chunked"),
    response(brotli.compress(HTML), Content_Encoding="br"),
]
ARCHIVES = [
    b"".join(compress(record(number, block)) for number, block in enumerate(BLOCKS)) for compress in COMPRESSIONS
]


@st.composite
def damaged_archives(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(ARCHIVES)))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    start = draw(st.integers(0, len(data)))
    inserted = draw(st.binary(max_size=20))
    return bytes(data[:start] + inserted + data[start:])[: draw(st.integers(0, len(data) + 20))]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=damaged_archives())
def test_any_bytes_give_pages_documents_or_drops(tmp_path, data):
    path = tmp_path / "crawl.warc.gz"
    path.write_bytes(data)
    found = read(path)
    assert all(isinstance(result, (Page, Document, Drop)) for result in found)


@settings(max_examples=200)
@given(
    head=st.sampled_from(["HTTP/1.1 200 OK\r\n", "HTTP/1.1 200", "", "HTTP/9.9 999 \n"]),
    encoding=st.lists(st.sampled_from(["gzip", "br", "deflate", "zstd", "identity", "x"]), max_size=3),
    transfer=st.sampled_from(["", "chunked"]),
    body=st.one_of(
        st.binary(max_size=80), st.sampled_from([encode(HTML) for encode in (gz, zlib.compress, brotli.compress)])
    ),
    cut=st.integers(0, 200),
)
def test_any_response_has_a_body_or_a_reason(head, encoding, transfer, body, cut):
    fields = f"Content-Encoding: {', '.join(encoding)}\r\nTransfer-Encoding: {transfer}\r\n\r\n"
    try:
        assert len(parse_response((head + fields).encode() + body[:cut]).body(1000)) <= 1000
    except PageError as error:
        assert error.reason in ("broken", "too_large")  # noqa: PT017


def test_a_disk_that_fails_is_not_a_drop(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        list(warc.read(Part(id="warc-000000", path=str(tmp_path / "gone.warc.gz"), names=("gone",)), WarcRecipe()))


def test_a_folder_without_archives_is_an_error(tmp_path):
    (tmp_path / "unpacked.warc.gz").mkdir()
    with pytest.raises(DataError, match="no WARC file"):
        warc.parts([tmp_path], WarcRecipe())

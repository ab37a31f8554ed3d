from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mimo_data import Document
from mimo_data.documents import Drop
from mimo_data.run import DataError
from mimo_data.sources import lines, tables
from mimo_data.sources.page import Page
from mimo_data.sources.tables import TablesRecipe

ROWS = [{"body": f"Text {number}: naïve", "key": f"k{number}", "year": 2000 + number} for number in range(40)]
RECIPE = TablesRecipe(source="books", content_column="body", id_column="key", meta_columns=("year", "licence"))


def read(path: Path, recipe: TablesRecipe) -> list[Page | Document | Drop]:
    return [result for part in tables.parts([path], recipe) for result in tables.read(part, recipe)]


def json_lines(rows: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def comma_separated(rows: list[dict[str, object]]) -> bytes:
    lines = [",".join(rows[0]), *(",".join(f'"{value}"' for value in row.values()) for row in rows)]
    return "\r\n".join(lines).encode()


def parquet(rows: list[dict[str, object]], path: Path) -> bytes:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=7)
    return path.read_bytes()


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "jsonl.gz", "json.zst", "ndjson", "csv", "csv.gz", "tsv"])
@pytest.mark.parametrize("part_bytes", [1, 500, 10**9])
def test_rows_become_documents_whatever_the_format_and_the_parts(tmp_path, ending, part_bytes):
    path = tmp_path / f"rows.{ending}"
    kind, _, compression = ending.partition(".")
    if kind == "parquet":
        data = parquet(ROWS, path)
    elif kind in ("csv", "tsv"):
        data = comma_separated(ROWS).replace(b'","', b'"\t"' if kind == "tsv" else b'","')
        data = data.replace(b"body,key,year", b"body\tkey\tyear") if kind == "tsv" else data
    else:
        data = json_lines(ROWS)
    path.write_bytes({"": bytes, "gz": gzip.compress, "zst": zstandard.compress}[compression](data))
    found = read(path, replace(RECIPE, part_bytes=part_bytes))
    assert [document.id for document in found] == [row["key"] for row in ROWS]
    assert found[3] == Document(id="k3", text="Text 3: naïve", source="books", meta={"year": "2003"})


def test_without_an_id_column_an_id_is_the_place_of_the_row(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "one"}\n{"text": "two"}\n')
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.csv").write_bytes(b"text\nthree\n")
    parquet([{"text": str(number)} for number in range(9)], tmp_path / "c.parquet")
    found = [document.id for document in read(tmp_path, TablesRecipe())]
    assert found[:3] == ["a.jsonl@0", "a.jsonl@16", "b/a.csv@1"]
    assert found[3:] == [f"c.parquet@0.{row}" for row in range(7)] + ["c.parquet@1.0", "c.parquet@1.1"]


def test_pages_are_read_from_columns_of_text_and_of_bytes(tmp_path):
    html, pdf = "<p>naïve</p>", b"%PDF-1.5 ..."
    recipe = TablesRecipe(content="html", content_column="page", url_column="where")
    parquet([{"page": html.encode("latin-1"), "where": "http://a.org"}], tmp_path / "a.parquet")
    (page,) = read(tmp_path / "a.parquet", recipe)
    assert page == Page(id="a.parquet@0.0", data=html.encode("latin-1"), kind="html", source="web", url="http://a.org")
    (tmp_path / "a.jsonl").write_bytes(json_lines([{"page": html, "where": None}]))
    (page,) = read(tmp_path / "a.jsonl", recipe)
    assert (page.data, page.charset, page.url) == (html.encode(), "utf-8", "")
    (tmp_path / "b.jsonl").write_bytes(json_lines([{"text": base64.b64encode(pdf).decode()}, {"text": "abcde"}]))
    page, drop = read(tmp_path / "b.jsonl", TablesRecipe(content="pdf", source="papers"))
    assert (page.data, page.kind, page.source, drop.reason) == (pdf, "pdf", "papers", "broken")


def reasons(found: list[Page | Document | Drop]) -> list[str]:
    return [result.reason if isinstance(result, Drop) else "" for result in found]


def test_a_bad_line_is_a_drop_and_the_next_is_read(tmp_path):
    lines = [
        b'{"text": "good"}',
        b'{"text": "cut',
        b"",
        b'["text"]',
        b'{"text": "\xff"}',
        b'{"text": 5}',
        b'{"text": null}',
        b'{"text": " "}',
        b'{"other": "x"}',
        b'{"text": "' + b"x" * 101 + b'"}',
        b'{"text": "x", "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"text": "' + b"x" * 2_000_000 + b'"}',
        b'{"text": "\\ud800"}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    found = reasons(read(tmp_path / "a.jsonl", TablesRecipe(max_page_bytes=100)))
    assert found == [
        "", "broken", "broken", "broken", "not_text", "no_content", "no_content", "no_content", "too_large", "broken",
        "too_large", "broken",
    ]  # fmt: skip


def test_a_bad_row_of_a_csv_file_is_a_drop_and_the_next_is_read(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'id,text\n1,good\n2\n3,a,b\n4,"two\nlines"\n5,' + b"x" * 200 + b"\n\n6,good\n")
    found = read(tmp_path / "a.csv", TablesRecipe(max_page_bytes=100, id_column="id"))
    assert reasons(found) == ["", "broken", "broken", "", "broken", ""]
    assert [result.id for result in found] == ["1", "a.csv@2", "a.csv@3", "4", "a.csv@6", "6"]


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_truncated_file_gives_a_drop(tmp_path, compress):
    path = tmp_path / ("a.jsonl.gz" if compress is gzip.compress else "a.jsonl.zst")
    path.write_bytes(compress(json_lines([{"text": "x"}] * 5))[:-4])
    assert reasons(read(path, TablesRecipe()))[-1] == "broken"


@pytest.mark.parametrize("bomb", [b"\n" * 100_000, b"{}\n" * 100_000, b"x" * 100_000])
def test_what_unpacks_to_far_more_than_it_holds_is_cut_short(tmp_path, monkeypatch, bomb):
    monkeypatch.setattr(lines, "_MIN_BYTES_OF_BOMB", 30_000)
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(zstandard.compress(json_lines([{"text": "x"}]) + bomb))
    first, *dropped = read(path, TablesRecipe(max_page_bytes=1_000))
    assert (first.id, first.text) == ("a.jsonl.zst@0", "x")
    assert dropped[-1].reason == "too_large"
    assert len(dropped) <= 10_001


def test_text_that_is_not_utf_8_is_read_and_costs_no_other_row(tmp_path):
    array = pyarrow.array([b"plain", "größer".encode("latin-1")]).view(pyarrow.string())
    for number, column in enumerate((array, array.cast(pyarrow.large_string(), safe=False), array.dictionary_encode())):
        pyarrow.parquet.write_table(pyarrow.table({"text": column}), tmp_path / f"{number}.parquet")
        assert [document.text for document in read(tmp_path / f"{number}.parquet", TablesRecipe())] == [
            "plain",
            "größer",
        ]


def test_a_damaged_row_group_is_a_drop_and_the_next_is_read(tmp_path):
    path = tmp_path / "a.parquet"
    data = bytearray(parquet([{"text": "x" * 300 + str(number)} for number in range(14)], path))
    data[40:60] = b"\xff" * 20
    path.write_bytes(data)
    found = read(path, TablesRecipe())
    assert found[0].detail.startswith("7 rows of a row group")
    assert reasons(found) == ["broken"] + [""] * 7


def test_what_is_no_parquet_is_one_drop(tmp_path):
    for data in (b"", b"PAR1", b"PAR1" + b"\xff" * 100 + b"PAR1"):
        (tmp_path / "a.parquet").write_bytes(data)
        assert reasons(read(tmp_path / "a.parquet", TablesRecipe())) == ["broken"]


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_a_missing_column_is_an_error_that_names_those_there_are(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    data = parquet([{"body": "x"}], path) if ending == "parquet" else b"body\nx\n"
    path.write_bytes(b'{"body": "x"}' if ending == "jsonl" else data)
    with pytest.raises(DataError, match="no column text; it has body"):
        read(path, TablesRecipe())


def test_a_value_that_python_cannot_hold_costs_its_row(tmp_path):
    days = pyarrow.array([0, 10**7, 1], pyarrow.int32()).cast(pyarrow.date32())
    times = pyarrow.array([0, 0, 2**62], pyarrow.int64()).cast(pyarrow.timestamp("us"))
    pyarrow.parquet.write_table(
        pyarrow.table({"text": ["a", "b", "c"], "day": days, "time": times}), tmp_path / "a.parquet"
    )
    first, second, third = read(tmp_path / "a.parquet", TablesRecipe(meta_columns=("day", "time")))
    assert (first.text, first.meta) == ("a", {"day": "1970-01-01", "time": "1970-01-01 00:00:00"})
    assert (second.reason, second.detail) == ("broken", "day cannot be read: date value out of range")
    assert (third.reason, third.detail) == ("broken", "time cannot be read: date value out of range")


def test_an_empty_id_is_the_place_of_the_row(tmp_path):
    parquet([{"text": "a", "key": ""}, {"text": "b", "key": None}, {"text": "c", "key": "k"}], tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet", TablesRecipe(id_column="key"))
    assert [document.id for document in found] == ["a.parquet@0.0", "a.parquet@0.1", "k"]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "jsonl.gz", "csv.gz"])
def test_an_empty_file_is_a_drop(tmp_path, ending):
    for content in (b"", gzip.compress(b"") if ending.endswith(".gz") else b""):
        (tmp_path / f"a.{ending}").write_bytes(content)
        (drop,) = read(tmp_path / f"a.{ending}", TablesRecipe())
        assert drop == Drop(id=f"a.{ending}@0", step="extract", reason="broken", detail="empty file")


def test_a_byte_order_mark_costs_no_row(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "one"}\n{"text": "two"}\n')
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbftext\nthree\n")
    assert [document.text for document in read(tmp_path, TablesRecipe())] == ["one", "two", "three"]


@pytest.mark.parametrize("part_bytes", [30, 10**9])
def test_json_that_is_no_json_lines_is_one_drop_that_names_the_remedy(tmp_path, part_bytes):
    rows = [{"text": "one"}, {"text": "two"}, {"text": "three"}]
    spread = {
        "array": json.dumps(rows, indent=1),
        "array in a line": json.dumps(rows),
        "lines in an array": "[" + ",\n".join(json.dumps(row) for row in rows) + "]",
        "objects": "\ufeff" + "\n".join(json.dumps(row, indent=1) for row in rows),
    }
    for name, text in spread.items():
        (tmp_path / "a.json").write_text(text)
        (drop,) = read(tmp_path / "a.json", TablesRecipe(part_bytes=part_bytes))
        assert drop.reason == "broken"
        assert ("`jq -c .`" if name == "objects" else "`jq -c .[]`") in drop.detail
    (tmp_path / "a.json").write_text('["no object"]\n{"text": "cut\n{"text": "one"}\n')
    assert reasons(read(tmp_path / "a.json", TablesRecipe(part_bytes=part_bytes))) == ["broken", "broken", ""]


def test_a_first_line_without_the_column_is_a_drop_as_any_other(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"other": "x"}\n{"text": "good"}\n{"other": "x"}\n')
    assert reasons(read(tmp_path / "a.jsonl", TablesRecipe())) == ["no_content", "", "no_content"]


def test_a_folder_without_tables_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no table"):
        tables.parts([tmp_path], TablesRecipe())


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ending=st.sampled_from(["parquet", "jsonl", "jsonl.gz", "jsonl.zst", "csv"]),
    flips=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4),
    length=st.integers(0, 3000),
)
def test_any_bytes_give_documents_or_drops(tmp_path, ending, flips, length):
    path = tmp_path / f"a.{ending}"
    rows = [{"text": f"row {number}", "number": number} for number in range(20)]
    if ending == "parquet":
        data = bytearray(parquet(rows, path))
    elif ending == "csv":
        data = bytearray(comma_separated(rows))
    else:
        compress = {
            "jsonl": bytes,
            "jsonl.gz": lambda data: gzip.compress(data, mtime=0),
            "jsonl.zst": zstandard.compress,
        }
        data = bytearray(compress[ending](json_lines(rows)))
    for place, value in flips:
        data[place % len(data)] = value
    path.write_bytes(data[:length])
    try:
        assert all(isinstance(result, (Document, Drop)) for result in read(path, TablesRecipe()))
    except DataError as error:
        assert "no column" in str(error)  # noqa: PT017 - a flipped letter of the column's name

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mimo_data import Document
from mimo_data.documents import Drop
from mimo_data.run import DataError
from mimo_data.sources import folder
from mimo_data.sources.folder import FolderRecipe
from mimo_data.sources.page import Page

HTML = b"<p>A page.</p>"


def read(paths: list[Path], recipe: FolderRecipe = FolderRecipe()) -> list[Page | Document | Drop]:  # noqa: B008
    return [result for part in folder.parts(paths, recipe) for result in folder.read(part, recipe)]


def test_pages_below_a_folder_are_read_in_the_order_of_their_paths(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.HTM").write_bytes(HTML)
    (tmp_path / "b.xhtml.gz").write_bytes(gzip.compress(HTML))
    (tmp_path / "c.pdf").write_bytes(b"%PDF-1.5")
    (tmp_path / "d.pdf.gz").write_bytes(gzip.compress(b"%PDF-1.5"))
    (tmp_path / "notes.txt").write_bytes(b"not a page")
    assert read([tmp_path]) == [
        Page(id="b.xhtml.gz", data=HTML, kind="html", source="web"),
        Page(id="c.pdf", data=b"%PDF-1.5", kind="pdf", source="papers"),
        Page(id="d.pdf.gz", data=b"%PDF-1.5", kind="pdf", source="papers"),
        Page(id="sub/a.HTM", data=HTML, kind="html", source="web"),
    ]


def test_ids_of_several_folders_begin_with_their_names(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.html").write_bytes(HTML)
    assert [page.id for page in read([tmp_path / "two", tmp_path / "one"])] == ["two/a.html", "one/a.html"]
    (tmp_path / "two" / "one").mkdir()
    with pytest.raises(DataError, match="same name"):
        folder.parts([tmp_path / "one", tmp_path / "two" / "one"], FolderRecipe())


def test_a_folder_is_divided_into_parts_of_a_number_of_pages(tmp_path):
    for number in range(7):
        (tmp_path / f"{number}.html").write_bytes(HTML)
    parts = folder.parts([tmp_path], FolderRecipe(pages_per_part=3))
    assert [part.names for part in parts] == [
        ("0.html", "1.html", "2.html"),
        ("3.html", "4.html", "5.html"),
        ("6.html",),
    ]
    assert [part.id for part in parts] == ["folder-000000", "folder-000001", "folder-000002"]


def test_a_file_that_is_no_page_is_dropped_with_the_reason(tmp_path):
    (tmp_path / "bomb.html.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    (tmp_path / "cut.html.gz").write_bytes(gzip.compress(HTML)[:-9])
    (tmp_path / "empty.html").write_bytes(b" \n")
    (tmp_path / "large.html").write_bytes(b"x" * 1001)
    (tmp_path / "link.html").symlink_to(tmp_path / "gone")
    (tmp_path / "plain.html.gz").write_bytes(HTML)
    os.mkfifo(tmp_path / "pipe.html")
    drops = {drop.id: drop.reason for drop in read([tmp_path], FolderRecipe(max_page_bytes=1000))}
    assert drops == {
        "bomb.html.gz": "too_large", "cut.html.gz": "broken", "empty.html": "broken", "large.html": "too_large",
        "link.html": "broken", "pipe.html": "broken", "plain.html.gz": "broken",
    }  # fmt: skip


def test_a_name_that_is_not_utf_8_is_an_id_that_is(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.html")).write_bytes(HTML)
    assert [page.id for page in read([tmp_path])] == ["caf\\xe9.html"]


def test_a_folder_that_holds_no_page_is_an_error(tmp_path):
    with pytest.raises(DataError, match="holds no page"):
        folder.parts([tmp_path], FolderRecipe())
    with pytest.raises(DataError, match="no such folder"):
        folder.parts([tmp_path / "gone"], FolderRecipe())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60), compressed=st.booleans(), cut=st.integers(0, 30))
def test_any_bytes_are_a_page_or_a_drop(tmp_path, data, compressed, cut):
    (tmp_path / "a.html.gz").write_bytes((gzip.compress(data, mtime=0) if compressed else data)[: 90 - cut])
    (result,) = read([tmp_path])
    assert isinstance(result, (Page, Drop))

"""Makes a corpus folder for `html_extraction.py` of threads as forum programs write them: phpBB 2, XenForo 2 …

    python benchmarks/forum_archives.py CORPUS_FOLDER --archive "phpBB 2" FOLDER [--archive …] [--pages 200]

FOLDER holds the pages of an archived forum; some are on GitHub: studioetc/theavalanches-forum-archive (phpBB 2, in
archive/phpBB2), Dytomic/top-forums-archive (XenForo 2), openenergymonitor/forum-archive (Drupal 6, in node) and
opendcl/forum-archive (pages of its own make, in topics). The truth is what each program marks as a post's author and
text: `text` is all of them, quotations aside, and `with` the beginning of each post.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from html_corpus import Page, write_corpus
from lxml import html


class Layout(NamedTuple):
    """XPaths: a post in the page, then its author and its text in the post."""

    post: str
    author: str
    text: str


def has_class(name: str) -> str:
    return f"contains(concat(' ', normalize-space(@class), ' '), ' {name} ')"


LAYOUTS = {
    "phpBB 2": Layout("//tr[td/span[@class='name']]", ".//span[@class='name']/b", ".//td[span[@class='postbody']]"),
    "XenForo 2": Layout(
        f"//article[{has_class('message--post')}]",
        f".//*[{has_class('message-name')}]",
        f".//article[{has_class('message-body')}]//div[{has_class('bbWrapper')}]",
    ),
    "Drupal 6": Layout(
        f"//div[{has_class('comment')}][h3]",
        f".//*[{has_class('submitted')}]/a",
        f"./div[{has_class('content')}]",
    ),
    "articles": Layout(
        f"//article[{has_class('post')}]", f".//*[{has_class('post-author')}]", f".//*[{has_class('post-body')}]"
    ),
}
QUOTED = (
    ".//blockquote|.//table[.//*[@class='quote']]|.//div[contains(@class, 'quote') or contains(@class, 'navigation')]"
    "|.//span[@class='gensmall']"
)
SIGNATURE = re.compile(r"\n\s*_{17}\s*(?:\n.*)?$", re.DOTALL)
MIN_WORDS = 5
BEGINNING_WORDS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--archive", nargs=2, action="append", required=True, metavar=("LAYOUT", "FOLDER"))
    parser.add_argument("--pages", type=int, default=200, metavar="N", help="of each archive at most")
    arguments = parser.parse_args()
    for name, folder in arguments.archive:
        if name not in LAYOUTS:
            parser.error(f"{name}: the layouts are {', '.join(LAYOUTS)}")
        if not Path(folder).is_dir():
            parser.error(f"{folder}: no such folder")
    archives = (islice(pages(name, Path(folder)), arguments.pages) for name, folder in arguments.archive)
    write_corpus(arguments.corpus, chain.from_iterable(archives))


def pages(name: str, archive: Path) -> Iterator[Page]:
    paths = sorted(path for path in archive.rglob("*.html") if path.is_file())
    random.Random(0).shuffle(paths)
    for path in paths:
        data = path.read_bytes()
        if posts := read_posts(data, LAYOUTS[name]):
            yield Page(name, "forum", data, truth(posts))


def read_posts(data: bytes, layout: Layout) -> list[tuple[str, str]]:
    """Author and text of each post."""
    named = re.search(rb"charset=[\"']?([\w-]+)", data[:4096], re.IGNORECASE)
    parser = html.HTMLParser(encoding=named[1].decode() if named else "utf-8", remove_comments=True)
    if not data.strip():
        return []
    root = html.document_fromstring(data, parser=parser)
    for line_end in root.iter("br"):
        line_end.tail = f"\n{line_end.tail or ''}"
    posts = []
    for post in root.xpath(layout.post):
        author = "".join(element.text_content() for element in post.xpath(layout.author)[:1])
        for text in post.xpath(layout.text)[:1]:
            for quotation in text.xpath(QUOTED):
                quotation.drop_tree()
            posts.append((author, SIGNATURE.sub("", text.text_content())))
    return posts


def truth(posts: list[tuple[str, str]]) -> dict[str, object]:
    beginnings = []
    for _, text in posts:
        words = next((line.split() for line in text.split("\n") if line.strip()), [])
        if len(words) >= MIN_WORDS and not re.search(r"[$\\*_<>|]|https?:", " ".join(words[:BEGINNING_WORDS])):
            beginnings.append(" ".join(words[:BEGINNING_WORDS]))
    return {"text": "\n\n".join(f"{author}\n{text}" for author, text in posts), "with": beginnings}


main()

"""How much of manuals' code and formulas comes back from their PDF edition; their HTML edition is the truth.

    python benchmarks/pdf_manuals.py PACKAGES_FOLDER

PACKAGES_FOLDER holds Debian packages of documentation, one folder each (see `documentation_pages.py`); a manual that
is not there is left out. A listing counts when all its lines are there in order with their indentation, as a fence
when a fenced block is just it; one line is no listing here. The editions differ in places: an ellipsis is three dots
in one of them, long lines are broken in the other. Formulas, inline ones too, count as `html_extraction.py` counts
them; nothing can tell a digit between dollars from one without, so those are left out.
"""

from __future__ import annotations

import argparse
import gzip
import re
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pymupdf
from lxml import html

from mimo_data.pdf import extract_pdf

# Package → its PDF file and the folder of its HTML edition, below /usr/share.
MANUALS = {
    "asymptote-doc": ("doc/asymptote/asymptote.pdf", "doc/asymptote/html"),
    "bash-doc": ("doc/bash/bashref.pdf", "doc/bash"),
    "debian-policy": ("doc/debian-policy/policy.pdf.gz", "doc/debian-policy/policy.html"),
    "developers-reference": ("developers-reference/developers-reference.pdf", "developers-reference"),
    "erlang-doc": ("doc/erlang-doc/lib/stdlib-4.2/doc/pdf/stdlib-4.2.pdf", "doc/erlang-doc/lib/stdlib-4.2/doc/html"),
    "gap-doc": ("gap/doc/ref/manual.pdf", "gap/doc/ref"),
    "libflint-doc": ("doc/libflint-dev/Flint.pdf.gz", "doc/libflint-dev"),
    "libmpfr-doc": ("doc/libmpfr-doc/mpfr.pdf.gz", "doc/libmpfr-doc"),
    "octave-doc": ("doc/octave/octave.pdf", "doc/octave/octave.html"),
    "petsc3.18-doc": ("doc/petsc3.18-doc/docs/docs/manual/manual.pdf.gz", "doc/petsc3.18-doc/docs/docs/manual"),
    "python-cvxopt-doc": ("doc/python-cvxopt-doc/CVXOPT.pdf", "doc/python-cvxopt-doc/html"),
    "sbcl-doc": ("doc/sbcl/sbcl.pdf.gz", "doc/sbcl"),
    "zsh-doc": ("doc/zsh-common/zsh.pdf", "doc/zsh-common/html"),
}
SPAN = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$(?!\$)((?:[^$\n]|\n(?!\n))+?)(?<!\\)\$", re.DOTALL)
FENCE = re.compile(r"^([ \t]*)(```+)[^\n]*\n(.*?)\n?[ \t]*\2[ \t]*$", re.DOTALL | re.MULTILINE)
DELIMITED = re.compile(r"\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)


class Truth(NamedTuple):
    listings: list[list[str]]
    formulas: Counter[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("packages", type=Path)
    packages = parser.parse_args().packages
    manuals = {package: paths for package, paths in MANUALS.items() if (packages / package).is_dir()}
    if not manuals:
        parser.error(f"{packages} holds none of {', '.join(MANUALS)}")
    print("| manual | pages | pages per CPU second | listings | come back | fenced | formulas | come back |")
    print("| --- " * 8 + "|")
    for package, (file, folder) in manuals.items():
        share = packages / package / "usr" / "share"
        truth = read_html(share / folder)
        data = (share / file).read_bytes()
        data = gzip.decompress(data) if file.endswith(".gz") else data
        with pymupdf.open(stream=data, filetype="pdf") as document:
            num_pages = document.page_count
        start_s = time.process_time()
        markdown = extract_pdf(data)
        cpu_s = time.process_time() - start_s
        lines = bare_lines(markdown)
        places: dict[str, list[int]] = {}
        for number, line in enumerate(lines):
            places.setdefault(line.strip(), []).append(number)
        whole = sum(any(stands_at(lines, n, b) for n in places.get(b[0].strip(), ())) for b in truth.listings)
        fences = {tuple(bare_lines(match[3])) for match in FENCE.finditer(markdown)}
        fenced = sum(tuple(listing) in fences for listing in truth.listings)
        spans = Counter(bare_formula(match[1] or match[2]) for match in SPAN.finditer(markdown))
        num_formulas = truth.formulas.total() or "–"
        found = (truth.formulas & spans).total() if truth.formulas else "–"
        print(
            f"| {package} | {num_pages} | {num_pages / cpu_s:.0f} | {len(truth.listings)} | {whole} | {fenced} "
            f"| {num_formulas} | {found} |",
            flush=True,
        )


def read_html(folder: Path) -> Truth:
    listings: dict[tuple[str, ...], None] = {}
    formulas: Counter[str] = Counter()
    for path in sorted(folder.rglob("*.htm*")):
        # GAP's manual has each page three times.
        if not path.is_file() or path.is_symlink() or re.search(r"_mj\.html|genindex|search", path.name):
            continue
        data = path.read_bytes()
        root = html.document_fromstring(gzip.decompress(data) if path.suffix == ".gz" else data)
        for block in root.iter("pre"):
            lines = bare_lines(str(block.text_content()))
            if len(lines) > 1:
                listings[tuple(lines)] = None
        for element in root.xpath("//*[contains(@class, 'math')]"):
            if not element.xpath("ancestor::*[contains(@class, 'math')]"):
                formulas.update(bare_formula(m[1] or m[2]) for m in DELIMITED.finditer(element.text_content()))
    return Truth(list(map(list, listings)), Counter({f: n for f, n in formulas.items() if f and not f.isdigit()}))


def stands_at(lines: list[str], start: int, listing: list[str]) -> bool:
    part = lines[start : start + len(listing)]
    return without_indentation(part) == listing


def bare_lines(text: str) -> list[str]:
    """Lines that are not empty; those of a listing without the indentation that all have."""
    lines = [line.expandtabs(4).rstrip() for line in text.replace("\xa0", " ").replace("…", "...").split("\n")]
    return without_indentation([line for line in lines if line])


def without_indentation(lines: list[str]) -> list[str]:
    indent = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    return [line[indent:] for line in lines]


def bare_formula(latex: str) -> str:
    """LaTeX without what does not change the formula: spacing, sizes, labels, braces around one token."""
    latex = re.sub(r"\\label\{[^}]*\}|\\tag\*?\{[^}]*\}", "", latex)
    latex = re.sub(r"\\(?:displaystyle|textstyle|limits|left|right|nonumber|notag)(?![A-Za-z])", "", latex)
    latex = re.sub(r"\\[,;:! ]|~|\s+", "", latex).rstrip(".,;")
    latex = latex.replace(r"\lt", "<").replace(r"\gt", ">").replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac")
    return re.sub(r"([_^])\{(\\?[A-Za-z]|.)\}", r"\1\2", latex)


main()

"""How much of a PDF book comes back, against the DocOnce source that it was typeset from.

    python benchmarks/pdf_book.py BOOK.pdf BOOK.do.txt

A listing counts when a fenced block of the Markdown is just it, a displayed formula when the Markdown has it between
dollars: as `html_extraction.py` compares them, or drawn alike, which different LaTeX can be: braces around one token, a
fraction by `\\over`, words in boxes, cases as an array. Labels go, and commands of the books by H. P. Langtangen
stand for what they mean. A source has displays that its PDF does not print: those of other formats and of exercises'
solutions.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from pathlib import Path

import pymupdf
from html_extraction import FENCE, SPAN, bare_formula, bare_lines

from mimo_data.pdf import extract_pdf

COMMANDS = {
    "tp": ".", "dfc": r"\alpha ", "half": r"\frac{1}{2}", "uex": r"u_{\text{e}}", "thinspace": "",
    "stress": r"\boldsymbol{\sigma}", "normalvec": r"\boldsymbol{n}", "rpos": r"\boldsymbol{r}",
    "ii": r"\boldsymbol{i}", "jj": r"\boldsymbol{j}", "kk": r"\boldsymbol{k}",
    **{letter: rf"\boldsymbol{{{letter}}}" for letter in "uvwxfrqFIU"},
}  # fmt: skip
ALIKE = (
    (r"\\(?:hbox|mbox|mathrm|operatorname)(?=\{)", r"\\text"),
    (r"\\Pr(?![A-Za-z])", r"\\text{Pr}"),
    (r"\\rightarrow(?![A-Za-z])", r"\\to"),
    (r"\\vert(?![A-Za-z])", "|"),
    (r"\\(?:bm|boldsymbol)\{\\?([A-Za-z]+|0)\}", r"\\bold\1 "),
    (r"\\(?:[bB]igg?[lr]?|small|footnotesize)(?![A-Za-z])", ""),
    (r"\{([^{}]*)\\over\s*([^{}]*)\}", r"\\frac{\1}{\2}"),
    (r"\\left\\lbrace\s*\\begin\{array\}\{l+\}(.*?)\\end\{array\}\s*(?:\\right\.)?", r"\\begin{cases}\1\\end{cases}"),
    (r"\\(begin|end)\{(?:alignat|align|eqnarray)\*?\}(?:\{\d\})?", r"\\\1{align}"),
    (r"(?<!\\)\\(?:q?quad|[,;:!\s])|~|\s+(?![A-Za-z])", ""),
    (r"(\\text\{[A-Za-z]+)\}\\text\{", r"\1"),
    (r"(?<=sin|cos|exp)\{(\([^{}]*\))\}", r"\1"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("book", type=Path, metavar="BOOK.pdf")
    parser.add_argument("source", type=Path, metavar="BOOK.do.txt")
    arguments = parser.parse_args()
    for path in (arguments.book, arguments.source):
        if not path.exists():
            parser.error(f"{path}: no such file")
    data, source = arguments.book.read_bytes(), arguments.source.read_text()
    with pymupdf.open(stream=data, filetype="pdf") as document:
        num_pages = document.page_count
    start_s = time.process_time()
    markdown = extract_pdf(data)
    print(f"{num_pages} pages, {num_pages / (time.process_time() - start_s):.0f} a CPU second\n")

    listings = [bare_lines(block) for block in re.findall(r"(?ms)^!bc[^\n]*\n(.*?)^!ec", source)]
    fences = [bare_lines(match[3]) for match in FENCE.finditer(markdown)]
    displays = list(map(latex_of, re.findall(r"(?ms)^!bt\n(.*?)^!et", source)))
    spans = [match[1] or match[2] or match[3] for match in SPAN.finditer(FENCE.sub("", markdown))]
    print("| what | in the source | come back |\n| --- | --- | --- |")
    print(f"| listings | {len(listings)} | {sum(listing in fences for listing in listings)} |")
    for name, bare in (("displays, the same LaTeX", bare_formula), ("displays, drawn alike", drawn)):
        wanted, found = Counter(map(bare, displays)), Counter(map(bare, spans))
        print(f"| {name} | {len(displays)} | {(wanted & found).total()} |")


def latex_of(display: str) -> str:
    """A display of the source as LaTeX knows it."""
    latex = re.sub(r"(?m)^#.*$|\blabel\{[^}]*\}", "", display)
    latex = re.sub(r"\\([A-Za-z]+)", lambda command: COMMANDS.get(command[1], command[0]), latex)
    return re.sub(r"^\s*\\\[|\\\]\s*$", "", latex)


def drawn(latex: str) -> str:
    """The same for LaTeX that is drawn alike."""
    for pattern, replacement in ALIKE:
        latex = re.sub(pattern, replacement, latex, flags=re.DOTALL)
    latex = re.sub(r"\\(?:left|right)(?![A-Za-z])", "", latex)
    latex = re.sub(r"(\\[a-zA-Z]+)\s+(?=[a-zA-Z])", r"\1{}", latex).replace("{}", " ")
    latex = re.sub(r"(?<!text)(?<!frac)(?<!symbol)\{(\\?[A-Za-z]+|\d)\}", one_token, latex)
    return bare_formula(latex)


def one_token(braces: re.Match[str]) -> str:
    token = braces[1]
    return f" {token}" if len(token) == 1 or token.startswith("\\") else braces[0]


if __name__ == "__main__":
    main()

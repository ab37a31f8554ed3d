"""How well and how fast pages become Markdown, against trafilatura and, where it can be imported, resiliparse.

    python benchmarks/html_extraction.py CORPUS_FOLDER

CORPUS_FOLDER has `manifest.jsonl` (id, set, kind), `html/<id>.html.gz` and `truth/<id>.json` with any of `text` (the
main content), `with` and `without` (snippets of it, or of what is not), `formulas` (LaTeX) and `code` (blocks). F1 is
over bags of words; of snippets the share that is there, and the share that is not; a formula counts when the Markdown
has it between dollars and outside of code, spaces and spacing commands aside; a block of code when it is a fenced
block, line by line.
Fails when our own figures fall below the bars of the sets that it knows.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from html import unescape
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from mimo_data import extract_html

# Set and measure → the least that our own extraction must reach, a little under what it reached last.
BARS = {
    ("cpalgo", "formulas"): 0.97,
    ("cpalgo", "code"): 0.98,
    ("wcxb-dev/article", "F1"): 0.92,
    ("wcxb-dev/documentation", "F1"): 0.93,
    ("wcxb-dev/forum", "F1"): 0.80,
}
MEASURES = ("F1", "with", "without", "formulas", "code")
SPAN = re.compile(
    r"\$\$(.+?)\$\$|(?<![\\$])\$(?!\$)((?:[^$\n]|\n(?!\n))+?)(?<!\\)\$"
    r"|(\\begin\{(?:equation|align|gather|eqnarray|multline)\*?\}.+?\\end\{(?:equation|align|gather|eqnarray|multline)\*?\})",
    re.DOTALL,
)
FENCE = re.compile(r"^([ \t]*)(```+)[^\n]*\n(.*?)\n?[ \t]*\2[ \t]*$", re.DOTALL | re.MULTILINE)


class Page(NamedTuple):
    group: str
    text: str
    truth: dict[str, object]


def read_pages(corpus: Path) -> list[Page]:
    pages = []
    for line in (corpus / "manifest.jsonl").read_text().splitlines():
        row = json.loads(line)
        group = f"{row['set']}/{row['kind']}" if row["set"].startswith(("wcxb", "lwk")) else row["set"]
        data = gzip.decompress((corpus / "html" / f"{row['id']}.html.gz").read_bytes())
        pages.append(Page(group, decode(data), json.loads((corpus / "truth" / f"{row['id']}.json").read_text())))
    return pages


def decode(data: bytes) -> str:
    named = re.search(rb"charset=[\"']?([\w-]+)", data[:4096], re.IGNORECASE)
    for encoding in (*([named[1].decode()] if named else []), "utf-8"):
        try:
            return data.decode(encoding)
        except (LookupError, UnicodeDecodeError):
            continue
    return data.decode("latin-1")


def scores(truth: dict[str, object], markdown: str) -> dict[str, list[float]]:
    """Of one page: the F1 as one number, formulas and code as one 0 or 1 each."""
    found: dict[str, list[float]] = {}
    if truth.get("text") and truth.get("with") is not None:
        ours, wanted = (Counter(re.findall(r"\w+", str(text).lower())) for text in (markdown, truth["text"]))
        both = sum((ours & wanted).values())
        found["F1"] = [2 * both / max(1, sum(ours.values()) + sum(wanted.values()))]
    plain = bare_text(markdown)
    found["with"] = [float(bare_text(snippet) in plain) for snippet in truth.get("with") or []]
    found["without"] = [float(bare_text(snippet) not in plain) for snippet in truth.get("without") or []]
    outside = FENCE.sub("", markdown)
    formulas = Counter(bare_formula(match[1] or match[2] or match[3]) for match in SPAN.finditer(outside))
    wanted = Counter(bare_formula(latex) for latex in truth.get("formulas") or [])
    found["formulas"] = [
        float(number < formulas[latex]) for latex, times in wanted.items() if latex for number in range(times)
    ]
    blocks = [bare_lines(match[3]) for match in FENCE.finditer(markdown)]
    found["code"] = [float(lines in blocks) for lines in map(bare_lines, truth.get("code") or []) if lines]
    return found


def bare_text(markdown: str) -> str:
    return " ".join(re.sub(r"[*_`\\]", "", markdown).lower().split())


def bare_formula(latex: str) -> str:
    """LaTeX without what does not change the formula: spacing, sizes, labels, braces around one token."""
    latex = re.sub(r"(?<!\\)%.*|\\label\{[^}]*\}|\\tag\*?\{[^}]*\}", "", unescape(latex))
    latex = re.sub(r"\\(?:displaystyle|textstyle|scriptstyle|limits|left|right|nonumber|notag)(?![A-Za-z])", "", latex)
    latex = re.sub(r"\\(?:begin|end)\{(?:equation|displaymath|math)\*?\}|\\[,;:! ]|~|\s+", "", latex)
    latex = latex.replace(r"\lt", "<").replace(r"\gt", ">").replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac")
    latex = latex.strip("$").rstrip(".,;")
    while re.fullmatch(r"\{.*\}", latex, re.DOTALL) and is_balanced(latex[1:-1]):
        latex = latex[1:-1]
    return re.sub(r"([_^])\{(\\?[A-Za-z]|.)\}", r"\1\2", latex).rstrip(".,;")


def is_balanced(latex: str) -> bool:
    """No brace closes what is opened outside."""
    depths = list(accumulate((letter == "{") - (letter == "}") for letter in latex))
    return not depths or (min(depths) >= 0 and depths[-1] == 0)


def bare_lines(block: str) -> list[str]:
    lines = [line.expandtabs(4).rstrip() for line in block.replace("\xa0", " ").split("\n")]
    lines = [line for line in lines if line]
    indent = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    return [line[indent:] for line in lines]


def extractors() -> dict[str, Callable[[str], str]]:
    import trafilatura

    def by_trafilatura(page: str) -> str:
        return trafilatura.extract(page, output_format="markdown", include_tables=True, include_comments=True) or ""

    found: dict[str, Callable[[str], str]] = {
        f"mimo-data {version('mimo-data')}": extract_html,
        f"trafilatura {version('trafilatura')}": by_trafilatura,
    }
    try:
        from resiliparse.extract.html2text import extract_plain_text
    except ImportError:
        return found

    def by_resiliparse(page: str) -> str:
        return str(extract_plain_text(page, main_content=True, preserve_formatting=True, alt_texts=True))

    found[f"resiliparse {version('resiliparse')}"] = by_resiliparse
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    corpus = parser.parse_args().corpus
    if not (corpus / "manifest.jsonl").exists():
        parser.error(f"{corpus} holds no manifest.jsonl")
    pages = read_pages(corpus)
    print(
        f"{platform.processor() or platform.machine()}, one core, Python {platform.python_version()}, each page once\n"
    )
    print(f"| set | pages | extractor | {' | '.join(MEASURES)} | pages per CPU second |")
    print("| --- " * (len(MEASURES) + 4) + "|")
    missed = []
    for name, extract in extractors().items():
        extract("<p>What is loaded on the first page is not a page's time.</p>")
        groups: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for page in pages:
            start_s = time.process_time()
            markdown = extract(page.text)
            cpu_s = time.process_time() - start_s
            for group in (page.group, "all"):
                groups[group]["cpu_s"].append(cpu_s)
                for measure, values in scores(page.truth, markdown).items():
                    groups[group][measure] += values
        for group, values in sorted(groups.items()):
            means = {measure: sum(found) / len(found) for measure in MEASURES if (found := values[measure])}
            if extract is extract_html:
                missed += [
                    f"{group}: {measure} is {means[measure]:.3f}, the bar is {bar}"
                    for (of, measure), bar in BARS.items()
                    if of == group and means.get(measure, 1.0) < bar
                ]
            cells = " | ".join(f"{means[measure]:.3f}" if measure in means else "–" for measure in MEASURES)
            speed = len(values["cpu_s"]) / sum(values["cpu_s"])
            print(f"| {group} | {len(values['cpu_s'])} | {name} | {cells} | {speed:.0f} |")
    if missed:
        raise SystemExit("\n".join(missed))


if __name__ == "__main__":
    main()

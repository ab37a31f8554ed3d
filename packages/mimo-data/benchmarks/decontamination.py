"""Leaks of benchmark problems, put into pages in many ways: how many are found, and how many clean pages are hit.

`decontamination.py [--problems FILE… --pages PATH…] [--items N]`: problem files of `mimo-eval problems` and documents
files (or step folders) without problems. Without them it makes up both, which measures the mechanism and not the world.
Each item goes, in each variation, into a page of its own at a random line.
"""

from __future__ import annotations

import argparse
import html
import platform
import random
import re
import textwrap
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import chain
from pathlib import Path

from mimo_data import Document, read_documents
from mimo_data.decontaminate import BenchmarkPrompt, DecontaminateRecipe, read_prompts
from mimo_data.decontaminate.index import ProblemIndex

FURNITURE = ["Advertisement", "Page 3 of 17", "Share | Save | Report", "12", "© 2019 All rights reserved", "▲ 41 ▼"]
OPTION = re.compile(r"(?m)^([A-J])\. ")
UNICODE = {
    r"\times": "×", r"\cdot": "·", r"\leq": "≤", r"\le": "≤", r"\geq": "≥", r"\ge": "≥", r"\neq": "≠", r"\pi": "π",
    r"\alpha": "α", r"\beta": "β", r"\theta": "θ", r"\lambda": "λ", r"\omega": "ω", r"\infty": "∞", r"\sqrt": "√",
    r"\in": "∈", r"\cup": "∪", r"\to": "→", r"\ldots": "…", r"\pm": "±", r"\div": "÷", r"\mathbb{R}": "ℝ", "^2": "²",
    "^{2}": "²", "^3": "³", "_1": "₁", "_2": "₂", "$": "",
}  # fmt: skip


def reflowed(text: str, width: int) -> str:
    return "\n".join(textwrap.fill(line, width) for line in text.split("\n"))


def with_furniture(text: str, rng: random.Random) -> str:
    lines = reflowed(text, 72).split("\n")
    return "\n".join(line if rng.random() < 0.6 else f"{line}\n\n{rng.choice(FURNITURE)}\n" for line in lines)


def other_latex(text: str) -> str:
    text = re.sub(r"\$([^$\n]+)\$", r"\\(\1\\)", text)
    text = re.sub(r"\\frac\{(\w)\}\{(\w)\}", r"\\dfrac \1\2" if "0" in text else r"\\dfrac{\1}{\2}", text)
    text = re.sub(r"\\[dt]?frac\{(\d)\}\{(\d)\}", r"\\tfrac\1\2", text)
    text = re.sub(r"(?<!\\left)\(", r"\\left(", text) if "\\(" not in text else text
    text = text.replace(r"\leq", r"\le").replace(r"\cdot ", r"\,\cdot\, ").replace("=", r"\;=\;")
    return re.sub(r"\\text\{([^{}]*)\}", r"\\mathrm{\1}", text)


def in_unicode(text: str) -> str:
    for command, character in UNICODE.items():
        text = re.sub(re.escape(command) + (r"(?![A-Za-z])" if command[-1].isalpha() else ""), character, text)
    return re.sub(r"\\frac\{(\w+)\}\{(\w+)\}", r"\1/\2", text)


def escaped(text: str) -> str:
    return re.sub(r"([*_\[\]#<>|`])", r"\\\1", text)


def emphasised(text: str, rng: random.Random) -> str:
    return re.sub(r"(?<![\\{])\b[a-z]{4,}\b", lambda word: f"**{word[0]}**" if rng.random() < 0.15 else word[0], text)


def repunctuated(text: str) -> str:
    text = re.sub(r"(?<=[a-z][a-z])[,;:](?= )", " –", text.replace("'", "’").replace('"', "”"))
    return text.replace("?", " ?")


def relabelled(text: str) -> str:
    head, *options = OPTION.split(text)
    if not options:
        return text
    pairs = zip(options[::2], options[1::2], strict=True)
    return head + "   ".join(f"({label.lower()}) {option.strip()}" for label, option in pairs)


def question_only(text: str) -> str:
    return OPTION.split(text)[0]


VARIATIONS: dict[str, Callable[[str, random.Random], str]] = {
    "verbatim": lambda text, _: text,
    "capitals": lambda text, _: text.upper() if "\\" not in text else text,
    "lines of 40": lambda text, _: reflowed(text, 40),
    "one line": lambda text, _: " ".join(text.split()),
    "foreign lines": with_furniture,
    "other LaTeX": lambda text, _: other_latex(text),
    "Unicode": lambda text, _: in_unicode(text),
    "Markdown escapes": lambda text, _: escaped(text),
    "emphasis": emphasised,
    "entities": lambda text, _: html.escape(text).replace(" ", "&nbsp;", 2),
    "punctuation": lambda text, _: repunctuated(text),
    "options in a row": lambda text, _: relabelled(text),
    "question only": lambda text, _: question_only(text),
}
NOUNS = "ferry lantern orchard violin glacier bakery compass turbine meadow harbour kettle falcon quarry sundial"
VERBS = "carries repairs paints measures borrows counts sells weighs"
SYLLABLES = "ba co di fe gu la mo ni pe ra so tu"
BUCKETS = ((16, "under 16"), (40, "16 to 39"), (10**9, "40 and more"))


def main() -> None:
    arguments = parse()
    rng = random.Random(0)
    prompts = list(load_prompts(arguments.problems)) if arguments.problems else made_up_prompts(rng)
    pages = [document for path in arguments.pages for document in read_documents(path)] or made_up_pages(rng)
    ProblemIndex(prompts[:1], DecontaminateRecipe()).find(pages[0])  # compiles
    start_s = time.process_time()
    index = ProblemIndex(prompts, DecontaminateRecipe())
    index_s = time.process_time() - start_s
    start_s = time.process_time()
    clean_hits = [hit for page in pages for hit in index.find(page)]
    search_s = time.process_time() - start_s
    num_bytes = sum(len(page.text.encode()) for page in pages)
    print(f"{platform.machine()}, Python {platform.python_version()}, one core, CPU time\n")
    print(
        f"{len(prompts)} problems indexed in {index_s:.1f} s; {len(index.too_short)} say too little to be searched for."
    )
    print(f"{len(pages)} clean pages, {num_bytes / 1e6:.1f} MB: {num_bytes / search_s / 1e6:.1f} MB/s.")
    hit_pages = {hit.document for hit in clean_hits}
    print(f"Clean pages hit: {len(hit_pages)} ({len(hit_pages) / len(pages):.2%}).")
    for hit in clean_hits[:20]:
        print(f"  {hit.document}: {hit.rule} {hit.problem}: {' '.join(hit.text.split())[:150]!r}")
    clean = [page for page in pages if page.id not in hit_pages]
    items = rng.sample(prompts, min(arguments.items, len(prompts)))
    found, tried = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    kinds: dict[str, list[bool]] = defaultdict(list)
    misses = defaultdict(list)
    for prompt in items:
        bucket = next(name for limit, name in BUCKETS if len(prompt.prompt.split()) < limit)
        for variation, change in VARIATIONS.items():
            leak = change(prompt.prompt, rng)
            if variation not in ("verbatim", "foreign lines") and leak == prompt.prompt:
                continue
            page = rng.choice(clean)
            lines = page.text.split("\n")
            place = rng.randrange(len(lines) + 1)
            text = "\n".join([*lines[max(0, place - 40) : place], "", leak, "", *lines[place : place + 40]])
            hits = index.find(Document(id="page", text=text, source="web"))
            # Files repeat each other's problems, and a page that holds one is dropped whichever is named.
            hit = bool(hits)
            tried[variation, bucket] += 1
            found[variation, bucket] += hit
            if variation != "question only":
                kinds[prompt.id.split("/")[0]].append(hit)
            if not hit:
                misses[variation].append(leak)
    report(found, tried, kinds)
    for variation, leaks in misses.items():
        for leak in leaks[: arguments.show]:
            print(f"missed, {variation}: {leak[:300]!r}")


def report(found: Counter[tuple[str, str]], tried: Counter[tuple[str, str]], kinds: dict[str, list[bool]]) -> None:
    names = [name for _, name in BUCKETS]
    print(f"\n| leaked as | {' | '.join(f'{name} words' for name in names)} | all |\n|{' --- |' * (len(names) + 2)}")
    for variation in VARIATIONS:
        cells = [(found[variation, name], tried[variation, name]) for name in names]
        cells.append((sum(cell[0] for cell in cells), sum(cell[1] for cell in cells)))
        print(
            f"| {variation} | {' | '.join(f'{hit / count:.4f} of {count}' if count else '–' for hit, count in cells)} |"
        )
    for name in (*names, "all"):
        pairs = [key for key in tried if key[0] != "question only" and name in (key[1], "all")]
        hit, count = sum(found[key] for key in pairs), sum(tried[key] for key in pairs)
        print(f"\nWhole prompts, {name}: {hit / max(1, count):.4f} of {count}", end="")
    print("\n\n| benchmark | leaks | found |\n| --- | --- | --- |")
    for kind, hits in sorted(kinds.items()):
        print(f"| {kind} | {len(hits)} | {sum(hits) / len(hits):.4f} |")


def load_prompts(files: list[Path]) -> list[BenchmarkPrompt]:
    """Prompts named by file, since the formats name theirs `1`, `2`, … in each."""
    return list(
        chain.from_iterable(
            (
                BenchmarkPrompt(f"{path.stem}/{number}", prompt.prompt)
                for number, prompt in enumerate(read_prompts(path))
            )
            for path in files
        )
    )


def made_up_prompts(rng: random.Random) -> list[BenchmarkPrompt]:
    nouns, verbs = NOUNS.split(), VERBS.split()
    prompts = []
    for number in range(400):
        a, b, c = rng.sample(nouns, 3)
        verb, x, y = rng.choice(verbs), rng.randrange(2, 99), rng.randrange(2, 99)
        prompts += [
            (f"sum/{number}", f"What is {x} * {y} - {number}?"),
            (f"word/{number}", f"A {a} {verb} {x} {b}s and {y} {c}s. How many does the {a} have after {number} days?"),
            (f"math/{number}", rf"Find $x$ if $\frac{{{x}}}{{{y}}} \left(x^{{2}} - {number}\right) = \sqrt{{{x}}}$."),
            (f"choice/{number}", f"Which {a} {verb} a {b} in year {number}?\nA. {c}\nB. {a}\nC. {x} {b}s\nD. none"),
            (f"code/{number}", f'def {a}_{b}_{number}(n):\n    """Return how many {c}s {verb} n."""\n    >>> {a}({x})'),
            (f"chinese/{number}", f"小明有{x}个苹果, 第{number}天又买了{y}个, 他一共有多少个苹果?"),
        ]
    return [BenchmarkPrompt(*pair) for pair in prompts]


def made_up_pages(rng: random.Random) -> list[Document]:
    syllables = SYLLABLES.split()
    vocabulary = ["".join(rng.choices(syllables, k=rng.randrange(1, 5))) for _ in range(3000)]
    lines = [[" ".join(rng.choices(vocabulary, k=12)) for _ in range(80)] for _ in range(200)]
    return [Document(id=f"page-{n}", text="\n".join(page), source="web") for n, page in enumerate(lines)]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=Path, nargs="*", default=[])
    parser.add_argument("--pages", type=Path, nargs="*", default=[])
    parser.add_argument("--items", type=int, default=1000, help="problems to leak")
    parser.add_argument("--show", type=int, default=0, help="misses of each variation to print")
    arguments = parser.parse_args()
    for path in (*arguments.problems, *arguments.pages):
        if not path.exists():
            parser.error(f"{path}: no such file")
    return arguments


if __name__ == "__main__":
    main()

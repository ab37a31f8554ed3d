"""Makes the small world that the demo learns in: pages, documents, samples and problems, all from one seed.

    python scripts/tiny_world.py OUT --seed 0

The skill is arithmetic on a ring of ten digits: a start, moved up or down by steps of one to three.

| what | prompt | response |
| --- | --- | --- |
| a running sum, direct | `?1+1-1+3+2+1+3=` | `0` |
| a running sum, worked | `?1+1-1+3+2+1+3=` | `<think>1,2,1,4,6,7,0</think>0` |
| a program | `#+3,*2,%9=` | `print(((int(input())+3)*2)%9)` |

A program reads a number and applies the operations in order. Some authors forget the last one, the
remainder, which only large and negative inputs need: so tests differ in difficulty, and there is something
for the judge to teach.

`OUT/pages` is a small web and a shelf of papers about the same arithmetic; `OUT/documents` holds the other
sources, `OUT/sft.jsonl` the fine-tuning samples, and `OUT/problems` what RL trains on and what everything is
tested on.
"""

from __future__ import annotations

import argparse
import html
import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from mimo_data import Document, write_documents
from mimo_eval import Problem, write_problems
from mimo_sandbox import Case

# Every sum has as many steps: each running total then lies at the same distance from its step, which a
# model of this size finds in minutes. It does not find distances that depend on the length of the prompt.
NUM_STEPS = 6
NUM_PAGES, NUM_PAPERS = 160, 16
NUM_COPIES = 4  # pages of each sort that the data steps should drop
NUM_FACTS, NUM_DIRECT, NUM_WORKED, NUM_PROGRAMS = 6_000, 12_000, 12_000, 8_000
NUM_SFT_SUMS, NUM_SFT_PROGRAMS = 1_200, 600
NUM_TRAIN_SUMS, NUM_TRAIN_PROGRAMS = 640, 48  # few programs: running a test takes longer than writing one
NUM_TEST_SUMS, NUM_TEST_PROGRAMS = 128, 24
NUM_LEAKS = 3  # test problems that each source repeats: decontamination has to find them
WORKED_SHARE = 0.65  # of the sums in the fine-tuning samples
CARELESS_SHARE = 0.3  # of the programs: their authors forgot the remainder
NUM_CASES = {"small": 2, "large": 1, "negative": 1}  # by input; only the small need no remainder
LICENCE = "CC0-1.0"

TaskT = TypeVar("TaskT", "RunningSum", "Program")


@dataclass(frozen=True)
class RunningSum:
    """A start on the ring of ten and the steps from it."""

    start: int
    steps: tuple[int, ...]

    @classmethod
    def draw(cls, rng: random.Random) -> RunningSum:
        return cls(rng.randrange(10), tuple(draw_step(rng) for _ in range(NUM_STEPS)))

    @property
    def prompt(self) -> str:
        return f"?{self.start}{''.join(f'{step:+d}' for step in self.steps)}="

    @property
    def totals(self) -> list[int]:
        """The start, and where each step leads."""
        totals = [self.start]
        for step in self.steps:
            totals.append((totals[-1] + step) % 10)
        return totals

    @property
    def answer(self) -> str:
        return str(self.totals[-1])

    @property
    def worked(self) -> str:
        return f"<think>{','.join(map(str, self.totals))}</think>{self.answer}"

    def problem(self, problem_id: str) -> Problem:
        return Problem(
            id=problem_id,
            prompt=self.prompt,
            kind="math",
            answer=self.answer,
            solution=self.worked,
            source="tiny-world",
            licence=LICENCE,
        )


@dataclass(frozen=True)
class Program:
    """Two operations on an integer, then a remainder."""

    operations: tuple[tuple[str, int], tuple[str, int]]
    modulus: int

    @classmethod
    def draw(cls, rng: random.Random) -> Program:
        first, second = ((rng.choice("+-*"), rng.randint(2, 9)) for _ in range(2))
        return cls((first, second), rng.randint(6, 9))

    @property
    def prompt(self) -> str:
        # Three characters an operation here and in the program, so that copying bridges one distance.
        (first, a), (second, b) = self.operations
        return f"#{first}{a},{second}{b},%{self.modulus}="

    @property
    def solution(self) -> str:
        return f"{self.careless[:-1]}%{self.modulus})"

    @property
    def careless(self) -> str:
        """The program of an author who forgot the remainder."""
        (first, a), (second, b) = self.operations
        return f"print(((int(input()){first}{a}){second}{b}))"

    def before_remainder(self, number: int) -> int:
        for sign, operand in self.operations:
            number = {"+": number + operand, "-": number - operand, "*": number * operand}[sign]
        return number

    def problem(self, problem_id: str) -> Problem:
        return Problem(
            id=problem_id,
            prompt=self.prompt,
            kind="code",
            tests=self._cases(random.Random(self.prompt)),
            solution=self.solution,
            source="tiny-world",
            licence=LICENCE,
        )

    def _cases(self, rng: random.Random) -> tuple[Case, ...]:
        inputs = range(-30, 100)
        kinds = {
            "small": [x for x in inputs if 0 <= self.before_remainder(x) < self.modulus],
            "large": [x for x in inputs if self.before_remainder(x) >= self.modulus],
            "negative": [x for x in inputs if self.before_remainder(x) < 0],
        }
        return tuple(
            Case(
                id=f"{kind}/{number}",
                stdin=f"{number}\n",
                expected=f"{self.before_remainder(number) % self.modulus}\n",
            )
            for kind, numbers in kinds.items()
            for number in rng.sample(numbers, min(NUM_CASES[kind], len(numbers)))
        )


def draw_step(rng: random.Random) -> int:
    return rng.choice((-3, -2, -1, 1, 2, 3))


def draw_unseen(draw: Callable[[random.Random], TaskT], rng: random.Random, count: int, taken: set[str]) -> list[TaskT]:
    """Tasks whose prompts are not in `taken`; a prompt may come more than once."""
    tasks: list[TaskT] = []
    while len(tasks) < count:
        task = draw(rng)
        if task.prompt not in taken:
            tasks.append(task)
    return tasks


def draw_different(
    draw: Callable[[random.Random], TaskT], rng: random.Random, count: int, taken: set[str]
) -> list[TaskT]:
    """Tasks with different prompts, none of them in `taken`, and adds theirs to it."""
    tasks: list[TaskT] = []
    while len(tasks) < count:
        task = draw(rng)
        if task.prompt not in taken:
            taken.add(task.prompt)
            tasks.append(task)
    return tasks


def fact_line(rng: random.Random) -> str:
    """Some rows of the table of single steps, such as `7+2=9;1-3=8`."""
    facts = []
    for _ in range(rng.randint(4, 12)):
        start, step = rng.randrange(10), draw_step(rng)
        facts.append(f"{start}{step:+d}={(start + step) % 10}")
    return ";".join(facts)


def program_text(task: Program, rng: random.Random) -> str:
    """What an author answers to the task."""
    return task.careless if rng.random() < CARELESS_SHARE else task.solution


def write_sources(
    folder: Path, rng: random.Random, test_sums: Sequence[RunningSum], test_programs: Sequence[Program]
) -> None:
    """The sources that are not pages. Each that holds problems repeats some of the test's."""
    taken = {task.prompt for task in test_sums} | {task.prompt for task in test_programs}
    direct = draw_unseen(RunningSum.draw, rng, NUM_DIRECT, taken) + rng.sample(test_sums, NUM_LEAKS)
    worked = draw_unseen(RunningSum.draw, rng, NUM_WORKED, taken) + rng.sample(test_sums, NUM_LEAKS)
    programs = draw_unseen(Program.draw, rng, NUM_PROGRAMS, taken) + rng.sample(test_programs, NUM_LEAKS)
    texts = {
        "facts": [fact_line(rng) for _ in range(NUM_FACTS)],
        "direct": [task.prompt + task.answer for task in direct],
        "worked": [task.prompt + task.worked for task in worked],
        "programs": [task.prompt + program_text(task, rng) for task in programs],
    }
    for source, lines in texts.items():
        rng.shuffle(lines)
        write_documents(
            folder / f"{source}.jsonl.zst",
            (
                Document(id=f"{source}/{number}", text=text, source=source, meta={"licence": LICENCE})
                for number, text in enumerate(lines, start=1)
            ),
        )


def write_samples(path: Path, rng: random.Random, taken: set[str]) -> None:
    """Fine-tuning samples: sums worked or direct, and programs as people write them."""
    samples = [
        (task.prompt, task.worked if rng.random() < WORKED_SHARE else task.answer)
        for task in draw_unseen(RunningSum.draw, rng, NUM_SFT_SUMS, taken)
    ]
    samples += [
        (task.prompt, program_text(task, rng)) for task in draw_unseen(Program.draw, rng, NUM_SFT_PROGRAMS, taken)
    ]
    rng.shuffle(samples)
    with path.open("w") as file:
        for number, (prompt, response) in enumerate(samples, start=1):
            print(json.dumps({"id": f"sft/{number}", "prompt": prompt, "response": response}), file=file)


@dataclass(frozen=True)
class Article:
    """What a page is about, before any markup; formulas stand between dollar signs."""

    title: str
    paragraphs: tuple[str, ...]
    listing: str = ""


NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PEOPLE = ("Anna", "Ben", "Chen", "Dora", "Emil")


def sentence(rng: random.Random) -> str:
    """One step on the ring, told in one of a few ways."""
    start, step = rng.randrange(10), draw_step(rng)
    end = (start + step) % 10
    here, there, size = NUMBERS[start], NUMBERS[end], NUMBERS[abs(step)]
    word, direction = ("plus", "up") if step > 0 else ("minus", "down")
    who = rng.choice(PEOPLE)
    return rng.choice(
        (
            f"On the ring, {here} {word} {size} is {there}.",
            f"{who} starts at {here}, goes {direction} by {size} and stops at {there}.",
            f"We write ${start}{step:+d}={end}$ for this step.",
            f"When the dial shows {here}, turn it {direction} by {size}, and it shows {there}.",
            f"{who} asks what {here} {word} {size} makes; the answer is {there}.",
            f"From ${start}$ the step ${step:+d}$ leads to ${end}$.",
        )
    )


def formula(rng: random.Random) -> str:
    """One step in LaTeX, for a line of its own."""
    start, step = rng.randrange(10), draw_step(rng)
    return rf"$$({start}{step:+d})\bmod 10={(start + step) % 10}$$"


def listing(rng: random.Random) -> str:
    start, step = rng.randrange(10), draw_step(rng)
    return rng.choice(
        (
            f"total = {start}\ntotal = (total {step:+d}) % 10\nprint(total)",
            f"def step(total):\n    return (total {step:+d}) % 10\n\nprint(step({start}))",
            f"for total in range({start}, {start + 4}):\n    if total % 10 < {start}:\n        print(total % 10)",
        )
    )


def article(rng: random.Random) -> Article:
    paragraphs = [" ".join(sentence(rng) for _ in range(rng.randint(3, 5))) for _ in range(rng.randint(2, 4))]
    paragraphs.insert(1, formula(rng))
    title = f"{rng.choice(('Notes', 'Questions', 'A lesson', 'More'))} on the number {rng.choice(NUMBERS)}"
    return Article(title, tuple(paragraphs), listing(rng) if rng.random() < 0.5 else "")


def near_copy(original: Article, rng: random.Random) -> Article:
    """The same article with one sentence more."""
    *others, last = original.paragraphs
    return replace(original, paragraphs=(*others, f"{last} {sentence(rng)}"))


def mathjax(latex: str) -> str:
    return rf"\({html.escape(latex)}\)"


def katex(latex: str) -> str:
    """As KaTeX leaves it: what is drawn, and beside it the source as an annotation."""
    symbols = "".join(f"<mi>{html.escape(symbol)}</mi>" for symbol in latex if not symbol.isspace())
    return (
        '<span class="katex"><span class="katex-mathml"><math xmlns="http://www.w3.org/1998/Math/MathML">'
        f'<semantics><mrow>{symbols}</mrow><annotation encoding="application/x-tex">{html.escape(latex)}'
        '</annotation></semantics></math></span><span class="katex-html" aria-hidden="true">'
        f'<span class="base">{html.escape(latex)}</span></span></span>'
    )


def paragraph_html(paragraph: str, inline: Callable[[str], str]) -> str:
    if paragraph.startswith("$$"):
        return rf'<div class="equation">\[{html.escape(paragraph.strip("$"))}\]</div>'
    pieces = paragraph.split("$")
    return "".join(
        inline(piece) if place % 2 else html.escape(piece, quote=False) for place, piece in enumerate(pieces)
    )


def blog(content: Article, body: str) -> str:
    return f"""<header><a href="/">Ring Arithmetic</a> <nav><ul><li><a href="/about">About</a></li>
<li><a href="/archive">Archive</a></li><li><a href="/login">Log in</a></li></ul></nav></header>
<main><article><h1>{content.title}</h1>{body}</article></main>
<aside><h3>Popular posts</h3><ul><li><a href="/1">Ten dials</a></li><li><a href="/2">Win a dial!</a></li></ul></aside>
<footer>Copyright 2025. <a href="/privacy">Privacy</a> We use cookies. <button>Accept all</button></footer>"""


def forum(content: Article, body: str) -> str:
    return f"""<div id="top-bar"><a href="/questions">Questions</a> <a href="/tags">Tags</a>
<a href="/users">Users</a></div>
<div id="question-header"><h1>{content.title}</h1></div>
<div class="question"><div class="post-text"><p>How does one count on a ring of ten?</p></div>
<div class="vote"><button>up</button><span>12</span></div></div>
<div class="answer accepted"><div class="post-text">{body}</div><div class="user-card">answered by ring10</div></div>
<div id="sidebar"><h4>Related</h4><a href="/q/7">Is nine plus one ten?</a></div>"""


def page_html(content: Article, *, url: str, rng: random.Random) -> str:
    """The article as a site shows it: one of two layouts, formulas by one of two libraries, code highlighted."""
    layout, inline = rng.choice((blog, forum)), rng.choice((mathjax, katex))
    body = "\n".join(f"<p>{paragraph_html(text, inline)}</p>" for text in content.paragraphs)
    if content.listing:
        body += f'\n<pre><code class="language-python">{html.escape(content.listing)}</code></pre>'
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{content.title}</title>
<link rel="canonical" href="{url}"><script>track("{content.title}")</script></head>
<body>{layout(content, body)}</body></html>
"""


def paper_pdf(content: Article) -> bytes:
    """One printed page: a title, text in a proportional font, formulas in italics, code in a typewriter font."""
    import pymupdf

    document = pymupdf.Document()  # type: ignore[no-untyped-call]
    page = document.new_page()
    page.insert_text((72, 90), content.title, fontsize=18, fontname="hebo")
    top = 120.0
    for text in content.paragraphs:
        font = "tiit" if text.startswith("$$") else "tiro"
        printed = text.replace(r"\bmod", " mod ").replace("$", "")
        top = 760 - page.insert_textbox((72, top, 523, 760), printed, fontsize=11, fontname=font) + 8
    for number, line in enumerate(content.listing.splitlines(), start=1):
        page.insert_text((90, top + 14 * number), line, fontsize=10, fontname="cour")
    data: bytes = document.tobytes(garbage=3, deflate=True, no_new_id=True)  # type: ignore[no-untyped-call]
    return data


def write_pages(folder: Path, rng: random.Random, *, leaked: str) -> None:
    """A crawl with what makes real ones hard, and papers, the last of which is cut off.

    Args:
        leaked: a test problem with its answer, which one page gives away.
    """
    articles = [article(rng) for _ in range(NUM_PAGES)]
    pages: dict[str, tuple[Article, str]] = {}
    for number, content in enumerate(articles, start=1):
        pages[f"ring.example/{number}.html"] = (content, f"https://ring.example/posts/{number}")
    for number in range(1, NUM_COPIES + 1):
        original = pages[f"ring.example/{number}.html"]
        pages[f"mirror.example/copy-{number}.html"] = (original[0], f"https://mirror.example/{number}")
        pages[f"news.example/near-{number}.html"] = (
            near_copy(articles[-number], rng),
            f"https://news.example/{number}",
        )
        # An earlier visit to the same address, when something else was there.
        pages[f"earlier/{number}.html"] = (article(rng), original[1])
        pages[f"ring.example/tag-{number}.html"] = (
            Article(f"Tag {number}", ("Nothing here yet.",)),
            f"https://ring.example/tags/{number}",
        )
    quiz = replace(article(rng), title="An exam I saw")
    quiz = replace(quiz, paragraphs=(*quiz.paragraphs, f"They asked {leaked} and nobody knew why."))
    pages["news.example/exam.html"] = (quiz, "https://news.example/exam")
    for name, (content, url) in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page_html(content, url=url, rng=rng))
    # The mirror above dresses pages anew; a scraper takes them as they are.
    (folder / "scraper.example").mkdir()
    for number in range(NUM_COPIES + 1, 2 * NUM_COPIES + 1):
        original_html = (folder / "ring.example" / f"{number}.html").read_text()
        copy = original_html.replace(f"https://ring.example/posts/{number}", f"https://scraper.example/{number}")
        (folder / "scraper.example" / f"{number}.html").write_text(copy)
    (folder / "papers").mkdir()
    for number in range(1, NUM_PAPERS + 1):
        (folder / f"papers/{number}.pdf").write_bytes(paper_pdf(article(rng)))
    whole = paper_pdf(article(rng))
    (folder / "papers/cut-off.pdf").write_bytes(whole[: len(whole) // 4])


def write_world(out: Path, seed: int) -> None:
    """Fills the folder `out`, which must not exist; the same seed gives the same bytes."""
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    problems, documents = partial / "problems", partial / "documents"
    for folder in (problems, documents):
        folder.mkdir(parents=True)
    rng = random.Random(seed)
    taken: set[str] = set()
    test_sums = draw_different(RunningSum.draw, rng, NUM_TEST_SUMS, taken)
    test_programs = draw_different(Program.draw, rng, NUM_TEST_PROGRAMS, taken)
    train_sums = draw_different(RunningSum.draw, rng, NUM_TRAIN_SUMS, taken)
    train_programs = draw_different(Program.draw, rng, NUM_TRAIN_PROGRAMS, taken)
    write_problems(
        problems / "train.jsonl",
        [task.problem(f"train/sum-{number}") for number, task in enumerate(train_sums, start=1)]
        + [task.problem(f"train/program-{number}") for number, task in enumerate(train_programs, start=1)],
    )
    # The test's two kinds lie apart, since their accuracies are told apart.
    arithmetic = [task.problem(f"test/sum-{number}") for number, task in enumerate(test_sums, start=1)]
    programs = [task.problem(f"test/program-{number}") for number, task in enumerate(test_programs, start=1)]
    write_problems(problems / "test-arithmetic.jsonl", arithmetic)
    write_problems(problems / "test-programs.jsonl", programs)
    write_pages(partial / "pages", rng, leaked=test_sums[0].prompt + test_sums[0].answer)
    write_sources(documents, rng, test_sums, test_programs)
    write_samples(partial / "sft.jsonl", rng, taken)
    partial.rename(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.out.exists():
        print(f"{arguments.out}: complete, reused")
        return
    write_world(arguments.out, arguments.seed)


if __name__ == "__main__":
    main()

"""The usual heuristic rules of web corpora, written from their papers: the baseline that tagging replaces (§2.1).

Each rule is a measure of the text and the bounds within which a document is kept. They were made for prose, and drop
mathematics and code: `mimo-data tag-report` counts how many. Words are what stands between spaces. Of the papers' steps
only those are here that judge a whole document by its text alone: no language detection, no list of bad words, no
deduplication between documents. Line filters count only where they leave too little.

- `gopher`: Rae et al. 2021, arXiv 2112.11446, appendix A.1.1 ("quality filtering", "repetition removal", table A1).
- `c4`: Raffel et al. 2020, arXiv 1910.10683, section 2.2.
- `fineweb`: Penedo et al. 2024, arXiv 2406.17557, section 3.6 (the three filters of its own).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from math import inf
from typing import Literal, NamedTuple

RuleSet = Literal["gopher", "c4", "fineweb"]


class Finding(NamedTuple):
    """A rule that drops a document, and what it measured."""

    rule: str
    value: float


def findings(text: str, rule_sets: Collection[RuleSet] = ("gopher", "c4", "fineweb")) -> Iterator[Finding]:
    """Every rule of the sets that would drop this text, in the table's order; none when all of them keep it."""
    page = _Page(text)
    for rule in RULES:
        if rule.rule_set in rule_sets:
            value = rule.measure(page)
            kept = rule.low < value < rule.high if rule.bounds_drop else rule.low <= value <= rule.high
            if not kept:
                yield Finding(rule.name, value)


class Rule(NamedTuple):
    """One row of the table: a document is kept when its measure lies within the bounds."""

    rule_set: RuleSet
    name: str
    measure: Callable[[_Page], float]
    low: float = -inf
    high: float = inf
    bounds_drop: bool = False
    """A value that equals a bound is dropped."""


class _Page:
    """A text cut into what the measures count."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def words(self) -> list[str]:
        return self.text.split()

    @cached_property
    def lines(self) -> list[str]:
        return [line for line in map(str.strip, self.text.split("\n")) if line]

    @cached_property
    def paragraphs(self) -> list[str]:
        return [paragraph for paragraph in map(str.strip, re.split(r"\n\s*\n", self.text)) if paragraph]

    @cached_property
    def num_word_characters(self) -> int:
        return sum(map(len, self.words))


def _share(count: int, total: int) -> float:
    return count / total if total else 0.0


def _num_words(page: _Page) -> float:
    return len(page.words)


def _mean_word_length(page: _Page) -> float:
    return _share(page.num_word_characters, len(page.words))


def _symbols_per_word(page: _Page) -> float:
    """Hashes or ellipses, whichever is more frequent: the paper bounds each."""
    ellipses = page.text.count("…") + page.text.count("...")
    return _share(max(page.text.count("#"), ellipses), len(page.words))


def _bullet_lines(page: _Page) -> float:
    return _share(sum(line.startswith(("•", "-", "*", "‣", "◦", "●")) for line in page.lines), len(page.lines))


def _ellipsis_lines(page: _Page) -> float:
    return _share(sum(line.endswith(("…", "...")) for line in page.lines), len(page.lines))


def _alphabetic_words(page: _Page) -> float:
    return _share(sum(any(map(str.isalpha, word)) for word in page.words), len(page.words))


_STOP_WORDS = frozenset(["the", "be", "to", "of", "and", "that", "have", "with"])


def _num_stop_words(page: _Page) -> float:
    return len(_STOP_WORDS.intersection(map(str.lower, page.words)))


def _repeats(parts: list[str]) -> list[str]:
    """The parts that have occurred before."""
    seen: set[str] = set()
    repeats = []
    for part in parts:
        if part in seen:
            repeats.append(part)
        seen.add(part)
    return repeats


def _repeated_lines(page: _Page) -> float:
    return _share(len(_repeats(page.lines)), len(page.lines))


def _repeated_line_characters(page: _Page) -> float:
    return _share(sum(map(len, _repeats(page.lines))), sum(map(len, page.lines)))


def _repeated_paragraphs(page: _Page) -> float:
    return _share(len(_repeats(page.paragraphs)), len(page.paragraphs))


def _repeated_paragraph_characters(page: _Page) -> float:
    return _share(sum(map(len, _repeats(page.paragraphs))), sum(map(len, page.paragraphs)))


def _top_ngram(num_words: int) -> Callable[[_Page], float]:
    """Share of the characters of words in the most frequent n-gram, which has to occur twice."""

    def measure(page: _Page) -> float:
        counts = Counter(zip(*(page.words[start:] for start in range(num_words)), strict=False))
        most = max(counts.values(), default=0)
        if most < 2:
            return 0.0
        longest = max(sum(map(len, ngram)) for ngram, count in counts.items() if count == most)
        return _share(most * longest, page.num_word_characters)

    return measure


def _repeated_ngrams(num_words: int) -> Callable[[_Page], float]:
    """Share of the characters of words in n-grams that have occurred before, no character counted twice."""

    def measure(page: _Page) -> float:
        seen: set[tuple[str, ...]] = set()
        counted_to = repeated = 0
        for start, ngram in enumerate(zip(*(page.words[start:] for start in range(num_words)), strict=False)):
            if ngram in seen:
                first = max(start, counted_to)
                repeated += sum(map(len, page.words[first : start + num_words]))
                counted_to = start + num_words
            seen.add(ngram)
        return _share(repeated, page.num_word_characters)

    return measure


# Sentence ends in a line that C4 keeps: it ends in a terminal mark, has five words and names no policy.
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_SENTENCE = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s|$)")


def _sentences_in_kept_lines(page: _Page) -> float:
    kept = 0
    for line in page.lines:
        lower = line.lower()
        if (
            line.endswith((".", "!", "?", '"', "”"))
            and len(line.split()) >= 5
            and "javascript" not in lower
            and not any(phrase in lower for phrase in _POLICY)
        ):
            kept += max(1, len(_SENTENCE.findall(line)))
    return kept


def _lorem_ipsum(page: _Page) -> float:
    return page.text.lower().count("lorem ipsum")


def _curly_brackets(page: _Page) -> float:
    return page.text.count("{")


_LINE_ENDS = (".", "!", "?", "。", "！", "？", "…", ":", ";", '"', "'", "”", "’")
_SHORT_LINE_CHARACTERS = 30


def _punctuated_lines(page: _Page) -> float:
    return _share(sum(line.endswith(_LINE_ENDS) for line in page.lines), len(page.lines))


def _short_lines(page: _Page) -> float:
    return _share(sum(len(line) < _SHORT_LINE_CHARACTERS for line in page.lines), len(page.lines))


RULES: tuple[Rule, ...] = (
    Rule("gopher", "gopher_words", _num_words, 50, 100_000),
    Rule("gopher", "gopher_word_length", _mean_word_length, 3, 10),
    Rule("gopher", "gopher_symbols", _symbols_per_word, high=0.1),
    Rule("gopher", "gopher_bullet_lines", _bullet_lines, high=0.9),
    Rule("gopher", "gopher_ellipsis_lines", _ellipsis_lines, high=0.3),
    Rule("gopher", "gopher_alphabetic_words", _alphabetic_words, low=0.8),
    Rule("gopher", "gopher_stop_words", _num_stop_words, low=2),
    Rule("gopher", "gopher_repeated_lines", _repeated_lines, high=0.3),
    Rule("gopher", "gopher_repeated_paragraphs", _repeated_paragraphs, high=0.3),
    Rule("gopher", "gopher_repeated_line_characters", _repeated_line_characters, high=0.2),
    Rule("gopher", "gopher_repeated_paragraph_characters", _repeated_paragraph_characters, high=0.2),
    *(
        Rule("gopher", f"gopher_top_{num_words}gram", _top_ngram(num_words), high=high)
        for num_words, high in ((2, 0.20), (3, 0.18), (4, 0.16))
    ),
    *(
        Rule("gopher", f"gopher_repeated_{num_words}grams", _repeated_ngrams(num_words), high=high)
        for num_words, high in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))
    ),
    Rule("c4", "c4_sentences", _sentences_in_kept_lines, low=3),
    Rule("c4", "c4_lorem_ipsum", _lorem_ipsum, high=0),
    Rule("c4", "c4_curly_bracket", _curly_brackets, high=0),
    Rule("fineweb", "fineweb_punctuated_lines", _punctuated_lines, low=0.12, bounds_drop=True),
    Rule("fineweb", "fineweb_repeated_line_characters", _repeated_line_characters, high=0.1, bounds_drop=True),
    Rule("fineweb", "fineweb_short_lines", _short_lines, high=0.67, bounds_drop=True),
)

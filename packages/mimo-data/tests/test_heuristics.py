"""The usual rules of web corpora, and why they are only a baseline."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimo_data.heuristics import RULES, findings

PROSE = (
    "The river rises in the hills to the north of the town, and it is fed by many small streams on the way. "
    "Most of them have dried up since the mills were built, but one of these still turns a wheel in the spring. "
    "It runs past the church, under a bridge that was paid for by a brewer, and then out to the sea. "
    "Whoever walks along its bank will see herons, which people here say bring luck to those that feed them."
)
CODE = """How to count the set bits of a number:

```python
def count(x):
    table = {0: 0}
    while x:
        x &= x - 1
        table[0] += 1
    return table[0]
```"""
THEOREM = r"""**Theorem.** $\sum_{k=1}^{n} k = \frac{n(n+1)}{2}$

$$\sum_{k=1}^{n+1} k = \frac{n(n+1)}{2} + (n+1)$$

$$= \frac{n(n+1) + 2(n+1)}{2}$$

$$= \frac{(n+1)(n+2)}{2}$$"""


def rules(text: str, *rule_sets: str) -> set[str]:
    return {finding.rule for finding in findings(text, rule_sets or ("gopher", "c4", "fineweb"))}


def test_prose_is_kept_by_every_rule():
    assert rules(PROSE) == set()


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("gopher_words", "too few words"),
        ("gopher_word_length", "a b c d " * 20),
        ("gopher_symbols", "# " + PROSE.replace(" the", " # the")),
        ("gopher_bullet_lines", "\n".join(f"- item {number} of the list" for number in range(20))),
        ("gopher_ellipsis_lines", "Read more about the subject of your choice...\n" * 3 + PROSE),
        ("gopher_alphabetic_words", PROSE + " 1 2 3 4" * 12),
        ("gopher_stop_words", "Angebote Preise Kontakt " * 20),
        ("gopher_repeated_lines", "the same line\n" * 4 + PROSE.replace(". ", ".\n")),
        ("gopher_repeated_paragraphs", "the same part\n\n" * 3 + PROSE),
        ("gopher_repeated_line_characters", (PROSE + "\n") * 2),
        ("gopher_repeated_paragraph_characters", (PROSE + "\n\n") * 2),
        ("gopher_top_2gram", "buy now " * 40 + PROSE),
        ("gopher_repeated_5grams", PROSE + " " + PROSE),
        ("c4_sentences", "One sentence ends here, and then there is nothing more to read."),
        ("c4_lorem_ipsum", PROSE + " Lorem ipsum dolor."),
        ("c4_curly_bracket", PROSE + " {"),
        ("fineweb_punctuated_lines", PROSE.replace(". ", ",\n").rstrip(".")),
        ("fineweb_repeated_line_characters", "a line of some length\n" * 4 + PROSE),
        ("fineweb_short_lines", "short line.\n" * 3 + PROSE),
    ],
)
def test_each_rule_finds_what_it_is_for(rule, text):
    assert rule in rules(text)


def test_a_repeated_ngram_counts_no_character_twice():
    """Five words twice over: the second five repeat the first, so half of the characters do."""
    (finding,) = [found for found in findings("a b c d e " * 2) if found.rule == "gopher_repeated_5grams"]
    assert finding.value == pytest.approx(0.5)


def test_mathematics_and_code_are_dropped_which_is_what_tagging_is_for():
    assert {"c4_curly_bracket", "gopher_words"} <= rules(CODE)
    assert {"c4_curly_bracket", "gopher_stop_words", "fineweb_punctuated_lines"} <= rules(THEOREM)


@given(st.text())
def test_any_text_has_finite_measures_and_sets_are_independent(text):
    together = [finding.rule for finding in findings(text)]
    apart = [finding.rule for name in ("gopher", "c4", "fineweb") for finding in findings(text, (name,))]
    assert together == apart
    assert all(finding.value < float("inf") for finding in findings(text))


def test_every_rule_has_a_name_of_its_own_that_begins_with_its_set():
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    assert all(rule.name.startswith(f"{rule.rule_set}_") for rule in RULES)

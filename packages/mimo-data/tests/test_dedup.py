from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimo_data import DataError, Document, deduplicate
from mimo_data.dedup.minhash import DeduplicateRecipe, find_duplicates, normalise_url

WORDS = [f"word{number}" for number in range(60)]


def prose(seed: int, num_words: int = 200) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=num_words))


def document(name: str, text: str, url: str = "") -> Document:
    return Document(id=name, text=text, source="web", url=url)


@st.composite
def corpora(draw) -> list[Document]:
    """A few base texts, copies of them with edits, and addresses that repeat."""
    found = []
    for number in range(draw(st.integers(1, 14))):
        words = prose(draw(st.integers(0, 3)), 60).split()
        for place in draw(st.lists(st.integers(0, 59), max_size=3)):
            words[place] = draw(st.sampled_from(WORDS))
        url = draw(st.sampled_from(["", "", "http://a.org/x", "https://www.a.org/x/", "http://a.org/y"]))
        found.append(document(f"d{number}", " ".join(words), url))
    return found


@settings(max_examples=60, deadline=None)
@given(corpus=corpora(), order=st.randoms())
def test_the_result_does_not_depend_on_the_order(corpus, order):
    shuffled = list(corpus)
    order.shuffle(shuffled)
    assert list(deduplicate(shuffled)) == list(deduplicate(corpus))


@settings(max_examples=60, deadline=None)
@given(corpus=corpora())
def test_a_second_pass_finds_nothing(corpus):
    dropped = {name for name, _ in deduplicate(corpus)}
    kept = [document for document in corpus if document.id not in dropped]
    assert list(deduplicate(kept)) == []
    assert {keeper for _, keeper in deduplicate(corpus)} <= {document.id for document in kept}


def test_each_rule_gives_its_reason():
    text = prose(1)
    corpus = [
        document("a", text, "https://www.site.org/page/?utm_source=x#top"),
        document("b", prose(2) + " and more", "http://site.org/page"),
        document("c", prose(3)),
        document("d", prose(3).replace(" ", "\n")),
        document("e", prose(4)),
        document("f", prose(4) + " an addition at the end"),
        document("g", prose(5)),
    ]
    assert find_duplicates(corpus, DeduplicateRecipe()) == [
        ("a", "b", "same_url"),
        ("d", "c", "same_text"),
        ("e", "f", "near_duplicate"),
    ]


def test_the_longest_text_is_kept_and_then_the_smallest_id():
    assert list(deduplicate([document("b", "same words"), document("a", "same words")])) == [("b", "a")]
    assert list(deduplicate([document("a", "same words"), document("b", "same  words")])) == [("a", "b")]


def test_unlike_texts_and_empty_ones_are_not_merged_by_likeness():
    corpus = [document(str(seed), prose(seed)) for seed in range(20)]
    assert list(deduplicate(corpus)) == []


def test_formulas_that_differ_in_their_operators_are_not_alike():
    plus = " ".join(f"{n}+{n + 1}={2 * n + 1}" for n in range(60))
    minus = " ".join(f"{n}-{n + 1}={2 * n + 1}" for n in range(60))
    assert list(deduplicate([document("plus", plus), document("minus", minus)])) == []


def test_a_thousand_copies_are_one_group():
    copies = [document(f"{number:04}", prose(1) + " " * number) for number in range(1000)]
    assert len(list(deduplicate(copies))) == 999


def test_two_documents_with_one_id_are_refused():
    with pytest.raises(DataError, match="a: two documents have this id"):
        list(deduplicate([document("a", "one"), document("a", "two")]))


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("HTTPS://WWW.Example.org:443/a/index.html?b=2&a=1&utm_medium=x#part", "example.org/a?a=1&b=2"),
        ("http://example.org/a/", "example.org/a"),
        ("http://example.org:8080/", "example.org:8080"),
        ("http://[broken", ""),
        ("not an address", ""),
    ],
)
def test_addresses_of_one_page_are_spelled_one_way(url, normal):
    assert normalise_url(url) == normal

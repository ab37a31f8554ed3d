from __future__ import annotations

import random
from importlib.util import module_from_spec, spec_from_file_location

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimo_data import Document, deduplicate
from mimo_data.dedup import kernels
from mimo_data.dedup.minhash import DeduplicateRecipe, find_duplicates, similar_pairs
from mimo_data.run import DataError

WORDS = [f"word{number}" for number in range(60)]


def prose(seed: int, num_words: int = 200) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=num_words))


def edited(text: str, *places: int) -> str:
    words = text.split()
    for place in places:
        words[place] = f"edit{place}"
    return " ".join(words)


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


@settings(max_examples=60)
@given(corpus=corpora(), order=st.randoms())
def test_the_result_does_not_depend_on_the_order(corpus, order):
    shuffled = list(corpus)
    order.shuffle(shuffled)
    assert list(deduplicate(shuffled)) == list(deduplicate(corpus))


@settings(max_examples=60)
@given(corpus=corpora())
def test_a_second_pass_finds_nothing(corpus):
    dropped = {name for name, _ in deduplicate(corpus)}
    kept = [document for document in corpus if document.id not in dropped]
    assert list(deduplicate(kept)) == []
    assert {keeper for _, keeper in deduplicate(corpus)} <= {document.id for document in kept}


@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_both_laws_hold_where_a_band_is_shared_by_a_crowd(seed):
    chance = random.Random(seed)
    template = prose(1, 120)
    corpus = [
        document(str(n), edited(template, *chance.sample(range(120), chance.choice([1, 1, 2, 8, 16]))))
        for n in range(90)
    ]
    found = list(deduplicate(corpus))
    assert list(deduplicate(corpus[::-1])) == found
    dropped = {name for name, _ in found}
    assert list(deduplicate([document for document in corpus if document.id not in dropped])) == []


def test_each_rule_gives_its_reason():
    text = prose(1)
    corpus = [
        document("a", text, "https://www.site.org/page/?utm_source=x#top"),
        document("b", prose(2) + " and more", "http://site.org/page"),
        document("c", prose(3) + " and more"),
        document("d", prose(3).upper().replace(" ", "\n") + ", and more!"),
        document("e", prose(4)),
        document("f", prose(4) + " an addition at the end"),
        document("g", prose(5)),
    ]
    found = find_duplicates(corpus, DeduplicateRecipe())
    assert [(*sorted(pair), reason) for *pair, reason in found] == [
        ("a", "b", "same_url"),
        ("c", "d", "same_text"),
        ("e", "f", "near_duplicate"),
    ]
    assert (found[0][0], found[2][0]) == ("a", "e")


def test_addresses_come_first_so_that_an_old_version_of_a_page_joins_no_others():
    corpus = [
        document("new", prose(1), "http://a.org/"),
        document("old", prose(2, 150), "http://a.org/"),
        document("other", prose(2, 160)),
    ]
    assert find_duplicates(corpus, DeduplicateRecipe()) == [("old", "new", "same_url")]


def test_the_kept_id_is_that_of_a_document_that_is_left():
    corpus = [
        document("a", prose(1), "http://a.org/"),
        document("b", prose(1, 201), "http://a.org/"),
        document("c", prose(1, 202)),
    ]
    assert find_duplicates(corpus, DeduplicateRecipe()) == [("a", "c", "same_url"), ("b", "c", "near_duplicate")]


def test_the_text_with_more_words_is_kept_and_then_always_the_same_one():
    few, many = document("z", "same words"), document("a", "same words, but more of the same words")
    assert list(deduplicate([few, document("y", few.text + " " * 50)])) in ([("z", "y")], [("y", "z")])
    by_url = [document("z", many.text, "http://a.org"), document("a", few.text, "http://a.org")]
    assert list(deduplicate(by_url)) == [("a", "z")]
    twins = [document(name, "same words") for name in "abcdefgh"]
    assert {kept for _, kept in deduplicate(twins)} == {kept for _, kept in deduplicate(twins[::-1])}
    assert len(list(deduplicate(twins))) == 7


def test_unlike_texts_are_not_merged():
    corpus = [document(str(seed), prose(seed)) for seed in range(20)]
    assert list(deduplicate(corpus)) == []


def test_texts_without_words_are_merged_only_when_they_are_the_same():
    corpus = [document("a", ""), document("b", " \n"), document("c", "!!!"), document("d", "???"), document("e", "+-")]
    assert [reason for *_, reason in find_duplicates(corpus, DeduplicateRecipe())] == ["same_text"]


def test_short_texts_are_near_only_when_their_words_are_the_same():
    corpus = [document("a", "one two three"), document("b", "One, two: three."), document("c", "one two four")]
    assert [reason for *_, reason in find_duplicates(corpus, DeduplicateRecipe())] == ["same_text"]


def test_text_without_spaces_is_compared_by_pieces_of_three_characters():
    text = "，".join("".join(chr(0x4E00 + 7 * n) for n in range(start, start + 12)) for start in range(0, 600, 12))
    corpus = [document("a", text), document("b", text[:100] + "的" + text[100:]), document("c", text[::-1])]
    assert find_duplicates(corpus, DeduplicateRecipe()) == [("a", "b", "near_duplicate")]


def test_formulas_that_differ_in_their_operators_are_not_alike():
    plus = " ".join(f"{n}+{n + 1}={2 * n + 1}" for n in range(60))
    minus = " ".join(f"{n}-{n + 1}={2 * n + 1}" for n in range(60))
    assert list(deduplicate([document("plus", plus), document("minus", minus)])) == []
    assert len(list(deduplicate([document("plus", plus), document("more", plus + " 7+7=14")]))) == 1


def test_a_thousand_copies_and_a_thousand_near_copies_are_one_group():
    copies = [document(f"{number:04}", prose(1) + " " * number) for number in range(1000)]
    near = [document(f"near{number}", edited(prose(1), number % 200) + f" {number}") for number in range(1000)]
    assert len(list(deduplicate(copies + near))) == 1999


def test_two_documents_with_one_id_are_refused():
    with pytest.raises(DataError, match="two documents have the id 'a'"):
        list(deduplicate([document("a", "one"), document("a", "two")]))


def exact_similarity(a: str, b: str) -> float:
    one, other = (
        {tuple(words[i : i + 5]) for i in range(len(words) - 4)} for words in (a.lower().split(), b.lower().split())
    )
    return len(one & other) / len(one | other)


def test_pairs_over_the_threshold_are_found_and_no_others():
    texts = []
    for seed in range(400):
        base = prose(5000 + seed)
        places = random.Random(seed).sample(range(200), 1 + seed % 12)
        texts += [base, edited(base, *places)]
    wanted = {(n, n + 1) for n in range(0, 800, 2) if exact_similarity(texts[n], texts[n + 1]) >= 0.8}
    found = set(similar_pairs(texts, DeduplicateRecipe()))
    assert found <= wanted
    assert len(found) >= 0.98 * len(wanted) > 100
    assert all(pair in found for pair in wanted if exact_similarity(texts[pair[0]], texts[pair[1]]) >= 0.9)


def test_pairs_are_those_of_copies_too():
    near = edited(prose(1), 5)
    assert similar_pairs([near, prose(1), prose(2), prose(1).upper()], DeduplicateRecipe()) == [(0, 1), (0, 3), (1, 3)]


def test_the_recipe_makes_as_many_bands_as_its_recall_needs():
    assert DeduplicateRecipe(threshold=0.8, recall=0.92, rows_per_band=8).num_bands == 14
    assert DeduplicateRecipe(threshold=0.8, recall=0.99, rows_per_band=8).num_bands == 26
    assert DeduplicateRecipe(threshold=1.0).num_bands == 1
    with pytest.raises(ValueError, match=r"recall is 1.0, but must lie between"):
        DeduplicateRecipe(recall=1.0)


def test_where_compiled_code_cannot_be_kept_a_process_compiles_for_itself(monkeypatch):
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    spec = spec_from_file_location("kernels_without_a_cache", kernels.__file__)
    fresh = module_from_spec(spec)
    spec.loader.exec_module(fresh)
    assert fresh.first_of_components(3, np.array([1]), np.array([2])).tolist() == [0, 1, 1]

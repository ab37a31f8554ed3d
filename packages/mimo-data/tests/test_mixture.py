from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mimo_data import Document, Mixture, write_shards
from mimo_data.cli import main
from mimo_data.run import DataError
from mimo_data.sampling import SamplingRule
from mimo_data.shards import TokenizeRecipe

CORPUS = {
    "web": [f"page {number} " * (number % 7 + 1) for number in range(40)],
    "papers": [f"paper {number} " * 9 for number in range(12)],
    "code": ["x" * number for number in range(1, 60)],
}


@pytest.fixture
def stream(shards):
    mixture = Mixture(weights={"web": 0.5, "papers": 0.2, "code": 0.3}, max_epochs=2.5, seed=3)
    return mixture.stream(shards(CORPUS), 16)


def test_random_access_equals_reading_in_order(stream):
    windows = list(stream)
    for index in reversed(range(len(stream))):
        window = stream[index]
        assert window.source == windows[index].source
        assert window.tokens.tolist() == windows[index].tokens.tolist()
        assert window.document_ids.tolist() == windows[index].document_ids.tolist()


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.tuples(*[st.integers(0, 50)] * 3).filter(lambda parts: sum(parts) > 0))
def test_every_prefix_has_the_shares_of_the_weights(tmp_path_factory, tokenizer, parts):
    folder = tmp_path_factory.mktemp("shards") / "out"
    found = [Document(id=f"{s}{i}", text=t, source=s) for s, texts in CORPUS.items() for i, t in enumerate(texts)]
    write_shards(found, tokenizer, folder)
    weights = {source: part / sum(parts) for source, part in zip(CORPUS, parts, strict=True)}
    seen: Counter[str] = Counter()
    for number, window in enumerate(Mixture(weights=weights, max_epochs=5, seed=0).stream(folder, 8), start=1):
        seen[window.source] += 1
        for source, weight in weights.items():
            assert abs(seen[source] - number * weight) <= 0.5 + weight * len(CORPUS) / 2 + 1e-6


def test_a_source_is_read_in_overlapping_windows_without_a_gap(stream):
    last: dict[str, int] = {}
    for window in stream:
        if window.source in last:
            assert window.tokens[0] == last[window.source]
        last[window.source] = int(window.tokens[-1])


def test_document_ids_step_after_each_end_of_text(stream):
    for window in stream:
        ends = (window.tokens == 256).astype(int)
        assert window.document_ids.tolist() == (np.cumsum(ends) - ends).tolist()


def test_an_epoch_reads_every_document_once(shards):
    folder = shards({"code": ["a", "bb", "ccc"]})
    windows = list(Mixture(weights={"code": 1.0}, max_epochs=3, seed=1).stream(folder, 9))
    assert len(windows) == 2  # 27 tokens hold two windows of nine, and the one more that the last needs
    for window in windows:
        assert sorted(window.tokens[:9].tolist()) == sorted(windows[0].tokens[:9].tolist())


def test_no_source_exceeds_its_epochs(shards):
    folder = shards({"web": ["w" * 999], "code": ["c" * 99]})
    stream = Mixture(weights={"web": 0.5, "code": 0.5}, max_epochs=2, seed=0).stream(folder, 10)
    seen = Counter(window.source for window in stream)
    assert seen["code"] == 19  # 200 tokens: the twentieth window would need a 201st
    assert seen["web"] <= 20


def test_the_order_depends_on_the_seed_alone(shards):
    folder = shards(CORPUS)
    first, again, other = (
        [window.tokens.tolist() for window in Mixture(weights={"web": 1.0}, max_epochs=1, seed=seed).stream(folder, 16)]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_a_window_longer_than_its_source_repeats_it_over_epochs(shards):
    window = Mixture(weights={"web": 1.0}, max_epochs=10, seed=0).stream(shards({"web": ["ab"]}), 8)[0]
    assert window.tokens.tolist() == [*window.tokens[:3].tolist() * 3]
    assert window.document_ids.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_a_weighted_source_without_shard_is_named(shards):
    with pytest.raises(DataError, match="no shard for books"):
        Mixture(weights={"web": 0.5, "books": 0.5}, max_epochs=1, seed=0).stream(shards(CORPUS), 8)


def test_too_little_text_for_one_window_is_named(shards):
    with pytest.raises(DataError, match="too few for one window"):
        Mixture(weights={"web": 1.0}, max_epochs=1, seed=0).stream(shards({"web": ["ab"]}), 8)


@pytest.mark.parametrize("weights", [{"web": 0.5}, {"web": 1.5, "code": -0.5}, {}, {"web": 1e308, "code": 1e308}])
def test_weights_must_sum_to_one(weights):
    with pytest.raises(ValueError, match=r"sum to 1|weights.web is 1[.e].*but must lie between 0 and 1"):
        Mixture(weights=weights, max_epochs=1, seed=0)


def sampled(folder, *rules, seed=0, max_epochs=1.0):
    mixture = Mixture(weights={"web": 1.0}, max_epochs=max_epochs, seed=seed, sampling=rules)
    return mixture.stream(folder, 1)


@pytest.fixture
def tagged(tokenizer, tmp_path):
    """Of source "web": 400 documents of the token `a` with domain news, and 100 of `b` with domain code, quality 3."""
    news = [Document(id=f"n{n}", text="a", source="web", tags={"domain": "news"}) for n in range(400)]
    code = [Document(id=f"c{n}", text="b", source="web", tags={"domain": "code", "quality": "3"}) for n in range(100)]
    write_shards([*news, *code], tokenizer, tmp_path / "tagged", TokenizeRecipe(shard_tokens=300))
    return tmp_path / "tagged"


def counts_of(stream):
    counts = Counter(int(window.tokens[0]) for window in stream)
    del counts[256]
    return sorted(counts.values(), reverse=True)


NEWS_DOWN = SamplingRule(tag="domain", values=("news",), factor=0.25)
CODE_UP = SamplingRule(tag="domain", values=("code",), factor=2.5)


def test_documents_are_sampled_down_and_up_by_their_tags(tagged):
    few, many = counts_of(sampled(tagged, NEWS_DOWN, CODE_UP))[::-1]
    assert abs(few - 400 * 0.25) < 35
    assert abs(many - 100 * 2.5) < 20


def test_the_factors_of_rules_that_fit_multiply(tagged):
    quality = SamplingRule(tag="quality", values=("3",), factor=2.0)
    untagged = SamplingRule(tag="quality", values=("",), factor=0.0)
    assert counts_of(sampled(tagged, SamplingRule(tag="domain", values=("code",), factor=1.5), quality, untagged)) in (
        [299], [300]
    )  # fmt: skip


def test_a_document_of_factor_one_quarter_is_read_once_in_four_epochs(tagged):
    only_news = SamplingRule(tag="domain", values=("code",), factor=0.0)
    stream = sampled(tagged, NEWS_DOWN, only_news, max_epochs=4.0)
    assert counts_of(stream) in ([399], [400])
    quarters = [counts_of(sampled(tagged, NEWS_DOWN, only_news, max_epochs=1.0, seed=seed))[0] for seed in range(20)]
    assert abs(sum(quarters) / len(quarters) - 100) < 6


def test_sampling_depends_on_ids_and_not_on_shards(tokenizer, tmp_path):
    documents = [
        Document(id=str(n), text=chr(33 + n % 90) * (n + 1), source="web", tags={"domain": "news"}) for n in range(60)
    ]
    lengths = []
    for name, size in (("one", 10**6), ("many", 100)):
        write_shards(documents, tokenizer, tmp_path / name, TokenizeRecipe(shard_tokens=size))
        lengths.append(len(sampled(tmp_path / name, NEWS_DOWN)))
    assert lengths[0] == lengths[1]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(factor=st.floats(0.05, 3.0), seed=st.integers(0, 1 << 40), index=st.floats(0, 1))
def test_sampled_streams_have_random_access(tagged, factor, seed, index):
    rule = SamplingRule(tag="domain", values=("news",), factor=factor)
    mixture = Mixture(weights={"web": 1.0}, max_epochs=2.3, seed=seed, sampling=(rule,))
    stream, again = mixture.stream(tagged, 7), mixture.stream(tagged, 7)
    place = round(index * (len(stream) - 1))
    first, later = again[place], stream[place]
    assert first.tokens.tolist() == later.tokens.tolist()
    if place:
        assert stream[place - 1].tokens[-1] == later.tokens[0]


def test_an_epoch_of_many_shards_reads_every_document_once(tagged):
    stream = sampled(tagged, max_epochs=2.0)
    assert len(stream) == 1999
    assert counts_of(stream) == [800, 200]
    epoch = Counter(int(stream[place].tokens[0]) for place in range(1000))
    assert sorted(epoch.values()) == [100, 400, 500]


def test_a_source_may_have_a_cap_of_its_own(shards):
    folder = shards({"web": ["w" * 999], "code": ["c" * 99]})
    mixture = Mixture(weights={"web": 0.5, "code": 0.5}, max_epochs=1, seed=0, max_epochs_of={"code": 4.0, "web": 0.2})
    stream = mixture.stream(folder, 10)
    assert stream.bound == "web"
    assert [(share.source, share.num_epochs) for share in stream.shares(20)] == [("code", 1.0), ("web", 0.1)]


def test_shares_tell_what_was_asked_and_what_is_read(tagged):
    stream = sampled(tagged, NEWS_DOWN, CODE_UP)
    [share] = stream.shares(100)
    assert (share.weight, share.num_tokens, share.available_tokens) == (1.0, 100, 1000)
    assert share.epoch_tokens == len(stream) + 1
    assert stream.shares_of("domain") == pytest.approx({"code": 250 / 350, "news": 100 / 350})


def test_documents_that_are_all_dropped_are_too_few(tagged):
    every = SamplingRule(tag="domain", values=("news", "code"), factor=0.0)
    with pytest.raises(DataError, match="too few for one window"):
        sampled(tagged, every)


@pytest.mark.parametrize("rule", [{"values": (), "factor": 1.0}, {"values": ("x",), "factor": -0.1}])
def test_a_rule_without_sense_is_refused(rule):
    with pytest.raises(ValueError, match=r"factor is -0.1|sampling"):
        SamplingRule(tag="domain", **rule)


def test_check_prints_each_stages_shares(tagged, tmp_path, capsys):
    (tmp_path / "data.toml").write_text(
        """
[stages.one]
weights = { web = 1.0 }
max_epochs = 1.0
seed = 0
sampling = [{ tag = "domain", values = ["news"], factor = 0.5 }]
"""
    )
    assert main(["check", str(tmp_path / "data.toml"), "--shards", str(tagged), "--tokens", "100"]) == 0
    printed = capsys.readouterr().out
    assert "then web reaches its 1 epochs" in printed
    assert "| web | 100.00% | 100.00% | 100 |" in printed
    assert "by domain: code 33.33%, news 66.67%" in printed
    assert "without effect" not in printed


def test_check_names_the_rules_that_no_document_fits(tagged, tmp_path, capsys):
    (tmp_path / "data.toml").write_text(
        """
[stages.one]
weights = { web = 1.0 }
max_epochs = 1.0
seed = 0
sampling = [
    { tag = "domain", values = ["news", "advertizing"], factor = 0.5 },
    { tag = "domains", values = ["news"], factor = 0.5 },
    { tag = "language", values = [""], factor = 0.5 },
]
"""
    )
    assert main(["check", str(tmp_path / "data.toml"), "--shards", str(tagged)]) == 0
    printed = [line for line in capsys.readouterr().out.splitlines() if "without effect" in line]
    assert [line.partition(".")[0] for line in printed] == [
        "**without effect**: sampling domain = advertizing, which no document has",
        "**without effect**: sampling by domains, a tag that no document has",
    ]

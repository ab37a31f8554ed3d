from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mimo_data import DataError, Mixture

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


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(parts=st.tuples(*[st.integers(0, 50)] * 3).filter(lambda parts: sum(parts) > 0))
def test_every_prefix_has_the_shares_of_the_weights(tmp_path_factory, tokenizer, parts):
    from mimo_data import Document, write_shards

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


@pytest.mark.parametrize("weights", [{"web": 0.5}, {"web": 1.5, "code": -0.5}, {}])
def test_weights_must_sum_to_one(weights):
    with pytest.raises(ValueError, match="sum to 1"):
        Mixture(weights=weights, max_epochs=1, seed=0)

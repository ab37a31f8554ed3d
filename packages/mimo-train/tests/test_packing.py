from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimo_train import pack
from mimo_train.packing import TokenSample

PAD = 0


def test_two_samples_share_a_row_and_only_responses_are_trained_on():
    (row,) = pack([TokenSample((1, 2), (3, 9)), TokenSample((4,), (5, 9))], 8, pad_token=PAD)
    assert row.tokens.tolist() == [1, 2, 3, 9, 4, 5, 9, PAD, PAD]
    assert row.document_ids.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2]
    assert row.trained.tolist() == [False, False, True, True, False, True, True, False, False]


tokens = st.lists(st.integers(0, 300), min_size=1, max_size=12).map(tuple)
samples = st.lists(st.builds(TokenSample, tokens, tokens), max_size=30)


@given(samples, st.integers(24, 60))
def test_packing_then_splitting_returns_the_samples(samples, sequence_length):
    rows = pack(samples, sequence_length, pad_token=PAD)
    assert Counter(s for row in rows for s in row.split()) == Counter(samples)
    assert all(len(row.tokens) == sequence_length + 1 for row in rows)


@given(samples, st.integers(24, 60))
def test_no_two_rows_would_fit_into_one(samples, sequence_length):
    used = sorted(sum(map(len, row.split())) for row in pack(samples, sequence_length, pad_token=PAD))
    assert len(used) < 2 or used[0] + used[1] > sequence_length


def test_a_sample_is_never_cut():
    with pytest.raises(ValueError, match="5 tokens does not go into a row of 4"):
        pack([TokenSample((1, 2), (3, 4, 5))], 4, pad_token=PAD)

"""Every attention backend sees the same tokens: causal, cached, padded, packed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from mimo_model import MiMoForCausalLM, load_model
from mimo_model.attention import Sight, dense_mask, scaled_dot_product, varlen_bounds

TOLERANCE = {torch.float32: 1e-5}


def random_ids(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0))


def largest_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a - b).abs().max().item()


def cached_logits(model: MiMoForCausalLM, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """In chunks of 11, 1, 1 and the rest through transformers' cache."""
    cache, chunks, end = None, [], 0
    for chunk in ids.split((11, 1, 1, ids.shape[1] - 13), dim=1):
        end += chunk.shape[1]
        some = None if mask is None else mask[:, :end]
        output = model(chunk, attention_mask=some, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        chunks.append(output.logits)
    return torch.cat(chunks, dim=1)


@pytest.fixture(params=["eager", "flex_attention", "varlen_by_hand"])
def other(request, checkpoint) -> Iterator[MiMoForCausalLM]:
    ALL_ATTENTION_FUNCTIONS.register("varlen_by_hand", varlen_attention_by_hand)
    model = load_model(checkpoint)
    model.set_attn_implementation(request.param)
    assert model.config._attn_implementation == request.param
    yield model
    ALL_ATTENTION_FUNCTIONS._global_mapping.pop("varlen_by_hand")


def varlen_attention_by_hand(
    _module, q_BHTE, k_BKSE, v_BKSE, padding_BS, *, scaling, is_causal, cu_seq_lens_q=None, max_length_q=0, **_others
):
    """FlashAttention's contract in plain torch: one segment at a time, bottom-right causal, no mask within."""
    assert is_causal
    num_groups = q_BHTE.shape[1] // k_BKSE.shape[1]
    k_BHSE, v_BHSE = k_BKSE.repeat_interleave(num_groups, 1), v_BKSE.repeat_interleave(num_groups, 1)
    out_BHTE = torch.zeros_like(q_BHTE)
    num_rows, _, num_queries, _ = q_BHTE.shape

    def segment(row: int, queries: torch.Tensor, keys: torch.Tensor) -> None:
        scores = q_BHTE[row][:, queries] @ k_BHSE[row][:, keys].transpose(1, 2) * scaling
        visible = torch.ones(len(queries), len(keys), dtype=torch.bool).tril(len(keys) - len(queries))
        weights = scores.masked_fill(~visible, -torch.inf).softmax(-1)
        out_BHTE[row].index_copy_(1, queries, weights @ v_BHSE[row][:, keys])

    if cu_seq_lens_q is not None:
        assert cu_seq_lens_q.dtype == torch.int32
        assert int(cu_seq_lens_q.diff().max()) == max_length_q
        for start, end in zip(cu_seq_lens_q.tolist(), cu_seq_lens_q[1:].tolist(), strict=False):
            row, first = divmod(start, num_queries)
            places = torch.arange(first, first + end - start)
            segment(row, places, places)
    else:
        for row in range(num_rows):
            real = torch.ones(k_BKSE.shape[2], dtype=torch.bool) if padding_BS is None else padding_BS[row]
            keys = real.nonzero().flatten()
            offset = k_BKSE.shape[2] - num_queries
            queries = keys[keys >= offset] - offset
            segment(row, queries, keys)
    return out_BHTE.transpose(1, 2), None


def test_causal_logits_are_those_of_sdpa(model, other):
    ids = random_ids(2, 30)
    with torch.no_grad():
        assert largest_difference(other(ids).logits, model(ids).logits) <= TOLERANCE[torch.float32]


def test_packed_documents_are_those_of_sdpa_in_the_mtp_layers_too(model, other):
    ids = random_ids(2, 30)
    documents = torch.tensor([[0] * 13 + [1] + [2] * 16, [4] * 30])
    with torch.no_grad():
        wanted = model(ids, document_ids=documents, num_mtp_layers=1)
        found = other(ids, document_ids=documents, num_mtp_layers=1)
    assert largest_difference(found.logits, wanted.logits) <= TOLERANCE[torch.float32]
    assert largest_difference(found.mtp_logits[0], wanted.mtp_logits[0]) <= TOLERANCE[torch.float32]


def test_cached_chunks_equal_the_full_forward(model, other):
    ids = random_ids(2, 30)
    with torch.no_grad():
        assert largest_difference(cached_logits(other, ids), model(ids).logits) <= TOLERANCE[torch.float32]


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_no_real_token(model, other, side):
    ids = random_ids(2, 30)
    mask = torch.ones_like(ids)
    if side == "left":
        mask[1, :5] = 0
    else:
        mask[1, 25:] = 0
    with torch.no_grad():
        wanted, found = model(ids, attention_mask=mask).logits, other(ids, attention_mask=mask).logits
        assert largest_difference(found[mask == 1], wanted[mask == 1]) <= TOLERANCE[torch.float32]
        cached = cached_logits(other, ids, mask)
        assert largest_difference(cached[mask == 1], wanted[mask == 1]) <= TOLERANCE[torch.float32]


def test_generate_gives_the_same_tokens_with_dynamic_and_static_caches(model, other):
    ids = random_ids(2, 9)
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    settings = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    wanted = model.generate(ids, **settings)
    assert torch.equal(other.generate(ids, **settings), wanted)
    assert torch.equal(other.generate(ids, cache_implementation="static", **settings), wanted)


def test_gradients_of_eager_attention_are_those_of_sdpa(model, checkpoint):
    eager = load_model(checkpoint)
    eager.set_attn_implementation("eager")
    ids = random_ids(2, 12)
    for network in (model, eager):
        network(ids, labels=ids).loss.backward()
    for (name, a), (_, b) in zip(model.named_parameters(), eager.named_parameters(), strict=True):
        if a.grad is not None:
            assert largest_difference(a.grad, b.grad) <= TOLERANCE[torch.float32], name


def test_positions_that_start_again_are_documents(model):
    ids = random_ids(1, 20)
    positions = torch.tensor([[*range(8), *range(12)]])
    documents = torch.tensor([[0] * 8 + [1] * 12])
    packed = model(ids, position_ids=positions, num_mtp_layers=1)
    wanted = model(ids, document_ids=documents, num_mtp_layers=1)
    assert torch.equal(packed.logits, wanted.logits)
    assert torch.equal(packed.mtp_logits[0], wanted.mtp_logits[0])


def test_varlen_bounds_lay_rows_end_to_end():
    starts, longest = varlen_bounds(torch.tensor([[0, 0, 0, 1], [1, 1, 5, 5]]))
    assert starts.tolist() == [0, 3, 4, 6, 8]
    assert longest == 3


def test_varlen_segments_are_the_dense_mask():
    generator = torch.Generator().manual_seed(3)
    documents = (torch.rand(3, 17, generator=generator) < 0.3).cumsum(1)
    q, k, v = (torch.randn(3, heads, 17, 8, generator=generator) for heads in (4, 2, 2))
    starts, longest = varlen_bounds(documents)
    found, _ = varlen_attention_by_hand(
        None, q, k, v, None, scaling=8**-0.5, is_causal=True, cu_seq_lens_q=starts, max_length_q=longest
    )
    mask = dense_mask(Sight(17, 0, document_ids=documents), torch.device("cpu"))
    wanted = scaled_dot_product(q.transpose(1, 2), k, v, mask, causal=False)
    assert largest_difference(found, wanted) <= TOLERANCE[torch.float32]


def test_flash_attention_without_its_package_names_the_package(model):
    with pytest.raises(ImportError, match="pip install flash-attn"):
        model.set_attn_implementation("flash_attention_2")


def test_flash_attention_refuses_masks_that_it_cannot_take(checkpoint):
    model = load_model(checkpoint)
    model.config._attn_implementation_internal = "flash_attention_2"
    ids = random_ids(1, 6)
    with pytest.raises(ValueError, match=r"attention_mask of shape \[B, S\] only"):
        model(ids, attention_mask=torch.ones(1, 1, 6, 6, dtype=torch.bool))
    with pytest.raises(ValueError, match="not both"):
        model(ids, attention_mask=torch.ones(1, 6), document_ids=F.pad(torch.zeros(1, 3, dtype=torch.int64), (0, 3)))


def test_flex_attention_on_a_cpu_does_not_train_and_says_so(checkpoint):
    model = load_model(checkpoint)
    model.set_attn_implementation("flex_attention")
    with pytest.raises(NotImplementedError, match="backward on CPU"):
        model(random_ids(1, 6))

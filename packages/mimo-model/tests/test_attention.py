"""Every attention backend sees the same tokens: causal, cached, padded, packed."""

from __future__ import annotations

import sys
from itertools import pairwise
from types import ModuleType

import pytest
import torch
from transformers import modeling_flash_attention_utils

from mimo_model import MiMoConfig, MiMoForCausalLM, load_model
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


def flash_attn_varlen_func(
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, softmax_scale=None, causal=False
) -> torch.Tensor:
    """FlashAttention's contract in plain torch: q [N, H, E], one segment at a time, causal from the bottom right."""
    assert causal
    assert cu_seqlens_q.dtype == cu_seqlens_k.dtype == torch.int32
    assert int(cu_seqlens_q.diff().max()) == max_seqlen_q
    assert int(cu_seqlens_k.diff().max()) == max_seqlen_k
    num_groups = q.shape[1] // k.shape[1]
    out = torch.zeros_like(q)
    bounds = [pairwise(starts.tolist()) for starts in (cu_seqlens_q, cu_seqlens_k)]
    for (q_start, q_end), (k_start, k_end) in zip(*bounds, strict=True):
        queries = q[q_start:q_end].transpose(0, 1)
        keys, values = (x[k_start:k_end].repeat_interleave(num_groups, 1).transpose(0, 1) for x in (k, v))
        scores = queries @ keys.transpose(1, 2) * softmax_scale
        num_queries, num_keys = scores.shape[1:]
        visible = torch.ones(num_queries, num_keys, dtype=torch.bool).tril(num_keys - num_queries)
        weights = scores.masked_fill(~visible, -torch.inf).softmax(-1).nan_to_num()
        out[q_start:q_end] = (weights @ values).transpose(0, 1)
    return out


def flash_attn_func(q, k, v, softmax_scale=None, causal=False) -> torch.Tensor:
    """The same for whole batches: q [B, T, H, E]."""
    lengths = [torch.arange(len(q) + 1, dtype=torch.int32) * x.shape[1] for x in (q, k)]
    flat = (x.flatten(0, 1) for x in (q, k, v))
    out = flash_attn_varlen_func(*flat, *lengths, q.shape[1], k.shape[1], softmax_scale, causal)
    return out.view_as(q)


@pytest.fixture
def flash_attention(monkeypatch) -> None:
    """FlashAttention 3's package with those functions: all that transformers does around them is as it is."""
    package = ModuleType("flash_attn_interface")
    package.flash_attn_func = flash_attn_func
    package.flash_attn_varlen_func = flash_attn_varlen_func
    package.flash_attn_with_kvcache = None
    monkeypatch.setitem(sys.modules, "flash_attn_interface", package)
    monkeypatch.setattr(modeling_flash_attention_utils, "_loaded_implementation", None)


@pytest.fixture(params=["eager", "flex_attention", "flash_attention_3"])
def other(request, checkpoint, flash_attention) -> MiMoForCausalLM:
    model = load_model(checkpoint)
    if request.param == "flash_attention_3":
        model.config._attn_implementation_internal = request.param  # the switch wants a GPU
    else:
        model.set_attn_implementation(request.param)
    assert model.model.config._attn_implementation == request.param
    return model


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


def test_gradients_are_those_of_sdpa(model, other):
    if other.config._attn_implementation == "flex_attention":
        with pytest.raises(NotImplementedError, match="backward on CPU"):
            other(random_ids(1, 6))
        return
    ids = random_ids(2, 12)
    documents = torch.tensor([[0] * 5 + [1] * 7, [0] * 12])
    for network in (model, other):
        output = network(ids, document_ids=documents, num_mtp_layers=1)
        (output.logits.square().mean() + output.mtp_logits[0].square().mean()).backward()
    for (name, a), (_, b) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert largest_difference(a.grad, b.grad) <= TOLERANCE[torch.float32], name


@pytest.mark.parametrize("kind", ["bool", "additive"])
def test_a_ready_mask_is_taken_as_it_is(model, other, kind):
    ids = random_ids(2, 8)
    visible = torch.ones(8, 8, dtype=torch.bool).tril()
    visible[:, 2] = torch.arange(8) == 2  # nothing but itself sees token 2
    mask = visible.expand(2, 1, 8, 8)
    if kind == "additive":
        mask = torch.zeros(2, 1, 8, 8).masked_fill(~mask, torch.finfo(torch.float32).min)
    with torch.no_grad():
        if other.config._attn_implementation == "flash_attention_3":
            with pytest.raises(ValueError, match=r"attention_mask of shape \[B, S\] only. Use sdpa"):
                other(ids, attention_mask=mask)
            return
        wanted = model(ids, attention_mask=mask).logits
        assert largest_difference(other(ids, attention_mask=mask).logits, wanted) <= TOLERANCE[torch.float32]
        assert largest_difference(model(ids).logits, wanted) > 1e-2


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
    q, k, v = (torch.randn(3, 17, heads, 8, generator=generator) for heads in (4, 2, 2))
    starts, longest = varlen_bounds(documents)
    flat = (x.flatten(0, 1) for x in (q, k, v))
    found = flash_attn_varlen_func(*flat, starts, starts, longest, longest, 8**-0.5, True).view_as(q)
    mask = dense_mask(Sight(17, 0, document_ids=documents), torch.device("cpu"))
    wanted = scaled_dot_product(q, k.transpose(1, 2), v.transpose(1, 2), mask, causal=False)
    assert largest_difference(found, wanted) <= TOLERANCE[torch.float32]


def test_flash_attention_without_its_package_names_the_package(model):
    with pytest.raises(ImportError, match="pip install flash-attn"):
        model.set_attn_implementation("flash_attention_2")


def test_flash_attention_takes_documents_or_padding(checkpoint):
    model = load_model(checkpoint)
    model.config._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(ValueError, match=r"not both\. Give padding a document of its own"):
        model(random_ids(1, 6), attention_mask=torch.ones(1, 6), document_ids=torch.zeros(1, 6, dtype=torch.int64))


# -- On a GPU.


def network_on_gpu(implementation: str) -> MiMoForCausalLM:
    torch.manual_seed(0)
    shape = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = MiMoForCausalLM(MiMoConfig(vocab_size=512, num_hidden_layers=2, head_dim=64, **shape))
    model.to("cuda", torch.bfloat16).set_attn_implementation(implementation)
    return model.train()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("implementation", ["flex_attention", "flash_attention_2"])
def test_packed_training_on_a_gpu_is_that_of_sdpa(implementation):
    if implementation == "flash_attention_2":
        pytest.importorskip("flash_attn", reason="needs the package flash-attn")
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 512, (2, 300), generator=generator).cuda()
    documents = (torch.rand(2, 300, generator=generator) < 0.02).cumsum(1).cuda()
    results = []
    for network in (network_on_gpu("sdpa"), network_on_gpu(implementation)):
        output = network(ids, document_ids=documents, num_mtp_layers=1)
        (output.logits.float().square().mean() + output.mtp_logits[0].float().square().mean()).backward()
        results.append([output.logits, output.mtp_logits[0], *(parameter.grad for parameter in network.parameters())])
    for wanted, found in zip(*results, strict=True):
        assert largest_difference(found.float(), wanted.float()) / wanted.float().abs().max() <= 3e-2

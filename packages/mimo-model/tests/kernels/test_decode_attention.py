"""Attention of a few new tokens to the cache: against the formula, in the interpreter and compiled for GPUs."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mimo_model.kernels.decode_attention import (
    attend_kernel,
    attend_options,
    decode_attention,
    decode_attention_reference,
    join_kernel,
    join_options,
    num_splits,
)

TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2e-2}


def _case(batch_size, num_tokens, num_kv_heads, num_groups, head_dim, num_places, dtype, *, device="cpu", seed=0):
    """Queries, and a cache with two slots more than requests whose unseen places are NaN; ragged positions."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator).to(dtype)

    q_BTHE = normal(batch_size, num_tokens, num_kv_heads * num_groups, head_dim)
    keys_SKCE = normal(batch_size + 2, num_kv_heads, num_places, head_dim)
    values_SKCE = normal(batch_size + 2, num_kv_heads, num_places, head_dim)
    first_B = torch.randint(0, num_places - num_tokens + 1, (batch_size,), generator=generator)
    first_B[-1] = num_places - num_tokens
    positions_BT = first_B[:, None] + torch.arange(num_tokens)
    unseen_BC = torch.arange(num_places) > positions_BT.max(1, keepdim=True).values
    for cache in (keys_SKCE, values_SKCE):
        cache[:batch_size].masked_fill_(unseen_BC[:, None, :, None], torch.nan)
        cache[batch_size:] = torch.nan
    return [tensor.to(device) for tensor in (q_BTHE, keys_SKCE, values_SKCE, positions_BT)]


def _check_against_the_formula(case):
    q_BTHE, keys_SKCE, values_SKCE, positions_BT = case
    wanted = decode_attention_reference(q_BTHE.float(), keys_SKCE.float(), values_SKCE.float(), positions_BT)
    found = decode_attention(*case)
    assert found.dtype == q_BTHE.dtype
    difference = (found.float() - wanted).abs().max().item()
    assert difference <= TOLERANCE[q_BTHE.dtype], difference


def test_a_query_attends_to_its_own_and_earlier_places_only():
    q_BTHE, keys_SKCE, values_SKCE, positions_BT = _case(2, 3, 2, 2, 8, 20, torch.float32)
    out_BTHE = decode_attention(q_BTHE, keys_SKCE, values_SKCE, positions_BT)
    last = int(positions_BT[0, 1]) + 1
    wanted_HE = torch.nn.functional.scaled_dot_product_attention(
        q_BTHE[:1, 1, :, None], keys_SKCE[:1, :, :last], values_SKCE[:1, :, :last], enable_gqa=True
    )[0, :, 0]
    torch.testing.assert_close(out_BTHE[0, 1], wanted_HE, atol=2e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("batch_size", "num_tokens", "num_kv_heads", "num_groups", "head_dim", "num_places"),
    [
        (1, 1, 1, 1, 32, 65),
        (1, 2, 1, 3, 64, 200),
        (2, 3, 2, 4, 128, 131),
        (3, 4, 3, 1, 32, 64),
        (1, 4, 2, 8, 64, 517),
        (2, 8, 1, 4, 32, 100),
        (9, 1, 1, 4, 32, 9),
    ],
)
@pytest.mark.usefixtures("interpreter")
def test_the_kernel_equals_the_formula(batch_size, num_tokens, num_kv_heads, num_groups, head_dim, num_places, dtype):
    _check_against_the_formula(_case(batch_size, num_tokens, num_kv_heads, num_groups, head_dim, num_places, dtype))


@pytest.mark.parametrize("num_kv_heads", [1, 8])
@pytest.mark.usefixtures("interpreter")
def test_a_query_at_a_negative_position_sees_nothing_and_gives_zeros(num_kv_heads):
    q_BTHE, keys_SKCE, values_SKCE, _ = _case(2, 2, num_kv_heads, 2, 32, 70, torch.float32)
    keys_SKCE.nan_to_num_(0.3)
    values_SKCE.nan_to_num_(0.7)
    positions_BT = torch.tensor([[-3, -2], [-1, 5]])
    out_BTHE = decode_attention(q_BTHE, keys_SKCE, values_SKCE, positions_BT)
    assert (out_BTHE[0] == 0).all()
    assert (out_BTHE[1, 0] == 0).all()
    wanted = decode_attention_reference(q_BTHE, keys_SKCE, values_SKCE, positions_BT)
    torch.testing.assert_close(out_BTHE, wanted, atol=2e-6, rtol=0)


@pytest.mark.usefixtures("interpreter")
def test_the_operator_is_one_that_torch_can_trace():
    case = _case(2, 2, 1, 2, 32, 70, torch.float32)
    torch.library.opcheck(torch.ops.mimo.decode_attention.default, tuple(case))


@pytest.mark.slow
def test_the_kernels_hold_in_the_interpreter(run_interpreted):
    assert run_interpreted(__file__) == 17


def test_it_traces_without_data():
    with FakeTensorMode():
        cache = torch.empty(8, 8, 4096, 128, dtype=torch.bfloat16)
        q_BTHE = torch.empty(4, 4, 32, 128, dtype=torch.bfloat16)
        out_BTHE = torch.ops.mimo.decode_attention(q_BTHE, cache, cache, torch.empty(4, 4, dtype=torch.int64))
    assert out_BTHE.shape == (4, 4, 32, 128)
    assert out_BTHE.dtype == torch.bfloat16


def test_there_are_parts_enough_for_two_programs_a_processor():
    assert num_splits(1, 8, 32_768, 132) == 33
    assert num_splits(8, 8, 32_768, 132) == 5
    assert num_splits(64, 8, 32_768, 132) == 1
    assert num_splits(1, 8, 100, 132) == 2


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize(("num_tokens", "max_registers"), [(1, 128), (4, 128), (8, 168)])
def test_at_mimo_7b_shapes_nothing_spills_and_two_programs_fit_a_processor(
    compile_kernel, capability, num_tokens, max_registers
):
    splits = num_splits(1, 8, 32_768, 132)
    strides = {"slot_stride": 8 * 32_768 * 128, "head_stride": 32_768 * 128, "place_stride": 128}
    attend = compile_kernel(
        attend_kernel,
        capability,
        q_ptr=torch.bfloat16,
        keys_ptr=torch.bfloat16,
        values_ptr=torch.bfloat16,
        positions_ptr=torch.int64,
        out_ptr=torch.bfloat16,
        partial_ptr=torch.float32,
        stats_ptr=torch.float32,
        scale=0.125,
        num_places=32_768,
        q_batch_stride=num_tokens * 4096,
        q_token_stride=4096,
        q_head_stride=128,
        positions_batch_stride=num_tokens,
        **{f"keys_{name}": stride for name, stride in strides.items()},
        **{f"values_{name}": stride for name, stride in strides.items()},
        **attend_options(num_tokens, 32, 8, 128, splits, 2),
    )
    assert (attend.stack_bytes, attend.num_spills) == (0, 0)
    assert attend.registers <= max_registers
    # Two of them leave room in the 163 KiB of an A100.
    assert attend.shared_bytes <= 80 * 1024
    # Blocks of keys and values are on their way while one is worked on, 16 bytes a thread at a time.
    assert "LDGSTS.E.BYPASS.128" in attend.sass
    assert "HMMA" in attend.sass

    join = compile_kernel(
        join_kernel,
        capability,
        partial_ptr=torch.float32,
        stats_ptr=torch.float32,
        positions_ptr=torch.int64,
        out_ptr=torch.bfloat16,
        num_places=32_768,
        positions_batch_stride=num_tokens,
        **join_options(num_tokens, 32, 8, 128, splits),
    )
    assert (join.stack_bytes, join.num_spills) == (0, 0)
    assert join.registers <= 96


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("batch_size", "num_tokens"), [(1, 1), (2, 4), (8, 8)])
def test_the_kernel_equals_the_formula_on_a_gpu(batch_size, num_tokens, dtype):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    _check_against_the_formula(_case(batch_size, num_tokens, 8, 4, 128, 3001, dtype, device="cuda"))


@pytest.mark.gpu
def test_a_captured_graph_follows_the_positions_on_the_device():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    q_BTHE, keys_SKCE, values_SKCE, positions_BT = _case(1, 1, 8, 4, 128, 5000, torch.bfloat16, device="cuda")
    keys_SKCE.nan_to_num_(0.3)
    values_SKCE.nan_to_num_(0.7)
    decode_attention(q_BTHE, keys_SKCE, values_SKCE, positions_BT)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out_BTHE = decode_attention(q_BTHE, keys_SKCE, values_SKCE, positions_BT)
    for position in (0, 77, 4990):
        positions_BT.fill_(position)
        graph.replay()
        wanted = decode_attention_reference(q_BTHE, keys_SKCE, values_SKCE, positions_BT)
        torch.testing.assert_close(out_BTHE, wanted, atol=2e-2, rtol=0)


def test_shapes_that_do_not_fit_are_named():
    q_BTHE, keys_SKCE, values_SKCE, positions_BT = _case(2, 3, 2, 2, 8, 20, torch.float32)
    with pytest.raises(ValueError, match=r"T from 1 to 8. Longer prompts go through SDPA"):
        decode_attention(q_BTHE.repeat(1, 3, 1, 1), keys_SKCE, values_SKCE, positions_BT.repeat(1, 3))
    with pytest.raises(ValueError, match=r"S at least B and H a multiple of K"):
        decode_attention(q_BTHE, keys_SKCE[:1], values_SKCE[:1], positions_BT)
    with pytest.raises(ValueError, match=r"Call \.contiguous\(\)"):
        decode_attention(q_BTHE.transpose(2, 3).contiguous().transpose(2, 3), keys_SKCE, values_SKCE, positions_BT)

"""Bias, RoPE and the cache write in one: against the formula, in the interpreter and compiled for GPUs."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mimo_model.kernels.qkv_cache import write_qkv, write_qkv_kernel, write_qkv_options, write_qkv_reference
from mimo_model.rope import rope_at, rotate

TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 7e-2}


def _case(num_heads, num_kv_heads, head_dim, dtype, *, positions, device="cpu", num_places=40):
    """The projection of tokens at these positions, a cache with two slots more than requests, and rope tables."""
    generator = torch.Generator().manual_seed(0)
    positions_BT = torch.tensor(positions)
    width = (num_heads + 2 * num_kv_heads) * head_dim
    qkv_BTX = torch.randn(*positions_BT.shape, width, generator=generator).to(dtype)
    bias_X = torch.randn(width, generator=generator).to(dtype)
    keys_SKCE, values_SKCE = (
        torch.randn(len(positions) + 2, num_kv_heads, num_places, head_dim, generator=generator).to(dtype)
        for _ in range(2)
    )
    rope = rope_at(torch.arange(num_places)[None], theta=640_000.0, head_dim=head_dim, dtype=dtype)
    tensors = [tensor.to(device) for tensor in (qkv_BTX, bias_X, positions_BT, keys_SKCE, values_SKCE)]
    return tensors, (rope[0].to(device), rope[1].to(device))


def _check_against_the_formula(tensors, rope, num_heads):
    qkv_BTX, bias_X, positions_BT, keys_SKCE, values_SKCE = tensors
    wanted = [tensor.clone() for tensor in (keys_SKCE, values_SKCE)]
    wanted.append(
        write_qkv_reference(qkv_BTX, bias_X, positions_BT, *wanted, *(table[0, :, 0] for table in rope), num_heads)
    )
    q_BTHE = write_qkv(*tensors, rope, num_heads=num_heads)
    for found_tensor, wanted_tensor in zip((keys_SKCE, values_SKCE, q_BTHE), wanted, strict=True):
        assert found_tensor.dtype == qkv_BTX.dtype
        difference = (found_tensor.float() - wanted_tensor.float()).abs().max().item()
        assert difference <= TOLERANCE[qkv_BTX.dtype], difference


def test_keys_and_values_land_at_their_positions_and_nowhere_else():
    (qkv_BTX, bias_X, positions_BT, keys_SKCE, values_SKCE), rope = _case(4, 2, 8, torch.float32, positions=[[3, 4]])
    before = keys_SKCE.clone()
    q_BTHE = write_qkv(qkv_BTX, bias_X, positions_BT, keys_SKCE, values_SKCE, rope, num_heads=4)
    q, k, v = (qkv_BTX + bias_X).unflatten(-1, (-1, 8)).split((4, 2, 2), dim=2)
    turn = rope_at(positions_BT, theta=640_000.0, head_dim=8, dtype=torch.float32)
    assert torch.equal(q_BTHE, rotate(q, turn))
    assert torch.equal(keys_SKCE[0, :, 3:5], rotate(k, turn)[0].transpose(0, 1))
    assert torch.equal(values_SKCE[0, :, 3:5], v[0].transpose(0, 1))
    before[0, :, 3:5] = keys_SKCE[0, :, 3:5]
    assert torch.equal(keys_SKCE, before)


@pytest.mark.parametrize("position", [-5, -1, 40, 1_000])
def test_a_position_outside_the_cache_writes_to_the_waste_bin(position):
    tensors, rope = _case(4, 2, 8, torch.float32, positions=[[position]])
    before = tensors[3].clone()
    write_qkv(*tensors, rope, num_heads=4)
    changed_SKC = (tensors[3] != before).any(-1)
    assert changed_SKC[0, :, -1].all()
    changed_SKC[0, :, -1] = False
    assert not changed_SKC.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("num_heads", "num_kv_heads", "head_dim", "positions"),
    [
        (1, 1, 32, [[0]]),
        (3, 1, 64, [[5, 6], [0, 38]]),
        (8, 2, 128, [[1, 2, 3, 4]]),
        (8, 1, 48, [[-4, -3, 7], [39, 40, 0]]),
    ],
)
@pytest.mark.usefixtures("interpreter")
def test_the_kernel_equals_the_formula(num_heads, num_kv_heads, head_dim, positions, dtype):
    _check_against_the_formula(*_case(num_heads, num_kv_heads, head_dim, dtype, positions=positions), num_heads)


@pytest.mark.usefixtures("interpreter")
def test_the_projection_and_the_cache_may_be_parts_of_larger_tensors():
    tensors, rope = _case(2, 1, 32, torch.float32, positions=[[5, 6], [7, 8]])
    qkv_BTX, bias_X, positions_BT, keys_SKCE, values_SKCE = tensors
    wide = torch.cat((qkv_BTX, torch.full_like(qkv_BTX, torch.nan)), dim=-1)[..., : qkv_BTX.shape[-1]]
    both = torch.stack((keys_SKCE, values_SKCE), dim=2)
    _check_against_the_formula([wide, bias_X, positions_BT, both[:, :, 0], both[:, :, 1]], rope, 2)


@pytest.mark.usefixtures("interpreter")
def test_the_operator_is_one_that_torch_can_trace():
    tensors, rope = _case(2, 1, 32, torch.float32, positions=[[5, 6], [7, 8]])
    tables = tuple(table[0, :, 0] for table in rope)
    torch.library.opcheck(torch.ops.mimo.write_qkv.default, (*tensors, *tables, 2))


@pytest.mark.slow
def test_the_kernel_holds_in_the_interpreter(run_interpreted):
    assert run_interpreted(__file__) == 10


def test_it_traces_without_data():
    with FakeTensorMode():
        cache = torch.empty(8, 8, 4096, 128, dtype=torch.bfloat16)
        table = torch.empty(4096, 128, dtype=torch.bfloat16)
        qkv_BTX, bias_X = torch.empty(4, 4, 6144, dtype=torch.bfloat16), torch.empty(6144, dtype=torch.bfloat16)
        positions_BT = torch.empty(4, 4, dtype=torch.int64)
        q_BTHE = torch.ops.mimo.write_qkv(qkv_BTX, bias_X, positions_BT, cache, cache.clone(), table, table, 32)
    assert q_BTHE.shape == (4, 4, 32, 128)


@pytest.mark.parametrize("capability", [80, 90, 100])
def test_at_mimo_7b_shapes_nothing_spills(compile_kernel, capability):
    strides = {"slot_stride": 8 * 32_768 * 128, "head_stride": 32_768 * 128, "place_stride": 128}
    pointers = ("qkv", "bias", "keys", "values", "cos", "sin", "q")
    compiled = compile_kernel(
        write_qkv_kernel,
        capability,
        **{f"{name}_ptr": torch.bfloat16 for name in pointers},
        positions_ptr=torch.int64,
        num_tokens=4,
        num_places=32_768,
        num_angles=32_768,
        qkv_batch_stride=4 * 6144,
        qkv_token_stride=6144,
        positions_batch_stride=4,
        **{f"keys_{name}": stride for name, stride in strides.items()},
        **{f"values_{name}": stride for name, stride in strides.items()},
        **write_qkv_options(32, 8, 128),
    )
    assert (compiled.stack_bytes, compiled.num_spills) == (0, 0)
    assert compiled.registers <= 32


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_equals_the_formula_on_a_gpu(dtype):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    case = _case(32, 8, 128, dtype, positions=[[1, 2, 3, 4], [-2, -1, 0, 1]], device="cuda")
    _check_against_the_formula(*case, 32)


def test_shapes_that_do_not_fit_are_named():
    tensors, rope = _case(4, 2, 8, torch.float32, positions=[[3, 4]])
    with pytest.raises(ValueError, match=r"must be \[B, T, 80\], \[80\] and \[B, T\]"):
        write_qkv(*tensors, rope, num_heads=6)
    with pytest.raises(ValueError, match=r"at least the batch's 3 slots"):
        write_qkv(
            *(tensors[0].repeat(3, 1, 1), tensors[1], tensors[2].repeat(3, 1)),
            *(cache[:2] for cache in tensors[3:]),
            rope,
            num_heads=4,
        )

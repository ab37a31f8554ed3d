"""Linear layers of a few tokens with norm, SwiGLU and residual: against the formula, and compiled for GPUs."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mimo_model.kernels.norm_linear import (
    matrix_kernel,
    matrix_options,
    norm_linear,
    norm_linear_reference,
    norm_swiglu,
    norm_swiglu_reference,
    vector_kernel,
    vector_options,
)

# Of the largest output. The interpreter rounds halves up, and many rows go through three kernels that round each.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2e-2}


def _case(num_rows, size, num_outputs, dtype, *, device="cpu"):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape, scale=1.0, shift=0.0):
        return (scale * torch.randn(shape, generator=generator) + shift).to(device, dtype)

    x_ND = normal(num_rows, size, scale=3.0)
    norm_weight_D = normal(size, scale=0.2, shift=1.0)
    weight_OD = normal(num_outputs, size, scale=size**-0.5)
    return x_ND, norm_weight_D, weight_OD, normal(num_outputs), normal(num_rows, num_outputs)


def _check(found, wanted_in_float32, dtype):
    assert found.dtype == dtype
    assert found.shape == wanted_in_float32.shape
    difference = ((found.float() - wanted_in_float32).abs().max() / wanted_in_float32.abs().max()).item()
    assert difference <= TOLERANCE[dtype], difference


def _check_linear(num_rows, size, num_outputs, dtype, *, device="cpu"):
    x_ND, norm_weight_D, weight_OD, bias_O, residual_NO = _case(num_rows, size, num_outputs, dtype, device=device)
    for norm, bias, residual in (
        (norm_weight_D, bias_O, residual_NO),
        (norm_weight_D, bias_O, None),
        (None, None, residual_NO),
    ):
        wide = [None if tensor is None else tensor.float() for tensor in (norm, weight_OD, bias, residual)]
        wanted = norm_linear_reference(x_ND.float(), wide[0], 1e-5, *wide[1:])
        _check(norm_linear(x_ND, norm, 1e-5, weight_OD, bias, residual), wanted, dtype)


def _check_swiglu(num_rows, size, num_outputs, dtype, *, device="cpu"):
    x_ND, norm_weight_D, weight_ZD, _, _ = _case(num_rows, size, 2 * num_outputs, dtype, device=device)
    for norm in (norm_weight_D, None):
        wanted = norm_swiglu_reference(x_ND.float(), None if norm is None else norm.float(), 1e-5, weight_ZD.float())
        _check(norm_swiglu(x_ND, norm, 1e-5, weight_ZD), wanted, dtype)


def test_the_layer_is_norm_then_product_then_bias_and_residual():
    x_ND = torch.tensor([[3.0, 4.0]])
    norm_weight_D, weight_OD = torch.tensor([2.0, 1.0]), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    y_NO = norm_linear(
        x_ND, norm_weight_D, 0.0, weight_OD, bias_O=torch.tensor([1.0, 0.0]), residual_NO=torch.tensor([[0.0, 10.0]])
    )
    root = 12.5**0.5
    torch.testing.assert_close(y_NO, torch.tensor([[6.0 / root + 1.0, 10.0 / root + 10.0]]))


def test_the_first_half_of_the_packed_rows_is_the_gate():
    y_NF = norm_swiglu(torch.tensor([[2.0, 3.0]]), None, 0.0, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    torch.testing.assert_close(y_NF, torch.nn.functional.silu(torch.tensor([[2.0]])) * 3.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("num_rows", "size", "num_outputs"),
    [(1, 64, 7), (1, 1500, 9), (2, 96, 33), (3, 300, 16), (8, 257, 18), (9, 64, 5), (16, 512, 40), (17, 64, 8)],
)
@pytest.mark.usefixtures("interpreter")
def test_the_kernels_equal_the_formula(num_rows, size, num_outputs, dtype):
    _check_linear(num_rows, size, num_outputs, dtype)
    _check_swiglu(num_rows, size, num_outputs, dtype)


@pytest.mark.parametrize("num_rows", [1, 3])
@pytest.mark.usefixtures("interpreter")
def test_the_head_may_be_cut_to_the_known_ids_and_x_to_some_rows(num_rows):
    x_ND, norm_weight_D, weight_OD, _, _ = _case(2 * num_rows, 64, 40, torch.float32)
    x_ND = x_ND[::2]
    wanted = norm_linear_reference(x_ND, norm_weight_D, 1e-5, weight_OD)[:, :37]
    _check(norm_linear(x_ND, norm_weight_D, 1e-5, weight_OD[:37]), wanted, torch.float32)


@pytest.mark.parametrize("num_rows", [1, 2])
@pytest.mark.usefixtures("interpreter")
def test_the_operators_are_ones_that_torch_can_trace(num_rows):
    x_ND, norm_weight_D, weight_OD, bias_O, residual_NO = _case(num_rows, 32, 8, torch.float32)
    arguments = (x_ND, norm_weight_D, 1e-5, weight_OD)
    torch.library.opcheck(torch.ops.mimo.norm_linear.default, (*arguments, bias_O, residual_NO))
    torch.library.opcheck(torch.ops.mimo.norm_swiglu.default, arguments)


@pytest.mark.slow
def test_the_kernels_hold_in_the_interpreter(run_interpreted):
    assert run_interpreted(__file__) == 20


def test_they_trace_without_data():
    with FakeTensorMode():
        x_ND, norm_weight_D = torch.empty(4, 4096, dtype=torch.bfloat16), torch.empty(4096, dtype=torch.bfloat16)
        weight_OD = torch.empty(22_016, 4096, dtype=torch.bfloat16)
        y_NO = torch.ops.mimo.norm_linear(x_ND, norm_weight_D, 1e-5, weight_OD, None, None)
        y_NF = torch.ops.mimo.norm_swiglu(x_ND, norm_weight_D, 1e-5, weight_OD)
    assert y_NO.shape == (4, 22_016)
    assert y_NF.shape == (4, 11_008)


LAYERS = {
    "qkv": (4096, 6144, False),
    "o": (4096, 4096, False),
    "gate_up": (4096, 11_008, True),
    "down": (11_008, 4096, False),
    "head": (4096, 151_665, False),
}


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("layer", ["o", "gate_up", "down"])
def test_one_token_of_mimo_7b_spills_nothing_and_streams_asynchronously(compile_kernel, capability, layer):
    size, num_outputs, gated = LAYERS[layer]
    compiled = compile_kernel(
        vector_kernel,
        capability,
        x_ptr=torch.bfloat16,
        norm_weight_ptr=torch.bfloat16 if gated else None,
        weight_ptr=torch.bfloat16,
        bias_ptr=None,
        residual_ptr=None if gated else torch.bfloat16,
        y_ptr=torch.bfloat16,
        eps=1e-5,
        num_outputs=num_outputs,
        weight_stride=size,
        **vector_options(size, gated=gated),
    )
    assert (compiled.stack_bytes, compiled.num_spills) == (0, 0)
    # Three programs of 128 threads fit the registers of a processor, with 24 KiB of weights on their way each.
    assert compiled.registers <= 168
    assert compiled.shared_bytes <= 40 * 1024
    assert "LDGSTS.E.BYPASS.128" in compiled.sass


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize(("layer", "num_rows"), [("qkv", 4), ("gate_up", 8), ("down", 4), ("head", 16)])
def test_a_few_tokens_of_mimo_7b_spill_nothing_and_use_the_tensor_cores(compile_kernel, capability, layer, num_rows):
    size, num_outputs, gated = LAYERS[layer]
    compiled = compile_kernel(
        matrix_kernel,
        capability,
        x_ptr=torch.bfloat16,
        norm_weight_ptr=None if layer == "down" else torch.bfloat16,
        weight_ptr=torch.bfloat16,
        bias_ptr=None,
        residual_ptr=torch.bfloat16 if layer == "down" else None,
        y_ptr=torch.bfloat16,
        eps=1e-5,
        num_rows=num_rows,
        num_outputs=num_outputs,
        x_stride=size,
        weight_stride=size,
        residual_stride=num_outputs,
        **matrix_options(num_rows, num_outputs, size, 2, gated=gated),
    )
    assert (compiled.stack_bytes, compiled.num_spills) == (0, 0)
    assert compiled.registers <= 128
    # Two programs fit the 163 KiB of an A100.
    assert compiled.shared_bytes <= 80 * 1024
    assert "LDGSTS.E.BYPASS.128" in compiled.sass
    assert "HMMA" in compiled.sass


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("num_rows", [1, 4, 16])
def test_the_kernels_equal_the_formula_on_a_gpu(num_rows, dtype):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    _check_linear(num_rows, 4096, 6144, dtype, device="cuda")
    _check_linear(num_rows, 1100, 33, dtype, device="cuda")
    _check_swiglu(num_rows, 4096, 11_008, dtype, device="cuda")


def test_shapes_that_do_not_fit_are_named():
    x_ND, norm_weight_D, weight_OD, bias_O, residual_NO = _case(2, 8, 5, torch.float32)
    with pytest.raises(ValueError, match=r"x is \[2, 8\], the norm's weight \[4\] and the weight \[5, 8\]"):
        norm_linear(x_ND, norm_weight_D[:4], 1e-5, weight_OD)
    with pytest.raises(ValueError, match=r"The bias is \[4\], but the weight has 5 rows"):
        norm_linear(x_ND, norm_weight_D, 1e-5, weight_OD, bias_O[:4])
    with pytest.raises(ValueError, match=r"The residual is \[1, 5\]: wanted \[2, 5\]"):
        norm_linear(x_ND, norm_weight_D, 1e-5, weight_OD, None, residual_NO[:1])
    with pytest.raises(ValueError, match=r"5 rows: wanted as many for gate as for up"):
        norm_swiglu(x_ND, norm_weight_D, 1e-5, weight_OD)

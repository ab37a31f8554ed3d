"""The gated activation against float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from mimo_model.kernels import swiglu
from mimo_model.kernels.swiglu import _swiglu, _swiglu_backward, backward_kernel, forward_kernel, options

TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
CASES = [(torch.float32, (1, 96)), (torch.float32, (7, 1_500)), (torch.bfloat16, (3, 2, 1_000))]

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def check_activation(device, dtype, shape):
    """Values and gradients, of the halves of one packed tensor."""
    generator = torch.Generator().manual_seed(0)
    # Wide enough that exp(-gate) overflows float32 somewhere.
    packed = 30 * torch.randn(*shape[:-1], 2 * shape[-1], generator=generator)
    packed[..., 0] = -200.0
    gate, up = (half.requires_grad_() for half in packed.to(device, dtype).chunk(2, dim=-1))
    grad = torch.randn(shape, generator=generator).to(device, dtype)
    gate64, up64 = (half.detach().double().requires_grad_() for half in (gate, up))

    found, wanted = swiglu(gate, up), F.silu(gate64) * up64
    found = (found, *torch.autograd.grad(found, (gate, up), grad))
    wanted = (wanted, *torch.autograd.grad(wanted, (gate64, up64), grad.double()))
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == dtype
        scale = other.abs().max().item()
        torch.testing.assert_close(
            one.double(), other.detach(), rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype] * scale / 100
        )


@pytest.mark.parametrize(("dtype", "shape"), CASES)
def test_on_a_cpu_it_is_the_formula(dtype, shape):
    check_activation("cpu", dtype, shape)


@pytest.mark.slow
def test_kernels_agree_in_the_interpreter(run_interpreted):
    assert run_interpreted(__file__) >= 7


@pytest.mark.parametrize(("dtype", "shape"), CASES)
def test_kernel_is_the_formula(interpreter, dtype, shape):
    check_activation("cpu", dtype, shape)


def test_gate_and_up_of_two_dtypes_are_refused(interpreter):
    with pytest.raises(ValueError, match="one shape and dtype"):
        swiglu(torch.ones(2, 8), torch.ones(2, 8, dtype=torch.bfloat16))


def test_no_rows_give_no_rows(interpreter):
    gate = torch.ones(0, 8, requires_grad=True)
    swiglu(gate, torch.ones(0, 8)).sum().backward()
    assert gate.grad.shape == (0, 8)


def test_operator_keeps_torchs_rules(interpreter):
    gate, up = torch.randn(2, 3, 8, requires_grad=True), torch.randn(2, 3, 8, requires_grad=True)
    torch.library.opcheck(_swiglu, (gate, up))
    torch.library.opcheck(_swiglu_backward, (torch.randn(2, 3, 8), gate.detach(), up.detach()))


def test_compiles_as_one_graph(interpreter):
    gate, up = torch.randn(2, 3, 8, requires_grad=True), torch.randn(2, 3, 8, requires_grad=True)
    compiled = torch.compile(swiglu, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(gate, up), swiglu(gate, up))
    compiled(gate, up).sum().backward()
    assert up.grad.shape == (2, 3, 8)


@pytest.mark.parametrize("capability", [80, 90, 100])
def test_kernels_of_width_11008_fit_a_gpu(compile_kernel, capability):
    half, width = torch.bfloat16, 11_008
    forward = compile_kernel(
        forward_kernel,
        capability,
        gate_ptr=half,
        up_ptr=half,
        out_ptr=half,
        gate_stride=2 * width,
        up_stride=2 * width,
        **options(width),
    )
    backward = compile_kernel(
        backward_kernel,
        capability,
        grad_ptr=half,
        gate_ptr=half,
        up_ptr=half,
        grad_gate_ptr=half,
        grad_up_ptr=half,
        grad_stride=width,
        gate_stride=2 * width,
        up_stride=2 * width,
        **options(width),
    )
    for kernel in (forward, backward):
        assert (kernel.num_spills, kernel.stack_bytes) == (0, 0)
        # 32 registers let all 2,048 threads of a processor be resident; the backward does with two thirds of them.
        assert kernel.registers <= 48
        assert kernel.shared_bytes <= 1_024
        assert "LDG.E.128" in kernel.sass, "loads are not 16 bytes wide"


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 11_008), (2, 129, 11_008), (7, 1_500)])
def test_on_a_gpu_it_is_the_formula(dtype, shape):
    check_activation("cuda", dtype, shape)

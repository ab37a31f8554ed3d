"""RMSNorm against float64, and against the model's own layer."""

from __future__ import annotations

import pytest
import torch

from mimo_model.kernels import add_rms_norm, rms_norm
from mimo_model.kernels.rms_norm import (
    _add_rms_norm,
    _rms_norm,
    _rms_norm_backward,
    backward_kernel,
    backward_options,
    forward_kernel,
    forward_options,
)

EPS = 1e-5
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
CASES = [(torch.float32, (1, 96)), (torch.float32, (129, 96)), (torch.bfloat16, (7, 3, 128)), (torch.bfloat16, (5, 40))]

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def float64_norm(x, weight):
    return weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS)


def check_both_norms(device, dtype, shape):
    """Values and all gradients of both functions, against autograd in float64."""
    generator = torch.Generator().manual_seed(0)

    def normal(*size):
        return torch.randn(size, generator=generator).to(device, dtype)

    x, residual, weight = normal(*shape), normal(*shape), normal(shape[-1])
    grad_normed, grad_summed = normal(*shape), normal(*shape)
    ours = [value.clone().requires_grad_() for value in (x, residual, weight)]
    truth = [value.double().requires_grad_() for value in (x, residual, weight)]

    normed = rms_norm(ours[0], ours[2], EPS)
    wanted = float64_norm(truth[0], truth[2])
    close(dtype, normed, wanted)
    close(
        dtype,
        torch.autograd.grad(normed, (ours[0], ours[2]), grad_normed),
        torch.autograd.grad(wanted, (truth[0], truth[2]), grad_normed.double()),
    )

    normed, summed = add_rms_norm(*ours, EPS)
    wanted_sum = truth[0] + truth[1]
    wanted = float64_norm(wanted_sum, truth[2])
    close(dtype, (normed, summed), (wanted, wanted_sum))
    close(
        dtype,
        torch.autograd.grad((normed, summed), ours, (grad_normed, grad_summed)),
        torch.autograd.grad((wanted, wanted_sum), truth, (grad_normed.double(), grad_summed.double())),
    )


def close(dtype, found, wanted):
    """Within the dtype's tolerance of values that float64 gave; a sum over rows may be off in proportion."""
    tolerance = TOLERANCES[dtype]
    for one, other in zip(*((v,) if torch.is_tensor(v) else v for v in (found, wanted)), strict=True):
        assert one.dtype == dtype
        scale = max(1.0, other.abs().max().item())
        torch.testing.assert_close(one.double(), other.detach(), rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize(("dtype", "shape"), CASES)
def test_on_a_cpu_it_is_the_formula(dtype, shape):
    check_both_norms("cpu", dtype, shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_cpu_it_is_the_models_layer_to_the_bit(dtype):
    from mimo_model.model import RMSNorm

    layer = RMSNorm(96, EPS).to(dtype)
    torch.nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(1))
    x = torch.randn(7, 96, generator=torch.Generator().manual_seed(2)).to(dtype)
    assert torch.equal(rms_norm(x, layer.weight, EPS), layer(x))


@pytest.mark.slow
def test_kernels_agree_in_the_interpreter(run_interpreted):
    assert run_interpreted(__file__) >= 9


@pytest.mark.parametrize(("dtype", "shape"), CASES)
def test_kernel_is_the_formula(interpreter, dtype, shape):
    check_both_norms("cpu", dtype, shape)


def test_rows_may_be_far_apart_and_gradients_expanded(interpreter):
    packed = torch.randn(6, 2 * 40, generator=torch.Generator().manual_seed(0))
    half = packed[:, 40:].requires_grad_()
    weight = torch.linspace(0.5, 1.5, 40)
    rms_norm(half, weight, EPS).sum().backward()
    truth = packed[:, 40:].detach().double().requires_grad_()
    float64_norm(truth, weight.double()).sum().backward()
    torch.testing.assert_close(half.grad.double(), truth.grad, rtol=1e-5, atol=1e-5)


def test_weight_of_higher_precision_decides_the_result(interpreter):
    x, weight = torch.randn(3, 32).bfloat16().requires_grad_(), torch.ones(32, requires_grad=True)
    normed = rms_norm(x, weight, EPS)
    normed.sum().backward()
    assert (normed.dtype, x.grad.dtype, weight.grad.dtype) == (torch.float32, torch.bfloat16, torch.float32)


def test_residual_of_another_shape_is_refused(interpreter):
    with pytest.raises(ValueError, match="one shape and dtype"):
        add_rms_norm(torch.ones(2, 8), torch.ones(1, 8), torch.ones(8), EPS)


def test_operators_keep_torchs_rules(interpreter):
    x, residual, weight = (torch.randn(size, requires_grad=True) for size in ((4, 24), (4, 24), (24,)))
    torch.library.opcheck(_rms_norm, (x, weight, EPS))
    torch.library.opcheck(_add_rms_norm, (x, residual, weight, EPS))
    grad, summed, scale = torch.randn(4, 24), torch.randn(4, 24), torch.rand(4)
    for grad_summed in (None, grad):
        torch.library.opcheck(_rms_norm_backward, (grad, grad_summed, summed, weight.detach(), scale))


def test_compiles_as_one_graph(interpreter):
    x, residual, weight = (torch.randn(size, requires_grad=True) for size in ((4, 24), (4, 24), (24,)))
    compiled = torch.compile(add_rms_norm, fullgraph=True, backend="aot_eager")
    for found, wanted in zip(compiled(x, residual, weight, EPS), add_rms_norm(x, residual, weight, EPS), strict=True):
        assert torch.equal(found, wanted)
    sum(out.sum() for out in compiled(x, residual, weight, EPS)).backward()
    assert residual.grad.shape == (4, 24)


@pytest.mark.parametrize("capability", [80, 90, 100])
def test_kernels_of_width_4096_fit_a_gpu(compile_kernel, capability):
    half, single, width = torch.bfloat16, torch.float32, 4_096
    forward = compile_kernel(
        forward_kernel,
        capability,
        x_ptr=half,
        residual_ptr=half,
        weight_ptr=half,
        normed_ptr=half,
        summed_ptr=half,
        scale_ptr=single,
        eps=EPS,
        x_stride=width,
        residual_stride=width,
        **forward_options(width),
    )
    assert (forward.num_spills, forward.stack_bytes) == (0, 0)
    # 64 registers let all 2,048 threads of a processor be resident, with room to spare.
    assert forward.registers <= 40
    assert forward.shared_bytes <= 2_048
    backward = compile_kernel(
        backward_kernel,
        capability,
        grad_normed_ptr=half,
        grad_summed_ptr=half,
        x_ptr=half,
        weight_ptr=half,
        scale_ptr=single,
        grad_x_ptr=half,
        grad_weights_ptr=single,
        num_rows=32_768,
        x_stride=width,
        grad_normed_stride=width,
        grad_summed_stride=width,
        **backward_options(width, 2 * width),
    )
    assert (backward.num_spills, backward.stack_bytes) == (0, 0)
    # Two programs of 256 threads share a processor's 65,536 registers and its shared memory (164 KiB on sm_80).
    assert backward.registers <= 112
    assert backward.shared_bytes <= 64 * 1_024
    assert "LDGSTS" in backward.sass, "the next rows are not loaded ahead"


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 4_096), (7, 96), (2, 129, 4_096), (300, 8_192)])
def test_on_a_gpu_it_is_the_formula(dtype, shape):
    check_both_norms("cuda", dtype, shape)


@pytest.mark.gpu
@on_gpu
def test_weight_gradient_has_the_same_bits_every_time():
    x = torch.randn(5_000, 4_096, device="cuda", dtype=torch.bfloat16)
    weight = torch.ones(4_096, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    grads = [torch.autograd.grad(rms_norm(x, weight, EPS).sum(), weight)[0] for _ in range(5)]
    assert all(torch.equal(grads[0], grad) for grad in grads)


@pytest.mark.gpu
@on_gpu
def test_runs_in_a_cuda_graph():
    x, other, residual = (torch.randn(5, 4_096, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    weight = torch.randn(4_096, device="cuda", dtype=torch.bfloat16)
    wanted = add_rms_norm(other, residual, weight, EPS)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = add_rms_norm(x, residual, weight, EPS)
    x.copy_(other)
    graph.replay()
    assert all(torch.equal(one, two) for one, two in zip(found, wanted, strict=True))


@pytest.mark.gpu
@on_gpu
def test_tensors_of_a_second_gpu_run_there():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    x = torch.randn(5, 4_096, device="cuda:1")
    weight = torch.ones(4_096, device="cuda:1")
    torch.testing.assert_close(rms_norm(x, weight, EPS), rms_norm(x.cpu(), weight.cpu(), EPS).to("cuda:1"))

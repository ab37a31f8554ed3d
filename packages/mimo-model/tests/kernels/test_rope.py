"""The rotation of queries and keys against float64."""

from __future__ import annotations

import pytest
import torch

from mimo_model.kernels import rotate
from mimo_model.kernels.rope import _rotate, rotate_kernel, rotate_options
from mimo_model.rope import rope_at
from mimo_model.rope import rotate as rotate_one

TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
# Sequences, tokens, query heads, key heads, head width.
CASES = [
    (torch.float32, (1, 1, 4, 1, 2)),
    (torch.float32, (2, 7, 5, 1, 96)),
    (torch.bfloat16, (2, 3, 4, 2, 128)),
]

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def check_rotation(device, dtype, shape):
    """Values and gradients, of keys whose heads are not neighbours in memory and positions of every sequence's own."""
    num_sequences, num_tokens, num_heads, num_kv_heads, head_dim = shape
    generator = torch.Generator().manual_seed(0)

    def normal(*size):
        return torch.randn(size, generator=generator).to(device, dtype)

    q_BTHE = normal(num_sequences, num_tokens, num_heads, head_dim)
    k_BTKE = normal(num_sequences, num_kv_heads, num_tokens, head_dim).transpose(1, 2)
    positions_BT = torch.randint(0, 500, (num_sequences, num_tokens), generator=generator).to(device)
    rope = rope_at(positions_BT, theta=640_000.0, head_dim=head_dim, dtype=dtype)
    grads = (normal(*q_BTHE.shape), normal(*k_BTKE.shape))

    ours = [x.detach().requires_grad_() for x in (q_BTHE, k_BTKE)]
    truth = [x.double().requires_grad_() for x in (q_BTHE, k_BTKE)]
    rope64 = (rope[0].double(), rope[1].double())
    found = rotate(*ours, *rope)
    wanted = tuple(rotate_one(x, rope64) for x in truth)
    found += torch.autograd.grad(found, ours, grads)
    wanted += torch.autograd.grad(wanted, truth, tuple(grad.double() for grad in grads))
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == dtype
        torch.testing.assert_close(one.double(), other.detach(), rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype])


@pytest.mark.parametrize(("dtype", "shape"), CASES)
def test_on_a_cpu_it_is_the_formula(dtype, shape):
    check_rotation("cpu", dtype, shape)


@pytest.mark.slow
def test_kernel_agrees_in_the_interpreter(run_interpreted):
    assert run_interpreted(__file__) >= 7


@pytest.mark.parametrize(("dtype", "shape"), CASES)
def test_kernel_is_the_formula(interpreter, dtype, shape):
    check_rotation("cpu", dtype, shape)


def test_backward_undoes_the_forward(interpreter):
    q_BTHE = torch.randn(1, 5, 2, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rope = rope_at(torch.arange(5)[None] + 9, theta=100.0, head_dim=8, dtype=torch.float32)
    turned, _ = rotate(q_BTHE, q_BTHE.detach(), *rope)
    (back,) = torch.autograd.grad(turned, q_BTHE, turned.detach())
    torch.testing.assert_close(back, q_BTHE.detach())


def test_keys_of_another_width_are_refused(interpreter):
    rope = rope_at(torch.arange(2)[None], theta=100.0, head_dim=8, dtype=torch.float32)
    with pytest.raises(ValueError, match="E even"):
        rotate(torch.ones(1, 2, 2, 8), torch.ones(1, 2, 1, 4), *rope)


def test_operator_keeps_torchs_rules(interpreter):
    q_BTHE, k_BTKE = torch.randn(2, 3, 4, 8, requires_grad=True), torch.randn(2, 3, 2, 8, requires_grad=True)
    rope = rope_at(torch.arange(3)[None], theta=100.0, head_dim=8, dtype=torch.float32)
    torch.library.opcheck(_rotate, (q_BTHE, k_BTKE, *rope, False))


def test_compiles_as_one_graph(interpreter):
    q_BTHE, k_BTKE = torch.randn(2, 3, 4, 8, requires_grad=True), torch.randn(2, 3, 2, 8, requires_grad=True)
    rope = rope_at(torch.arange(3)[None], theta=100.0, head_dim=8, dtype=torch.float32)
    compiled = torch.compile(rotate, fullgraph=True, backend="aot_eager")
    for found, wanted in zip(compiled(q_BTHE, k_BTKE, *rope), rotate(q_BTHE, k_BTKE, *rope), strict=True):
        assert torch.equal(found, wanted)
    sum(out.sum() for out in compiled(q_BTHE, k_BTKE, *rope)).backward()
    assert k_BTKE.grad.shape == k_BTKE.shape


@pytest.mark.parametrize("capability", [80, 90, 100])
def test_kernel_of_mimos_heads_fits_a_gpu(compile_kernel, capability):
    num_tokens, num_heads, num_kv_heads, head_dim = 32_768, 32, 8, 128
    half = torch.bfloat16
    kernel = compile_kernel(
        rotate_kernel,
        capability,
        q_ptr=half,
        k_ptr=half,
        cos_ptr=half,
        sin_ptr=half,
        q_out_ptr=half,
        k_out_ptr=half,
        num_tokens=num_tokens,
        q_batch_stride=num_tokens * num_heads * head_dim,
        q_token_stride=num_heads * head_dim,
        q_head_stride=head_dim,
        k_batch_stride=num_tokens * num_kv_heads * head_dim,
        k_token_stride=num_kv_heads * head_dim,
        k_head_stride=head_dim,
        cos_batch_stride=num_tokens * head_dim,
        cos_token_stride=head_dim,
        sin_batch_stride=num_tokens * head_dim,
        sin_token_stride=head_dim,
        BACKWARD=True,
        **rotate_options(num_heads, num_kv_heads, head_dim),
    )
    assert (kernel.num_spills, kernel.stack_bytes) == (0, 0)
    # Seven programs of 128 threads share a processor's 65,536 registers.
    assert kernel.registers <= 72
    assert kernel.shared_bytes <= 4_096
    assert "LDG.E.128" in kernel.sass, "loads are not 16 bytes wide"


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1, 32, 8, 128), (2, 129, 32, 8, 128), (2, 7, 5, 1, 96)])
def test_on_a_gpu_it_is_the_formula(dtype, shape):
    check_rotation("cuda", dtype, shape)

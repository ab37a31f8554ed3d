"""The loss of a linear layer over a large vocabulary: values, gradients, and what it never allocates."""

from __future__ import annotations

import importlib
import weakref

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mimo_model.kernels import linear_cross_entropy
from mimo_model.kernels.linear_cross_entropy import (
    CHUNK_BYTES,
    DIFFERENTIATE_OPTIONS,
    TALLY_OPTIONS,
    _fused,
    _fused_backward,
    _gradients,
    _losses,
    chunk_ids,
    differentiate_kernel,
    tally_kernel,
)

# The package's attribute of this name is the function.
module = importlib.import_module("mimo_model.kernels.linear_cross_entropy")

LOSS_TOLERANCE = 1e-5
GRADIENT_TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
# Tokens, vocabulary, width, ids that take part.
CASES = [
    (torch.float32, (1, 1_000, 96, None)),
    (torch.float32, (7, 1_000, 96, 990)),
    (torch.float32, (129, 1_000, 40, None)),
    (torch.bfloat16, (129, 1_000, 96, 701)),
]

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(params=[False, True], ids=["one chunk", "four chunks"])
def chunks(request, monkeypatch):
    """With no bytes to spare a chunk is 256 ids, so that 1,000 need four."""
    if request.param:
        monkeypatch.setattr(module, "CHUNK_BYTES", 0)
        monkeypatch.setattr(module, "CPU_CHUNK_BYTES", 0)


class Allocations(TorchDispatchMode):
    """Follows the storages that come into being: the largest, and the most bytes alive at one time."""

    def __init__(self, *inputs: torch.Tensor) -> None:
        super().__init__()
        self.alive = {x.untyped_storage()._cdata: 0 for x in inputs}
        self.largest_bytes = self.peak_bytes = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor) and x.untyped_storage()._cdata not in self.alive:
                storage = x.untyped_storage()
                self.alive[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.alive.pop, storage._cdata)
                self.largest_bytes = max(self.largest_bytes, storage.nbytes())
                self.peak_bytes = max(self.peak_bytes, sum(self.alive.values()))
        return result


def check_loss(device, dtype, case):
    """Losses and both gradients against float64, with some targets ignored and every token weighted differently."""
    num_tokens, vocabulary, width, num_ids = case
    generator = torch.Generator().manual_seed(0)
    x_ND = torch.randn(num_tokens, width, generator=generator).to(device, dtype).requires_grad_()
    weight_VD = (0.5 * torch.randn(vocabulary, width, generator=generator)).to(device, dtype).requires_grad_()
    targets_N = torch.randint(0, num_ids or vocabulary, (num_tokens,), generator=generator).to(device)
    targets_N[1::3] = -100
    grads_N = torch.randn(num_tokens, generator=generator).to(device)
    truth = [value.detach().double().requires_grad_() for value in (x_ND, weight_VD)]

    losses_N = linear_cross_entropy(x_ND, weight_VD, targets_N, num_ids=num_ids)
    wanted_N = F.cross_entropy(truth[0] @ truth[1][:num_ids].T, targets_N, reduction="none")
    assert losses_N.dtype == torch.float32
    torch.testing.assert_close(losses_N.double(), wanted_N, rtol=LOSS_TOLERANCE, atol=LOSS_TOLERANCE)
    found = torch.autograd.grad(losses_N, (x_ND, weight_VD), grads_N)
    wanted = torch.autograd.grad(wanted_N, truth, grads_N.double())
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == dtype
        tolerance = GRADIENT_TOLERANCES[dtype]
        scale = other.abs().max().item()
        torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize(("dtype", "case"), CASES)
def test_on_a_cpu_it_is_the_formula(chunks, dtype, case):
    check_loss("cpu", dtype, case)


def test_gradients_on_a_cpu_are_exact(chunks):
    generator = torch.Generator().manual_seed(0)
    x_ND = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    weight_VD = torch.randn(600, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    targets_N = torch.tensor([599, -100, 0, 300])
    assert torch.autograd.gradcheck(
        lambda x, w: linear_cross_entropy(x, w[:600], targets_N), (x_ND, weight_VD), fast_mode=True
    )


def test_padded_ids_get_no_probability_and_no_gradient():
    weight_VD = torch.tensor([[0.0], [0.0], [50.0]], requires_grad=True)
    losses_N = linear_cross_entropy(torch.ones(1, 1), weight_VD, torch.tensor([0]), num_ids=2)
    losses_N.sum().backward()
    assert losses_N.tolist() == pytest.approx([0.6931472])
    assert weight_VD.grad.flatten().tolist() == pytest.approx([-0.5, 0.5, 0.0])


def test_all_ignored_is_zero_with_zero_gradients():
    x_ND, weight_VD = torch.ones(3, 2, requires_grad=True), torch.ones(5, 2, requires_grad=True)
    losses_N = linear_cross_entropy(x_ND, weight_VD, torch.full((3,), -1), ignore_index=-1)
    losses_N.sum().backward()
    assert losses_N.tolist() == [0.0, 0.0, 0.0]
    assert x_ND.grad.count_nonzero() == weight_VD.grad.count_nonzero() == 0


def test_frozen_head_gets_no_gradient_and_gradients_can_be_taken_twice():
    x_ND, weight_VD = torch.randn(3, 2, requires_grad=True), torch.randn(5, 2)
    loss = linear_cross_entropy(x_ND, weight_VD, torch.tensor([1, 2, 4])).sum()
    first, second = (torch.autograd.grad(loss, x_ND, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert first.abs().min() > 0


def test_autocast_on_a_cpu_stays_in_float32():
    generator = torch.Generator().manual_seed(0)
    x_ND = torch.randn(5, 64, generator=generator).requires_grad_()
    weight_VD = torch.randn(300, 64, generator=generator).requires_grad_()
    targets_N = torch.randint(0, 300, (5,), generator=generator)
    plain = linear_cross_entropy(x_ND, weight_VD, targets_N)
    with torch.autocast("cpu", torch.bfloat16):
        cast = linear_cross_entropy(x_ND, weight_VD, targets_N)
    assert torch.equal(plain, cast)
    assert torch.equal(*(torch.autograd.grad(losses.sum(), weight_VD)[0] for losses in (plain, cast)))


def test_neither_direction_holds_the_logits_on_a_cpu():
    num_tokens, vocabulary, width = 512, 151_680, 8
    x_ND = torch.randn(num_tokens, width, requires_grad=True)
    weight_VD = torch.randn(vocabulary, width, requires_grad=True)
    targets_N = torch.randint(0, vocabulary, (num_tokens,))
    logits_bytes = 4 * num_tokens * vocabulary
    with Allocations(x_ND, weight_VD, targets_N) as allocations:
        linear_cross_entropy(x_ND, weight_VD, targets_N).sum().backward()
    assert weight_VD.grad.abs().sum() > 0
    assert allocations.largest_bytes <= module.CPU_CHUNK_BYTES < logits_bytes / 3
    assert allocations.peak_bytes < logits_bytes / 2


def test_32768_tokens_of_mimo_take_less_than_a_gibibyte_beside_the_gradients():
    num_tokens, vocabulary, num_ids, width = 32_768, 151_680, 151_665, 4_096
    size = chunk_ids(num_tokens, num_ids, CHUNK_BYTES)

    def launch_nothing(*_arguments, **_options):
        """A kernel allocates nothing, so the walk is measured without them, on tensors that have no data."""

    with FakeTensorMode():
        x_ND = torch.empty(num_tokens, width, dtype=torch.bfloat16, device="cuda")
        weight_VD = torch.empty(vocabulary, width, dtype=torch.bfloat16, device="cuda")
        targets_N = torch.empty(num_tokens, dtype=torch.int64, device="cuda")
        log_sums_N, grads_N = torch.empty(num_tokens, device="cuda"), torch.empty(num_tokens, device="cuda")
        with Allocations(x_ND, weight_VD, targets_N) as forward:
            _losses(x_ND, weight_VD, targets_N, num_ids, size, launch_nothing)
        with Allocations(x_ND, weight_VD, targets_N, log_sums_N, grads_N) as backward:
            grad_x_ND, grad_weight_VD = _gradients(
                grads_N,
                x_ND,
                weight_VD,
                targets_N,
                log_sums_N,
                num_ids,
                size,
                launch_nothing,
                product_dtype=torch.bfloat16,
                wants_x=True,
                wants_weight=True,
            )
    assert grad_x_ND.dtype == grad_weight_VD.dtype == torch.bfloat16
    assert forward.peak_bytes <= 257 * 2**20
    assert backward.peak_bytes - grad_weight_VD.numel() * 2 <= 897 * 2**20


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((torch.ones(2, 3), torch.ones(5, 4), torch.tensor([0, 1])), r"wanted \[N, D\] and \[V, D\]"),
        ((torch.ones(2, 3), torch.ones(5, 3), torch.tensor([0])), "one for each of the 2 rows"),
        ((torch.ones(2, 3), torch.ones(5, 3), torch.tensor([0, 5])), "Target 5 is outside the vocabulary of 5 ids"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        linear_cross_entropy(*arguments)


@pytest.mark.slow
def test_kernels_agree_in_the_interpreter(run_interpreted):
    assert run_interpreted(__file__) >= 14


@pytest.mark.parametrize(("dtype", "case"), CASES)
def test_kernels_are_the_formula(interpreter, chunks, dtype, case):
    check_loss("cpu", dtype, case)


def test_kernels_give_nan_for_a_target_outside_the_vocabulary(interpreter):
    losses_N = linear_cross_entropy(torch.ones(3, 4), torch.ones(300, 4), torch.tensor([299, 300, -1]), num_ids=300)
    assert losses_N.isnan().tolist() == [False, True, True]


@pytest.mark.parametrize("targets", [[], [-100, -100]])
def test_kernels_take_nothing_to_count(interpreter, targets):
    x_ND = torch.ones(len(targets), 4, requires_grad=True)
    weight_VD = torch.ones(300, 4, requires_grad=True)
    losses_N = linear_cross_entropy(x_ND, weight_VD, torch.tensor(targets, dtype=torch.int64))
    losses_N.sum().backward()
    assert losses_N.tolist() == [0.0] * len(targets)
    assert x_ND.grad.count_nonzero() == weight_VD.grad.count_nonzero() == 0


def test_kernels_want_one_dtype_and_autocast_gives_it(interpreter):
    x_ND, weight_VD = torch.ones(2, 4, dtype=torch.bfloat16), torch.ones(300, 4, requires_grad=True)
    with pytest.raises(ValueError, match="one dtype"):
        linear_cross_entropy(x_ND, weight_VD, torch.tensor([0, 1]))
    with torch.autocast("cpu", torch.bfloat16):
        linear_cross_entropy(x_ND, weight_VD, torch.tensor([0, 1])).sum().backward()
    assert weight_VD.grad.dtype == torch.float32


def test_operator_keeps_torchs_rules(interpreter):
    x_ND, weight_VD = torch.randn(3, 8, requires_grad=True), torch.randn(70, 8, requires_grad=True)
    targets_N = torch.tensor([3, -100, 60])
    torch.library.opcheck(_fused, (x_ND, weight_VD, targets_N, 64, -100))
    saved = (torch.ones(3), x_ND.detach(), weight_VD.detach(), targets_N, torch.ones(3), 64, -100)
    for wanted in ((True, True), (True, False), (False, True)):
        torch.library.opcheck(_fused_backward, (*saved, *wanted))


def test_compiles_as_one_graph(interpreter):
    x_ND, weight_VD = torch.randn(3, 8, requires_grad=True), torch.randn(70, 8, requires_grad=True)
    targets_N = torch.tensor([3, -100, 60])
    compiled = torch.compile(linear_cross_entropy, fullgraph=True, backend="aot_eager")
    losses_N = compiled(x_ND, weight_VD, targets_N, num_ids=64)
    assert torch.equal(losses_N, linear_cross_entropy(x_ND, weight_VD, targets_N, num_ids=64))
    losses_N.sum().backward()
    assert weight_VD.grad[64:].count_nonzero() == 0 < weight_VD.grad[:64].count_nonzero()


@pytest.mark.parametrize("capability", [80, 90, 100])
def test_kernels_fit_a_gpu(compile_kernel, capability):
    single = torch.float32
    tally = compile_kernel(
        tally_kernel,
        capability,
        logits_ptr=single,
        targets_ptr=torch.int64,
        log_sums_ptr=single,
        target_logits_ptr=single,
        start=2_048,
        width=2_048,
        **TALLY_OPTIONS,
    )
    differentiate = compile_kernel(
        differentiate_kernel,
        capability,
        logits_ptr=single,
        targets_ptr=torch.int64,
        log_sums_ptr=single,
        grads_ptr=single,
        out_ptr=torch.bfloat16,
        start=2_048,
        width=2_048,
        num_blocks=2,
        **DIFFERENTIATE_OPTIONS,
    )
    for kernel in (tally, differentiate):
        assert (kernel.num_spills, kernel.stack_bytes) == (0, 0)
        assert kernel.registers <= 40
        assert kernel.shared_bytes <= 2_048
        assert "LDG.E.128" in kernel.sass, "loads are not 16 bytes wide"


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", [(1, 1_000, 96, None), (129, 1_000, 96, 701), (1_000, 20_011, 512, 20_000)])
def test_on_a_gpu_it_is_the_formula(chunks, dtype, case):
    check_loss("cuda", dtype, case)


@pytest.mark.gpu
@on_gpu
def test_offsets_pass_two_to_the_31st_on_a_gpu():
    """A chunk of 2.2 thousand million logits: the last token's is right only if its offset is 64 bits wide."""
    num_tokens, vocabulary = 16_384, 135_000
    if torch.cuda.mem_get_info()[0] < 24 * 2**30:
        pytest.skip("needs 24 GiB of free GPU memory")
    logits_NC = torch.zeros(num_tokens, vocabulary, device="cuda")
    log_sums_N = torch.full((num_tokens,), -torch.inf, device="cuda")
    target_logits_N = torch.full((num_tokens,), torch.nan, device="cuda")
    targets_N = torch.full((num_tokens,), vocabulary - 1, device="cuda")
    logits_NC[-1, -1] = 3.0
    module._tally_fused(logits_NC, targets_N, log_sums_N, target_logits_N, 0)
    assert target_logits_N[-2:].tolist() == [0.0, 3.0]
    grads_N = torch.ones(num_tokens, device="cuda")
    out_NC = torch.empty(num_tokens, vocabulary, device="cuda", dtype=torch.bfloat16)
    module._differentiate_fused(logits_NC, targets_N, log_sums_N, grads_N, 0, out=out_NC)
    assert out_NC[-1, -1].item() == pytest.approx(-1.0, abs=1e-3)


@pytest.mark.gpu
@on_gpu
def test_32768_tokens_on_a_gpu_take_less_than_a_gibibyte_beside_the_gradients():
    num_tokens, vocabulary, width = 32_768, 151_680, 4_096
    if torch.cuda.mem_get_info()[0] < 8 * 2**30:
        pytest.skip("needs 8 GiB of free GPU memory")
    x_ND = torch.randn(num_tokens, width, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    weight_VD = torch.zeros(vocabulary, width, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    targets_N = torch.randint(0, vocabulary, (num_tokens,), device="cuda")
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    losses_N = linear_cross_entropy(x_ND, weight_VD, targets_N)
    losses_N.mean().backward()
    extra_bytes = torch.cuda.max_memory_allocated() - before - 2 * vocabulary * width
    assert extra_bytes <= 2**30
    torch.testing.assert_close(losses_N.max().item(), 11.9295, rtol=1e-4, atol=0.0)


@pytest.mark.gpu
@on_gpu
def test_both_directions_run_in_a_cuda_graph(chunks):
    x_ND = torch.randn(64, 256, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    weight_VD = torch.randn(1_000, 256, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    targets_N = torch.randint(0, 1_000, (64,), device="cuda")

    def gradients():
        return torch.autograd.grad(linear_cross_entropy(x_ND, weight_VD, targets_N).mean(), (x_ND, weight_VD))

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        gradients()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = gradients()
    targets_N.copy_(torch.randint(0, 1_000, (64,), device="cuda"))
    graph.replay()
    for one, other in zip(found, gradients(), strict=True):
        torch.testing.assert_close(one, other)

"""Drafting and verification: against the sorting reference, in the interpreter and compiled for GPUs."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy.stats import chisquare
from torch._subclasses.fake_tensor import FakeTensorMode

from mimo_model.kernels.cutoff import chunk_options, maxima_kernel, search_kernel, search_options, totals_kernel
from mimo_model.kernels.verify import (
    accept_kernel,
    draft_token,
    draft_token_reference,
    emit_kernel,
    excess_kernel,
    propose_kernel,
    verify,
    verify_reference,
)

# Probabilities and log-probabilities are float32 in both; a draw may differ where u lies on a border's rounding, and a
# cutoff where top-p is a mass that some tokens have exactly: there integers are right and a float32 sum need not be.
PROBABILITY_TOLERANCE = 2e-6
LOGPROB_TOLERANCE = 2e-5
MAX_MISMATCHES_IN_1000 = 1

TEMPERATURES = (0.0, 0.6, 1.0, 1.7)
TOP_PS = (1.0, 0.95, 0.5, 0.05)
TOP_KS = (0, 1, 5, 40)


def _settings(batch_size, *, offset=0, device="cpu"):
    """Every combination of temperature, top-p and top-k in turn; seeds of either sign."""
    combinations = list(itertools.product(TEMPERATURES, TOP_PS, TOP_KS))
    chosen = [combinations[(7 * (row + offset)) % len(combinations)] for row in range(batch_size)]
    temperature_B, top_p_B, top_k_B = (torch.tensor(column, device=device) for column in zip(*chosen, strict=True))
    seed_B = torch.arange(batch_size, device=device) * 1_234_567_890_123_456_789 - 99
    positions_B = torch.arange(batch_size, device=device) % 7 + offset
    return temperature_B, top_p_B, top_k_B, seed_B, positions_B


def _logits(*shape, generator, kind, device="cpu"):
    logits = 3.0 * torch.randn(shape, generator=generator)
    if kind == "ties":
        logits = logits.mul(2).round().div(2)
    if kind == "flat":
        logits = logits * 0.0
    return logits.to(device, torch.float32 if kind == "float32" else torch.bfloat16)


def _check_drafts(logits_BV, settings, tolerance=PROBABILITY_TOLERANCE):
    proposals_BV, wanted_BV = (torch.full(logits_BV.shape, torch.nan, device=logits_BV.device) for _ in range(2))
    tokens_B = draft_token(logits_BV, *settings, proposals_BV)
    wanted_B = draft_token_reference(logits_BV, *settings, wanted_BV)
    difference = (proposals_BV - wanted_BV).abs().max().item()
    assert difference <= tolerance, difference
    return tokens_B != wanted_B


def _check_verification(logits_BTV, settings, generator):
    """Drafts from a proposal near the model's own: some are accepted, some not."""
    batch_size, num_tokens, vocab_size = logits_BTV.shape
    temperature_B, top_p_B, top_k_B, seed_B, positions_B = settings
    proposals_BKV = torch.zeros(batch_size, num_tokens - 1, vocab_size, device=logits_BTV.device)
    drafts_BK = torch.zeros(batch_size, num_tokens - 1, dtype=torch.int64, device=logits_BTV.device)
    for k in range(num_tokens - 1):
        noise_BV = torch.randn(batch_size, vocab_size, generator=generator).to(logits_BTV)
        near_BV = logits_BTV[:, k] + 1.0 * noise_BV
        drafts_BK[:, k] = draft_token_reference(
            near_BV, temperature_B, top_p_B, top_k_B, seed_B, positions_B + k, proposals_BKV[:, k]
        )
    case = (logits_BTV, drafts_BK, proposals_BKV, *settings)
    tokens_BT, num_accepted_B, logprobs_BT = verify(*case)
    wanted_tokens_BT, wanted_accepted_B, wanted_logprobs_BT = verify_reference(*case)
    means_something_BT = torch.arange(num_tokens, device=logits_BTV.device) <= wanted_accepted_B[:, None]
    is_wrong_B = (num_accepted_B != wanted_accepted_B) | ((tokens_BT != wanted_tokens_BT) & means_something_BT).any(1)
    difference_BT = (logprobs_BT - wanted_logprobs_BT).abs() * means_something_BT
    difference = difference_BT[~is_wrong_B].max().item()
    assert difference <= LOGPROB_TOLERANCE, difference
    return is_wrong_B, wanted_accepted_B


@pytest.mark.parametrize(
    ("vocab_size", "kind", "num_rows"),
    [(11, "float32", 10), (11, "flat", 4), (300, "bfloat16", 4), (150, "ties", 6), (501, "flat", 2)],
)
@pytest.mark.usefixtures("interpreter")
def test_a_draft_is_the_token_that_sorting_gives_and_its_proposal_the_same(vocab_size, kind, num_rows):
    generator = torch.Generator().manual_seed(vocab_size)
    logits_BV = _logits(num_rows, vocab_size, generator=generator, kind=kind)
    is_wrong_B = _check_drafts(logits_BV, _settings(num_rows, offset=vocab_size))
    assert is_wrong_B.sum() * 1000 <= MAX_MISMATCHES_IN_1000 * num_rows


@pytest.mark.parametrize(
    ("num_drafts", "vocab_size", "kind", "num_rows"),
    [(0, 130, "float32", 3), (1, 60, "bfloat16", 6), (1, 100, "ties", 5), (3, 60, "float32", 5), (2, 70, "ties", 3)],
)
@pytest.mark.usefixtures("interpreter")
def test_verification_accepts_and_draws_what_the_reference_does(num_drafts, vocab_size, kind, num_rows):
    generator = torch.Generator().manual_seed(num_drafts)
    logits_BTV = _logits(num_rows, num_drafts + 1, vocab_size, generator=generator, kind=kind)
    is_wrong_B, num_accepted_B = _check_verification(logits_BTV, _settings(num_rows, offset=num_drafts), generator)
    assert is_wrong_B.sum() * 1000 <= MAX_MISMATCHES_IN_1000 * num_rows
    assert num_drafts == 0 or len(set(num_accepted_B.tolist())) > 1


@pytest.mark.parametrize("restricted_by", ["nothing", "top_p", "top_k"])
@pytest.mark.usefixtures("interpreter")
def test_settings_that_no_request_has_may_be_left_out(restricted_by):
    generator = torch.Generator().manual_seed(0)
    logits_BV = _logits(8, 100, generator=generator, kind="ties")
    temperature_B, top_p_B, top_k_B, seed_B, positions_B = _settings(8)
    settings = (
        temperature_B,
        top_p_B if restricted_by == "top_p" else None,
        top_k_B if restricted_by == "top_k" else None,
        seed_B,
        positions_B,
    )
    assert not _check_drafts(logits_BV, settings).any()


@pytest.mark.usefixtures("interpreter")
def test_logits_and_proposals_may_be_parts_of_larger_tensors():
    generator = torch.Generator().manual_seed(0)
    logits_BTV = _logits(4, 3, 80, generator=generator, kind="bfloat16")
    proposals_BKV = torch.full((4, 2, 70), torch.nan)
    settings = _settings(4)
    tokens_B = draft_token(logits_BTV[:, 1, :70], *settings, proposals_BKV[:, 1])
    assert torch.equal(tokens_B, draft_token_reference(logits_BTV[:, 1, :70], *settings, torch.empty(4, 70)))
    assert proposals_BKV[:, 0].isnan().all()
    assert not proposals_BKV[:, 1].isnan().any()


@pytest.mark.usefixtures("interpreter")
def test_greedy_takes_the_first_of_equals_zeros_of_either_sign_among_them():
    logits_BV = torch.full((1, 130), -1.0)
    logits_BV[0, 70] = -0.0
    logits_BV[0, 129] = 0.0
    settings = (torch.zeros(1), None, None, torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    assert draft_token(logits_BV, *settings, torch.empty(1, 130)).tolist() == [70]


@pytest.mark.usefixtures("interpreter")
def test_a_rejection_between_equal_distributions_draws_from_them():
    # A proposal that is larger everywhere leaves no excess, as rounding may.
    logits_BTV = torch.zeros(3, 2, 20)
    proposals_BKV = torch.full((3, 1, 20), 0.9)
    settings = (torch.ones(3), None, None, torch.tensor([1, 2, 3]), torch.zeros(3, dtype=torch.int64))
    case = (logits_BTV, torch.full((3, 1), 4), proposals_BKV, *settings)
    tokens_BT, num_accepted_B, _ = verify(*case)
    wanted_BT, wanted_B, _ = verify_reference(*case)
    assert 0 in wanted_B
    assert torch.equal(num_accepted_B, wanted_B)
    assert torch.equal(tokens_BT, wanted_BT)


@pytest.mark.usefixtures("interpreter")
def test_the_operators_are_ones_that_torch_can_trace():
    logits_BTV = _logits(2, 2, 40, generator=torch.Generator().manual_seed(0), kind="float32")
    settings = (torch.ones(2), torch.full((2,), 0.9), None, torch.tensor([1, 2]), torch.tensor([3, 4]))
    proposals_BKV = torch.full((2, 1, 40), 1 / 40)
    drafts_BK = torch.tensor([[3], [4]])
    torch.library.opcheck(torch.ops.mimo.draft_token.default, (logits_BTV[:, 0], *settings, torch.empty(2, 40)))
    torch.library.opcheck(torch.ops.mimo.verify.default, (logits_BTV, drafts_BK, proposals_BKV, *settings))


@pytest.mark.slow
def test_the_kernels_hold_in_the_interpreter(run_interpreted):
    assert run_interpreted(__file__) == 17


def test_they_trace_without_data():
    with FakeTensorMode():
        logits_BTV = torch.empty(4, 4, 151_665, dtype=torch.bfloat16)
        proposals_BKV = torch.empty(4, 3, 151_665)
        settings = (*torch.empty(2, 4), *torch.empty(3, 4, dtype=torch.int64))
        tokens_B = torch.ops.mimo.draft_token(logits_BTV[:, 0], *settings, proposals_BKV[:, 0])
        drafts_BK = torch.empty(4, 3, dtype=torch.int64)
        tokens_BT, num_accepted_B, logprobs_BT = torch.ops.mimo.verify(logits_BTV, drafts_BK, proposals_BKV, *settings)
    assert (tokens_B.shape, num_accepted_B.shape) == ((4,), (4,))
    assert (tokens_BT.shape, logprobs_BT.shape) == ((4, 4), (4, 4))
    assert logprobs_BT.dtype == torch.float32


def _p_value_of_two_tokens(num_samples, *, temperature, top_p, top_k, device="cpu"):
    """Chi-square of the first two tokens that drafting and verification bring, against the distribution of each."""
    generator = torch.Generator().manual_seed(5)
    vocab_size = 9
    first_V, draft_V, second_VV = (
        torch.randn(*shape, vocab_size, generator=generator).to(device) for shape in ((), (), (vocab_size,))
    )

    def fill(value, dtype):
        return torch.full((num_samples,), value, dtype=dtype, device=device)

    settings = (
        fill(temperature, torch.float32),
        fill(top_p, torch.float32),
        fill(top_k, torch.int64),
        torch.arange(num_samples, device=device),
        fill(3, torch.int64),
    )
    proposals_BKV = torch.empty(num_samples, 1, vocab_size, device=device)
    drafts_B = draft_token(draft_V.expand(num_samples, -1), *settings, proposals_BKV[:, 0])
    logits_BTV = torch.stack((first_V.expand(num_samples, -1), second_VV[drafts_B]), dim=1)
    tokens_BT, num_accepted_B, _ = verify(logits_BTV, drafts_B[:, None], proposals_BKV, *settings)
    exact = torch.empty(1 + vocab_size, vocab_size, device=device)
    one_setting = [setting[:1].expand(1 + vocab_size).contiguous() for setting in settings]
    draft_token_reference(torch.cat((first_V[None], second_VV)), *one_setting, exact)
    p_values = []
    # The second token exists where the draft was accepted; then its distribution is that after the draft.
    for given, tokens in [(exact[0], tokens_BT[:, 0])] + [
        (exact[1 + draft], tokens_BT[(num_accepted_B == 1) & (drafts_B == draft), 1])
        for draft in exact[0].nonzero()[:, 0].tolist()
    ]:
        counts = tokens.bincount(minlength=vocab_size).cpu()
        kept = (given > 0).cpu()
        assert counts[~kept].sum() == 0
        if len(tokens) > 500 and kept.sum() > 1:
            expected = (given.cpu().double() * len(tokens))[kept]
            p_values.append(chisquare(counts[kept], expected * counts.sum() / expected.sum()).pvalue)
    return min(p_values) * len(p_values)


@pytest.mark.parametrize(("temperature", "top_p", "top_k"), [(1.0, 1.0, 0), (0.6, 0.95, 0), (1.3, 0.8, 6)])
def test_tokens_are_distributed_as_the_model_says_whatever_drafted_them(temperature, top_p, top_k):
    assert _p_value_of_two_tokens(200_000, temperature=temperature, top_p=top_p, top_k=top_k) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 100])
def test_at_the_vocabulary_of_mimo_7b_nothing_spills(compile_kernel, capability):
    vocab_size, num_chunks = 151_665, 149
    logits = {
        "logits_ptr": torch.bfloat16,
        "records_ptr": torch.int64,
        "vocab_size": vocab_size,
        "num_chunks": num_chunks,
        "logits_batch_stride": 4 * vocab_size,
    }
    rows = {
        **logits,
        "maxima_ptr": torch.float32,
        "num_tokens": 4,
        "logits_token_stride": vocab_size,
    }
    settings = {"temperature_ptr": torch.float32, "top_k_ptr": torch.int64, "top_p_ptr": torch.float32}
    draws = {
        **logits,
        "totals_ptr": torch.int64,
        "temperature_ptr": torch.float32,
        "proposals_ptr": torch.float32,
        "proposals_batch_stride": 3 * vocab_size,
        "CHUNKS_BLOCK": 256,
        **chunk_options(vocab_size),
    }
    verification = {
        **draws,
        "num_accepted_ptr": torch.int64,
        "logits_token_stride": vocab_size,
        "proposals_token_stride": vocab_size,
        "NUM_DRAFTS": 3,
    }
    places = {"seed_ptr": torch.int64, "positions_ptr": torch.int64, "tokens_ptr": torch.int64}
    outcome = {**places, "logprobs_ptr": torch.float32}
    search = {**rows, **settings, **search_options(vocab_size), "HAS_TOP_K": True, "PASS": 3}
    limits = {"HAS_TOP_K": True, "HAS_TOP_P": True}
    for kernel, max_registers, arguments in (
        (maxima_kernel, 48, {**rows, **chunk_options(vocab_size)}),
        (search_kernel, 168, {**search, "BY_COUNT": True}),
        (search_kernel, 128, {**search, "BY_COUNT": False}),
        (totals_kernel, 64, {**rows, **settings, "totals_ptr": torch.int64, **limits, **chunk_options(vocab_size)}),
        (propose_kernel, 128, {**draws, **places}),
        (accept_kernel, 128, {**verification, **outcome, "drafts_ptr": torch.int64, "drafts_batch_stride": 3}),
        (excess_kernel, 96, {**verification, "excess_ptr": torch.int64}),
        (emit_kernel, 128, {**verification, **outcome, "excess_ptr": torch.int64}),
    ):
        compiled = compile_kernel(kernel, capability, **arguments)
        assert (compiled.stack_bytes, compiled.num_spills) == (0, 0), kernel
        assert compiled.registers <= max_registers, (kernel, compiled.registers)
        assert compiled.shared_bytes <= 4096, (kernel, compiled.shared_bytes)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "ties"])
def test_the_kernels_agree_with_the_reference_on_a_gpu(kind):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    generator = torch.Generator().manual_seed(0)
    # The reference's float32 sums over 151,665 tokens may miss top-p's cutoff by a token, and a border by more than one
    # in a thousand draws.
    for vocab_size, tolerance, max_wrong in ((1_000, PROBABILITY_TOLERANCE, 1), (151_665, 5e-5, 5)):
        settings = _settings(128, device="cuda")
        logits_BTV = _logits(128, 4, vocab_size, generator=generator, kind=kind, device="cuda")
        assert _check_drafts(logits_BTV[:, 0], settings, tolerance).sum() <= max_wrong
        assert _check_verification(logits_BTV, settings, generator)[0].sum() <= max_wrong


@pytest.mark.gpu
@pytest.mark.parametrize(("temperature", "top_p", "top_k"), [(1.0, 1.0, 0), (0.6, 0.95, 0), (1.3, 0.8, 6)])
def test_tokens_are_distributed_as_the_model_says_on_a_gpu(temperature, top_p, top_k):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert _p_value_of_two_tokens(50_000, temperature=temperature, top_p=top_p, top_k=top_k, device="cuda") > 1e-3


def test_shapes_and_types_that_do_not_fit_are_named():
    settings = _settings(2)
    logits_BTV = torch.zeros(2, 2, 5)
    with pytest.raises(ValueError, match=r"seed_B is torch.int64 \[3\]: wanted torch.int64, one per row"):
        draft_token(logits_BTV[:, 0], *settings[:3], torch.zeros(3, dtype=torch.int64), settings[4], torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"proposals_BV is torch.float64 \[2, 5\]: wanted float32 \[2, 5\]"):
        draft_token(logits_BTV[:, 0], *settings, torch.zeros(2, 5, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"wanted \[B, K \+ 1, V\], \[B, K\] and \[B, K, V\]"):
        verify(logits_BTV, torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2, 1, 5), *settings)

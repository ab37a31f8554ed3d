from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimo_train import Optimizer, Trainer, loss
from mimo_train.loss import IGNORED, TokenBatch, backward_batch, next_token_targets

X = IGNORED
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 3e-2}


def batch_of(tokens, document_ids, trained=None):
    return TokenBatch(
        torch.tensor([tokens]),
        torch.tensor([document_ids]),
        None if trained is None else torch.tensor([trained], dtype=torch.bool),
    )


# Two documents, 5 6 7 <end = 9> and 1 2 9, then the first tokens of a third.
DOCUMENTS = batch_of([5, 6, 7, 9, 1, 2, 9, 3, 4], [0, 0, 0, 0, 1, 1, 1, 2, 2])


@pytest.mark.parametrize(
    ("num_ahead", "targets"),
    [
        (1, [6, 7, 9, X, 2, 9, X, 4]),
        (2, [7, 9, X, X, 9, X, X, X]),
        (3, [9, X, X, X, X, X, X, X]),
        (4, [X, X, X, X, X, X, X, X]),
    ],
)
def test_targets_stay_within_their_document(num_ahead, targets):
    assert next_token_targets(DOCUMENTS, num_ahead).tolist() == [targets]


@pytest.mark.parametrize(("num_ahead", "targets"), [(1, [X, 7, 8, X, 4]), (2, [7, 8, X, X, X])])
def test_only_trained_tokens_are_targets(num_ahead, targets):
    batch = batch_of([5, 6, 7, 8, 3, 4], [0, 0, 0, 0, 1, 1], trained=[0, 0, 1, 1, 0, 1])
    assert next_token_targets(batch, num_ahead).tolist() == [targets]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(1, 4))
def test_targets_are_those_of_a_loop_over_positions(lengths, num_ahead):
    document_ids = [i for i, length in enumerate(lengths) for _ in range(length)] + [len(lengths)]
    tokens = list(range(100, 100 + len(document_ids)))
    expected = []
    for i in range(len(tokens) - 1):
        j = i + num_ahead
        expected.append(tokens[j] if j < len(tokens) and document_ids[j] == document_ids[i] else X)
    assert next_token_targets(batch_of(tokens, document_ids), num_ahead).tolist() == [expected]


def random_batch(num_sequences, seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 256, (num_sequences, 25), generator=generator)
    starts = torch.rand(num_sequences, 25, generator=generator) < 0.2
    return TokenBatch(tokens, starts.long().cumsum(1))


def naive_losses(network, batch):
    """-log p of each target, document by document and token by token, with no packing at all."""
    sums, counts = [0.0, 0.0], [0, 0]
    for tokens, document_ids in zip(batch.tokens, batch.document_ids, strict=True):
        for document_id in document_ids.unique():
            document = tokens[document_ids == document_id][None]
            output = network(input_ids=document, num_mtp_layers=1)
            for head, logits in enumerate((output.logits, output.mtp_logits[0])):
                for i in range(document.shape[1] - 1 - head):
                    sums[head] -= float(logits[0, i].double().log_softmax(-1)[document[0, i + 1 + head]])
                    counts[head] += 1
    return [s / c for s, c in zip(sums, counts, strict=True)]


@torch.no_grad()
def test_the_losses_equal_plain_cross_entropy_of_each_document_alone(network):
    batch = random_batch(3, seed=0)
    expected = naive_losses(network, batch)

    class Recorder(Trainer):
        def backward(self, loss):
            self.loss = float(loss)

    recorder = Recorder(network, Optimizer())
    losses = backward_batch(recorder, batch, weights=[1.0, 0.3], micro_sequences=None, bfloat16=False)
    assert [losses.main, *losses.mtp] == pytest.approx(expected, abs=TOLERANCES[torch.float32])
    assert recorder.loss == pytest.approx(expected[0] + 0.3 * expected[1], abs=TOLERANCES[torch.float32])


def gradients(network, batch, **options):
    network.zero_grad()
    losses = backward_batch(Trainer(network, Optimizer()), batch, weights=[1.0, 0.3], **options)
    return losses, {name: p.grad.clone() for name, p in network.named_parameters()}


@pytest.mark.parametrize("micro_sequences", [1, 2, 3, 5, 9])
def test_micro_batches_give_the_gradient_of_the_whole_batch(network, micro_sequences):
    batch = random_batch(5, seed=1)
    whole, expected = gradients(network, batch, micro_sequences=None, bfloat16=False)
    losses, found = gradients(network, batch, micro_sequences=micro_sequences, bfloat16=False)
    assert losses.main == pytest.approx(whole.main, abs=TOLERANCES[torch.float32])
    worst = max(float((found[name] - expected[name]).abs().max()) for name in expected)
    assert worst < TOLERANCES[torch.float32], f"largest difference {worst}"


@pytest.mark.parametrize("bfloat16", [False, True])
def test_losses_and_gradients_without_logits_are_those_with_them(network, monkeypatch, bfloat16):
    batch = random_batch(5, seed=1)
    losses, expected = gradients(network, batch, micro_sequences=2, bfloat16=bfloat16)
    monkeypatch.setattr(loss, "_DEVICES_WITHOUT_LOGITS", {"cpu"})
    found_losses, found = gradients(network, batch, micro_sequences=2, bfloat16=bfloat16)
    tolerance = TOLERANCES[torch.bfloat16 if bfloat16 else torch.float32]
    assert found_losses.main == pytest.approx(losses.main, abs=tolerance)
    assert found_losses.mtp == pytest.approx(losses.mtp, abs=tolerance)
    worst = max(float((found[name] - expected[name]).abs().max()) for name in expected)
    assert worst < tolerance, f"largest difference {worst}"


def test_bfloat16_products_change_the_loss_by_rounding_only(network):
    batch = random_batch(4, seed=2)
    exact, _ = gradients(network, batch, micro_sequences=None, bfloat16=False)
    rounded, _ = gradients(network, batch, micro_sequences=None, bfloat16=True)
    assert rounded.main == pytest.approx(exact.main, abs=TOLERANCES[torch.bfloat16])


def test_a_head_without_a_target_has_no_loss_and_breaks_nothing(network):
    batch = batch_of([1, 2, 3, 4], [0, 0, 1, 1])  # the MTP layer would need documents of three tokens
    trainer = Trainer(network, Optimizer())
    losses = backward_batch(trainer, batch, weights=[1.0, 0.3], micro_sequences=None, bfloat16=False)
    assert losses.main is not None
    assert losses.mtp == (None,)
    assert trainer.step(1e-3) > 0

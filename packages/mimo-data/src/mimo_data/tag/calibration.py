"""Do probabilities mean what they say: the scale and shifts of a head's logits, and the error before and after.

The domain has temperature scaling (Guo et al. 2017, arXiv 1706.04599). A score's logits are shifted, too (Platt 1999):
a student meets strangers with fewer features that it knows, leans towards its bias, and would call little junk.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from mimo_data.tag.checkpoint import HeadCalibration
from mimo_data.tag.heads import Heads

_NUM_BINS = 10
_MAX_ITERATIONS = 60


def calibrate(heads: Heads, name: str, logits: Tensor, wanted: Tensor, folds: Tensor) -> HeadCalibration:
    """The scale and shifts at which held-out labels are likeliest.

    Args:
        logits: float [documents, logits of the head], each from a model that has not seen the document's site.
        wanted: int64 [documents], the number of each one's answer.
        folds: int64 [documents], by which model.
    """
    before = heads.probabilities(name, logits)
    after = before.clone()
    for fold in set(folds.tolist()):
        inside = folds == fold
        if not inside.all():
            after[inside] = heads.probabilities(
                name, _apply(logits[inside], *_fit(heads, name, logits[~inside], wanted[~inside]))
            )
    scale, shifts = _fit(heads, name, logits, wanted)
    return HeadCalibration(
        scale=round(float(scale), 5),
        shifts=tuple(round(shift, 5) for shift in shifts.tolist()),
        num_documents=len(wanted),
        accuracy=round(float((heads.choices(name, after) == wanted).float().mean()), 4),
        error_before=round(expected_calibration_error(before, heads.choices(name, before), wanted), 4),
        error_after=round(expected_calibration_error(after, heads.choices(name, after), wanted), 4),
    )


def calibrated(logits: Tensor, head: HeadCalibration) -> Tensor:
    """A head's logits with its scale and shifts."""
    return _apply(logits, torch.tensor(head.scale), torch.tensor(head.shifts))


def expected_calibration_error(probabilities: Tensor, choices: Tensor, wanted: Tensor) -> float:
    """Mean distance, over ten bins of confidence weighted by their documents, between confidence and accuracy."""
    confidence = probabilities.gather(1, choices[:, None]).squeeze(1)
    right = (choices == wanted).float()
    bins = (confidence * _NUM_BINS).long().clamp(max=_NUM_BINS - 1)
    error = 0.0
    for number in range(_NUM_BINS):
        inside = bins == number
        if inside.any():
            error += float(inside.float().mean() * (confidence[inside].mean() - right[inside].mean()).abs())
    return error


def _apply(logits: Tensor, scale: Tensor, shifts: Tensor) -> Tensor:
    return logits * scale + shifts


def _fit(heads: Heads, name: str, logits: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Newton-like minimisation of the loss; labels are softened as by Platt, so that no perfect split runs away."""
    log_scale = torch.zeros((), requires_grad=True)
    shifts = torch.zeros(logits.shape[1], requires_grad=name != "domain")
    softness = 1 / (len(wanted) + 2)
    parameters = [value for value in (log_scale, shifts) if value.requires_grad]
    optimiser = torch.optim.LBFGS(parameters, max_iter=_MAX_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        scaled = _apply(logits, log_scale.exp(), shifts)
        if name == "domain":
            value = cross_entropy(scaled, wanted, label_smoothing=softness)
        else:
            reached = (wanted[:, None] >= torch.arange(1, logits.shape[1] + 1)).float()
            value = binary_cross_entropy_with_logits(scaled, reached * (1 - 2 * softness) + softness)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return log_scale.detach().exp(), shifts.detach()

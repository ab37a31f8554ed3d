"""Several answers from one classifier: its logits are shared out to the questions of the card.

The domain has a logit a label. A score of L levels has L - 1 logits, the k-th for "at least level k", so that being
wrong by two levels costs more than by one. One layer holds them all: any Hugging Face sequence classifier can be
the student.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, pad

from mimo_data.tag.card import LabelCard

_MISSING = -1


class Heads:
    """The layout of the logits for one card.

    Attributes:
        answers: possible values by tag, in the order of the logits.
        logit_names: what each logit stands for, such as `domain: code` and `quality >= 2`.
        columns: which logits are whose.
    """

    def __init__(self, card: LabelCard) -> None:
        self.answers = card.answers
        self.logit_names: list[str] = []
        self.columns: dict[str, slice] = {}
        for name, values in self.answers.items():
            start = len(self.logit_names)
            if name == "domain":
                self.logit_names += [f"domain: {value}" for value in values]
            else:
                self.logit_names += [f"{name} >= {value}" for value in values[1:]]
            self.columns[name] = slice(start, len(self.logit_names))

    def targets(self, tags: Mapping[str, str]) -> list[int]:
        """The number of each answer, -1 where the document has none."""
        return [values.index(tags[name]) if name in tags else _MISSING for name, values in self.answers.items()]

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean over the heads that have labels of the mean cross entropy over their labelled documents.

        Args:
            logits: float [documents, logits].
            targets: int64 [documents, heads], as `targets` gives them.
        """
        losses = []
        for column, (name, values) in enumerate(self.answers.items()):
            known = targets[:, column] != _MISSING
            if not known.any():
                continue
            found, wanted = logits[known, self.columns[name]], targets[known, column]
            if name == "domain":
                losses.append(cross_entropy(found, wanted))
            else:
                reached = wanted[:, None] >= torch.arange(1, len(values), device=wanted.device)
                losses.append(binary_cross_entropy_with_logits(found, reached.to(found.dtype)))
        return torch.stack(losses).mean()

    def probabilities(self, name: str, logits: Tensor) -> Tensor:
        """float [documents, answers], from one head's logits: how probable each answer is; rows sum to one."""
        if name == "domain":
            return logits.softmax(1)
        # Being at least level k + 1 is never likelier than being at least level k, whatever the logits say.
        reached, _ = logits.sigmoid().cummin(1)
        reached = pad(pad(reached, (1, 0), value=1.0), (0, 1), value=0.0)
        return reached[:, :-1] - reached[:, 1:]

    def choices(self, name: str, probabilities: Tensor) -> Tensor:
        """int64 [documents]: the most probable domain, or the median level of a score."""
        if name == "domain":
            return probabilities.argmax(1)
        return (probabilities.cumsum(1) < 0.5).sum(1).clamp(max=probabilities.shape[1] - 1)

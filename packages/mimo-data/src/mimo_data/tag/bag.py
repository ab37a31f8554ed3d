"""The student that is trained from nothing: a bag of tokens, pairs and shapes, as a Hugging Face classifier.

A few hundred labelled documents do not train a transformer; they do train this linear model, in seconds on one core.
Tokens and pairs know the subject, but only what they have met; shapes (line ends, indentation, operators, digits:
which kinds of token follow one another, and how often) carry over to sites that it has never seen. With more labels,
fine-tune a pretrained base instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, normalize, pad
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.modeling_outputs import SequenceClassifierOutput

_VOCABULARY = 8192
_PAIR_BUCKETS = 1 << 14
_PAD = "<pad>"
# Odd multipliers of two tokens' ids in the hash of their pair.
_FIRST, _SECOND = 0x9E3779B1, 0x85EBCA6B
# The signs that a token's first one is looked for in; what is in none of them is the last shape.
_SIGNS = (".!?", ",;:'\"", "0123456789", "$\\^_={}+<>", "()[]`#*-|/")
_NUM_SHAPES = len(_SIGNS) + 5


class BagConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """What a bag classifier is built from."""

    model_type = "mimo_bag"

    def __init__(self, token_shapes: Sequence[int] = (0,), num_pair_buckets: int = _PAIR_BUCKETS, **rest: Any) -> None:
        super().__init__(**rest)
        self.token_shapes = list(token_shapes)
        self.num_pair_buckets = num_pair_buckets

    @property
    def vocab_size(self) -> int:
        return len(self.token_shapes)


class BagForSequenceClassification(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Logits of a window: a sum of rows, weighted by the window's two unit vectors.

    The first has a part for each distinct token and pair, counted once however often it occurs: what a text consists of
    says more than what it repeats. The second has the root of each share of three shapes in a row.
    """

    config_class = BagConfig

    def __init__(self, config: BagConfig) -> None:
        super().__init__(config)
        num_logits = len(config.id2label or {})
        self._shape_start = config.vocab_size + config.num_pair_buckets
        self.rows = nn.Embedding(self._shape_start + _NUM_SHAPES**3, num_logits)
        self.bias = nn.Parameter(torch.zeros(num_logits))
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.zeros_(module.weight)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput:
        """Logits [B, labels] of windows [B, T], padded on the right."""
        present = attention_mask.bool()
        pairs = ((input_ids[:, :-1] * _FIRST + input_ids[:, 1:] * _SECOND) >> 7) & 0x7FFFFFFF
        pairs = self.config.vocab_size + pairs % self.config.num_pair_buckets
        distinct, count = _counts(torch.cat([input_ids, pairs], 1), torch.cat([present, present[:, 1:]], 1))
        logits = self._sum(distinct, (count > 0).float())
        shapes = torch.tensor(self.config.token_shapes, device=input_ids.device)[input_ids]
        shapes = pad(shapes, (0, 2))
        triples = (shapes[:, :-2] * _NUM_SHAPES + shapes[:, 1:-1]) * _NUM_SHAPES + shapes[:, 2:]
        triples, count = _counts(triples + self._shape_start, pad(present, (0, 2))[:, 2:])
        logits = logits + self._sum(triples, count.sqrt()) + self.bias
        return SequenceClassifierOutput(logits=logits)  # type: ignore[arg-type]

    def _sum(self, rows: Tensor, weights: Tensor) -> Tensor:
        weights = normalize(weights, dim=1).to(self.rows.weight)
        return embedding_bag(rows, self.rows.weight, per_sample_weights=weights, mode="sum")


def _counts(rows: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Both [B, T]: the rows sorted, and at the first of equal ones how many they are, elsewhere 0."""
    ordered, _ = rows.masked_fill(~present, -1).sort(1)
    first = ordered != pad(ordered[:, :-1], (1, 0), value=-2)
    run = first.cumsum(1) - 1
    sizes = torch.zeros_like(ordered).scatter_add_(1, run, torch.ones_like(ordered))
    counts = torch.where(first & (ordered >= 0), sizes.gather(1, run), 0)
    return ordered.clamp(min=0), counts.float()


def new_student(
    texts: Iterable[str], logit_names: Sequence[str], window_tokens: int
) -> tuple[BagForSequenceClassification, PreTrainedTokenizerBase]:
    """An untrained classifier, and a byte-level BPE of these texts, lower-cased, with single digits."""
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[_PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer=trainer)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=made, pad_token=_PAD, padding_side="right", model_max_length=window_tokens
    )
    config = BagConfig(
        token_shapes=[_shape(made.decode([number])) for number in range(made.get_vocab_size())],
        id2label=dict(enumerate(logit_names)),
        label2id={name: number for number, name in enumerate(logit_names)},
        pad_token_id=tokenizer.pad_token_id,
    )
    return BagForSequenceClassification(config), tokenizer


def _shape(token: str) -> int:
    """The kind of a token: by a line end in it, else by its first sign that is not a space."""
    if "\n" in token:
        return 0
    if not token.strip():
        return 1
    sign = token.strip()[0]
    for number, signs in enumerate(_SIGNS, start=2):
        if sign in signs:
            return number
    if sign.isalpha():
        return _NUM_SHAPES - 3 if token[0].isspace() else _NUM_SHAPES - 2
    return _NUM_SHAPES - 1


# Loading by the Auto classes works from here on: importing this module is all that it takes.
AutoConfig.register(BagConfig.model_type, BagConfig)
AutoModelForSequenceClassification.register(BagConfig, BagForSequenceClassification)

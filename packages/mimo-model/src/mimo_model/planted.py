"""A checkpoint whose weights are set by hand, so that the acceptance of each MTP layer is known beforehand (§2.2).

A wrong MTP wiring fails silently: the text stays right, only fewer drafts are accepted. Here every fact about the
wiring carries the whole outcome. Any other wiring, in this package or in another engine, accepts next to nothing.

A token is a pair (a, b) of numbers below 16, its id 16 a + b, and the main model continues (a, b) with
(a + 1, 5 b + 3): a *chain*, which comes back to its start after 16 tokens and meets every b once. Layer k drafts
x_{i+k+1} in halves:

- its a from h_i, k + 1 steps on. An embedding in the place of h_i, or a layer below's output, is at another step
  (**[hidden, embedding]**, **parallel layers**).
- The model's final norm turns the sign of the channels that hold a. After it, the right a scores lowest
  (**before the final norm**).
- its b from embed(x_{i+k}), one step on, but wrong for as many b as the wanted acceptance leaves out.
- Its attention looks for the one place without an embedding, where there is nothing to read. If there is none, it
  reads the end-of-text token everywhere, which drowns the draft (**zero at the first position**).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerBase

from mimo_model.config import MiMoConfig
from mimo_model.initialize import byte_level_tokenizer
from mimo_model.model import MiMoForCausalLM, MTPLayer

NUM_PARTS = 16
"""Values of a, and of b; also the length of a chain's cycle."""

_HEAD_DIM = 32  # the narrowest that vLLM serves
_LEAST_HIDDEN_SIZE = 64

# Channels of the hidden state: one per a, one per b, one that every embedding has, one that says end-of-text.
_A = torch.arange(NUM_PARTS)
_B = _A + NUM_PARTS
_PRESENT = 2 * NUM_PARTS
_END = _PRESENT + 1

# In logits: the right token leads every other by about 18, so that sampling at temperature 1 stays on the chain.
_HEAD_SCALE = 4.0
_ATTENTION_SCALE = 7.0
_READ_SCALE = 4.0


def plant(
    acceptances: Sequence[float] = (0.875, 0.75, 0.625),
    *,
    num_layers: int | None = None,
    hidden_size: int = _LEAST_HIDDEN_SIZE,
) -> tuple[MiMoForCausalLM, PreTrainedTokenizerBase]:
    """The model, with one MTP layer per given acceptance, and its tokenizer of one id per byte.

    On a chain (see `chain`), layer k's drafts from the true tokens before are right in exactly the given share of
    every 16 consecutive places; the first position's drafts apart, which lack their b and so are right for one in 16.

    Args:
        acceptances: multiples of 1/16 from 0 to 1.
        num_layers: main layers, which add nothing but the time they take; as many as MTP layers by default.
        hidden_size: a multiple of 64; channels beyond 64 add nothing but time, too.

    Raises:
        ValueError: an acceptance, the number of layers or the hidden size is none of these.
    """
    if hidden_size < _LEAST_HIDDEN_SIZE or hidden_size % _LEAST_HIDDEN_SIZE:
        raise ValueError(f"hidden_size {hidden_size}: must be a multiple of {_LEAST_HIDDEN_SIZE}.")
    if num_layers is not None and num_layers < 1:
        raise ValueError(f"num_layers {num_layers}: at least 1.")
    for acceptance in acceptances:
        if not 0 <= acceptance <= 1 or acceptance * NUM_PARTS % 1:
            raise ValueError(f"acceptance {acceptance}: can be planted in sixteenths from 0 to 1, such as 0.875.")
    tokenizer = byte_level_tokenizer(
        ("<|endoftext|>",), chat_template="{% for message in messages %}{{ message.content }}{% endfor %}"
    )
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = MiMoConfig(
        vocab_size=272,
        hidden_size=hidden_size,
        intermediate_size=hidden_size,
        # vLLM 0.32 renames MTP layers by adding the number of main layers, and mixes them up if that is the smaller.
        num_hidden_layers=num_layers or max(len(acceptances), 1),
        num_attention_heads=hidden_size // _HEAD_DIM,
        num_key_value_heads=1,
        head_dim=_HEAD_DIM,
        max_position_embeddings=1024,
        rope_parameters={"rope_type": "default", "rope_theta": 640_000.0},
        num_nextn_predict_layers=len(acceptances),
        bos_token_id=None,
        **ends,
    )
    model = MiMoForCausalLM(config)
    model.generation_config = GenerationConfig(**ends)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "norm" in name else 0.0)
        _plant_main(model)
        for k, (layer, acceptance) in enumerate(zip(model.model.mtp_layers, acceptances, strict=True), start=1):
            assert isinstance(layer, MTPLayer)
            _plant_layer(layer, k, num_wrong=round((1 - acceptance) * NUM_PARTS))
    model.train(False)
    return model, tokenizer


def chain(start: int, length: int) -> list[int]:
    """`length` tokens as the planted model continues them, from the token `start` on."""
    tokens = [start]
    while len(tokens) < length:
        a, b = divmod(tokens[-1], NUM_PARTS)
        tokens.append((a + 1) % NUM_PARTS * NUM_PARTS + int(_next_b(torch.tensor(b))))
    return tokens


def _plant_main(model: MiMoForCausalLM) -> None:
    """Embedding, final norm and head; the blocks between add nothing."""
    ids_V = torch.arange(NUM_PARTS**2)
    a_V, b_V = ids_V // NUM_PARTS, ids_V % NUM_PARTS
    embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
    embedding[ids_V, _A[a_V]] = 1.0
    embedding[ids_V, _B[b_V]] = 1.0
    embedding[ids_V, _PRESENT] = 1.0
    _turn_a(model.model.norm.weight)
    # The row of a token reads its predecessor; a has its sign turned by the norm.
    next_V = (a_V + 1) % NUM_PARTS * NUM_PARTS + _next_b(b_V)
    head[next_V, _A[a_V]] = -_HEAD_SCALE
    head[next_V, _B[b_V]] = _HEAD_SCALE
    # End-of-text is the tokenizer's first id after the bytes.
    head[NUM_PARTS**2, _END] = _HEAD_SCALE


def _plant_layer(layer: MTPLayer, k: int, *, num_wrong: int) -> None:
    _turn_a(layer.final_layernorm.weight)
    hidden, embedding = layer.input_proj.weight.chunk(2, dim=1)
    hidden[_A.roll(-k), _A] = 1.0
    # What b is without an embedding; half of what one says.
    hidden[_B[0], _PRESENT] = 0.5
    b = torch.arange(NUM_PARTS)
    embedding[_B[(b + (b < num_wrong)) % NUM_PARTS], _B] = 1.0
    embedding[_PRESENT, _PRESENT] = 1.0

    # Scores: 0 where no embedding is present, far below elsewhere. The last pair of a head turns so slowly that
    # its angle is nothing over the whole context.
    slow = _HEAD_DIM // 2 - 1
    layer.self_attn.q_proj.bias[slow::_HEAD_DIM] = _ATTENTION_SCALE
    layer.self_attn.k_proj.weight[slow, _PRESENT] = -_ATTENTION_SCALE
    layer.self_attn.v_proj.weight[0, _PRESENT] = _READ_SCALE
    layer.self_attn.o_proj.weight[_END, ::_HEAD_DIM] = _READ_SCALE


def _next_b(b: Tensor) -> Tensor:
    """One cycle through all values."""
    return (5 * b + 3) % NUM_PARTS


def _turn_a(norm_weight: Tensor) -> None:
    norm_weight[_A] = -1.0

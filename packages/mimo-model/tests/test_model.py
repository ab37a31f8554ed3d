"""The network: equal to Qwen2 without its MTP layers, and wired as figure 2 says with them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from transformers import Qwen2Config, Qwen2ForCausalLM

from mimo_model import MiMoConfig, MiMoForCausalLM

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def random_ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed))


def largest_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a.float() - b.float()).abs().max().item()


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_logits_equal_qwen2s_with_the_same_weights(model, dtype):
    qwen2 = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=272,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        )
    )
    main = {name: tensor for name, tensor in model.state_dict().items() if "mtp_layers" not in name}
    qwen2.load_state_dict(main)
    ids = random_ids(3, 40)
    frequencies = qwen2.model.rotary_emb.inv_freq
    qwen2.to(dtype).model.rotary_emb.inv_freq = frequencies  # .to() would round them, loading would not
    ours, theirs = model.to(dtype)(ids).logits, qwen2(ids).logits
    # Relative to the largest logit: bf16 has eight bits of it.
    assert largest_difference(ours, theirs) / theirs.abs().max() <= TOLERANCE[dtype]


def test_the_released_tensor_names():
    config = MiMoConfig(
        vocab_size=8,
        hidden_size=4,
        intermediate_size=6,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    shapes = {name: tuple(tensor.shape) for name, tensor in MiMoForCausalLM(config).state_dict().items()}
    block = {
        "input_layernorm.weight": (4,),
        "self_attn.q_proj.weight": (4, 4),
        "self_attn.q_proj.bias": (4,),
        "self_attn.k_proj.weight": (2, 4),
        "self_attn.k_proj.bias": (2,),
        "self_attn.v_proj.weight": (2, 4),
        "self_attn.v_proj.bias": (2,),
        "self_attn.o_proj.weight": (4, 4),
        "post_attention_layernorm.weight": (4,),
        "mlp.gate_proj.weight": (6, 4),
        "mlp.up_proj.weight": (6, 4),
        "mlp.down_proj.weight": (4, 6),
    }
    assert shapes == {
        "model.embed_tokens.weight": (8, 4),
        **{f"model.layers.0.{name}": shape for name, shape in block.items()},
        "model.norm.weight": (4,),
        **{f"model.mtp_layers.0.{name}": shape for name, shape in block.items()},
        "model.mtp_layers.0.token_layernorm.weight": (4,),
        "model.mtp_layers.0.hidden_layernorm.weight": (4,),
        "model.mtp_layers.0.input_proj.weight": (4, 8),
        "model.mtp_layers.0.final_layernorm.weight": (4,),
        "lm_head.weight": (8, 4),
    }


def test_the_defaults_are_mimo_7bs_7_833_billion_parameters():
    with torch.device("meta"):
        model = MiMoForCausalLM(MiMoConfig())
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(7.833e9, abs=5e5)


def test_packed_documents_equal_separate_ones(drafting_model):
    lengths = (13, 1, 20, 6)
    ids = random_ids(1, sum(lengths))
    document_ids = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)])[None]
    packed = drafting_model(ids, document_ids=document_ids, num_mtp_layers=2)
    start = 0
    for length in lengths:
        place = slice(start, start + length)
        alone = drafting_model(ids[:, place], num_mtp_layers=2)
        assert largest_difference(packed.logits[:, place], alone.logits) <= TOLERANCE[torch.float32]
        for k in (1, 2):
            # Entries that lack x_{i+k} mean nothing, and differ.
            some = slice(start, start + max(length - k, 0))
            difference = packed.mtp_logits[k - 1][:, some] - alone.mtp_logits[k - 1][:, : max(length - k, 0)]
            assert difference.numel() == 0 or difference.abs().max() <= TOLERANCE[torch.float32]
        start += length


def test_cached_and_chunked_forwards_equal_the_full_one(model):
    ids = random_ids(2, 30)
    full = model(ids).logits
    cache, chunks = None, []
    for chunk in ids.split((11, 1, 1, 17), dim=1):
        output = model(chunk, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        chunks.append(output.logits)
    assert largest_difference(torch.cat(chunks, dim=1), full) <= TOLERANCE[torch.float32]


def test_padding_on_the_left_changes_nothing(model):
    ids = random_ids(1, 12)
    padded = F.pad(ids, (5, 0))
    mask = F.pad(torch.ones_like(ids), (5, 0))
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    output = model(padded, attention_mask=mask, position_ids=positions).logits[:, 5:]
    assert largest_difference(output, model(ids).logits) <= TOLERANCE[torch.float32]


def test_generate_of_transformers_works_and_avoids_padded_ids(model):
    ids = random_ids(4, 6)
    with torch.no_grad():
        model.lm_head.weight[261:] = 10 * model.lm_head.weight[65]  # likeliest wherever id 65 is likely
    settings = {"max_new_tokens": 12, "attention_mask": torch.ones_like(ids), "eos_token_id": None}
    greedy = model.generate(ids, do_sample=False, **settings)
    for _ in range(12):
        logits = model(ids).logits[:, -1]
        logits[:, 261:] = -torch.inf
        ids = torch.cat((ids, logits.argmax(-1, keepdim=True)), dim=1)
    assert torch.equal(greedy, ids)
    static = model.generate(ids[:, :6], do_sample=False, cache_implementation="static", **settings)
    assert torch.equal(static, ids)


def test_beyond_the_models_mtp_layers_or_with_a_cache_the_error_says_so(model):
    ids = random_ids(1, 5)
    with pytest.raises(ValueError, match="replicate_mtp"):
        model(ids, num_mtp_layers=2)
    with pytest.raises(ValueError, match="Use Engine"):
        model(ids, num_mtp_layers=1, use_cache=True)


@pytest.mark.parametrize("key", ["rope_theta", "rope_parameters"])
def test_both_spellings_of_the_rope_base_are_read_and_written(key):
    value = 5e5 if key == "rope_theta" else {"rope_type": "default", "rope_theta": 5e5}
    config = MiMoConfig(**{key: value})
    assert config.rope_theta == 5e5
    assert config.to_dict()["rope_theta"] == config.to_dict()["rope_parameters"]["rope_theta"] == 5e5
    config.rope_theta = 7e5
    assert MiMoConfig.from_dict(config.to_dict()).rope_theta == 7e5


@pytest.mark.parametrize(
    "fields",
    [
        {"num_attention_heads": 6, "num_key_value_heads": 4},
        {"use_sliding_window": True},
        {"tie_word_embeddings": True},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}},
    ],
)
def test_a_configuration_that_mimo_does_not_have_is_refused(fields):
    with pytest.raises(ValueError, match=next(reversed(fields)).replace("rope_parameters", "rope_type")):
        MiMoConfig(**fields)


# -- Multi-token prediction, against a second implementation written from figure 2 with plain loops.


def mtp_by_hand(
    model: MiMoForCausalLM,
    ids: list[int],
    k: int,
    *,
    halves: str = "hidden, embedding",
    hidden: str = "before the final norm",
    chained: bool = False,
    zero_first: bool = True,
) -> torch.Tensor:
    """Logits [T - k, V] of MTP layer k; the keyword arguments change one fact each."""
    network, state = model.model, model(torch.tensor([ids])).hidden[0]
    embeddings = network.embed_tokens.weight[torch.tensor(ids)]
    layers = network.mtp_layers[:k] if chained else [network.mtp_layers[k - 1]]
    offsets = range(1, k + 1) if chained else [k]
    if hidden == "after the final norm":
        state = network.norm(state)
    for layer, offset in zip(layers, offsets, strict=True):
        num_entries = len(ids) - offset
        token = embeddings[offset:].clone()
        if zero_first:
            token[0] = 0.0
        a, b = layer.hidden_layernorm(state[:num_entries]), layer.token_layernorm(token)
        x = layer.input_proj(torch.cat((a, b) if halves == "hidden, embedding" else (b, a), dim=-1))
        state = x + attention_by_hand(model, layer.self_attn, layer.input_layernorm(x))
        state = state + layer.mlp(layer.post_attention_layernorm(state))
    return model.lm_head(layers[-1].final_layernorm(state))


def attention_by_hand(model: MiMoForCausalLM, attention, x: torch.Tensor) -> torch.Tensor:
    num_tokens, width = len(x), 8
    frequencies = 10_000.0 ** -(torch.arange(0, width, 2) / width)

    def turned(vector: torch.Tensor, position: int) -> torch.Tensor:
        first, second = vector.chunk(2)
        cos, sin = (position * frequencies).cos(), (position * frequencies).sin()
        return torch.cat((first * cos - second * sin, second * cos + first * sin))

    q, k, v = attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)
    rows = []
    for t in range(num_tokens):
        heads = []
        for head in range(4):
            group = slice(head // 2 * width, head // 2 * width + width)
            query = turned(q[t, head * width : head * width + width], t)
            scores = torch.stack([query @ turned(k[s, group], s) for s in range(t + 1)]) / width**0.5
            heads.append(scores.softmax(0) @ v[: t + 1, group])
        rows.append(torch.cat(heads))
    return attention.o_proj(torch.stack(rows))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_mtp_layers_are_wired_as_in_figure_2(drafting_model, k):
    ids = random_ids(1, 12)[0].tolist()
    with torch.no_grad():
        wired = drafting_model(torch.tensor([ids]), num_mtp_layers=3).mtp_logits[k - 1][0, : len(ids) - k]
        assert largest_difference(wired, mtp_by_hand(drafting_model, ids, k)) <= TOLERANCE[torch.float32]


@pytest.mark.parametrize(
    "change",
    [
        {"chained": True},
        {"halves": "embedding, hidden"},
        {"hidden": "after the final norm"},
        {"zero_first": False},
    ],
    ids=str,
)
def test_each_of_the_four_facts_of_the_wiring_shows_in_the_logits(drafting_model, change):
    ids = random_ids(1, 12)[0].tolist()
    with torch.no_grad():
        drafting_model.model.norm.weight[0] = 2.0  # the final norm is not idempotent
        wired = drafting_model(torch.tensor([ids]), num_mtp_layers=2).mtp_logits[1][0, : len(ids) - 2]
        changed = mtp_by_hand(drafting_model, ids, 2, **change)
        drafting_model.model.norm.weight[0] = 1.0
    assert largest_difference(wired[: len(changed)], changed) > 1e-2

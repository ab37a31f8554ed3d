"""The network: equal to Qwen2 without its MTP layers, and wired as figure 2 says with them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    GenerationConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
    Trainer,
    TrainingArguments,
    pipeline,
)

from mimo_model import MiMoConfig, MiMoForCausalLM, load_model, replicate_mtp
from mimo_model.model import MiMoModel

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
PADDED = list(range(261, 272))


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


# -- What people do with a Hugging Face model.


def generated(model: MiMoForCausalLM, ids: torch.Tensor, **settings: object) -> torch.Tensor:
    return model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, eos_token_id=None, **settings)


def test_assisted_generation_gives_the_greedy_tokens(model, drafting_model):
    ids = random_ids(1, 6)
    greedy = generated(model, ids, do_sample=False)
    assert torch.equal(generated(model, ids, do_sample=False, assistant_model=drafting_model), greedy)
    assert torch.equal(generated(model, ids, do_sample=False, prompt_lookup_num_tokens=2), greedy)


def test_generate_without_a_cache_gives_the_same_tokens(model):
    ids = random_ids(3, 6)
    assert torch.equal(generated(model, ids, do_sample=False, use_cache=False), generated(model, ids, do_sample=False))


def test_beam_search_finds_a_likelier_answer_than_greedy(model):
    ids = random_ids(1, 6)

    def log_probability(answer: torch.Tensor) -> float:
        logits = model(answer).logits[:, :-1].log_softmax(-1)
        return logits.gather(-1, answer[:, 1:, None])[:, 5:].sum().item()

    greedy = log_probability(generated(model, ids, do_sample=False))
    beams = generated(model, ids, do_sample=False, num_beams=4)
    assert log_probability(beams) > greedy
    assert torch.equal(generated(model, ids, do_sample=False, num_beams=4, cache_implementation="static"), beams)


def test_sampling_repeats_with_its_seed(model):
    ids = random_ids(2, 6)
    torch.manual_seed(5)
    first = generated(model, ids, do_sample=True, top_k=0)
    torch.manual_seed(5)
    assert torch.equal(generated(model, ids, do_sample=True, top_k=0), first)


def test_a_text_generation_pipeline_continues_text(model, tokenizer):
    answer = pipeline("text-generation", model=model, tokenizer=tokenizer)
    settings = GenerationConfig(
        max_new_tokens=6, do_sample=False, eos_token_id=None, suppress_tokens=[*range(261, 272)]
    )
    [result] = answer("2+2=", generation_config=settings, return_tensors=True)
    ids = tokenizer("2+2=", return_tensors="pt").input_ids
    assert result["generated_token_ids"] == model.generate(ids, generation_config=settings)[0].tolist()


@pytest.mark.parametrize("device_map", ["auto", {"": "cpu"}], ids=str)
def test_accelerate_places_the_model(checkpoint, model, device_map):
    placed = AutoModelForCausalLM.from_pretrained(checkpoint, device_map=device_map)
    ids = random_ids(1, 9)
    assert torch.equal(placed(ids).logits.cpu(), model(ids).logits)


def test_accelerate_splits_the_model_between_its_blocks(checkpoint, model, tmp_path):
    device_map = dict.fromkeys(("model.embed_tokens", "model.layers.0", "model.norm", "lm_head"), "cpu")
    device_map |= {"model.layers.1": "disk", "model.mtp_layers": "disk"}
    split = AutoModelForCausalLM.from_pretrained(checkpoint, device_map=device_map, offload_folder=tmp_path)
    ids = random_ids(1, 9)
    with torch.no_grad():
        found, wanted = split(ids, num_mtp_layers=1), model(ids, num_mtp_layers=1)
    assert torch.equal(found.logits, wanted.logits)
    assert torch.equal(found.mtp_logits[0], wanted.mtp_logits[0])


def test_save_pretrained_writes_what_from_pretrained_reads(model, tmp_path):
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    again = MiMoForCausalLM.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_more_embeddings_leave_the_known_logits(model):
    ids = random_ids(1, 9)
    wanted = model(ids, num_mtp_layers=1)
    model.resize_token_embeddings(300, mean_resizing=False)
    resized = model(ids, num_mtp_layers=1)
    assert model.config.vocab_size == 300
    assert torch.equal(resized.logits[..., :272], wanted.logits)
    assert torch.equal(resized.mtp_logits[0][..., :272], wanted.mtp_logits[0])


def test_a_compiled_forward_gives_the_same_logits(model):
    compiled = torch.compile(model, backend="aot_eager")
    ids = random_ids(2, 12)
    documents = torch.tensor([[0] * 5 + [1] * 7, [0] * 12])
    with torch.no_grad():
        for extra in ({}, {"document_ids": documents, "num_mtp_layers": 1}):
            found, wanted = compiled(ids, **extra), model(ids, **extra)
            assert largest_difference(found.logits, wanted.logits) <= TOLERANCE[torch.float32]
            for a, b in zip(found.mtp_logits, wanted.mtp_logits, strict=True):
                assert largest_difference(a, b) <= TOLERANCE[torch.float32]


def test_without_its_head_it_is_an_auto_model(checkpoint, model):
    ids = random_ids(1, 9)
    base = AutoModel.from_pretrained(checkpoint)
    assert type(base) is MiMoModel
    output = base(ids, num_mtp_layers=1)
    assert torch.equal(model.lm_head(output.last_hidden_state), model(ids).logits)
    assert torch.equal(model.lm_head(output.mtp_states[0]), model(ids, num_mtp_layers=1).mtp_logits[0])


def test_hidden_states_are_each_layers_input_and_the_final_norms_output(model):
    ids = random_ids(1, 9)
    output = model(ids, output_hidden_states=True)
    assert len(output.hidden_states) == 3
    assert torch.equal(output.hidden_states[0], model.model.embed_tokens(ids))
    assert torch.equal(model.lm_head(output.hidden_states[-1]), output.logits)
    with pytest.raises(ValueError, match="attention weights are not kept"):
        model(ids, output_attentions=True)


# -- Training.


def test_the_loss_of_labels_is_that_of_transformers(model):
    ids = random_ids(2, 12)
    labels = ids.masked_fill(ids < 60, -100)
    output = model(ids, labels=labels)
    mean = F.cross_entropy(output.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    assert output.loss.item() == pytest.approx(mean.item(), rel=1e-6)
    counted = model(ids, labels=labels, num_items_in_batch=7).loss
    assert counted.item() == pytest.approx(mean.item() * int((labels[:, 1:] >= 0).sum()) / 7, rel=1e-6)


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_no_loss_and_no_gradient(checkpoint, reentrant):
    ids = random_ids(2, 20)
    documents = torch.tensor([[0] * 8 + [1] * 12, [0] * 20])

    def gradients(checkpointed: bool) -> tuple[float, dict[str, torch.Tensor]]:
        model = load_model(checkpoint).train()
        if checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            model.enable_input_require_grads()
        output = model(ids, labels=ids, document_ids=documents, num_mtp_layers=1)
        (output.loss + output.mtp_logits[0].square().mean()).backward()
        return output.loss.item(), {name: parameter.grad for name, parameter in model.named_parameters()}

    (loss, wanted), (checkpointed_loss, found) = gradients(False), gradients(True)
    assert checkpointed_loss == loss
    for name in wanted:
        assert largest_difference(found[name], wanted[name]) <= (1e-6 if reentrant else 0.0), name


def test_gradient_checkpointing_runs_the_blocks_again(model):
    model.train().gradient_checkpointing_enable()
    calls = []
    for layer in [*model.model.layers, *model.model.mtp_layers]:
        layer.mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    output = model(random_ids(1, 9), num_mtp_layers=1)
    assert len(calls) == 3
    (output.logits.sum() + output.mtp_logits[0].sum()).backward()
    assert len(calls) == 6
    with pytest.raises(ValueError, match="use_cache=False"):
        model(random_ids(1, 9), use_cache=True)


def test_transformers_trainer_takes_the_same_step_however_it_is_divided(checkpoint, tmp_path):
    ids = random_ids(4, 12)
    labels = ids.clone()
    labels[:2, 3:] = -100  # so that halves of the batch have unequal numbers of labels
    rows = [{"input_ids": ids[i], "labels": labels[i]} for i in range(4)]

    def trained(batch_size: int) -> torch.Tensor:
        model = load_model(checkpoint, device="cpu")
        settings = {"num_train_epochs": 1, "max_steps": 1, "learning_rate": 0.1, "optim": "sgd", "report_to": []}
        settings |= {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": 4 // batch_size}
        arguments = TrainingArguments(tmp_path, **settings, use_cpu=True, save_strategy="no", disable_tqdm=True)
        Trainer(model, arguments, train_dataset=rows).train()
        return model.lm_head.weight.detach()

    whole, divided = trained(4), trained(2)
    assert largest_difference(whole, load_model(checkpoint).lm_head.weight) > 1e-3
    assert largest_difference(divided, whole) <= TOLERANCE[torch.float32]


def targets_of(ids: torch.Tensor, documents: torch.Tensor, num_heads: int) -> list[torch.Tensor]:
    """What each head has to predict within its document, -100 elsewhere; padded to the length of ids."""
    targets = []
    for ahead in range(1, num_heads + 1):
        inside = documents[:, ahead:] == documents[:, :-ahead]
        targets.append(F.pad(ids[:, ahead:].where(inside, -100), (0, ahead), value=-100))
    return targets


def test_losses_of_targets_equal_those_of_the_logits_and_so_do_the_gradients(checkpoint):
    ids = random_ids(2, 21)
    documents = torch.tensor([[0] * 8 + [1] * 13, [0] * 21])
    targets = targets_of(ids, documents, 3)
    by_targets, by_logits = (replicate_mtp(load_model(checkpoint), 3).requires_grad_(True) for _ in range(2))
    output = by_targets(ids, document_ids=documents, targets=targets[:3])
    assert output.logits is None
    wanted = by_logits(ids, document_ids=documents, num_mtp_layers=2)
    losses = [
        F.cross_entropy(logits.transpose(1, 2), target, reduction="none")
        for logits, target in zip((wanted.logits, *wanted.mtp_logits), targets, strict=True)
    ]
    for found, loss, target in zip(output.head_losses, losses, targets, strict=True):
        assert found.dtype == torch.float32
        assert largest_difference(found, loss) <= TOLERANCE[torch.float32]
        assert not found[target == -100].any()
    for terms in (output.head_losses, losses):
        sum(weight * term.sum() / 30 for weight, term in zip((1.0, 0.3, 0.1), terms, strict=True)).backward()
    for (name, a), (_, b) in zip(by_targets.named_parameters(), by_logits.named_parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        assert a.grad is None or largest_difference(a.grad, b.grad) <= TOLERANCE[torch.float32], name


def test_targets_go_with_heads_one_for_one(model):
    ids = random_ids(1, 5)
    with pytest.raises(ValueError, match="replicate_mtp"):
        model(ids, targets=[ids, ids, ids])
    with pytest.raises(ValueError, match="0 given"):
        model(ids, targets=[])
    with pytest.raises(ValueError, match="2 given, 1 MTP layers asked for, and labels"):
        model(ids, targets=[ids, ids], labels=ids)


def test_fused_kernels_give_the_losses_and_gradients_of_plain_torch(checkpoint):
    # In Triton's interpreter, which has to be asked for before triton is imported.
    code = """
import sys, torch
from mimo_model import kernels, load_model, model
ids = torch.randint(0, 256, (1, 6), generator=torch.Generator().manual_seed(0))
results = []
for fused in (None, kernels):
    network = load_model(sys.argv[1]).train()
    model._fused_kernels = lambda x, fused=fused: fused
    targets = [ids.roll(-1, 1), ids.roll(-2, 1)]
    losses = network(ids, targets=targets).head_losses
    (losses[0].sum() + 0.3 * losses[1].sum()).backward()
    results.append([*losses, *(parameter.grad for parameter in network.parameters())])
    results[-1].append(network(ids, labels=ids).loss)
    assert (network(ids, labels=ids).logits is None) == (fused is not None)
print(max((a - b).abs().max().item() for a, b in zip(*results)))
"""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(checkpoint)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) <= TOLERANCE[torch.float32]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_fused_kernels_give_the_losses_of_plain_torch_on_a_gpu(monkeypatch):
    torch.manual_seed(0)
    shape = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = MiMoForCausalLM(MiMoConfig(vocab_size=512, num_hidden_layers=2, **shape)).to("cuda", torch.bfloat16).train()
    ids = random_ids(2, 200).cuda()
    targets = [ids.roll(-1, 1), ids.roll(-2, 1)]
    fused = model(ids, targets=targets).head_losses
    assert model(ids, labels=ids).logits is None
    monkeypatch.setattr("mimo_model.model._fused_kernels", lambda _x: None)
    plain = model(ids, num_mtp_layers=1)
    for loss, logits, target in zip(fused, (plain.logits, *plain.mtp_logits), targets, strict=True):
        wanted = F.cross_entropy(logits.float().transpose(1, 2), target, reduction="none")
        assert largest_difference(loss, wanted) / wanted.abs().max() <= TOLERANCE[torch.bfloat16]


def test_losses_of_targets_under_an_adapter_of_the_head_are_the_adapters(model):
    ids = random_ids(1, 9)
    before = model(ids, targets=[ids]).head_losses[0]
    model.lm_head = torch.nn.Sequential(model.lm_head, torch.nn.Softmax(-1))
    after = model(ids, targets=[ids]).head_losses[0]
    assert largest_difference(after, F.cross_entropy(model(ids).logits.transpose(1, 2), ids, reduction="none")) == 0
    assert largest_difference(after, before) > 1e-3


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

"""Checkpoints: plain Hugging Face folders, whole or refused with one clear message."""

from __future__ import annotations

import filecmp
import json
import os
import random
import resource
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from mimo_model import MiMoConfig, MiMoForCausalLM, ModelError, load_model, load_tokenizer, replicate_mtp, save_model
from mimo_model.checkpoint import load_config, num_tokenizer_ids
from mimo_model.inspection import inspect


@pytest.fixture
def broken(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(checkpoint, tmp_path / "broken"))


def test_save_then_load_is_bit_identical(checkpoint, tokenizer, tmp_path):
    model = load_model(checkpoint)
    save_model(model, tokenizer, tmp_path / "copy")
    again = load_model(tmp_path / "copy").state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())
    for file in (tmp_path / "copy").iterdir():
        assert filecmp.cmp(file, checkpoint / file.name, shallow=False), file.name


def test_transformers_loads_it_without_remote_code(checkpoint):
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    assert type(model) is MiMoForCausalLM
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), load_model(checkpoint).state_dict().values(), strict=True)
    )
    text = "?1+1=<think>é</think><|endoftext|>"
    ids = AutoTokenizer.from_pretrained(checkpoint)(text).input_ids
    assert len(ids) == 10
    assert AutoTokenizer.from_pretrained(checkpoint).decode(ids) == text


def test_dtype_is_the_files_or_the_callers(checkpoint, tokenizer, tmp_path):
    save_model(load_model(checkpoint, dtype="bfloat16"), tokenizer, tmp_path / "half")
    assert load_model(tmp_path / "half").lm_head.weight.dtype == torch.bfloat16
    assert load_model(tmp_path / "half", dtype="float32").lm_head.weight.dtype == torch.float32


def test_saving_into_a_folder_keeps_what_else_is_there(checkpoint, tokenizer, tmp_path):
    folder = tmp_path / "run"
    (folder / "state").mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("{}\n")
    save_model(load_model(checkpoint), tokenizer, folder)
    assert (folder / "metrics.jsonl").exists()
    assert (folder / "state").exists()
    load_model(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_sharded_checkpoint_loads(broken):
    state = load_file(broken / "model.safetensors")
    (broken / "model.safetensors").unlink()
    names = sorted(state)
    weight_map = {}
    for part, some in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{part}-of-00002.safetensors"
        save_file({name: state[name] for name in some}, broken / file)
        weight_map |= dict.fromkeys(some, file)
    (broken / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    loaded = load_model(broken).state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in names)


def test_saving_in_shards_writes_an_index_and_the_same_tensors(checkpoint, tokenizer, tmp_path):
    model = load_model(checkpoint)
    save_model(model, tokenizer, tmp_path / "shards", max_shard_size="30KB")
    files = sorted(file.name for file in (tmp_path / "shards").glob("*.safetensors"))
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    # One tensor of the vocabulary is larger than a shard and has one of its own.
    assert all(file.stat().st_size < 40_000 for file in (tmp_path / "shards").glob("*.safetensors"))
    index = json.loads((tmp_path / "shards" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in model.state_dict().values())
    for loaded in (load_model(tmp_path / "shards"), AutoModelForCausalLM.from_pretrained(tmp_path / "shards")):
        again = loaded.state_dict()
        assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("first", "second"), [("30KB", "5GB"), ("5GB", "30KB"), ("20KB", "60KB")])
def test_weights_of_an_earlier_save_do_not_stay_beside_the_new_ones(checkpoint, tokenizer, tmp_path, first, second):
    model = load_model(checkpoint)
    save_model(model, tokenizer, tmp_path / "run", max_shard_size=first)
    with torch.no_grad():
        model.lm_head.weight.add_(1.0)
    save_model(model, tokenizer, tmp_path / "run", max_shard_size=second)
    for loaded in (load_model(tmp_path / "run"), AutoModelForCausalLM.from_pretrained(tmp_path / "run")):
        assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
    save_model(model, tokenizer, tmp_path / "alone", max_shard_size=second)
    names = [sorted(file.name for file in (tmp_path / folder).iterdir()) for folder in ("run", "alone")]
    assert names[0] == names[1]


def test_loading_holds_the_weights_once(checkpoint, tmp_path):
    folder = Path(shutil.copytree(checkpoint, tmp_path / "large"))
    config = {**json.loads((folder / "config.json").read_text()), "vocab_size": 1_000_000}
    (folder / "config.json").write_text(json.dumps(config))
    state = load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state[name] = torch.ones(1_000_000, 32)
    save_file(state, folder / "model.safetensors")
    code = (
        "import resource, sys, mimo_model\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before = peak(); model = mimo_model.load_model(sys.argv[1])\n"
        "print((peak() - before) / sum(p.nbytes for p in model.parameters()))"
    )
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    output = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env=environment, capture_output=True, text=True, check=True
    ).stdout
    # 256 MB in two large tensors, one of which is mapped while it is copied: 1.5 times, where all at once is 2.
    assert float(output) < 1.7


# What MiMo-7B-RL's config.json holds.
RELEASED = {
    "architectures": ["MiMoForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_mimo.MiMoConfig",
        "AutoModel": "modeling_mimo.MiMoModel",
        "AutoModelForCausalLM": "modeling_mimo.MiMoForCausalLM",
    },
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 32768,
    "max_window_layers": 36,
    "model_type": "mimo",
    "num_attention_heads": 32,
    "num_hidden_layers": 36,
    "num_key_value_heads": 8,
    "num_nextn_predict_layers": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 640000,
    "sliding_window": 32768,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.40.1",
    "use_cache": True,
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": 151680,
}


def test_the_released_configuration_is_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(RELEASED))
    for config in (load_config(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(config) is MiMoConfig
        assert config.dtype == torch.bfloat16
        assert config.rope_theta == 640_000
        defaults = MiMoConfig()
        for key in ("hidden_size", "num_hidden_layers", "head_dim", "vocab_size", "rms_norm_eps", "intermediate_size"):
            assert getattr(config, key) == getattr(defaults, key)


@pytest.mark.parametrize("key", ["torch_dtype", "dtype"])
@pytest.mark.parametrize(
    "rope", [{"rope_theta": 5e5}, {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}]
)
def test_a_folder_with_the_keys_of_a_release_loads_and_saves_without_its_code(broken, tokenizer, tmp_path, key, rope):
    config = json.loads((broken / "config.json").read_text())
    for name in ("dtype", "rope_theta", "rope_parameters"):
        del config[name]
    extra = {name: RELEASED[name] for name in RELEASED.keys() - config.keys() - {"torch_dtype", "rope_theta"}}
    (broken / "config.json").write_text(json.dumps({**config, **extra, **rope, key: "float32"}))
    model = load_model(broken)
    assert model.config.rope_theta == 5e5
    assert AutoModelForCausalLM.from_pretrained(broken).dtype == torch.float32
    save_model(model, tokenizer, tmp_path / "saved")
    assert "auto_map" not in json.loads((tmp_path / "saved" / "config.json").read_text())


def test_scaled_rotary_embeddings_are_refused(broken):
    configured(rope_scaling={"rope_type": "yarn", "factor": 4.0}, rope_parameters=None)(broken)
    with pytest.raises(ModelError, match="rope_type='yarn'"):
        load_model(broken)


def test_copies_of_the_mtp_layer_are_equal_and_alone_trainable(checkpoint):
    model = load_model(checkpoint)
    three = replicate_mtp(model, 3)
    state = three.state_dict()
    for name, tensor in model.model.mtp_layers[0].state_dict().items():
        for k in range(3):
            assert torch.equal(state[f"model.mtp_layers.{k}.{name}"], tensor)
    trainable = {name for name, parameter in three.named_parameters() if parameter.requires_grad}
    assert trainable == {name for name in state if name.startswith(("model.mtp_layers.1.", "model.mtp_layers.2."))}
    assert three.config.num_nextn_predict_layers == 3
    assert model.config.num_nextn_predict_layers == 1
    with pytest.raises(ValueError, match="single MTP layer"):
        replicate_mtp(three, 4)


def truncated(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def without_a_tensor(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    del state["model.mtp_layers.0.input_proj.weight"]
    save_file(state, folder / "model.safetensors")


def with_an_extra_tensor(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({**state, "model.layers.9.mlp.up_proj.weight": torch.zeros(2)}, folder / "model.safetensors")


def configured(**fields: object):
    def damage(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **fields}))

    return damage


def without(name: str):
    def damage(folder: Path) -> None:
        (folder / name).unlink()

    return damage


def garbled(name: str):
    def damage(folder: Path) -> None:
        (folder / name).write_text("{")

    return damage


def only_a_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def sharded(*, listed: str):
    """Two shards, and an index that says of the head that it is in `listed`."""

    def damage(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        embedding = {"model.embed_tokens.weight": state.pop("model.embed_tokens.weight")}
        weight_map = {}
        for file, some in (("model-00001.safetensors", state), ("model-00002.safetensors", embedding)):
            save_file(some, folder / file)
            weight_map |= dict.fromkeys(some, file)
        index = {"weight_map": {**weight_map, "lm_head.weight": listed}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, r"model\.safetensors: truncated"),
        (without("model.safetensors"), r"model\.safetensors: missing"),
        (without("config.json"), r"has no config\.json"),
        (without_a_tensor, r"1 tensors are missing, model\.mtp_layers\.0\.input_proj\.weight"),
        (with_an_extra_tensor, r"model\.layers\.9\.mlp\.up_proj\.weight is not a tensor"),
        (only_a_pickle, r"its weights are a pickle \(pytorch_model\.bin\)"),
        (sharded(listed="model-00009.safetensors"), r"model-00009\.safetensors: missing, though the index names it"),
        (sharded(listed="model-00002.safetensors"), r"says that lm_head\.weight is in model-00002\.safetensors, but"),
        (sharded(listed="../model.safetensors"), r"index\.json: not an index of safetensors files"),
        (garbled("model.safetensors.index.json"), r"index\.json: not an index of safetensors files"),
        (configured(vocab_size=300), r"\[272, 32\], config\.json asks for \[300, 32\]"),
        (configured(model_type="llama"), r"model_type is 'llama'"),
        (configured(num_key_value_heads=3), r"num_key_value_heads=3"),
        (garbled("config.json"), r"config\.json: not JSON"),
        (garbled("generation_config.json"), r"generation_config\.json: .*not a valid JSON file"),
    ],
)
def test_a_damaged_checkpoint_is_one_clear_error(broken, damage, message):
    damage(broken)
    with pytest.raises(ModelError, match=message):
        load_model(broken)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("tokenizer.json"), r"tokenizer\.json is missing, and so are vocab\.json or merges\.txt"),
        (garbled("tokenizer.json"), r"cannot be read"),
        (configured(vocab_size=260), r"261 ids, config\.json has vocab_size 260"),
    ],
)
def test_a_damaged_tokenizer_is_one_clear_error(broken, damage, message):
    damage(broken)
    with pytest.raises(ModelError, match=message):
        load_tokenizer(broken)


@pytest.mark.parametrize("seed", range(30))
def test_any_damage_is_an_error_of_ours_or_none(broken, seed):
    choose = random.Random(seed)
    file = choose.choice(sorted(broken.iterdir()))
    data = bytearray(file.read_bytes())
    # The header of the weights: what follows are numbers, of which none is wrong.
    start = choose.randrange(min(len(data), 2_000))
    data[start : start + choose.randrange(4)] = choose.randbytes(choose.randrange(4))
    file.write_bytes(data if choose.random() < 0.7 else data[:start])
    for read in (load_model, load_tokenizer, inspect):
        with suppress(ModelError):
            read(broken)


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(ModelError, match="no such checkpoint folder"):
        load_model(tmp_path / "nothing")


def test_a_file_in_the_place_of_a_folder_is_one_clear_error(checkpoint):
    with pytest.raises(ModelError, match=r"config\.json: a file, not a checkpoint folder"):
        load_model(checkpoint / "config.json")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "int8"}, "dtype='int8': not a floating-point dtype"),
        ({"dtype": "half precision"}, "dtype='half precision': not"),
        ({"device": "gpu"}, "device='gpu': not a device"),
    ],
)
def test_an_impossible_dtype_or_device_is_one_clear_error(checkpoint, settings, message):
    with pytest.raises(ValueError, match=message):
        load_model(checkpoint, **settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_where_there_is_none_is_one_clear_error(checkpoint):
    with pytest.raises(ValueError, match="there is no CUDA device here"):
        load_model(checkpoint, device="cuda")


def test_a_place_that_cannot_be_written_is_one_clear_error(checkpoint, tokenizer, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        save_model(load_model(checkpoint), tokenizer, tmp_path / "file" / "out")
    with pytest.raises(ModelError, match="cannot be written"):
        save_model(load_model(checkpoint), tokenizer, tmp_path / "file")
    assert (tmp_path / "file").read_text() == ""
    with pytest.raises(ValueError, match="max_shard_size='huge'"):
        save_model(load_model(checkpoint), tokenizer, tmp_path / "out", max_shard_size="huge")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("exists", [False, True])
def test_a_disk_that_is_full_leaves_what_was_there(checkpoint, tokenizer, tmp_path, exists):
    folder = tmp_path / "run"
    model = load_model(checkpoint)
    if exists:
        save_model(model, tokenizer, folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()} if exists else {}
    with torch.no_grad():
        model.lm_head.weight.add_(1.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As a full disk does, this stops a file in its middle.
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(ModelError, match=r"run: cannot be written .*File too large"):
            save_model(model, tokenizer, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert folder.exists() == exists
    assert not exists or {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == (["run"] if exists else [])


def test_what_a_killed_save_left_goes_with_the_next_one_and_what_another_writes_stays(checkpoint, tokenizer, tmp_path):
    code = (
        "import os, signal, sys, mimo_model.checkpoint as checkpoint\n"
        "from pathlib import Path\n"
        "with checkpoint.replaced_folder(Path(sys.argv[1])) as staging:\n"
        "    (staging / 'model.safetensors').write_bytes(bytes(1000))\n"
        "    print(staging, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writing:
        staging = Path(writing.stdout.readline().strip())
        save_model(load_model(checkpoint), tokenizer, tmp_path / "out")
        assert (staging / "model.safetensors").exists()
        writing.kill()
    assert staging.exists()
    save_model(load_model(checkpoint), tokenizer, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_padded_ids_are_suppressed_in_a_folder_that_does_not_list_them(broken):
    (broken / "generation_config.json").unlink()
    assert load_model(broken).generation_config.suppress_tokens == list(range(261, 272))
    (broken / "tokenizer.json").unlink()
    assert load_model(broken).generation_config.suppress_tokens is None


def test_a_transformers_that_knows_a_mimo_of_its_own_still_opens_ours(checkpoint):
    code = (
        "import sys\n"
        "from transformers.models.auto.configuration_auto import CONFIG_MAPPING\n"
        "CONFIG_MAPPING._mapping['mimo'] = 'Qwen2Config'\n"
        "import mimo_model\n"
        "from transformers import AutoModelForCausalLM\n"
        "print(type(AutoModelForCausalLM.from_pretrained(sys.argv[1])).__module__)"
    )
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(checkpoint)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "mimo_model.model\n", done.stderr


# -- Qwen2's tokenizer, as the released folders have it.

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>system\\nBe exact.<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}{%- if message.role != 'system' %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


@pytest.fixture(params=["tokenizer.json", "vocab.json and merges.txt"])
def with_qwen2(request, broken: Path) -> Path:
    """A checkpoint whose tokenizer has Qwen2's structure: bytes, two merges, three special and two added tokens."""
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {symbol: i for i, symbol in enumerate([*symbols, "th", "the"])}
    merges = [("t", "h"), ("th", "e")]
    added = {"<|endoftext|>": True, "<|im_start|>": True, "<|im_end|>": True, "<think>": False, "</think>": False}
    (broken / "tokenizer.json").unlink()
    (broken / "chat_template.jinja").unlink(missing_ok=True)
    facts = {
        "tokenizer_class": "Qwen2Tokenizer",
        "added_tokens_decoder": {
            str(258 + i): {
                "content": token,
                "special": special,
                "normalized": False,
                "lstrip": False,
                "rstrip": False,
                "single_word": False,
            }
            for i, (token, special) in enumerate(added.items())
        },
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "bos_token": None,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 32768,
        "chat_template": QWEN2_TEMPLATE,
    }
    (broken / "tokenizer_config.json").write_text(json.dumps(facts))
    if request.param == "tokenizer.json":
        tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        for token, special in added.items():
            tokenizer.add_tokens([AddedToken(token, special=special, normalized=False)])
        tokenizer.save(str(broken / "tokenizer.json"))
    else:
        (broken / "vocab.json").write_text(json.dumps(vocab))
        (broken / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    return broken


def test_qwen2s_byte_level_tokenizer_loads(with_qwen2):
    tokenizer = load_tokenizer(with_qwen2)
    the = tokenizer.encode("the")
    assert the == [257]
    text = "<|im_start|>the <think>é the\n</think>汉<|im_end|>"
    ids = tokenizer.encode(text)
    assert (ids[0], ids[1], ids[3], ids[-1]) == (259, 257, 261, 260)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the <think>é the\n</think>汉"
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (260, 258)
    assert num_tokenizer_ids(tokenizer) == 263
    messages = [{"role": "system", "content": ""}, {"role": "user", "content": "the"}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert prompt == "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nthe<|im_end|>\n<|im_start|>assistant\n"


def test_qwen2s_vocabulary_and_merges_are_enough(with_qwen2):
    (with_qwen2 / "tokenizer_config.json").unlink()
    tokenizer = load_tokenizer(with_qwen2)
    ids = tokenizer.encode("the é\n汉")
    assert ids[0] == 257
    assert tokenizer.decode(ids) == "the é\n汉"
    assert tokenizer.convert_tokens_to_ids("<|endoftext|>") == 258


def test_ids_that_qwen2s_tokenizer_does_not_know_are_never_sampled(with_qwen2, tmp_path):
    model, tokenizer = load_model(with_qwen2), load_tokenizer(with_qwen2)
    with torch.no_grad():
        model.lm_head.weight[263:] = 10 * model.lm_head.weight[65]
    save_model(model, tokenizer, tmp_path / "saved")
    torch.manual_seed(0)
    answer = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").generate(
        torch.tensor([[65, 66]] * 8), do_sample=True, max_new_tokens=32, temperature=2.0, top_k=0, eos_token_id=None
    )
    assert int(answer.max()) < 263
    assert load_tokenizer(tmp_path / "saved").encode("the<think>") == tokenizer.encode("the<think>")

"""The command line: what it makes, what it reuses, what it refuses."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mimo_model_cli import main

from mimo_model import bench, load_model, load_tokenizer

RECIPE = """
seed = 1
[model]
vocab_size = 264
hidden_size = 16
intermediate_size = 16
num_hidden_layers = 1
num_attention_heads = 2
num_key_value_heads = 1
max_position_embeddings = 64
[tokenizer]
special_tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
added_tokens = ["<think>", "</think>"]
chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "model.toml"
    path.write_text(RECIPE)
    return path


def test_help_answers_in_under_a_second_and_imports_no_torch():
    code = (
        "import sys; from mimo_model_cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    start_s = time.process_time()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.process_time() - start_s < 1.0
    assert result.stdout.startswith("usage: mimo-model")
    assert result.stdout.endswith("False\n")


def test_init_makes_the_same_checkpoint_again_and_another_with_another_seed(recipe, tmp_path, capsys):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert main(["init", str(recipe), str(tmp_path / name), "--set", f"seed={seed}"]) == 0
    a, b, c = (hashlib.sha256((tmp_path / name / "model.safetensors").read_bytes()).digest() for name in "abc")
    assert a == b != c
    assert load_model(tmp_path / "a").generation_config.eos_token_id == 256
    assert load_tokenizer(tmp_path / "a")("<think>a").input_ids == [259, 64]
    capsys.readouterr()
    assert main(["init", str(recipe), str(tmp_path / "a")]) == 0
    assert capsys.readouterr().out.endswith("complete, reused\n")
    assert main(["init", str(recipe), str(tmp_path / "a"), "--set", "seed=9"]) == 1
    assert "was not made by `mimo-model init`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.hiden_size=8", "Did you mean `hidden_size`?"),
        ("sed=8", "Did you mean `seed`?"),
        ("seed", "expected key=value"),
        ('dtype="floaty"', "dtype = 'floaty': wanted one of float32, bfloat16"),
        ("model.num_key_value_heads=3", "not a multiple"),
        ("model.vocab_size=200", "261 ids"),
        ("model.hidden_size=0", "[model] hidden_size = 0: wanted an integer from 1 to"),
        ("model.hidden_size=9.5", "[model] hidden_size = 9.5: wanted an integer"),
        ("model.hidden_size=9999999999", "[model] hidden_size = 9999999999: wanted an integer"),
        ("model.intermediate_size=0", "[model] intermediate_size = 0: wanted"),
        ("model.num_attention_heads=0", "[model] num_attention_heads = 0: wanted"),
        ("model.num_hidden_layers=0", "[model] num_hidden_layers = 0: wanted"),
        ("model.num_nextn_predict_layers=-1", "[model] num_nextn_predict_layers = -1: wanted an integer from 0"),
        ("model.max_position_embeddings=0", "[model] max_position_embeddings = 0: wanted"),
        ("model.rope_theta=nan", "[model] rope_theta = nan: wanted a number from 1"),
        ("model.rope_parameters={rope_theta=-1}", "[model] rope_theta = -1: wanted"),
        ("model.rms_norm_eps=nan", "[model] rms_norm_eps = nan: wanted"),
        ("model.initializer_range=inf", "[model] initializer_range = inf: wanted"),
        ("model.initializer_range=-1", "[model] initializer_range = -1: wanted"),
        ("dtype=int8", "dtype = 'int8': wanted one of"),
        ("seed=1e400", "seed = inf: wanted an integer"),
        ("seed=nan", "seed = nan: wanted an integer"),
        ("seed=", "seed = '': wanted an integer"),
        ("seed=10^23", "seed = '10^23': wanted an integer"),
        ("tokenizer.path=7", "[tokenizer] path = 7: wanted a string"),
        ('tokenizer.special_tokens=["a","a"]', "special_tokens = ['a', 'a']: wanted a list of strings"),
        ('tokenizer.added_tokens=["<|im_end|>"]', "added_tokens = ['<|im_end|>']: wanted a list of strings"),
        ('tokenizer.chat_template="{% for"', "chat_template = '{% for': wanted a Jinja template"),
    ],
)
def test_a_wrong_recipe_exits_with_2_and_leaves_nothing(recipe, tmp_path, capsys, override, message):
    assert main(["init", str(recipe), str(tmp_path / "out"), "--set", override]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mimo-model: error: ")
    assert error.count("\n") == 1
    assert message in error
    assert [path.name for path in tmp_path.iterdir()] == ["model.toml"]


def test_replicate_inspect_acceptance_and_generate_work_on_what_init_made(recipe, tmp_path, capsys):
    one, three, measured = tmp_path / "one", tmp_path / "three", tmp_path / "figures" / "acceptance.json"
    assert main(["init", str(recipe), str(one)]) == 0
    assert main(["replicate-mtp", str(one), str(three), "--num-layers", "3"]) == 0
    assert main(["inspect", str(three)]) == 0
    shown = capsys.readouterr().out
    assert "3 MTP layers of" in shown
    assert "264 rows, 261 tokenizer ids, 3 padded" in shown
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"id": "a", "prompt": "?1+1="}\n{"id": "b", "prompt": "?2="}\n')
    command = ["acceptance", str(three), str(measured), "--prompts", str(prompts), "--max-tokens", "9"]
    assert main(command) == 0
    layers = json.loads(measured.read_text())["layers"]
    assert [layer["layer"] for layer in layers] == [1, 2, 3]
    assert all(0 <= layer["num_accepted"] <= layer["num_drafted"] for layer in layers)
    assert main(command) == 0
    assert capsys.readouterr().out.endswith("complete, reused\n")
    assert main(["generate", str(three), "--prompt", "hi", "--max-tokens", "5"]) == 0
    assert "drafts]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "nowhere"], "nowhere: no such checkpoint folder"),
        (["replicate-mtp", "nowhere", "out"], "nowhere: no such file or folder"),
        (["acceptance", ".", "out.json", "--prompts", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
    ],
)
def test_missing_input_exits_with_1_and_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "m", "--port", "99999999"],
        ["serve", "m", "--port", "-1"],
        ["serve", "m", "--max-batch-size", "0"],
        ["generate", "m", "--prompt", "a", "--max-tokens", "0"],
        ["generate", "m", "--prompt", "a", "--top-k", str(10**20)],
        ["generate", "m", "--prompt", "a", "--seed", str(10**20)],
        ["chat", "m", "--max-tokens", "0"],
        ["chat", "m", "--num-drafts", "-1"],
        ["self-check", "m", "--num", "-3"],
        ["self-check", "m", "--num", "0"],
        ["acceptance", "m", "o.json", "--prompts", "p.jsonl", "--num", "0"],
        ["plant", "o", "--num-layers", "0"],
        ["bench", "m", "--batch-sizes", "0"],
        ["bench", "m", "--simulate", "nan"],
        ["bench", "m", "--simulate", "2"],
        ["bench", "m", "--simulate", "-3"],
    ],
)
def test_a_flag_out_of_range_exits_with_2_and_says_the_range(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert f"argument {arguments[-2]}: '{arguments[-1]}': wanted " in capsys.readouterr().err


def test_a_value_that_does_not_suit_the_checkpoint_or_sampling_exits_with_2(checkpoint, tmp_path, capsys):
    for arguments, message in (
        (["generate", str(checkpoint), "--prompt", "a", "--temperature", "nan"], "temperature=nan: 0 for greedy"),
        (["generate", str(checkpoint), "--prompt", "a", "--num-drafts", "9"], "num_drafts=9, but the model has 1"),
        (["generate", str(checkpoint), "--prompt", ""], "The prompt is empty"),
        (["plant", str(tmp_path / "planted"), "--acceptance", "2"], "acceptance 2.0: can be planted"),
        (["bench", str(checkpoint), "--device", "meta"], "device='meta': holds no values"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_an_output_that_is_an_input_or_lies_in_one_is_refused_without_advice_to_delete_it(recipe, tmp_path, capsys):
    folder, prompts = tmp_path / "m", tmp_path / "p.jsonl"
    assert main(["init", str(recipe), str(folder)]) == 0
    prompts.write_text('{"prompt": "a"}\n')
    for arguments, message in (
        (["replicate-mtp", str(folder), str(folder)], "m: is the checkpoint itself."),
        (["replicate-mtp", str(folder), str(folder / "sub")], "sub: lies in the checkpoint"),
        (["export", str(folder), str(folder)], "m: is the checkpoint itself."),
        (["export", str(folder), str(tmp_path)], "m lies in it."),
        (["acceptance", str(folder), str(prompts), "--prompts", str(prompts)], "p.jsonl: is the prompts itself."),
    ):
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert message in error
        assert "delete" not in error
        assert error.count("\n") == 1
    assert not (folder / "sub").exists()


def test_without_mtp_layers_there_is_no_acceptance_to_measure(recipe, tmp_path, capsys):
    assert main(["init", str(recipe), str(tmp_path / "m"), "--set", "model.num_nextn_predict_layers=0"]) == 0
    (tmp_path / "p.jsonl").write_text('{"prompt": "a"}\n')
    out = tmp_path / "a.json"
    assert main(["acceptance", str(tmp_path / "m"), str(out), "--prompts", str(tmp_path / "p.jsonl")]) == 1
    assert "no MTP layers, so there is no acceptance" in capsys.readouterr().err
    assert not out.exists()


def test_prompts_that_cannot_be_read_and_an_output_that_cannot_be_written_are_one_line(checkpoint, tmp_path, capsys):
    prompts, taken = tmp_path / "p.jsonl", tmp_path / "taken"
    prompts.write_text('{"prompt": "a"}\n')
    taken.touch()
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "\xe9"}\n')
    command = ["acceptance", str(checkpoint), str(taken / "x.json"), "--max-tokens", "4", "--prompts", str(prompts)]
    for arguments, message in (
        (["self-check", str(checkpoint), "--prompts", str(tmp_path)], f"{tmp_path}: cannot be read"),
        (["self-check", str(checkpoint), "--prompts", str(tmp_path / "latin.jsonl")], "latin.jsonl: cannot be read"),
        (command, "x.json: cannot be written"),
        (["plant", str(taken / "out")], "out: cannot be written"),
    ):
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_ctrl_c_during_the_imports_is_one_line(tmp_path, capsys, monkeypatch):
    class Interrupted:
        def find_spec(self, name, path=None, target=None):
            if name == "mimo_model.errors":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "mimo_model.errors")
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    assert main(["check", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "mimo-model: interrupted.\n"


def test_bench_shows_a_row_for_every_batch_and_number_of_drafts(recipe, tmp_path, capsys, monkeypatch):
    assert main(["init", str(recipe), str(tmp_path / "model")]) == 0
    capsys.readouterr()
    settings = ["--batch-sizes", "1", "2", "--num-drafts", "0", "1", "--prompt-tokens", "4", "--max-tokens"]
    assert main(["bench", str(tmp_path / "model"), *settings, "16"]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    assert [row[:2] for row in rows] == [["1", "0"], ["1", "1"], ["2", "0"], ["2", "1"]]
    assert all(float(row[4]) > 0 and 1 <= float(row[5]) <= 2 for row in rows)
    # Weights that caches may hold are not read from memory in every round.
    assert {row[7] for row in rows} == {"–"}
    monkeypatch.setattr(bench, "_MOST_CACHE_BYTES", 0)
    assert main(["bench", str(tmp_path / "model"), *settings, "16"]) == 0
    shares = [line.strip("| ").split(" | ")[7] for line in capsys.readouterr().out.splitlines() if line[:3] == "| 1"]
    assert all(float(share) > 0 for share in shares)
    # Where every request ends with its first token there is no round of all to time.
    assert main(["bench", str(tmp_path / "model"), *settings, "1"]) == 0
    assert " | – | – | – | " in capsys.readouterr().out

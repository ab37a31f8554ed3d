"""The command: fast help, clear errors, whole results."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mimo_eval import Problem, write_problems
from mimo_eval.cli import main

RECIPE = """
seed = 1
[sampling]
temperature = 1.0
max_tokens = 4
num_samples = 2
[[benchmark]]
name = "sums"
[[benchmark]]
name = "absent"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "eval.toml").write_text(RECIPE)
    sums = [Problem(id=str(n), prompt=f"{n}+{n}=", kind="math", answer=str(2 * n)) for n in range(3)]
    write_problems(tmp_path / "sums.jsonl", sums)
    return tmp_path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A random model with a byte tokenizer, in a folder."""
    mimo_model = pytest.importorskip("mimo_model", reason="needs the extra mimo-eval[local]")
    torch = pytest.importorskip("torch")
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        chat_template="{% for message in messages %}{{ message.content }}{% endfor %}",
    )
    torch.manual_seed(0)
    config = mimo_model.MiMoConfig(
        vocab_size=264,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=128,
        eos_token_id=wrapped.eos_token_id,
        bos_token_id=None,
    )
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    mimo_model.save_model(mimo_model.MiMoForCausalLM(config), wrapped, folder)
    return folder


def run(folder, checkpoint, out, *more):
    arguments = ["run", folder / "eval.toml", folder / out, "--model", checkpoint, "--problems", folder / "sums.jsonl"]
    return main([str(argument) for argument in (*arguments, *more)])


def test_help_answers_without_torch_or_sympy():
    code = (
        "import sys\nfrom mimo_eval.cli import main\n"
        "try:\n    main(['run', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'sympy', 'transformers', 'math_verify'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_run_writes_results_samples_and_the_resolved_recipe(folder, checkpoint, capsys):
    assert run(folder, checkpoint, "out") == 0
    result = json.loads((folder / "out" / "result.json").read_text())
    samples = [json.loads(line) for line in (folder / "out" / "samples.jsonl").read_text().splitlines()]
    header = json.loads((folder / "out" / "run.json").read_text())
    assert result["not_run"] == ["absent"]
    assert result["benchmarks"]["sums"]["num_problems"] == 3
    assert [(row["problem_id"], row["index"]) for row in samples] == [(str(n), i) for n in range(3) for i in range(2)]
    assert header["recipe"]["sampling"]["max_tokens"] == 4
    assert not (folder / "out.partial").exists()
    assert "| sums | 3 | 2 |" in capsys.readouterr().out


def test_a_second_run_reuses_the_first_and_the_same_run_elsewhere_gives_the_same_samples(folder, checkpoint, capsys):
    assert run(folder, checkpoint, "a") == run(folder, checkpoint, "b") == 0
    assert (folder / "a" / "samples.jsonl").read_bytes() == (folder / "b" / "samples.jsonl").read_bytes()
    assert run(folder, checkpoint, "a") == 0
    assert "a: complete, reused" in capsys.readouterr().out
    assert main(["compare", str(folder / "a"), str(folder / "b")]) == 0
    assert "+0.000" in capsys.readouterr().out


def test_another_recipe_does_not_overwrite_a_result(folder, checkpoint, capsys):
    assert run(folder, checkpoint, "a") == 0
    assert run(folder, checkpoint, "a", "--set", "sampling.max_tokens=3") == 1
    assert "Choose another output folder" in capsys.readouterr().err


def test_a_broken_judge_leaves_no_result(folder, checkpoint, capsys, monkeypatch):
    from mimo_eval import EvalError

    async def broken(*_, **__):
        raise EvalError("the judge is broken")

    monkeypatch.setattr("mimo_eval.evaluation.grade", broken)
    assert run(folder, checkpoint, "out") == 1
    assert "mimo-eval: error: the judge is broken" in capsys.readouterr().err
    assert not list(folder.glob("out*"))


@pytest.mark.parametrize("override", ["sampling.max_token=3", "nonsense", "sampling.max_tokens=many"])
def test_a_bad_override_is_a_usage_error(folder, capsys, override):
    assert run(folder, folder, "out", "--set", override) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_full_disk_leaves_nothing_and_says_what_to_do(folder, checkpoint, capsys, monkeypatch):
    def finish(run, **counts):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mimo_eval.run.Run.finish", finish)

    assert run(folder, checkpoint, "out") == 1

    assert "No space left on device. Nothing was written: put that right" in capsys.readouterr().err
    assert not list(folder.glob("out*"))


def test_a_missing_checkpoint_or_problem_file_is_named(folder, checkpoint, capsys):
    assert run(folder, folder / "nowhere", "out") == 1
    assert "nowhere: no such" in capsys.readouterr().err
    (folder / "sums.jsonl").unlink()
    assert run(folder, checkpoint, "out") == 1
    assert "sums.jsonl: no such" in capsys.readouterr().err
    assert not list(folder.glob("out*"))


def test_a_folder_that_is_no_checkpoint_is_named(folder, checkpoint, capsys):
    (folder / "empty").mkdir()
    assert run(folder, folder / "empty", "out") == 1
    assert "empty" in capsys.readouterr().err
    assert not list(folder.glob("out*"))


def test_a_problem_file_that_no_benchmark_reads_is_refused(folder, checkpoint, capsys):
    (folder / "sums.jsonl").rename(folder / "products.jsonl")
    arguments = ["run", folder / "eval.toml", folder / "out", "--model", checkpoint]
    assert main([str(a) for a in (*arguments, "--problems", folder / "products.jsonl")]) == 1
    assert "It wants: absent.jsonl, sums.jsonl" in capsys.readouterr().err


def test_more_drafts_than_the_model_has_layers_is_refused(folder, checkpoint, capsys):
    assert run(folder, checkpoint, "out", "--set", "num_drafts=2") == 1
    assert "MTP" in capsys.readouterr().err


def test_without_the_local_extra_the_error_says_what_to_install(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mimo_model", None)
    monkeypatch.delitem(sys.modules, "mimo_eval.local", raising=False)
    (folder / "checkpoint").mkdir()
    assert run(folder, folder / "checkpoint", "out") == 1
    assert "pip install 'mimo-eval[local]'" in capsys.readouterr().err


def test_check_counts_the_benchmarks_and_refuses_a_missing_recipe(folder, capsys):
    assert main(["check", str(folder / "eval.toml")]) == 0
    assert "2 benchmarks" in capsys.readouterr().out
    assert main(["check", str(folder / "none.toml")]) == 2


def test_comparing_what_is_no_result_is_an_error(folder, capsys):
    assert main(["compare", str(folder), str(folder)]) == 1
    (folder / "result.json").write_text("{}")
    assert main(["compare", str(folder), str(folder)]) == 1
    assert "mimo-eval run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("published.jsonl", "published.jsonl: is the input."),
        ("linked.jsonl", "linked.jsonl: is the input."),
        ("sums.jsonl", "sums.jsonl: exists and holds something else."),
        ("a", "a: exists and holds something else."),
        ("none/out.jsonl", "none/out.jsonl: cannot be written: No such file or directory."),
    ],
)
def test_problems_does_not_overwrite_a_file(folder, capsys, out, message):
    published = folder / "published.jsonl"
    published.write_text(json.dumps({"question": "1+1?", "answer": "#### 2"}))
    (folder / "linked.jsonl").symlink_to(published)
    (folder / "a").mkdir()
    before = [(folder / name).read_bytes() for name in ("published.jsonl", "sums.jsonl")]
    assert main(["problems", "gsm8k", str(published), str(folder / out)]) == 1
    assert message in capsys.readouterr().err
    assert [(folder / name).read_bytes() for name in ("published.jsonl", "sums.jsonl")] == before


def test_the_same_problem_file_may_be_made_again(folder):
    published = folder / "published.jsonl"
    published.write_text(json.dumps({"question": "1+1?", "answer": "#### 2"}))
    for _ in range(2):
        assert main(["problems", "gsm8k", str(published), str(folder / "out.jsonl")]) == 0


@pytest.mark.parametrize("out", ["eval.toml", "sums.jsonl", ".", "checkpoint/out"])
def test_a_run_does_not_write_into_its_inputs(folder, capsys, monkeypatch, out):
    monkeypatch.chdir(folder)
    (folder / "checkpoint").mkdir()
    assert run(folder, folder / "checkpoint", out) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "delete" not in line
    assert "this folder" in line or "outside of it" in line
    assert sorted(path.name for path in folder.rglob("*")) == ["checkpoint", "eval.toml", "sums.jsonl"]


def test_a_prompt_longer_than_the_context_is_named_by_its_problem(folder, checkpoint, capsys):
    long = [Problem(id="short", prompt="1", kind="math", answer="1")]
    long += [Problem(id="long", prompt="1" * 200, kind="math", answer="1")]
    (folder / "sums.jsonl").unlink()
    write_problems(folder / "sums.jsonl", long)
    assert run(folder, checkpoint, "out") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mimo-eval: error: sums: problem 'long': A prompt of 200 tokens")


def test_comparing_a_file_says_to_give_the_folder(folder, capsys):
    assert main(["compare", str(folder / "sums.jsonl"), str(folder)]) == 1
    assert "sums.jsonl: not a folder." in capsys.readouterr().err


def test_an_unknown_verb_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["walk"])
    assert caught.value.code == 2

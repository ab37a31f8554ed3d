"""The report's numbers, held against the recipes at real scale; and every recipe decodes."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "recipes"

# Recipe, key, number in the report, section.
REPORT = [
    ("model", "model.num_hidden_layers", 36, "§2.3"),
    ("model", "model.hidden_size", 4096, "§2.3"),
    ("model", "model.intermediate_size", 11008, "§2.3"),
    ("model", "model.num_attention_heads", 32, "§2.3"),
    ("model", "model.num_key_value_heads", 8, "§2.3"),
    ("model", "model.num_nextn_predict_layers", 1, "§2.2"),
    ("model", "model.rope_theta", 10_000, "§2.3: stages 1 and 2"),
    ("model", "model.vocab_size", 151_680, "released config.json"),
    ("model", "model.rms_norm_eps", 1e-5, "released config.json"),
    ("data", "decontaminate.ngram_words", 16, "§3.1"),
    ("pretrain-1", "rope_theta", 10_000, "§2.3"),
    ("pretrain-1", "schedule.warmup_tokens", 84e9, "§2.3"),
    ("pretrain-1", "schedule.constant_tokens", 10.2e12, "§2.3"),
    ("pretrain-1", "schedule.cosine_tokens", 7.5e12, "§2.3"),
    ("pretrain-1", "schedule.peak_lr", 1.07e-4, "§2.3"),
    ("pretrain-1", "schedule.final_lr", 3e-5, "§2.3"),
    ("pretrain-1", "batch.sequence_length", 8_192, "§2.3"),
    ("pretrain-1", "batch.num_sequences", 2_560, "§2.3"),
    ("pretrain-1", "batch.warmup_tokens", 168e9, "§2.3"),
    ("pretrain-1", "mtp.weight", 0.3, "§2.3"),
    ("pretrain-1", "mtp.switch_tokens", 10.3e12, "§2.3"),
    ("pretrain-1", "mtp.later_weight", 0.1, "§2.3"),
    ("pretrain-2", "rope_theta", 10_000, "§2.3"),
    ("pretrain-2", "schedule.constant_tokens", 4e12, "§2.3"),
    ("pretrain-2", "schedule.peak_lr", 3e-5, "§2.3"),
    ("pretrain-2", "batch.sequence_length", 8_192, "§2.3"),
    ("pretrain-2", "batch.num_sequences", 2_560, "§2.3"),
    ("pretrain-2", "mtp.weight", 0.1, "§2.3"),
    ("pretrain-3", "rope_theta", 640_000, "§2.3"),
    ("pretrain-3", "schedule.constant_tokens", 1.5e12, "§2.3"),
    ("pretrain-3", "schedule.cosine_tokens", 0.5e12, "§2.3"),
    ("pretrain-3", "schedule.peak_lr", 3e-5, "§2.3"),
    ("pretrain-3", "schedule.final_lr", 1e-5, "§2.3"),
    ("pretrain-3", "batch.sequence_length", 32_768, "§2.3"),
    ("pretrain-3", "batch.num_sequences", 640, "§2.3"),
    ("pretrain-3", "mtp.weight", 0.1, "§2.3"),
    ("pretrain-3", "mixture.weights.synthetic", 0.1, "§2.1"),
    *(
        (stage, f"optimizer.{key}", value, "§2.3")
        for stage in ("pretrain-1", "pretrain-2", "pretrain-3")
        for key, value in {"beta1": 0.9, "beta2": 0.95, "weight_decay": 0.1, "clip_norm": 1.0}.items()
    ),
    ("tune-mtp", "num_layers", 3, "§2.2"),
    ("sft", "lr", 3e-5, "§3.1"),
    ("sft", "batch.num_sequences", 128, "§3.1"),
    ("sft", "batch.sequence_length", 32_768, "§3.1"),
    ("sft", "max_responses_per_prompt", 8, "§3.1"),
    ("curate", "num_rollouts", 16, "§3.2"),
    ("curate", "max_pass_rate", 0.9, "§3.2"),
    *(
        (run, key, value, section)
        for run in ("rl-zero", "rl", "rl-0530")
        for key, value, section in [
            ("lr", 1e-6, "§3.3.3"),
            ("batch.num_problems", 512, "§3.3.3"),
            ("generation.temperature", 1.0, "§3.3.3"),
            ("generation.top_p", 1.0, "§3.3.3"),
            ("sampling.easy_probability", 0.1, "§3.3.2"),
            ("budget.0.sequence_length", 32_768, "§3.3.3"),
        ]
    ),
    ("rl-zero", "batch.mini_batch_problems", 32, "§3.3.3"),
    ("rl", "batch.mini_batch_problems", 32, "§3.3.3"),
    ("rl-0530", "batch.mini_batch_problems", 512, "§3.6: on-policy"),
    ("rl-0530", "budget.1.sequence_length", 38 * 1024, "§3.6"),
    ("rl-0530", "budget.2.sequence_length", 48 * 1024, "§3.6"),
    ("eval-rl", "sampling.temperature", 0.6, "§3.5.1"),
    ("eval-rl", "sampling.top_p", 0.95, "§3.5.1"),
]

# Benchmark of §2.4.1: examples before the question.
BASE_SHOTS = {
    "bbh": 3, "gpqa_diamond": 5, "supergpqa": 5, "drop": 3, "mmlu": 5, "mmlu_redux": 5, "mmlu_pro": 5,
    "arc_easy": 25, "arc_challenge": 25, "hellaswag": 10, "piqa": 0, "winogrande": 5, "race": 5, "triviaqa": 5,
    "nq_open": 5, "agieval": 0, "aime24": 0, "aime25": 0, "gsm8k": 8, "math": 4, "livecodebench_v5": 0,
    "humaneval": 1, "humaneval_plus": 1, "mbpp": 3, "mbpp_plus": 3, "cruxeval_i": 2, "cruxeval_o": 2,
    "ceval": 5, "cmmlu": 5,
}  # fmt: skip

# Benchmark of §3.5.1: samples per problem, longest response.
POST_TRAINED = {
    "mmlu_pro": (1, 8_192), "gpqa_diamond": (8, 32_768), "supergpqa": (1, 32_768), "ifeval": (8, 8_192),
    "drop": (1, 8_192), "math500": (1, 32_768), "aime24": (32, 32_768), "aime25": (32, 32_768),
    "livecodebench_v5": (8, 32_768), "livecodebench_v6": (8, 32_768),
}  # fmt: skip


def recipe(name: str) -> dict:
    return tomllib.loads((RECIPES / "mimo-7b" / f"{name}.toml").read_text())


def at(tree: object, key: str) -> object:
    for part in key.split("."):
        tree = tree[int(part)] if isinstance(tree, list) else tree[part]
    return tree


@pytest.mark.parametrize(("name", "key", "number", "section"), REPORT, ids=lambda value: str(value))
def test_a_number_of_the_report_stands_in_its_recipe(name, key, number, section):
    assert at(recipe(name), key) == pytest.approx(number), section


def test_tokens_per_step_are_the_same_in_all_stages():
    steps = {
        stage: recipe(stage)["batch"]["sequence_length"] * recipe(stage)["batch"]["num_sequences"]
        for stage in ("pretrain-1", "pretrain-2", "pretrain-3")
    }
    assert set(steps.values()) == {20_971_520}


def test_the_stages_sum_to_the_tokens_of_the_report():
    totals = [
        sum(value for key, value in recipe(stage)["schedule"].items() if key.endswith("_tokens"))
        for stage in ("pretrain-1", "pretrain-2", "pretrain-3")
    ]
    assert totals == [17_784_000_000_000, 4_000_000_000_000, 2_000_000_000_000]


def test_stage_2_takes_about_seventy_per_cent_mathematics_and_code():
    weights = recipe("pretrain-2")["mixture"]["weights"]
    assert weights["mathematics"] + weights["code"] == pytest.approx(0.7)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_mixture_that_is_sized_is_the_one_that_is_trained_on(stage):
    assert recipe("data")["stages"][f"stage-{stage}"] == recipe(f"pretrain-{stage}")["mixture"]


def test_the_base_models_benchmarks_have_the_reports_shots():
    found = {entry["name"]: entry.get("num_shots", 0) for entry in recipe("eval-base")["benchmark"]}
    assert {name: found.get(name) for name in BASE_SHOTS} == BASE_SHOTS


def test_the_post_trained_models_benchmarks_have_the_reports_samples_and_lengths():
    sampling = recipe("eval-rl")["sampling"]
    found = {
        entry["name"]: (
            entry.get("num_samples", sampling.get("num_samples", 1)),
            entry.get("max_tokens", sampling["max_tokens"]),
        )
        for entry in recipe("eval-rl")["benchmark"]
    }
    assert found == POST_TRAINED


def check_commands() -> list[tuple[str, ...]]:
    tools = {
        "data": ("mimo-data", "check"),
        "model": ("mimo-model", "check"),
        "sft": ("mimo-train", "check", "sft"),
        "tune-mtp": ("mimo-train", "check", "tune-mtp"),
        **{f"pretrain-{stage}": ("mimo-train", "check", "pretrain") for stage in (1, 2, 3)},
        "curate": ("mimo-rl", "check", "curate"),
        **dict.fromkeys(("rl-zero", "rl", "rl-0530"), ("mimo-rl", "check", "train")),
        "eval-base": ("mimo-eval", "check"),
        "eval-rl": ("mimo-eval", "check"),
    }
    return [
        (*tool, str(RECIPES / scale / f"{name}.toml")) for scale in ("mimo-7b", "tiny") for name, tool in tools.items()
    ]


def keys(tree: dict) -> dict:
    return {key: keys(value) if isinstance(value, dict) else None for key, value in tree.items()}


def test_the_datas_recipe_has_every_key_of_extract(tmp_path):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "a.html").write_text("<p>A page.</p>")
    tool = Path(sys.executable).parent / "mimo-data"
    words = ["extract", RECIPES / "mimo-7b" / "data.toml", tmp_path / "out", "--pages", tmp_path / "pages"]
    subprocess.run([tool, *words, "--workers", "1"], check=True)
    resolved = json.loads((tmp_path / "out" / "run.json").read_text())["recipe"]
    assert keys(recipe("data")["extract"]) == keys(resolved)


def test_both_scales_have_the_same_recipes():
    assert sorted(path.name for path in (RECIPES / "tiny").iterdir()) == sorted(
        path.name for path in (RECIPES / "mimo-7b").iterdir()
    )


@pytest.mark.parametrize("command", check_commands(), ids=lambda command: "/".join(Path(command[-1]).parts[-2:]))
def test_a_recipe_decodes(command):
    tool, *arguments = command
    result = subprocess.run(
        [Path(sys.executable).parent / tool, *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr

"""Curation: what is kept, what is dropped and why (§3.2)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from mimo_rl import CurateRecipe
from mimo_rl.cli import main
from mimo_rl.curation import Drop, Measurement, decide, screen
from mimo_rl.problems import CuratedProblem, read_curated
from mimo_sandbox import Case

RECIPE = CurateRecipe(sequence_length=32)
CASES = tuple(Case(id=f"t{n}", stdin=str(n), expected=str(n)) for n in (0, 1, 7))


def a_problem(kind: str = "math", **fields: object) -> CuratedProblem:
    given = {"answer": "1"} if kind == "math" else {"tests": CASES} if kind == "code" else {"answer": "A"}
    return msgspec.structs.replace(
        CuratedProblem(id="p", prompt="?", kind=kind),  # type: ignore[arg-type]
        **{**given, **fields},
    )


def measured(num_correct: int, *, num_rollouts: int = 16, passed: tuple[tuple[bool, ...], ...] = ()) -> Measurement:
    correct = tuple(index < num_correct for index in range(num_rollouts))
    return Measurement(model=0, problem_id="p", correct=correct, passed=passed)


def outcome(problem: CuratedProblem, *measurements: Measurement) -> str:
    decision = decide(problem, measurements, RECIPE, how="")
    return decision.reason if isinstance(decision, Drop) else "kept"


@pytest.mark.parametrize(("num_correct", "expected"), [(0, "unsolved"), (1, "kept"), (14, "kept"), (15, "too_easy")])
def test_mathematics_is_kept_between_one_solution_and_a_pass_rate_of_90_percent(
    num_correct: int, expected: str
) -> None:
    assert outcome(a_problem(), measured(num_correct)) == expected


def test_a_problem_that_only_a_stronger_model_solves_is_kept() -> None:
    assert outcome(a_problem(), measured(0), measured(1)) == "kept"


def test_what_a_stronger_model_finds_easy_is_not_too_easy() -> None:
    assert outcome(a_problem(), measured(8), measured(16)) == "kept"


def test_code_is_dropped_only_when_all_rollouts_solve_it() -> None:
    tests = ((True, True, True),) * 15 + ((True, True, False),)
    assert outcome(a_problem("code"), measured(15, passed=tests)) == "kept"
    assert outcome(a_problem("code"), measured(16, passed=((True,) * 3,) * 16)) == "too_easy"


def test_code_of_which_no_rollout_passes_a_test_is_dropped_unless_its_own_solution_passes() -> None:
    none = measured(0, passed=((False,) * 3,) * 16)
    assert outcome(a_problem("code"), none) == "unsolved"
    assert outcome(a_problem("code", solution="print(input())"), none) == "kept"


def test_levels_come_from_the_rollouts_of_all_models() -> None:
    weak = measured(0, num_rollouts=2, passed=((True, False, False), (True, False, False)))
    strong = measured(1, num_rollouts=2, passed=((True, True, True), (True, True, False)))
    kept = decide(a_problem("code"), (weak, strong), RECIPE, how="4 rollouts")
    assert isinstance(kept, CuratedProblem)
    assert kept.test_pass_rates == (1.0, 0.5, 0.25)
    assert kept.test_levels == (0, 1, 2)
    assert kept.pass_rate == 0.0
    assert kept.measured_by == "4 rollouts"


def test_what_no_rule_can_verify_is_dropped_before_any_rollout() -> None:
    reasons = [
        drop.reason if (drop := screen(problem)) else "passed"
        for problem in (
            a_problem("choice"),
            a_problem("math", answer=" "),
            a_problem("code", tests=()),
            a_problem("math"),
            a_problem("code"),
        )
    ]
    assert reasons == ["not_math_or_code", "no_answer", "no_tests", "passed", "passed"]


def test_curation_measures_with_rollouts_and_accounts_for_every_problem(
    tmp_path: Path, math_policy: Path, math_problems: Path
) -> None:
    recipe = tmp_path / "curate.toml"
    recipe.write_text("sequence_length = 32\n")
    mixed = tmp_path / "mixed.jsonl"
    lines = math_problems.read_text().splitlines()[:20]
    extra = [
        {"id": "choice", "prompt": "?", "kind": "choice", "answer": "A"},
        {"id": "long", "prompt": "?" * 40, "kind": "math", "answer": "1"},
        {"id": "never", "prompt": "?000=", "kind": "math", "answer": "987654"},
    ]
    mixed.write_text("\n".join([*lines, *(json.dumps(problem) for problem in extra)]) + "\n")
    out = tmp_path / "out"
    assert main(["curate", str(recipe), str(out), "--model", str(math_policy), "--problems", str(mixed)]) == 0
    kept = read_curated([out / "problems.jsonl"])
    drops = {drop["id"]: drop["reason"] for drop in map(json.loads, (out / "drops.jsonl").read_text().splitlines())}
    assert drops["choice"] == "not_math_or_code"
    assert drops["long"] == "prompt_too_long"
    assert drops["never"] == "unsolved"
    assert len(kept) + len(drops) == 23
    assert all(problem.pass_rate is not None and 0 < problem.pass_rate <= 0.9 for problem in kept)
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert counts == {"num_in": 23, "num_out": len(kept), "num_dropped": len(drops)}
    assert not (out / "state").exists()


def test_a_line_torn_by_a_kill_is_measured_again_however_often_that_happens(
    tmp_path: Path, math_policy: Path, math_problems: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "curate.toml"
    recipe.write_text("sequence_length = 32\nnum_rollouts = 4\n")
    words = ["--model", str(math_policy), "--problems", str(math_problems)]
    log = tmp_path / "torn.partial" / "state" / "measurements.jsonl"
    assert main(["curate", str(recipe), str(tmp_path / "whole"), *words]) == 0

    def fail(path: Path, problems: list[CuratedProblem]) -> int:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mimo_rl.curation.write_curated", fail)
        for num_bytes in (30, -30):
            assert main(["curate", str(recipe), str(tmp_path / "torn"), *words]) == 1
            log.write_bytes(log.read_bytes()[:num_bytes])
    assert main(["curate", str(recipe), str(tmp_path / "torn"), *words]) == 0

    for name in ("problems.jsonl", "drops.jsonl", "measurements.jsonl"):
        assert (tmp_path / "torn" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_a_solution_that_fails_its_tests_drops_the_problem(
    tmp_path: Path, code_policy: Path, code_problems: Path
) -> None:
    recipe = tmp_path / "curate.toml"
    recipe.write_text("sequence_length = 32\nnum_rollouts = 4\n")
    problems = [json.loads(line) for line in code_problems.read_text().splitlines()]
    problems[0]["solution"] = "print(0)"
    problems[1]["solution"] = "print(input())"
    path = tmp_path / "code.jsonl"
    path.write_text("".join(json.dumps(problem) + "\n" for problem in problems[:4]))
    out = tmp_path / "out"
    assert main(["curate", str(recipe), str(out), "--model", str(code_policy), "--problems", str(path)]) == 0
    drops = [json.loads(line) for line in (out / "drops.jsonl").read_text().splitlines()]
    assert drops[0]["id"] == "code-0"
    assert (drops[0]["reason"], drops[0]["detail"]) == ("solution_fails", "1 of 3 tests passed")
    kept = read_curated([out / "problems.jsonl"])
    assert all(len(problem.test_levels) == 3 for problem in kept)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "choice", "answer": "A"}, '(1 not_math_or_code). Give problems of kind "math" or "code".'),
        ({"kind": "math", "answer": "1", "prompt": " "}, "(1 no_prompt). Give problems with a prompt."),
        ({"kind": "math"}, "(1 no_answer). Give mathematics problems with an answer."),
        ({"kind": "code"}, "(1 no_tests). Give code problems with tests."),
        (
            {"kind": "math", "answer": "1", "prompt": "?" * 40},
            "(1 prompt_too_long). Raise sequence_length, which is 32.",
        ),
    ],
)
def test_when_everything_is_dropped_the_message_counts_the_reasons_and_has_a_remedy(
    tmp_path: Path, fresh: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, str], message: str
) -> None:
    recipe = tmp_path / "curate.toml"
    recipe.write_text("sequence_length = 32\n")
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"id": "c", "prompt": "?", **fields}) + "\n")
    out = tmp_path / "out"
    assert main(["curate", str(recipe), str(out), "--model", str(fresh), "--problems", str(path)]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))


def test_every_model_must_fit_the_recipe_before_the_first_is_measured(
    tmp_path: Path, fresh: Path, math_problems: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "curate.toml"
    recipe.write_text("sequence_length = 32\n")
    short = shutil.copytree(fresh, tmp_path / "short")
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 16}))
    words = ["curate", str(recipe), str(tmp_path / "out"), "--problems", str(math_problems), "--model", str(fresh)]
    assert main([*words, str(short)]) == 1
    assert "short/config.json: max_position_embeddings is 16" in capsys.readouterr().err
    assert main([*words, "--set", "sequence_length=9999"]) == 1
    assert "sequences of up to 9999 tokens" in capsys.readouterr().err
    assert main([*words, "--set", "generation.num_drafts=2"]) == 1
    assert "has 1 MTP layers, but the recipe drafts with 2" in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))

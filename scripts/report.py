"""Writes one self-contained `report.html` over the files of a run; reads them only.

Every figure names the commands of this run that made its numbers.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import report_figures as figures
from pipeline import ACCEPTANCE, DATA_STEPS, PHASES, PRETRAINING, RL_RUNS

Json = dict[str, Any]
NUM_SAMPLES = 10
SMOOTHING = 10  # steps in a running mean


class Run:
    """The files of one pipeline run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def text(self, name: str) -> str:
        path = self.folder / name
        try:
            return path.read_text()
        except FileNotFoundError:
            raise SystemExit(f"{path}: missing, so the run is not finished. Run scripts/demo.sh again.") from None

    def json(self, name: str) -> Json:
        return dict(json.loads(self.text(name)))

    def lines(self, name: str) -> list[Json]:
        return [json.loads(line) for line in self.text(name).split("\n") if line]

    def commands(self) -> list[Json]:
        """Each stage's last command."""
        return list({entry["name"]: entry for entry in self.lines("commands.jsonl")}.values())


def accuracy(run: Run) -> Json:
    """Accuracy of each phase on each benchmark, with its interval."""
    results = {phase: run.json(f"eval/{phase}/result.json")["benchmarks"] for phase in PHASES}
    benchmarks = list(next(iter(results.values())))
    rows = [
        {
            "phase": title,
            "cells": [
                {"value": f"{result['accuracy']:.3f}", "interval": "[{:.3f}, {:.3f}]".format(*result["interval"])}
                for result in results[phase].values()
            ],
        }
        for phase, title in PHASES.items()
    ]
    main = benchmarks[0]
    bars = {title: results[phase][main] for phase, title in PHASES.items()}
    sizes = "; ".join(
        f"{name}: {result['num_problems']}, {result['num_samples']} samples of each"
        for name, result in results["rl"].items()
    )
    return {
        "benchmarks": benchmarks,
        "rows": rows,
        "figure": figures.intervals(
            {title: (bar["accuracy"], *bar["interval"]) for title, bar in bars.items()},
            x=f"accuracy on {main}, 95% interval",
        ),
        "note": f"Held-out problems ({sizes}). Mean accuracy, with its 95% interval over problems as clusters.",
        "made_by": [f"eval/{phase}" for phase in PHASES],
    }


def funnel(run: Run) -> Json:
    """How many documents each step of the corpus pipeline saw and kept, and why it dropped the rest."""
    rows = []
    for step in DATA_STEPS:
        counts = run.json(f"data/{step}/run.json")["counts"]
        reasons = Counter(drop["reason"] for drop in run.lines(f"data/{step}/drops.jsonl"))
        if sum(reasons.values()) != counts["num_dropped"]:
            raise SystemExit(
                f"data/{step}: run.json counts {counts['num_dropped']} drops, drops.jsonl holds another number."
            )
        text = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in reasons.most_common())
        text = f"dropped: {text}" if text else "nothing dropped"
        numbers = {key: f"{counts[key]:,}" for key in ("num_in", "num_out", "num_dropped")}
        rows.append({"step": step, **numbers, "reasons": text})
    return {
        "rows": rows,
        "note": "Pages enter at the first step; documents of the arithmetic and code tasks at the last.",
        "made_by": [f"data/{step}" for step in DATA_STEPS],
    }


def mixture(run: Run) -> Json:
    """Share of each source in the tokens that a stage trained on."""
    rows = {}
    for stage in PRETRAINING:
        by_source = run.lines(f"{stage}/metrics.jsonl")[-1]["tokens_by_source"]
        rows[PHASES[stage]] = {source: count / sum(by_source.values()) for source, count in by_source.items()}
    return {"figure": figures.shares(rows, x="share of training tokens")}


def pretraining(run: Run) -> Json:
    """Losses and schedule of the stages, one after another along one axis of tokens."""
    steps: list[Json] = []
    ends: list[float] = []
    for stage in PRETRAINING:
        before = ends[-1] if ends else 0.0
        lines = run.lines(f"{stage}/metrics.jsonl")
        steps += [{**line, "thousands": before + line["tokens"] / 1000} for line in lines]
        ends.append(steps[-1]["thousands"])
    xs = [step["thousands"] for step in steps]
    losses = {
        "main": (xs, _smooth([step["loss"] for step in steps])),
        "MTP layer 1": (xs, _smooth([step["mtp_losses"][0] for step in steps])),
    }
    x = "thousand tokens (dotted: end of a stage)"
    return {
        "figures": [
            {"title": "Loss", "svg": figures.lines(losses, x=x, y="cross-entropy, nats", breaks=ends[:-1], log_y=True)},
            {
                "title": "Learning rate",
                "svg": figures.lines({"lr": (xs, [step["lr"] for step in steps])}, x=x, y="rate", breaks=ends[:-1]),
            },
        ],
        "note": f"Running mean over {SMOOTHING} steps. The mixture changes between stages, so the loss jumps there.",
        "made_by": list(PRETRAINING),
    }


def reinforcement_learning(run: Run) -> Json:
    """Reward, response length, pass rate and the easy-data pool over steps."""
    curves = {title: run.lines(f"{name}/metrics.jsonl") for name, title in RL_RUNS.items()}

    def series(key: str) -> dict[str, figures.Points]:
        return {
            title: ([line["step"] for line in lines], [line[key] for line in lines]) for title, lines in curves.items()
        }

    titles = {
        "reward_mean": ("Reward", "mean reward", True),
        "response_length_mean": ("Response length", "mean tokens", False),
        "num_generated_groups": ("Groups generated to fill a batch", "groups", False),
        "easy_pool_size": ("Easy-data pool", "problems", False),
    }
    return {
        "figures": [
            {"title": title, "svg": figures.lines(series(key), x="step", y=y, unit_y=unit)}
            for key, (title, y, unit) in titles.items()
        ],
        "note": "GRPO without KL, clip-higher, dynamic sampling; rewards from math-verify and from the sandbox.",
        "made_by": ["curate", *RL_RUNS],
    }


def acceptance(run: Run) -> Json:
    """How often the main model agrees with each MTP layer's draft, beside the control."""
    bars: dict[str, dict[str, float]] = {}
    rows = []
    for model, title in ACCEPTANCE.items():
        layers = run.json(f"acceptance/{model}.json")["layers"]
        bars[title] = {f"layer {layer['layer']}": layer["acceptance"] for layer in layers}
        bars[title]["control"] = max(layer["control"] for layer in layers)
        rows += [
            {
                "model": title,
                "layer": layer["layer"],
                "own": f"{layer['acceptance']:.3f}",
                "control": f"{layer['control']:.3f}",
                "engine": f"{layer['num_accepted']:,} / {layer['num_drafted']:,}",
            }
            for layer in layers
        ]
    return {
        "figure": figures.groups(bars, y="acceptance on own greedy output"),
        "rows": rows,
        "note": (
            "Teacher-forced on the model's own greedy output. The control holds the same drafts against the token one "
            "place further on: it must stay near chance. Engine: drafts accepted of those drafted while decoding."
        ),
        "made_by": ["mtp-copies", "tune-mtp", *(f"acceptance/{model}" for model in ACCEPTANCE)],
    }


def pass_at_k(run: Run) -> Json:
    """pass@k of each phase, per benchmark."""
    results = {title: run.json(f"eval/{phase}/result.json")["benchmarks"] for phase, title in PHASES.items()}
    names = list(next(iter(results.values())))
    drawn = []
    for name in names:
        curves = {
            title: ([int(k) for k in result[name]["pass_at"]], list(result[name]["pass_at"].values()))
            for title, result in results.items()
        }
        drawn.append({"title": name, "svg": figures.lines(curves, x="k", y="pass@k", unit_y=True, whole_x=True)})
    return {"figures": drawn}


def samples(run: Run) -> Json:
    """Ten graded responses, taken at fixed places: the base model's, then the RL model's, of each benchmark."""
    rows = []
    for phase in ("pretrain-3", "rl"):
        lines = run.lines(f"eval/{phase}/samples.jsonl")
        by_benchmark: dict[str, list[Json]] = {}
        for line in lines:
            if line["index"] == 0:
                by_benchmark.setdefault(line["benchmark"], []).append(line)
        share = NUM_SAMPLES // 2
        for number, chosen in enumerate(by_benchmark.values()):
            count = share // len(by_benchmark) + (number < share % len(by_benchmark))
            rows += [_sample(PHASES[phase], line) for line in chosen[:: max(1, len(chosen) // count)][:count]]
    return {
        "rows": rows,
        "note": "Sampled at temperature 1, evenly spaced through the problem files, not chosen by hand.",
    }


def _sample(phase: str, line: Json) -> Json:
    grade = line["grade"]
    answer = f"answer read: {grade['answer']}" if grade["answer"] and not grade["passed"] else ""
    passed = f"{sum(grade['passed'])} of {len(grade['passed'])} tests that ran passed" if grade["passed"] else ""
    return {
        "phase": phase,
        "problem": line["problem_id"],
        "correct": grade["correct"],
        "verdict": grade["reason"].replace("_", " "),
        "prompt": line["prompt"],
        "response": line["response"],
        "detail": "; ".join(part for part in (answer, passed, f"{line['num_tokens']} tokens") if part),
    }


def _smooth(values: Iterable[float | None]) -> list[float]:
    """Running mean over the last few steps; a step that had nothing to predict is skipped over."""
    window: list[float] = []
    means = []
    for value in values:
        window = [*window, value][-SMOOTHING:] if value is not None else window
        means.append(sum(window) / len(window) if window else float("nan"))
    return means


def render(run: Run) -> str:
    """The report as HTML text."""
    commands = run.commands()
    seconds = sum(entry["seconds"] for entry in commands)
    model = run.json("rl/config.json")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html.jinja").render(
        title="MiMo in miniature: from raw pages to a reasoning model",
        lead=(
            f"A model of {model['num_hidden_layers']} layers and width {model['hidden_size']} with one MTP layer, "
            f"trained from scratch in {seconds / 60:.1f} minutes of commands. "
            "This page reads the files of that run and nothing else."
        ),
        commands=commands,
        accuracy=accuracy(run),
        funnel=funnel(run),
        mixture=mixture(run),
        pretraining=pretraining(run),
        rl=reinforcement_learning(run),
        acceptance=acceptance(run),
        pass_at_k=pass_at_k(run),
        samples=samples(run),
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of a pipeline run")
    folder = parser.parse_args(argv).folder
    temporary = folder / "report.html.tmp"
    temporary.write_text(render(Run(folder)))
    temporary.replace(folder / "report.html")
    print(f"{folder / 'report.html'}: written")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

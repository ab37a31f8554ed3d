"""Strings the packages' own commands into one run, from raw pages to a report.

Every stage writes one folder under `--out`. A command that finds its folder complete says so and returns, and
one that finds its own work in progress resumes it: run this again after a crash, or after a change to one recipe.
What was run, and for how long, is appended to `commands.jsonl` for the report.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What the report shows: a run's folders, in order, and how each is called there.
DATA_STEPS = ("extract", "deduplicate", "filter", "decontaminate")
PRETRAINING = ("pretrain-1", "pretrain-2", "pretrain-3")
RL_RUNS = {"rl-zero": "RL-Zero", "rl": "RL from SFT"}
PHASES = {
    "pretrain-1": "stage 1",
    "pretrain-2": "stage 2",
    "pretrain-3": "stage 3 (base)",
    "rl-zero": "RL-Zero",
    "sft": "SFT",
    "rl": "RL",
}
ACCEPTANCE = {
    "pretrain-3": "base",
    "sft": "SFT",
    "rl": "RL",
    "mtp-copies": "3 copies",
    "tune-mtp": "3 tuned",
}


@dataclass(frozen=True)
class Stage:
    """One command and the file or folder, relative to the run, that exists once it is done."""

    name: str
    command: tuple[str, ...]
    output: str


def stages(recipes: Path, *, pages: Path | None, seed: int, short: bool) -> list[Stage]:
    """The commands of a whole run in order; paths are relative to the run's folder."""
    world = "world"
    tests = [f"{world}/problems/test-{family}.jsonl" for family in ("arithmetic", "programs")]

    def recipe(name: str) -> str:
        return os.path.relpath(recipes / f"{name}.toml")

    def overrides(name: str) -> tuple[str, ...]:
        key = "mixture.seed" if name.startswith(("pretrain", "tune")) else "seed"
        settings = [f"{key}={seed}", *(SHORT.get(name, ()) if short else ())]
        if pages and key == "mixture.seed":
            settings.append(f"mixture.weights={page_weights(recipes / f'{name}.toml', pages)}")
        return tuple(word for setting in settings for word in ("--set", setting))

    def data(verb: str, *inputs: str) -> Stage:
        command = ("mimo-data", verb, recipe("data"), f"data/{verb}", *inputs)
        return Stage(f"data/{verb}", command, f"data/{verb}")

    def make(name: str, *command: str) -> Stage:
        tool, verb, *inputs = command
        return Stage(name, (tool, verb, recipe(name), name, *inputs, *overrides(name)), name)

    def evaluate(phase: str) -> Stage:
        name = "eval-rl" if phase in ("sft", "rl-zero", "rl") else "eval-base"
        inputs = ("--model", phase, "--problems", *tests)
        command = ("mimo-eval", "run", recipe(name), f"eval/{phase}", *inputs, *overrides(name))
        return Stage(f"eval/{phase}", command, f"eval/{phase}")

    def acceptance(model: str) -> Stage:
        output = f"acceptance/{model}.json"
        prompts = ("--prompts", tests[0])
        return Stage(f"acceptance/{model}", ("mimo-model", "acceptance", model, output, *prompts), output)

    documents = [f"{world}/documents/{source}.jsonl.zst" for source in ("facts", "direct", "worked", "programs")]
    train_problems = f"{world}/problems/train.jsonl"
    world_script = os.path.relpath(ROOT / "scripts" / "tiny_world.py")
    return [
        Stage("world", (sys.executable, world_script, world, "--seed", str(seed)), world),
        data("extract", "--pages", str(pages or f"{world}/pages")),
        data("deduplicate", "--documents", "data/extract"),
        data("filter", "--documents", "data/deduplicate"),
        # Worked problems are alike by their nature: they enter after the steps that are meant for pages.
        data("decontaminate", "--documents", "data/filter", *documents, "--problems", *tests),
        make("model", "mimo-model", "init"),
        data("tokenize", "--documents", "data/decontaminate", "--tokenizer", "model"),
        make("pretrain-1", "mimo-train", "pretrain", "--model", "model", "--shards", "data/tokenize"),
        make("pretrain-2", "mimo-train", "pretrain", "--model", "pretrain-1", "--shards", "data/tokenize"),
        make("pretrain-3", "mimo-train", "pretrain", "--model", "pretrain-2", "--shards", "data/tokenize"),
        make("rl-zero", "mimo-rl", "train", "--model", "pretrain-3", "--problems", train_problems),
        make("sft", "mimo-train", "sft", "--model", "pretrain-3", "--samples", f"{world}/sft.jsonl"),
        make("curate", "mimo-rl", "curate", "--model", "sft", "--problems", train_problems),
        make("rl", "mimo-rl", "train", "--model", "sft", "--problems", "curate/problems.jsonl"),
        Stage(
            "mtp-copies",
            ("mimo-model", "replicate-mtp", "rl", "mtp-copies", "--num-layers", "3"),
            "mtp-copies",
        ),
        make("tune-mtp", "mimo-train", "tune-mtp", "--model", "mtp-copies", "--shards", "data/tokenize"),
        *(acceptance(model) for model in ACCEPTANCE),
        *(evaluate(phase) for phase in PHASES),
        Stage("report", (sys.executable, os.path.relpath(ROOT / "scripts" / "report.py"), "."), "report.html"),
    ]


# A run through every command that is too short to learn anything: for CI.
_SHORT_RL = ("num_steps=2", "batch.num_problems=4", "batch.num_responses=4", "batch.mini_batch_problems=2")
SHORT = {
    "pretrain-1": ("schedule.warmup_tokens=2_560", "schedule.constant_tokens=23_040"),
    "pretrain-2": ("schedule.constant_tokens=10_240",),
    "pretrain-3": ("schedule.constant_tokens=5_120", "schedule.cosine_tokens=5_120"),
    "tune-mtp": ("schedule.constant_tokens=2_560", "schedule.cosine_tokens=2_560"),
    "curate": ("num_rollouts=4",),
    "rl-zero": _SHORT_RL,
    "rl": _SHORT_RL,
    "eval-base": ("sampling.num_samples=2",),
    "eval-rl": ("sampling.num_samples=2",),
}


def page_weights(recipe: Path, pages: Path) -> str:
    """The recipe's mixture as an inline TOML table; when `pages` has no PDF or no HTML, the other kind stands in."""
    weights: dict[str, float] = tomllib.loads(recipe.read_text())["mixture"]["weights"]
    kinds = {"papers" if path.suffix.lower() == ".pdf" else "web" for path in pages.rglob("*") if path.is_file()}
    if len(kinds) == 1:
        (present,) = kinds
        (absent,) = {"web", "papers"} - kinds
        weights[present] = weights.get(present, 0.0) + weights.pop(absent, 0.0)
    return "{" + ", ".join(f"{source} = {weight}" for source, weight in weights.items()) + "}"


def run(stage: Stage, out: Path, *, position: str) -> None:
    """Runs one command in the run's folder and notes it in `commands.jsonl`; exits with its code when it fails."""
    print(f"[{position}] {stage.name}: {' '.join(_shown(word) for word in stage.command)}", flush=True)
    reused = (out / stage.output).exists()
    start_s = time.monotonic()
    code = subprocess.run(stage.command, cwd=out, check=False).returncode
    if code:
        print(f"\n{stage.name} failed (exit code {code}); the message is above. Run the same line again to resume.")
        raise SystemExit(code if code > 0 else 1)
    if reused:
        return
    entry = {"name": stage.name, "command": [_shown(word) for word in stage.command]}
    with (out / "commands.jsonl").open("a") as file:
        file.write(json.dumps({**entry, "seconds": round(time.monotonic() - start_s, 1)}) + "\n")


def _shown(word: str) -> str:
    return "python" if word == sys.executable else word


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo.sh", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pages", type=Path, help="folder of HTML and PDF files to learn from, instead of made ones")
    parser.add_argument("--seed", type=int, default=0, help="of the made corpus, the weights and every draw")
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/tiny-<seed>)")
    parser.add_argument("--recipes", type=Path, default=ROOT / "recipes" / "tiny")
    parser.add_argument("--short", action="store_true", help="a few steps of every command; learns nothing")
    parser.add_argument("--relative-to", type=Path, default=Path.cwd(), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)

    pages = (args.relative_to / args.pages).resolve() if args.pages else None
    if pages and not pages.is_dir():
        parser.error(f"--pages {args.pages}: no such folder. Name one that holds HTML or PDF files.")
    name = f"{'short' if args.short else 'tiny'}-{args.seed}" + (f"-{pages.name}" if pages else "")
    out = (args.relative_to / args.out if args.out else ROOT / "runs" / name).resolve()
    out.mkdir(parents=True, exist_ok=True)
    os.chdir(out)
    # The models are too small to gain from a second thread, and one thread makes a run repeat to the bit.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"

    start_s = time.monotonic()
    todo = stages(args.recipes.resolve(), pages=pages, seed=args.seed, short=args.short)
    for number, stage in enumerate(todo, 1):
        run(stage, out, position=f"{number}/{len(todo)}")
    print(f"\nDone in {time.monotonic() - start_s:.0f} s. The report: {out / 'report.html'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""The command `mimo-rl`: parsing here, work in `training.py` and `curation.py`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; 0 when it is done, 2 for a wrong command line or recipe, 130 when interrupted, else 1."""
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print("mimo-rl: interrupted; the same command goes on from the last saved step.", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"mimo-rl: error: {error}. Put that right; the same command goes on.", file=sys.stderr)
        return 1
    except Exception as error:
        # Every package's own error carries the exit code it stands for; anything else is a bug and keeps
        # its traceback.
        exit_code = getattr(error, "exit_code", None)
        if not isinstance(exit_code, int):
            raise
        print(f"mimo-rl: error: {error}", file=sys.stderr)
        return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimo-rl", description="Reinforcement learning with verifiable rewards (§3.2–3.4)."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    train = verbs.add_parser("train", help="train a checkpoint on problems; OUT becomes a checkpoint")
    curate = verbs.add_parser("curate", help="keep the problems worth training on; OUT/problems.jsonl")
    check = verbs.add_parser("check", help="decode a recipe and say whether it is whole")
    check.add_argument("kind", choices=("train", "curate"))
    for verb in (train, curate, check):
        verb.add_argument("recipe", type=Path, metavar="RECIPE", help="TOML file; see recipes/")
        verb.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            dest="overrides",
            help="override one key of the recipe, such as --set batch.num_problems=64",
        )
    for verb in (train, curate):
        verb.add_argument("out", type=Path, metavar="OUT", help="folder to make")
        verb.add_argument(
            "--problems", type=Path, nargs="+", required=True, metavar="FILE", help="problem files (.jsonl)"
        )
    train.add_argument("--model", type=Path, required=True, metavar="CHECKPOINT", help="the policy to start from")
    curate.add_argument(
        "--model",
        type=Path,
        nargs="+",
        required=True,
        metavar="CHECKPOINT",
        help="the policy to be trained, then stronger models that tell hard problems from broken ones",
    )
    return parser


def _run(arguments: argparse.Namespace) -> int:
    # Imported here, so that --help answers at once; torch is loaded when the recipe is whole.
    from mimo_rl.recipe import CurateRecipe, RLRecipe
    from mimo_train import Run

    if arguments.verb == "check":
        Run.load_recipe(arguments.recipe, RLRecipe if arguments.kind == "train" else CurateRecipe, arguments.overrides)
        print(f"{arguments.recipe}: a whole {arguments.kind} recipe")
        return 0
    if arguments.verb == "train":
        recipe = Run.load_recipe(arguments.recipe, RLRecipe, arguments.overrides)
        from mimo_rl.training import train

        made = train(recipe, arguments.out, model=arguments.model, problems=arguments.problems)
    else:
        settings = Run.load_recipe(arguments.recipe, CurateRecipe, arguments.overrides)
        from mimo_rl.curation import curate

        made = curate(settings, arguments.out, models=arguments.model, problems=arguments.problems)
    print(f"{arguments.out}: complete{'' if made else ', reused'}")
    return 0

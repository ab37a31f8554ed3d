"""The `mimo-train` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from mimo_data import Run
from mimo_train.errors import TrainError
from mimo_train.recipes import MTPRecipe, PretrainRecipe, SFTRecipe

_RECIPES: dict[str, type[PretrainRecipe | SFTRecipe | MTPRecipe]] = {
    "pretrain": PretrainRecipe,
    "sft": SFTRecipe,
    "tune-mtp": MTPRecipe,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0 when it is done, 2 for a wrong command line or recipe, 1 for everything else.
    """
    arguments = _parser().parse_args(argv)
    try:
        _run(arguments)
    except (TrainError, Run.Error) as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on from the last saved state.", 130)
    except OSError as error:
        return _fail(f"{error}. Put that right; the same command goes on from the last saved state.", 1)
    except Exception as error:
        from mimo_model import ModelError
        from mimo_train.processes import has_lost_a_process

        if has_lost_a_process(error):
            return _fail(
                "another process of this run has ended; the same command goes on from the last saved state.", 1
            )
        if not isinstance(error, ModelError):
            raise
        return _fail(str(error), error.exit_code)
    return 0


def _run(arguments: argparse.Namespace) -> None:
    if arguments.verb == "check":
        Run.load_recipe(arguments.recipe, _RECIPES[arguments.kind], arguments.set)
        print(f"{arguments.recipe}: a valid {arguments.kind} recipe")
        return
    if arguments.verb == "pretrain":
        pretrain_recipe = Run.load_recipe(arguments.recipe, PretrainRecipe, arguments.set)
        from mimo_train.pretraining import pretrain

        pretrain(pretrain_recipe, arguments.out, model=arguments.model, shards=arguments.shards)
    elif arguments.verb == "sft":
        sft_recipe = Run.load_recipe(arguments.recipe, SFTRecipe, arguments.set)
        from mimo_train.finetuning import sft

        sft(sft_recipe, arguments.out, model=arguments.model, samples=arguments.samples)
    else:
        mtp_recipe = Run.load_recipe(arguments.recipe, MTPRecipe, arguments.set)
        from mimo_train.mtp_tuning import tune_mtp

        tune_mtp(mtp_recipe, arguments.out, model=arguments.model, shards=arguments.shards)
    from mimo_train.processes import leave

    leave()


def _fail(message: str, exit_code: int) -> int:
    if _is_first_to_say(message):
        sys.stderr.write(f"mimo-train: error: {message}\n")  # print writes the line's end apart
    return exit_code


def _is_first_to_say(message: str) -> bool:
    """Whether no other process of the same torchrun has said it: most errors are those of all."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]

    attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
    try:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(host, port, is_master=False, timeout=timedelta(seconds=10))
        return bool(store.add(f"{attempt} {message}", 1) == 1)
    except DistError:  # torchrun has ended
        return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mimo-train", description="Trains MiMo: every command makes one checkpoint.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    pretrain = verbs.add_parser("pretrain", help="one stage of pre-training on token shards")
    sft = verbs.add_parser("sft", help="supervised fine-tuning on prompts and responses")
    tune_mtp = verbs.add_parser("tune-mtp", help="copies the MTP layer and tunes the copies")
    for verb in (pretrain, sft, tune_mtp):
        verb.add_argument("recipe", type=Path, metavar="RECIPE", help="TOML recipe")
        verb.add_argument("out", type=Path, metavar="OUT", help="folder to make; OUT.partial while in work")
        verb.add_argument("--model", type=Path, required=True, metavar="CHECKPOINT", help="checkpoint to start from")
    for verb in (pretrain, tune_mtp):
        verb.add_argument("--shards", type=Path, required=True, metavar="FOLDER", help="from `mimo-data tokenize`")
    sft.add_argument("--samples", type=Path, required=True, metavar="FILE", help=".jsonl: id, prompt, response")
    check = verbs.add_parser("check", help="decodes a recipe and says what is wrong with it")
    check.add_argument("kind", choices=sorted(_RECIPES), help="the command that the recipe is for")
    check.add_argument("recipe", type=Path, metavar="RECIPE", help="TOML recipe")
    for verb in (pretrain, sft, tune_mtp, check):
        verb.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="overrides a recipe's value, such as --set batch.num_sequences=64",
        )
    return parser

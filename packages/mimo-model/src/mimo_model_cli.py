"""The command `mimo-model`.

It lies beside the package, not in it: `import mimo_model` loads torch and transformers to register its Auto classes,
and `mimo-model --help` must not wait for them. Each verb imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns 0, 1 (bad input, one line on stderr) or 2 (wrong command line or recipe)."""
    arguments = _parser().parse_args(argv)
    from mimo_model.errors import ModelError

    try:
        arguments.run(arguments)
    except ModelError as error:
        print(f"mimo-model: error: {error}", file=sys.stderr)
        return error.exit_code
    except ValueError as error:
        print(f"mimo-model: error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimo-model",
        description="Checkpoints of MiMo with multi-token prediction, and lossless decoding.",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    init = verbs.add_parser("init", help="make a fresh checkpoint from a recipe")
    init.add_argument("recipe", type=Path)
    init.add_argument("out", type=Path)
    init.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one recipe key")
    init.set_defaults(run=_init)
    return parser


def _init(arguments: argparse.Namespace) -> None:
    from mimo_model.initialize import init

    if _complete(arguments.out):
        return
    model = init(arguments.recipe, arguments.out, arguments.set)
    print(f"{arguments.out}: {sum(parameter.numel() for parameter in model.parameters()):,} parameters")


def _complete(out: Path) -> bool:
    """Whether `out` exists, which says that it is whole; the command then reuses it."""
    if out.exists():
        print(f"{out}: complete, reused")
        return True
    return False

"""The `mimo-data` command: one verb a step, each from a recipe to an output folder."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from mimo_data.commands import (
    check,
    decontaminate,
    deduplicate,
    extract,
    filter,
    filter_sft,
    import_,
    inspect,
    label,
    plan,
    synthesize,
    tag,
    tag_report,
    tokenize,
    train_tagger,
)
from mimo_data.commands.step import Verbs
from mimo_data.run import DataError

# In the order of a corpus's life.
_COMMANDS = (
    extract,
    import_,
    deduplicate,
    decontaminate,
    label,
    train_tagger,
    tag_report,
    tag,
    filter,
    synthesize,
    filter_sft,
    tokenize,
    check,
    inspect,
    plan,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, or 2 for a wrong command line or recipe, 130 when interrupted, or 1 for the rest."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except DataError as error:
        print(f"mimo-data: error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("mimo-data: interrupted. Run the command again to go on.", file=sys.stderr)
        return 130
    except OSError as error:
        if error.filename:
            problem = f"{error.filename}: {error.strerror}. Check the path and its rights."
        else:
            problem = f"{error.strerror or error}. Put that right, and run the command again."
        print(f"mimo-data: error: {problem}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mimo-data", description="From raw pages and PDFs to token shards.")
    verbs = Verbs(parser)
    for command in _COMMANDS:
        command.add(verbs)
    return parser

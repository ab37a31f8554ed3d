"""What a command leaves behind: whole or nothing, and reused when the same command runs again."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from mimo_model.errors import ModelError

Header = dict[str, object]


def header(command: str, settings: Mapping[str, object], inputs: Mapping[str, Path]) -> Header:
    """Who made an output, from what: its fingerprint is equal when command, settings and inputs are.

    Raises:
        ModelError: an input is missing.
    """
    for role, path in inputs.items():
        if not path.exists():
            raise ModelError(f"{path}: no such file or folder (the {role} of `mimo-model {command}`).")
    fields: Header = {
        "package": f"mimo-model {version('mimo-model')}",
        "command": command,
        "recipe": dict(settings),
        "inputs": {role: _digest(path) for role, path in sorted(inputs.items())},
    }
    return {"fingerprint": hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest(), **fields}


def is_complete(out: Path, wanted: Header) -> bool:
    """Whether `out`, a folder with a `run.json` or a JSON file, has been made by the same command already.

    Raises:
        ModelError: it exists and was made from something else.
    """
    if not out.exists():
        return False
    try:
        found = json.loads((out / "run.json" if out.is_dir() else out).read_text())["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found != wanted["fingerprint"]:
        raise ModelError(
            f"{out}: was not made by `mimo-model {wanted['command']}` from these settings and inputs. "
            "Choose another output, or delete this one."
        )
    return True


def require_apart(out: Path, inputs: Mapping[str, Path]) -> None:
    """Nobody's input is to be written into, or to be deleted on our advice.

    Raises:
        ModelError: `out` is an input, holds one or lies in one.
    """
    made = out.resolve()
    for role, path in inputs.items():
        given = path.resolve()
        if made == given:
            raise ModelError(f"{out}: is the {role} itself. Choose another output.")
        if made in given.parents:
            raise ModelError(f"{out}: the {role} {path} lies in it. Choose another output.")
        if given in made.parents:
            raise ModelError(f"{out}: lies in the {role} {path}. Choose an output outside of it.")


@contextmanager
def new_folder(out: Path, made_by: Header) -> Iterator[Path]:
    """A folder to fill, which gets the name `out`, and a `run.json`, when the block succeeds.

    Raises:
        ModelError: it cannot be written, or another process is writing it.
    """
    partial = out.with_name(out.name + ".partial")
    with _only_writer(out):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            yield partial
            (partial / "run.json").write_text(json.dumps(made_by, indent=1) + "\n")
            partial.rename(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def write_json(out: Path, made_by: Header, result: Mapping[str, object]) -> None:
    """Writes header and result to `out` in one step."""
    partial = out.with_name(out.name + ".partial")
    with _only_writer(out), _named_if_unwritable(out):
        partial.write_text(json.dumps({**made_by, **result}, indent=1) + "\n")
        partial.rename(out)


@contextmanager
def _only_writer(out: Path) -> Iterator[None]:
    """Holds a lock beside `out`, whose file goes with it."""
    path = out.with_name(f".{out.name}.lock")
    with _named_if_unwritable(out):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ModelError(f"{out}: another process is writing it. Wait for it, or choose another output.") from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def _named_if_unwritable(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelError(f"{out}: cannot be written ({error.strerror}). Choose another output.") from None


def _digest(path: Path) -> str:
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    run = path / "run.json"
    if run.exists():
        return str(json.loads(run.read_text())["fingerprint"])
    files = [child for child in sorted(path.rglob("*")) if child.is_file()]
    lines = [f"{child.relative_to(path)} {_digest(child)}" for child in files]
    return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()

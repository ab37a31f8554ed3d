"""One command's recipe, inputs and output folder.

A folder that exists under its own name is complete. Work in progress lies in `NAME.partial`, which is
renamed as the last act, so that a killed command leaves either nothing or something to resume from.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import msgspec

RecipeT = TypeVar("RecipeT")


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every record on disk and every recipe: immutable, and strict about unknown keys."""


class EvalError(Exception):
    """Bad input or a broken file: the message names it and says what to do."""

    exit_code = 1


class RecipeError(EvalError):
    """A recipe or an override that does not decode."""

    exit_code = 2


class Run:
    """An output folder being made by one command from one recipe and named inputs.

    Attributes:
        folder: where to write; renamed to `out` by `finish`.
        complete: the same command with the same recipe and inputs has already made `out`.
    """

    def __init__(self, out: Path, fingerprint: str, header: dict[str, object]) -> None:
        self.out = out
        self.folder = out.with_name(out.name + ".partial")
        self.complete = out.exists()
        self._fingerprint = fingerprint
        self._header = header
        self._start_s = time.monotonic()

    @staticmethod
    def load_recipe(path: Path, record: type[RecipeT], overrides: Sequence[str] = ()) -> RecipeT:
        """Decodes a TOML recipe; each override is `key=value` or `table.key=value`, the value in TOML.

        Raises:
            RecipeError: the file is missing, is not TOML, or holds an unknown key or a wrong type.
        """
        try:
            tree = tomllib.loads(path.read_text())
        except FileNotFoundError:
            raise RecipeError(f"{path}: no such recipe. See recipes/ for examples.") from None
        except (ValueError, IsADirectoryError, RecursionError) as error:
            raise RecipeError(f"{path}: not a TOML file: {error}") from None
        for override in overrides:
            _apply(tree, override)
        try:
            return msgspec.convert(tree, type=record)
        except msgspec.ValidationError as error:
            raise RecipeError(f"{path}: {error}.{_suggestion(str(error), record)}") from None

    @classmethod
    def open(
        cls,
        out: Path,
        *,
        package: str,
        command: str,
        recipe: object,
        inputs: Mapping[str, Path],
        resumable: bool,
    ) -> Run:
        """Claims `out` for one command.

        Args:
            inputs: files and folders that the result depends on, by role; their contents are part of the
                fingerprint (a folder made by a run counts by that run's fingerprint).
            resumable: keep work in progress that has the same fingerprint; otherwise start clean.

        Raises:
            EvalError: an input is missing, `out` is one or lies inside of one, was made from something else, or
                another process is writing it, or it cannot be made.
        """
        if out.name in ("", ".."):
            raise EvalError(f"{str(out)!r}: no name for a new folder.")
        for role, path in inputs.items():
            if not path.exists():
                raise EvalError(f"{path}: no such file or folder (the {role} of `{command}`).")
            require_apart(out, path, f"the {role} of `{command}`")
        header: dict[str, object] = {
            "package": f"{package} {version(package)}",
            "command": command,
            "recipe": msgspec.to_builtins(recipe),
            "inputs": {role: _digest(path) for role, path in sorted(inputs.items())},
        }
        fingerprint = hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
        run = cls(out, fingerprint, header)
        if run.complete:
            _require_same(out, fingerprint, command)
            return run
        if run.folder.exists():
            run._lock()
            if resumable and (run.folder / "state").exists():
                _require_same(run.folder, fingerprint, command)
                return run
            shutil.rmtree(run.folder)
        try:
            run.folder.mkdir(parents=True)
        except OSError as error:
            raise EvalError(f"{out}: cannot be made: {error.strerror}. Choose another output folder.") from None
        run._lock()
        run._write_header({})
        return run

    def finish(self, **counts: int | float) -> None:
        """Writes `run.json` with the counts and gives the folder its name: the result is whole from here on."""
        self._write_header({"counts": counts, "seconds": round(time.monotonic() - self._start_s, 3)})
        (self.folder / ".lock").unlink()
        self.folder.rename(self.out)
        self.complete = True

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Removes the partial folder after a failure, unless it holds a state to resume from."""
        if not self.complete and not (self.folder / "state").exists():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _lock(self) -> None:
        self._lock_file = (self.folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EvalError(
                f"{self.folder}: another process is writing it. Wait for it, or choose another output folder."
            ) from None

    def _write_header(self, extra: dict[str, object]) -> None:
        record = {"fingerprint": self._fingerprint, **self._header, **extra}
        temporary = self.folder / "run.json.tmp"
        temporary.write_text(json.dumps(record, indent=1) + "\n")
        temporary.rename(self.folder / "run.json")


def _apply(tree: dict[str, object], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise RecipeError(f"--set {override}: expected key=value, such as --set optimizer.peak_lr=1e-3.")
    try:
        parsed: object = tomllib.loads(f"value = {value}")["value"]
    except ValueError:  # not TOML, or a number of thousands of digits
        parsed = value
    node = tree
    *tables, leaf = key.strip().split(".")
    for table in tables:
        child = node.setdefault(table, {})
        if not isinstance(child, dict):
            raise RecipeError(f"--set {override}: {table} is not a table.")
        node = child
    node[leaf] = parsed


def _suggestion(message: str, record: type) -> str:
    """' Did you mean …?' for an unknown key that is close to a known one."""
    if "unknown field" not in message:
        return " See the recipe's record for what each key means."
    unknown = message.split("`")[1]
    known: list[str] = []
    pending = [msgspec.inspect.type_info(record)]
    while pending:
        info = pending.pop()
        if isinstance(info, msgspec.inspect.StructType):
            known += [field.encode_name for field in info.fields]
            pending += [field.type for field in info.fields]
        for name in ("types", "item_types"):
            pending += getattr(info, name, ())
        for name in ("item_type", "value_type"):
            child = getattr(info, name, None)
            if child is not None:
                pending.append(child)
    close = get_close_matches(unknown, known, n=1)
    return f" Did you mean `{close[0]}`?" if close else " Remove it, or look for its name in recipes/."


def _digest(path: Path) -> str:
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if (made := _fingerprint(path)) is not None:
        return made
    lines = [f"{child.relative_to(path)} {_digest(child)}" for child in sorted(path.rglob("*")) if child.is_file()]
    return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()


def _fingerprint(folder: Path) -> str | None:
    """Of the run that made the folder; None for any other folder, which may hold a `run.json` of its own."""
    try:
        return str(json.loads((folder / "run.json").read_text())["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def require_apart(out: Path, path: Path, role: str) -> None:
    """Nobody's input is to be written into, or to be deleted on our advice."""
    made, given = out.resolve(), path.resolve()
    if made == given or made in given.parents:
        raise EvalError(
            f"{out}: {path}, {role}, {'is' if made == given else 'lies in'} this folder. Choose another one."
        )
    if given in made.parents and _fingerprint(given) is None:
        raise EvalError(f"{out}: lies in {path}, {role}. Choose an output folder outside of it.")


def _require_same(folder: Path, fingerprint: str, command: str) -> None:
    if _fingerprint(folder) != fingerprint:
        raise EvalError(
            f"{folder}: was not made by `{command}` from this recipe and these inputs. "
            "Choose another output folder, or delete this one."
        )

"""One command's recipe, inputs and output folder.

A folder that exists under its own name is complete. Work in progress lies in `NAME.partial`, which is
renamed as the last act, so that a killed command leaves either nothing or something to resume from.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, TypeVar

import msgspec

RecipeT = TypeVar("RecipeT")

STATE = "state"
"""Folder of what a run can be resumed from, in the folder of a run that is not finished."""

# Where msgspec says a value stands: `$.optimizer`, `$.weights[...]`.
_AT = re.compile(r"at `(?:key in )?\$\.?([^`\[]*)[^`]*`")

# Reading a whole corpus for its fingerprint would take as long as some of the steps.
_DIGESTED_WHOLE_BYTES = 64 << 20
_DIGESTED_END_BYTES = 1 << 20


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every record on disk and every recipe: immutable, and strict about unknown keys."""


class DataError(Exception):
    """Bad input or a broken file: the message names it and says what to do."""

    exit_code = 1


class RecipeError(DataError):
    """A recipe or an override that does not decode."""

    exit_code = 2


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary name to write a file under; it has its own once the `with` block has ended well, or is gone."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


class Run:
    """An output folder being made by one command from one recipe and named inputs.

    Attributes:
        folder: where to write; renamed to `out` by `finish`.
        fingerprint: of the command, the recipe and the inputs.
        complete: the same command with the same recipe and inputs has already made `out`.
        Error: what this package raises for bad input and broken files, for those who come in by the front door.
    """

    Error = DataError

    def __init__(self, out: Path, fingerprint: str, header: dict[str, object]) -> None:
        self.out = out
        self.folder = out.with_name(out.name + ".partial")
        self.complete = out.exists()
        self.fingerprint = fingerprint
        self._header = header
        self._lock_file: TextIO | None = None

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
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError, RecursionError) as error:
            raise RecipeError(f"{path}: not a TOML file: {error}") from None
        for override in overrides:
            _apply(tree, override)
        try:
            return msgspec.convert(tree, type=record)
        except msgspec.ValidationError as error:
            where = _named(path, overrides, str(error))
            raise RecipeError(f"{where}: {error}.{_suggestion(str(error), record)}") from None

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
        digest: Callable[[Path], str] | None = None,
    ) -> Run:
        """Claims `out` for one command.

        Args:
            inputs: files and folders that the result depends on, by role; their contents are part of the
                fingerprint (a folder made by a run counts by that run's fingerprint; of a file above 64 MiB the
                size, the time of its last change, and both ends count).
            digest: what counts of an input, where it is less than its contents.
            resumable: keep work in progress that has the same fingerprint; otherwise start clean.

        Raises:
            DataError: an input is missing, `out` is one or lies inside of one, was made from something else, or
                another process is writing it, or it cannot be made.
        """
        if out.name in ("", ".."):
            raise DataError(f"{str(out)!r}: no name for a new folder.")
        for role, path in inputs.items():
            if not path.exists():
                raise DataError(f"{path}: no such file or folder (the {role} of `{command}`).")
            _require_apart(out, path, f"the {role} of `{command}`")
        header: dict[str, object] = {
            "package": f"{package} {version(package)}",
            "command": command,
            "recipe": msgspec.to_builtins(recipe),
            "inputs": {role: (digest or content_digest)(path) for role, path in sorted(inputs.items())},
        }
        fingerprint = hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
        run = cls(out, fingerprint, header)
        if run.complete:
            _require_same(out, fingerprint, command)
            return run
        if run.folder.exists():
            run._lock()
            if resumable and run._has_work():
                _require_same(run.folder, fingerprint, command)
                return run
            shutil.rmtree(run.folder)
        try:
            run.folder.mkdir(parents=True)
        except OSError as error:
            raise DataError(f"{run.folder}: cannot be made: {error.strerror}. Choose another output folder.") from None
        run._lock()
        run._write_header({})
        return run

    def finish(self, **counts: object) -> None:
        """Writes `run.json` with the counts and gives the folder its name: the result is whole from here on."""
        self._write_header({"counts": counts})
        (self.folder / ".lock").unlink()
        self.folder.rename(self.out)
        self.complete = True

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Removes the partial folder after a failure, unless it holds work to resume from; others may claim it.

        Raises:
            DataError: the disk is full: the system's own error names no file.
        """
        if self._lock_file is not None:
            self._lock_file.close()
        if not self.complete and not self._has_work():
            shutil.rmtree(self.folder, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(f"{self.folder}: {error.strerror}. Make room, and run the command again.") from error

    def _has_work(self) -> bool:
        """Whether there is a state to resume from, and something was made before."""
        return (self.folder / STATE).exists() and any(
            path.is_file() and path.stat().st_size
            for path in self.folder.rglob("*")
            if path.name not in ("run.json", ".lock")
        )

    def _lock(self) -> None:
        self._lock_file = (self.folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"{self.folder}: another process is writing it. Wait for it, or choose another output folder."
            ) from None

    def _write_header(self, extra: dict[str, object]) -> None:
        record = {"fingerprint": self.fingerprint, **self._header, **extra}
        with whole(self.folder / "run.json") as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n")


def _apply(tree: dict[str, object], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise RecipeError(f"--set {override}: expected key=value, such as --set seed=1.")
    try:
        parsed: object = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    node = tree
    *tables, leaf = key.strip().split(".")
    for table in tables:
        child = node.setdefault(table, {})
        if not isinstance(child, dict):
            raise RecipeError(f"--set {override}: {table} is not a table.")
        node = child
    node[leaf] = parsed


def _named(path: Path, overrides: Sequence[str], message: str) -> str:
    """What a value that does not decode comes from: the overrides that the message names, or else the file."""
    found = _AT.search(message)
    table = found[1] if found else ""
    blamed: dict[str, str] = {}
    for override in overrides:
        key = override.partition("=")[0].strip()
        inside = key.startswith(f"{table}." if table else "")
        if key == table or (inside and re.search(rf"\b{re.escape(key.rpartition('.')[2])}\b", message)):
            blamed[key] = f"--set {override}"  # the last of several counts
    return " ".join(blamed.values()) or str(path)


def _suggestion(message: str, record: type) -> str:
    """' Did you mean …?' for an unknown key that is close to one of the same table."""
    if "unknown field" not in message:
        return ""
    found = _AT.search(message)
    known = _keys(record, found[1] if found else "")
    close = get_close_matches(message.split("`")[1], known, n=1)
    return f" Did you mean `{close[0]}`?" if close else " Remove it, or look for its name in recipes/."


def _keys(record: type, table: str) -> list[str]:
    """The keys of a table of a recipe, by its name such as `optimizer.schedule`; of several of one kind, each one's."""
    info: Any = msgspec.inspect.type_info(record)
    for name in filter(None, table.split(".")):
        info = next((field.type for field in getattr(info, "fields", ()) if field.encode_name == name), None)
        while info is not None and not hasattr(info, "fields"):
            children = [
                getattr(info, "value_type", None),
                getattr(info, "item_type", None),
                *getattr(info, "types", ()),
            ]
            info = next((child for child in children if child is not None and not _is_null(child)), None)
    return [field.encode_name for field in getattr(info, "fields", ())]


def _is_null(info: object) -> bool:
    return isinstance(info, msgspec.inspect.NoneType)


def content_digest(path: Path) -> str:
    """Of a file or a folder, see `Run.open`."""
    if path.is_file():
        status = path.stat()
        with path.open("rb") as file:
            if status.st_size <= _DIGESTED_WHOLE_BYTES:
                return hashlib.file_digest(file, "sha256").hexdigest()
            start = file.read(_DIGESTED_END_BYTES)
            file.seek(-_DIGESTED_END_BYTES, os.SEEK_END)
            ends = hashlib.sha256(start + file.read()).hexdigest()
        return f"{ends} {status.st_size} {status.st_mtime_ns}"
    if (made := _fingerprint(path)) is not None:
        return made
    files = [child for child in sorted(path.rglob("*")) if child.is_file()]
    lines = [f"{file.relative_to(path)} {content_digest(file)}" for file in files]
    # Names that are not UTF-8 are names, too.
    return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()


def _fingerprint(folder: Path) -> str | None:
    """Of the run that made the folder; None for any other folder, which may hold a `run.json` of its own."""
    try:
        return str(json.loads((folder / "run.json").read_text())["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _require_apart(out: Path, path: Path, role: str) -> None:
    """Nobody's input is to be written into, or to be deleted on our advice."""
    made, given = out.resolve(), path.resolve()
    if made == given or made in given.parents:
        raise DataError(
            f"{out}: {path}, {role}, {'is' if made == given else 'lies in'} this folder. Choose another one."
        )
    if given in made.parents and _fingerprint(given) is None:
        raise DataError(f"{out}: lies in {path}, {role}. Choose an output folder outside of it.")


def _require_same(folder: Path, fingerprint: str, command: str) -> None:
    if not folder.is_dir():
        raise DataError(f"{folder}: is a file. Choose another output folder.")
    if _fingerprint(folder) != fingerprint:
        raise DataError(
            f"{folder}: was not made by `{command}` from this recipe and these inputs. "
            "Choose another output folder, or delete this one."
        )

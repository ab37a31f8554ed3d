"""How a submission becomes files and a command. Adding a language is one entry in `LANGUAGES`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_CALL = (Path(__file__).parent / "inside" / "call.py").read_bytes()


@dataclass(frozen=True, kw_only=True)
class Language:
    """One language: paths are relative to the test's own empty folder, commands start with an absolute path."""

    source_name: str
    """The file that the submission's text is put into."""

    compile_command: tuple[str, ...] | None
    """Makes `main` from the source; None for an interpreted language."""

    run_command: tuple[str, ...]
    """Runs it; `{python}` is the sandbox's interpreter."""


LANGUAGES = {
    # With `site`, because programs call exit(); without the user's folders and environment; no .pyc written.
    "python": Language(
        source_name="main.py", compile_command=None, run_command=("{python}", "-I", "-B", "-X", "utf8", "main.py")
    ),
    "cpp": Language(
        source_name="main.cpp",
        compile_command=("/usr/bin/g++", "-std=c++17", "-O2", "-pipe", "-o", "main", "main.cpp"),
        run_command=("./main",),
    ),
}


@dataclass(frozen=True)
class Program:
    """What a worker needs to run a submission."""

    files: tuple[tuple[str, bytes, int], ...]
    """Name, contents and mode of each file in the test's folder."""

    command: tuple[str, ...]
    """The program and its arguments."""


def source_bytes(source: str) -> bytes:
    """The text as a file; a string with half a surrogate pair becomes bytes that no compiler takes for UTF-8."""
    return source.encode("utf-8", "surrogatepass")


def python_program(source: str, entry_point: str | None, python: str) -> Program:
    """A Python submission, called through `inside/call.py` if it has an entry point."""
    command = tuple(part.replace("{python}", python) for part in LANGUAGES["python"].run_command)
    files = (("main.py", source_bytes(source), 0o644),)
    if entry_point is None:
        return Program(files, command)
    return Program((*files, ("call.py", _CALL, 0o644)), (*command[:-1], "call.py", entry_point))

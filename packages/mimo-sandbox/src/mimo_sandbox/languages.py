"""How a submission becomes files and a command. Adding a language is one entry in `LANGUAGES`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROGRAM_SCRIPT = (Path(__file__).parent / "inside" / "program.py").read_bytes()

PRECOMPILED = "/pch"
"""Folder of the compiler's precompiled headers, as the sandbox shows it."""


@dataclass(frozen=True, kw_only=True)
class Language:
    """One language. Programs start in an empty folder; `{program}` is a folder that they can only read."""

    suffixes: tuple[str, ...]
    """Of files that `mimo-sandbox judge` takes for it."""

    needs: str
    """The compiler or interpreter: a host or image without it cannot judge the language."""

    source_name: str
    """The file in `{program}` that the submission's text is put into."""

    compile_command: tuple[str, ...]
    """Makes `main` in the folder it starts in; empty for Python, which the spawner compiles."""

    run_command: tuple[str, ...]
    """Runs it; `{python}` is the sandbox's interpreter. The compiled `main` is in `{program}`."""


LANGUAGES = {
    # With `site`, because programs call exit(); without the user's folders and environment; no .pyc written.
    "python": Language(
        suffixes=(".py",),
        needs="{python}",
        source_name="main.py",
        compile_command=(),
        run_command=("{python}", "-I", "-B", "-X", "utf8", "{program}/main.py"),
    ),
    "cpp": Language(
        suffixes=(".cpp", ".cc", ".cxx"),
        needs="/usr/bin/g++",
        source_name="main.cpp",
        compile_command=(
            *("/usr/bin/g++", "-std=c++17", "-O2", "-static", "-pipe", "-I" + PRECOMPILED),
            *("-o", "main", "{program}/main.cpp"),
        ),
        run_command=("{program}/main",),
    ),
    "c": Language(
        suffixes=(".c",),
        needs="/usr/bin/gcc",
        source_name="main.c",
        compile_command=(
            *("/usr/bin/gcc", "-std=c17", "-O2", "-static", "-pipe", "-o", "main", "{program}/main.c", "-lm"),
        ),
        run_command=("{program}/main",),
    ),
    "rust": Language(
        suffixes=(".rs",),
        needs="/usr/bin/rustc",
        source_name="main.rs",
        compile_command=("/usr/bin/rustc", "--edition=2021", "-O", "-o", "main", "{program}/main.rs"),
        run_command=("{program}/main",),
    ),
}

PRECOMPILED_HEADERS = ("bits/stdc++.h", "iostream")
"""What nearly every program includes first; a compiler can use one, and only as the first include."""


def beside_precompiled(header: str) -> bytes:
    """What has to be in `PRECOMPILED` under a header's own name: one that is included again is looked for there."""
    return f"#pragma GCC system_header\n#include_next <{header}>\n".encode()


@dataclass(frozen=True)
class Program:
    """What a worker needs to run a submission."""

    files: tuple[tuple[str, bytes], ...]
    """Name and contents of each file in `{program}`."""

    command: tuple[str, ...]
    """Starts it afresh; empty if it is forked from a warm interpreter."""

    calls: bool = False
    """Whether the function that its file `function` names is called, with the JSON on stdin: then its stdout is what
    that returned, as JSON."""

    modules: tuple[str, ...] = ()
    """Modules that a warm interpreter should have loaded besides the usual ones."""

    hooks: bool = True
    """Of a forked program: whether it may use modules that must be told that they were forked (threading, random)."""

    collects: bool = True
    """Of a forked program: whether it may leave objects whose end can be seen (files, generators)."""

    compiles: bool = False
    """This is no program yet: the spawner compiles `main.py`."""


def source_bytes(source: str) -> bytes:
    """The text as a file; a string with half a surrogate pair becomes bytes that no compiler takes for UTF-8."""
    return source.encode("utf-8", "surrogatepass")


def compile_program(language: str, source: str) -> Program:
    """What compiles a submission in a language with a compiler."""
    made_by = LANGUAGES[language]
    return Program(((made_by.source_name, source_bytes(source)),), made_by.compile_command)


def precompile_program(header: str) -> Program:
    """What makes the precompiled form of a standard header, with the flags of `cpp`."""
    command = ("/usr/bin/g++", "-std=c++17", "-O2", "-x", "c++-header", "-o", "main", "{program}/header.h")
    return Program((("header.h", f"#include <{header}>\n".encode()),), command)


def python_source(source: str) -> Program:
    """What compiles a Python submission."""
    return Program((("main.py", source_bytes(source)),), (), compiles=True, modules=python_modules(source))


def python_program(source: str, code: bytes, entry_point: str | None, *, warm: bool, python: str) -> Program:
    """A compiled Python submission, forked from a warm interpreter or started in one of its own."""
    files = [("main.py", source_bytes(source)), ("main.code", code)]
    if entry_point is not None:
        # The name in a file, because it may be longer, or stranger, than an argument can be.
        files.append(("function", source_bytes(entry_point)))
    if warm:
        return Program(
            tuple(files),
            (),
            calls=entry_point is not None,
            modules=python_modules(source),
            hooks=not _imports_little(source),
            collects=_leaves_objects(source),
        )
    command = tuple(part.replace("{python}", python) for part in LANGUAGES["python"].run_command)
    if entry_point is not None:
        files.append(("call.py", _PROGRAM_SCRIPT))
        command = (*command[:-1], "{program}/call.py")
    return Program(tuple(files), command, calls=entry_point is not None)


def may_fork(source: str) -> bool:
    """Whether a Python program means the same in a forked interpreter as in one of its own.

    It may not where it looks at frames, modules or the interpreter itself, or has finalisers of its own. Words are
    looked for anywhere in the text: a needless `exec` only costs time. The same in words that are put together only
    when it runs is not found; it is a program's way to know how it was started, and to gain nothing by it.
    """
    words = frozenset(_WORD.findall(source))
    return (
        words.isdisjoint(_TELLING)
        and (words.isdisjoint(_DOUBTFUL) or _TELLING_USE.search(source) is None)
        and (words.isdisjoint(_TELLING_MODULES) or _TELLING_MODULES.isdisjoint(_imported(source)))
    )


# Every pattern here takes time that grows with the text and no faster, whatever the text.
_WORD = re.compile(r"\w+")
_TELLING = frozenset(
    (
        *("__del__", "__loader__", "__subclasses__", "_getframe", "_current_frames", "_current_exceptions", "f_back"),
        *("breakpoint", "gettrace", "settrace", "setprofile", "print_stack", "format_stack", "extract_stack"),
        *("walk_stack", "stack_info", "orig_argv", "unraisablehook"),
    )
)
_TELLING_MODULES = frozenset(
    (
        *("_thread", "bdb", "code", "codeop", "ctypes", "faulthandler", "inspect", "multiprocessing", "pdb"),
        *("resource", "runpy", "site", "trace", "tracemalloc", "weakref", "\\"),
    )
)
"""And the sign of a statement that goes on in the next line."""

_DOUBTFUL = frozenset(("__import__", "gc", "import_module", "intern", "modules", "proc"))
"""Words that tell only in some uses."""

_TELLING_USE = re.compile(
    r"/proc\b|\.(?:modules|intern)\b|\bfrom\s+(?:sys|gc)\s+import\b[^\n]{,200}?\b(?:modules|intern|get_\w+)|"
    r"\bgc\.(?!(?:disable|enable|isenabled|collect|set_threshold|get_threshold|freeze)\b)|"
    r"\b(?:__import__|import_module)\s*\(\s*['\"](?:" + "|".join(sorted(_TELLING_MODULES - {"\\"})) + ")\\b"
)


def python_modules(source: str) -> tuple[str, ...]:
    """Heavy modules that the program imports and a warm interpreter can have ready."""
    return ("numpy",) if _NUMPY.search(source) else ()


def _imports_little(source: str) -> bool:
    """Whether a program imports nothing but modules that do not mind being forked."""
    return _UNMINDFUL.issuperset(_imported(source)) and _DYNAMIC.search(source) is None


def _imported(source: str) -> Iterator[str]:
    """Names of the modules, without what is in them, that the text imports or seems to."""
    for match in _IMPORT.finditer(source):
        for name in (match["module"] or match["modules"]).split(","):
            yield from name.split(".")[0].split()[:1]


def _leaves_objects(source: str) -> bool:
    """Whether a program may leave objects whose end can be seen: files, generators with something left to do."""
    if any(word in source for word in ("IOBase", "TextIOWrapper", "Buffered", "detach", "contextmanager")):
        return True
    if "yield" in source and any(word in source for word in ("finally", "with", "GeneratorExit")):
        return True
    return "open" in source and _OPEN.search(source) is not None


_IMPORT = re.compile(r"\bfrom\s+(?P<module>[\w.]+)\s+import\b|\bimport\s+(?P<modules>[^\n;#(]+)")
_DYNAMIC = re.compile(r"\b(?:exec|eval|compile|__builtins__|__import__|importlib)\b")
_UNMINDFUL = frozenset(
    (
        *("sys", "os", "io", "math", "collections", "heapq", "itertools", "functools", "bisect", "operator", "re"),
        *("string", "copy", "typing", "time", "datetime", "array", "fractions", "decimal", "json", "__future__"),
    )
)
_OPEN = re.compile(r"open\b(?!\(0\))")
_NUMPY = re.compile(r"^[ \t]*(?:import|from)[ \t]+numpy\b", re.MULTILINE)

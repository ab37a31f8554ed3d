"""Source code repositories, as git keeps them or as plain folders: one document a file, in the order of their paths.

Files come from the last commit of a git repository (bare or with a working tree), so that what lies about uncommitted
changes nothing; submodules and links are not followed. Nothing of a repository is run, and nothing is fetched: what a
partial clone lacks is a drop.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Protocol

from mimo_data.documents import Document, Drop
from mimo_data.run import DataError, Record, content_digest
from mimo_data.sources.codefiles import FileRecipe, check_name, file_text
from mimo_data.sources.decoding import decode
from mimo_data.sources.licences import (
    MANIFESTS,
    MAX_LICENCE_BYTES,
    UNKNOWN,
    holds_licence,
    is_permissive,
    joined,
    licence_of_head,
    licence_of_text,
)
from mimo_data.sources.page import Page, PageError, Part, printable

_FILE_MODES = ("100644", "100755", "100664")
_REMOTE = re.compile(
    r"(?:https?://(?:[^/@]*@)?|ssh://(?:\w+@)?|git://|\w+@)(github\.com|gitlab\.com)[/:](.+?)(?:\.git)?/?"
)
# No configuration of the user or the machine, no questions, no network.
_GIT_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "LC_ALL": "C",
}


class RepositoryRecipe(Record, frozen=True):
    """Which files of which licence become documents."""

    source: str = "code"
    """The documents' source, in the mixture's words."""
    only_permissive: bool = True
    """Drops files whose licence is known and not permissive (`licence`)."""
    keep_unlicensed: bool = False
    """Keeps files whose licence is unknown; otherwise they are dropped, too (`licence`)."""
    files: FileRecipe = FileRecipe()
    """Which files are source code worth keeping."""


class _File(Record, frozen=True):
    path: str
    """Below the repository's folder."""
    num_bytes: int
    object: str = ""
    """Git's name of the content."""


class _Tree(Protocol):
    """Where files are read from."""

    address: str
    commit: str

    def files(self) -> list[_File]: ...
    def read(self, file: _File) -> bytes: ...
    def close(self) -> None: ...


def parts(paths: Sequence[Path], recipe: RepositoryRecipe) -> list[Part]:
    """One part for each git repository at the paths or below, and for each path with files outside of those.

    Raises:
        DataError: a path is no folder, or holds nothing.
    """
    found: list[tuple[str, Path]] = []
    for path in paths:
        folder = path.resolve()
        if not folder.is_dir():
            raise DataError(f"{path}: no such folder. Name a repository, or a folder of repositories.")
        files, repositories = _split(folder)
        if files:
            repositories.append(folder)
        if not repositories:
            raise DataError(f"{path}: an empty folder. Name a repository, or a folder of repositories.")
        for repository in sorted(repositories):
            above = folder.parent if repository == folder else folder
            found.append((_name(repository.relative_to(above)), repository))
    names = [name for name, _ in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"two repositories are called {twice}, which begins their files' ids. Rename one's folder.")
    return [
        Part(id=f"repository-{number:06d}", path=str(repository), names=(name,))
        for number, (name, repository) in enumerate(found)
    ]


def digest(path: Path) -> str:
    """What counts of a folder of code: its repositories' commits, and the files outside of them."""
    folder = path.resolve()
    files, repositories = _split(folder)
    lines = [f"{file.relative_to(folder)} {content_digest(file)}" for file in sorted(files)]
    for repository in sorted(repositories):
        try:
            commit = _GitTree(_git_folder(repository)).commit
        except PageError as failure:
            commit = str(failure)
        lines.append(f"{repository.relative_to(folder)} {commit}")
    return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()


def read(part: Part, recipe: RepositoryRecipe) -> Iterator[Page | Document | Drop]:
    """The files of one repository; the id is the repository's name and the path below it.

    Raises:
        DataError: there is no `git` command.
    """
    name = part.names[0]
    try:
        tree = _open(Path(part.path))
        files = tree.files()
    except PageError as failure:
        yield failure.drop(name)
        return
    with closing(tree):
        licences = _licences(tree, files)
        for file in files:
            id = f"{name}/{printable(file.path)}"
            try:
                yield _convert(id, file, tree, licences, recipe)
            except PageError as failure:
                yield failure.drop(id)


def _convert(id: str, file: _File, tree: _Tree, licences: dict[str, str], recipe: RepositoryRecipe) -> Document:
    check_name(file.path, file.num_bytes, recipe.files)
    text, language = file_text(file.path, tree.read(file), recipe.files)
    licence = licence_of_head(text) or _inherited(file.path, licences)
    if licence == UNKNOWN and not recipe.keep_unlicensed:
        raise PageError("licence", "unknown")
    if licence != UNKNOWN and recipe.only_permissive and not is_permissive(licence):
        raise PageError("licence", licence)
    path = printable(file.path)
    meta = {"repository": tree.address or id.removesuffix("/" + path), "path": path, "language": language}
    if tree.commit:
        meta["commit"] = tree.commit
    if licence != UNKNOWN:
        meta["licence"] = licence
    url = f"{tree.address}/blob/{tree.commit}/{path}" if tree.address else ""
    return Document(id=id, text=text, source=recipe.source, url=url, meta=meta)


def _licences(tree: _Tree, files: Sequence[_File]) -> dict[str, str]:
    """The licence that each folder states; "" is the top one.

    Texts count before manifests, and what `LICENSES` holds counts for the folder above.
    """
    texts: dict[str, list[str]] = {}
    manifests: dict[str, list[str]] = {}
    for file in files:
        if not holds_licence(file.path) or file.num_bytes > MAX_LICENCE_BYTES:
            continue
        folder, _, name = file.path.rpartition("/")
        try:
            found = licence_of_text(name, decode(tree.read(file)))
        except PageError:
            continue
        if folder.rpartition("/")[2] == "LICENSES":
            folder = folder.rpartition("/")[0]
        if found != UNKNOWN:
            (manifests if name in MANIFESTS else texts).setdefault(folder, []).append(found)
    return {folder: joined(found) for folder, found in (manifests | texts).items()}


def _inherited(path: str, licences: dict[str, str]) -> str:
    """The licence of the nearest folder above a file that states one."""
    for folder in PurePosixPath(path).parents:
        if licence := licences.get("" if str(folder) == "." else str(folder)):
            return licence
    return UNKNOWN


def _split(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files at and below a folder that are in no git repository, and the git repositories there."""
    files: list[Path] = []
    repositories: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=_stop):
        here = Path(place)
        if _is_git(here):
            repositories.append(here)
            folders.clear()
        else:
            files += [file for name in names if (file := here / name).is_file() and not file.is_symlink()]
    return files, repositories


def _stop(error: OSError) -> None:
    raise error


def _is_bare(folder: Path) -> bool:
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir()


def _name(path: Path) -> str:
    return printable(path.as_posix().removesuffix("/.git").removesuffix(".git"))


def _is_git(folder: Path) -> bool:
    return (folder / ".git").exists() or _is_bare(folder)


def _git_folder(repository: Path) -> Path:
    return repository / ".git" if (repository / ".git").exists() else repository


def _open(folder: Path) -> _Tree:
    return _GitTree(_git_folder(folder)) if _is_git(folder) else _FolderTree(folder)


class _FolderTree:
    """Files on disk, without those of git repositories among them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.address = self.commit = ""

    def files(self) -> list[_File]:
        files, _ = _split(self._folder)
        found = [_File(path=file.relative_to(self._folder).as_posix(), num_bytes=file.stat().st_size) for file in files]
        return sorted(found, key=lambda file: os.fsencode(file.path))

    def read(self, file: _File) -> bytes:
        return (self._folder / file.path).read_bytes()

    def close(self) -> None:
        pass


class _GitTree:
    """Files of the last commit."""

    def __init__(self, folder: Path) -> None:
        self._git = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", f"--git-dir={folder}"]
        self.commit = self._run("rev-parse", "--verify", "HEAD^{commit}").decode().strip()
        try:
            remote = self._run("config", "--get", "remote.origin.url").decode("utf-8", "replace").strip()
        except PageError:
            remote = ""
        known = _REMOTE.fullmatch(remote)
        self.address = f"https://{known[1]}/{known[2]}" if known else ""
        self._batch: subprocess.Popen[bytes] | None = None

    def files(self) -> list[_File]:
        found = []
        for line in self._run("ls-tree", "-r", "-z", "--long", "--full-tree", self.commit).split(b"\0"):
            head, _, path = line.partition(b"\t")
            mode, _, object, num_bytes = head.split() if path else (b"", b"", b"", b"")
            if mode.decode() in _FILE_MODES:
                size = int(num_bytes) if num_bytes.isdigit() else 0
                found.append(_File(path=os.fsdecode(path), num_bytes=size, object=object.decode()))
        return sorted(found, key=lambda file: os.fsencode(file.path))

    def read(self, file: _File) -> bytes:
        if self._batch is None or self._batch.poll() is not None:
            self._batch = self._start("cat-file", "--batch")
        source, sink = self._batch.stdout, self._batch.stdin
        assert source is not None
        assert sink is not None
        try:
            sink.write(f"{file.object}\n".encode())
            sink.flush()
            answer = source.readline().split()
            if answer[1:] != [b"blob", str(file.num_bytes).encode()]:
                raise PageError("broken", "git does not have its content")
            data = source.read(file.num_bytes + 1)
        except OSError:
            data = b""
        if len(data) != file.num_bytes + 1:
            self.close()
            raise PageError("broken", "git cannot read its content")
        return data[:-1]

    def close(self) -> None:
        if self._batch is not None:
            self._batch.kill()
            self._batch.communicate()
            self._batch = None

    def _run(self, *words: str) -> bytes:
        process = self._start(*words)
        output, errors = process.communicate()
        if process.returncode:
            lines = errors.decode("utf-8", "replace").splitlines()
            raise PageError("broken", f"git {words[0]}: {lines[0] if lines else 'failed'}"[:200])
        return output

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        environment = {**os.environ, **_GIT_ENVIRONMENT}
        errors = pipe if words[0] != "cat-file" else subprocess.DEVNULL
        try:
            return subprocess.Popen([*self._git, *words], env=environment, stdin=pipe, stdout=pipe, stderr=errors)
        except FileNotFoundError:
            raise DataError("reading git repositories needs the `git` command. Install git.") from None

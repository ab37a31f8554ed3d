"""Compiled programs and precompiled headers on disk, by the hash of all that they were made from."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

_MAX_BYTES = 1 << 30
_LOOK_EVERY = 64
_CHECKSUM_BYTES = 32


def default_folder() -> Path:
    """`$XDG_CACHE_HOME/mimo-sandbox`, or the same below the home folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "mimo-sandbox"


def key(*parts: bytes | str) -> str:
    """The name of what was made from these parts."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


class ProgramCache:
    """A folder of at most 1 GiB; the least recently used go first. Without a disk that takes it, it forgets.

    A file that a crash or a disk has damaged is as good as none. What is in it runs in the sandbox only: one that
    somebody has tampered with, checksum and all, is one more hostile program.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "programs"
        self._num_puts = 0

    def get(self, name: str) -> bytes | None:
        """What was put under this name, if it is still there."""
        path = self._folder / name
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        checksum, data = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
        return data if checksum == _checksum(name, data) else None

    def put(self, name: str, data: bytes) -> None:
        """Keeps a file, whole or not at all; a full disk is no error."""
        write_whole(self._folder / name, _checksum(name, data) + data)
        self._num_puts += 1
        if self._num_puts % _LOOK_EVERY == 0:
            self._shrink()

    def _shrink(self) -> None:
        found = []
        for path in self._folder.glob("*"):
            # Another process may remove it first.
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= _MAX_BYTES:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size


def is_whole(path: Path) -> bool:
    """Whether a file is there as `put_whole` wrote it, to its last byte."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").digest()
        return _beside(path).read_bytes() == found
    except OSError:
        return False


def put_whole(path: Path, data: bytes) -> None:
    """Writes a file that others read as it is, with its checksum in one beside it; a full disk is no error."""
    if write_whole(path, data):
        write_whole(_beside(path), hashlib.sha256(data).digest())


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _checksum(name: str, data: bytes) -> bytes:
    """With the name, so that one file is not taken for another."""
    return hashlib.sha256(name.encode() + data).digest()


def write_whole(path: Path, data: bytes) -> bool:
    """Writes under another name and renames; False if the disk does not take it."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            temporary = file.name
            file.write(data)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        return False
    return True

"""Puts the calling process into a sandbox of Linux namespaces and returns in it as process 1.

Its world: system directories and the interpreter, read-only; an own /proc and a handful of devices; one tmpfs
on /tmp that `fresh_tmp` replaces; no network interface but a loopback that is down; its own process ids, IPC
and host name. Started by root, it gives root up for an unused user id, so that no file of the host's root is its own.

Not covered: a kernel bug that an unprivileged process can reach through the allowed system calls.
"""

# os.path, because importing pathlib costs an interpreter 10 ms:
# ruff: noqa: PTH102, PTH103, PTH106, PTH110, PTH112, PTH114, PTH115, PTH123, PTH211

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
_MNT_DETACH = 2
_PR_SET_DUMPABLE, _PR_SET_PDEATHSIG = 4, 1

INSIDE_ID = 1000
"""User and group that agent and programs see themselves as."""

_UNUSED_ID = 2_000_000_000
"""What INSIDE_ID is outside when root starts the sandbox: nobody's files."""

_TMP_OPTIONS = "size=64m,nr_inodes=16k,mode=0700"
_SYSTEM = (
    "usr",
    "bin",
    "sbin",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "etc/ld.so.cache",
    "etc/alternatives",
    "etc/localtime",
)
_DEVICES = ("null", "zero", "full", "random", "urandom")

_libc = ctypes.CDLL(None, use_errno=True)


def enter(extra: list[str]) -> None:
    """Forks into a new set of namespaces; returns only in the new process 1.

    Args:
        extra: absolute folders to show read-only besides the system's (the interpreter's own prefix).

    Raises:
        OSError: the kernel refused a step; the message names it.
    """
    is_root = os.geteuid() == 0
    outside = (_UNUSED_ID, _UNUSED_ID) if is_root else (os.geteuid(), os.getegid())
    if not is_root:
        _call("unshare(user)", _libc.unshare, _NEWUSER)
        _write_maps("self", outside)
    _call("unshare", _libc.unshare, _NEWPID | _NEWIPC | _NEWUTS | _NEWNET)
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child != 0:
        os.close(ready[1])
        os.close(go[0])
        if os.read(ready[0], 1):
            if is_root:
                _write_maps(str(child), outside)
            os.write(go[1], b"x")
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    os.close(ready[0])
    os.close(go[1])
    # Not before the fork: the launcher writes the maps through the host's /proc.
    _call("unshare(mounts)", _libc.unshare, _NEWNS)
    _build_root(extra)
    _call("sethostname", _libc.sethostname, b"sandbox", 7)
    if is_root:
        _call("unshare(user)", _libc.unshare, _NEWUSER | _NEWNS)
    os.write(ready[1], b"x")
    os.read(go[0], 1)
    if is_root:
        os.setgroups([])
        os.setresgid(INSIDE_ID, INSIDE_ID, INSIDE_ID)
        os.setresuid(INSIDE_ID, INSIDE_ID, INSIDE_ID)
    # After the change of user, which clears both. Programs may have the agent's user: keep its memory shut.
    _call("prctl(pdeathsig)", _libc.prctl, _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    _call("prctl(dumpable)", _libc.prctl, _PR_SET_DUMPABLE, 0, 0, 0, 0)
    for end in (ready[1], go[0]):
        os.close(end)
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, _TMP_OPTIONS)


def fresh_tmp() -> None:
    """Replaces /tmp by an empty one; whatever the last program left in it is gone."""
    os.chdir("/")
    _call("umount /tmp", _libc.umount2, b"/tmp", _MNT_DETACH)
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, _TMP_OPTIONS)


def _write_maps(process: str, outside: tuple[int, int]) -> None:
    user, group = outside
    if process == "self":
        # Without privilege over the host's groups the kernel wants them frozen first.
        _write(f"/proc/{process}/setgroups", "deny")
    _write(f"/proc/{process}/uid_map", f"{INSIDE_ID} {user} 1")
    _write(f"/proc/{process}/gid_map", f"{INSIDE_ID} {group} 1")


def _build_root(extra: list[str]) -> None:
    """Makes a new, read-only root and lets go of the old one."""
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE, None)
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=0755")
    os.mkdir("/tmp/host")
    _call("pivot_root", _libc.pivot_root, b"/tmp", b"/tmp/host")
    os.chdir("/")
    for name in ("etc", "dev", "proc", "tmp"):
        os.mkdir("/" + name)
    for name in _SYSTEM:
        _show("/" + name)
    for folder in extra:
        if not folder.startswith("/usr/"):
            _show(folder)
    for name in _DEVICES:
        _write("/dev/" + name, "")
        _mount("/host/dev/" + name, "/dev/" + name, None, _MS_BIND, None)
    for name, target in (
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
        ("shm", "/tmp"),
    ):
        os.symlink(target, "/dev/" + name)
    _write("/etc/passwd", f"sandbox:x:{INSIDE_ID}:{INSIDE_ID}::/tmp:/bin/sh\n")
    _write("/etc/group", f"sandbox:x:{INSIDE_ID}:\n")
    _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, None)
    _call("umount of the old root", _libc.umount2, b"/host", _MNT_DETACH)
    os.rmdir("/host")
    _mount(None, "/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV, None)


def _show(path: str) -> None:
    """Makes a path of the host visible, read-only, under its own name."""
    source = "/host" + path
    if os.path.islink(source):
        os.symlink(os.readlink(source), path)
        return
    if not os.path.exists(source):
        return
    if os.path.isdir(source):
        os.makedirs(path, exist_ok=True)
    else:
        _write(path, "")
    _mount(source, path, None, _MS_BIND | _MS_REC, None)
    # A remount must repeat the flags that the mount has: the kernel does not let us drop them.
    _mount(
        None,
        path,
        None,
        _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV | (os.statvfs(path).f_flag & _MS_NOEXEC),
        None,
    )


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None) -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind, options)]
    _call(f"mount {target}", _libc.mount, encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])


def _call(what: str, function: Callable[..., int], *arguments: object) -> None:
    if function(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")

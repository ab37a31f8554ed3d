"""Puts an agent and its spawner into a sandbox of Linux namespaces.

Its world: system directories and the interpreter, read-only; the program's own /proc and a handful of devices; a tmpfs
on /tmp that is new for every test and one on /program that only the agent can write; no network interface but a
loopback that is down; its own process ids, IPC and host name. Started by root, it gives root up for an unused user id,
so that no file of the host's root is its own.

The agent is process 1 of the programs' process ids. The spawner stays outside of them: its children are in.

Not covered: a kernel bug that an unprivileged process can reach through the allowed system calls.
"""

# os.path, because importing pathlib costs an interpreter 10 ms:
# ruff: noqa: PTH102, PTH103, PTH106, PTH110, PTH112, PTH114, PTH115, PTH118, PTH123, PTH211

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_NEWCGROUP = 0x2000000
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

INSIDE_ID = 1000
"""User and group that agent and programs see themselves as."""

_UNUSED_ID = 2_000_000_000
"""What INSIDE_ID is outside when root starts the sandbox, plus the slot's number: nobody's files."""

TMP, PROGRAM = "/tmp", "/program"
_TMP_OPTIONS, _COMPILERS_TMP_OPTIONS = (f"size={size},nr_inodes=16k,mode=0700" for size in ("64m", "256m"))
"""The second for compilers: precompiled headers are 100 MB."""

_PROGRAM_OPTIONS = "size=256m,nr_inodes=64,mode=0755"
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


def enter(extra: list[tuple[str, str]], network: str | None, slot: int) -> bool:
    """Forks into a new set of namespaces: True in the agent, process 1 of it, and False in the spawner.

    Args:
        extra: folders to show read-only besides the system's, and where.
        network: path of an empty network namespace to share, or "" to make one; None: this one is empty.
        slot: makes the user id, when root starts the sandbox, this slot's alone.

    Raises:
        OSError: the kernel refused a step; the message names it.
    """
    is_root = os.geteuid() == 0
    if not is_root:
        user, group = os.geteuid(), os.getegid()
        _call("unshare(user)", _libc.unshare, _NEWUSER)
        _write_maps("self", user, group)
    _call("unshare", _libc.unshare, _NEWPID | _NEWIPC | _NEWUTS | _NEWNS)
    shared = False
    if network:
        with contextlib.suppress(OSError):
            file = os.open(network, os.O_RDONLY)
            shared = _libc.setns(file, _NEWNET) == 0
            os.close(file)
    if network is not None and not shared:
        _call("unshare(network)", _libc.unshare, _NEWNET)
    ready, go = os.pipe(), os.pipe()
    if os.fork() != 0:
        os.close(ready[1])
        os.close(go[0])
        if not os.read(ready[0], 1):
            sys.exit(1)  # the child has said why
        if is_root:
            # The child's new /proc is this process's too, and it is process 1 there.
            _write_maps("1", _UNUSED_ID + slot, _UNUSED_ID + slot)
            for name, kind in (("user", _NEWUSER), ("mnt", _NEWNS)):
                file = os.open(f"/proc/1/ns/{name}", os.O_RDONLY)
                _call(f"setns({name})", _libc.setns, file, kind)
                os.close(file)
            become(INSIDE_ID)
        os.write(go[1], b"x")
        for end in (ready[0], go[1]):
            os.close(end)
        return False
    os.close(ready[0])
    os.close(go[1])
    _build_root(extra)
    _call("sethostname", _libc.sethostname, b"sandbox", 7)
    if is_root:
        # Mounts made until here belong to the host's root: nobody in the new user namespace can undo them.
        _call("unshare(user)", _libc.unshare, _NEWUSER | _NEWNS)
    os.write(ready[1], b"x")
    os.read(go[0], 1)
    if is_root:
        become(INSIDE_ID)
    for end in (ready[1], go[0]):
        os.close(end)
    for folder, options in ((TMP, _TMP_OPTIONS), (PROGRAM, _PROGRAM_OPTIONS)):
        _mount("tmpfs", folder, "tmpfs", _MS_NOSUID | _MS_NODEV, options)
    return True


def hide_groups() -> None:
    """From here on /proc/self/cgroup shows the control group that the process is in as the root of all."""
    _libc.unshare(_NEWCGROUP)


def fresh_tmp(*, for_compiler: bool) -> None:
    """Replaces /tmp by an empty one; whatever the last program left in it is gone."""
    _replace(TMP, _COMPILERS_TMP_OPTIONS if for_compiler else _TMP_OPTIONS)


def install(files: dict[str, bytes]) -> None:
    """Makes these, and nothing else, the files of /program, which programs can only read."""
    _replace(PROGRAM, _PROGRAM_OPTIONS)
    for name, data in files.items():
        with open(os.open(os.path.join(PROGRAM, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755), "wb") as file:
            file.write(data)
    _mount(None, PROGRAM, None, _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV, None)


def _replace(folder: str, options: str) -> None:
    os.chdir("/")
    _call(f"umount {folder}", _libc.umount2, folder.encode(), _MNT_DETACH)
    _mount("tmpfs", folder, "tmpfs", _MS_NOSUID | _MS_NODEV, options)


def _write_maps(process: str, user: int, group: int) -> None:
    if process == "self":
        # Without privilege over the host's groups the kernel wants them frozen first.
        _write(f"/proc/{process}/setgroups", "deny")
    _write(f"/proc/{process}/uid_map", f"{INSIDE_ID} {user} 1")
    _write(f"/proc/{process}/gid_map", f"{INSIDE_ID} {group} 1")


def become(user: int) -> None:
    """Gives the process's user, group and groups up for one that has this number, for good."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _build_root(extra: list[tuple[str, str]]) -> None:
    """Makes a new, read-only root and lets go of the old one."""
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE, None)
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=0755")
    os.mkdir("/tmp/host")
    _call("pivot_root", _libc.pivot_root, b"/tmp", b"/tmp/host")
    os.chdir("/")
    for name in ("etc", "dev", "proc", "tmp", "program"):
        os.mkdir("/" + name)
    for name in _SYSTEM:
        _show("/" + name, "/" + name)
    for folder, path in extra:
        if not path.startswith("/usr/"):
            _show(folder, path)
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


def _show(folder: str, path: str) -> None:
    """Makes a path of the host visible, read-only."""
    source = "/host" + folder
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

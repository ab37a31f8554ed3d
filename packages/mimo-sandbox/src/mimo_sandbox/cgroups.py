"""Control groups on this host: one for each worker, made before it starts and removed when it has ended."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from pathlib import Path

_CONTROLLERS = ("memory", "cpuacct", "pids")
_PREFIX = "mimo-sandbox-"
_REMOVE_S = 5.0
_numbers = itertools.count(1)


def version() -> int:
    """2 if the unified hierarchy has the memory controller, 1 if the memory hierarchy is mounted, 0 for neither."""
    mounts = _mounts()
    if "memory" in mounts:
        return 1
    if "unified" in mounts:
        controllers = (mounts["unified"][0] / "cgroup.controllers").read_text().split()
        return 2 if {"memory", "pids"} <= set(controllers) else 0
    return 0


def create() -> tuple[dict[str, str], str]:
    """Makes a control group below this process's own.

    Returns:
        The folders by controller (`unified` for version 2), as `CgroupMeter` takes them; empty if none can be made,
        and then the reason.
    """
    kind = version()
    if kind == 0:
        return {}, "no control groups with a memory controller are mounted"
    mounts, own = _mounts(), _own_groups()
    names = ("unified",) if kind == 2 else _CONTROLLERS
    name = f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
    folders: dict[str, str] = {}
    try:
        for controller in names:
            if controller not in mounts:
                raise OSError(0, f"the controller {controller} is not mounted")
            mount, root = mounts[controller]
            parent = mount / os.path.relpath(own.get(controller, "/"), root)
            if not parent.is_dir():
                parent = mount
            if kind == 2:
                parent = _delegating(parent)
            _remove_stale(parent)
            folder = parent / name
            folder.mkdir()
            folders[controller] = str(folder)
    except OSError as error:
        remove(folders)
        return {}, f"no control group can be made: {error.strerror}"
    return folders, ""


def remove(folders: dict[str, str]) -> None:
    """Removes what `create` made, once the last process has left it."""
    limit_s = time.monotonic() + _REMOVE_S
    for folder in folders.values():
        while True:
            try:
                Path(folder).rmdir()
            except FileNotFoundError:
                break
            except OSError:
                if time.monotonic() > limit_s:
                    break
                time.sleep(0.002)
            else:
                break


def _delegating(parent: Path) -> Path:
    """The nearest group, from this one up, whose children may have the controllers (version 2).

    A group with processes of its own, but for the root, can give its children none.
    """
    while True:
        with contextlib.suppress(OSError):
            (parent / "cgroup.subtree_control").write_text("+memory +pids")
        with contextlib.suppress(OSError):
            if {"memory", "pids"} <= set((parent / "cgroup.subtree_control").read_text().split()):
                return parent
        if not (parent.parent / "cgroup.controllers").exists():
            return parent
        parent = parent.parent


def _remove_stale(parent: Path) -> None:
    """Groups of processes that were killed before they could remove them; a group in use cannot be removed."""
    for folder in parent.glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if not Path(f"/proc/{owner}").exists():
            with contextlib.suppress(OSError):
                folder.rmdir()


def _mounts() -> dict[str, tuple[Path, str]]:
    """Where each hierarchy is mounted, and which of its groups is at the top there."""
    found: dict[str, tuple[Path, str]] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        _, _, _, root, mount, *_ = before.split(" ")
        if kind == "cgroup2":
            found.setdefault("unified", (Path(mount), root))
        elif kind == "cgroup":
            for controller in options.rsplit(" ", 1)[-1].split(","):
                found.setdefault(controller, (Path(mount), root))
    return found


def _own_groups() -> dict[str, str]:
    """This process's group in each hierarchy."""
    found = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        for controller in controllers.split(",") if controllers else ("unified",):
            found[controller] = group
    return found

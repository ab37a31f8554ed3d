"""Control groups on this host: one for each worker, made before it starts and removed when it has ended."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from pathlib import Path

_CONTROLLERS = ("memory", "cpuacct", "pids")
_PREFIX = "mimo-sandbox-"
_REMOVE_S = 5.0
_numbers = itertools.count(1)


def owner() -> str:
    """Names this process in a way that no later one, and none in another namespace of process ids, is named."""
    return f"{_namespace()}-{os.getpid()}-{_start_of(os.getpid())}"


def is_gone(name: str) -> bool:
    """Whether this is the `owner` of a process that has ended; False for one whose /proc is not ours."""
    namespace, _, process_start = name.partition("-")
    process, _, start = process_start.partition("-")
    return namespace == str(_namespace()) and process.isdigit() and _start_of(int(process)) != start


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
    name = f"{_PREFIX}{owner()}-{next(_numbers)}"
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


def tells_peaks(folders: dict[str, str]) -> bool:
    """Whether the kernel tells the peak of each test's memory: in version 2 it does so from Linux 6.12 on."""
    if "unified" not in folders:
        return bool(folders)
    with contextlib.suppress(OSError):
        (Path(folders["unified"]) / "memory.peak").write_text("0")
        return True
    return False


def remove(folders: dict[str, str]) -> None:
    """Removes what `create` made, and ends what is still in it."""
    limit_s = time.monotonic() + _REMOVE_S
    for folder in folders.values():
        while not _is_removed(Path(folder)) and time.monotonic() < limit_s:
            time.sleep(0.002)


def _delegating(parent: Path) -> Path:
    """The nearest group, from this one up, whose children may have the controllers (version 2).

    A group with processes of its own, but for the root, can give its children none.

    Raises:
        OSError: there is none, or this user may not move processes within it.
    """
    while True:
        with contextlib.suppress(OSError):
            (parent / "cgroup.subtree_control").write_text("+memory +pids")
        with contextlib.suppress(OSError):
            if {"memory", "pids"} <= set((parent / "cgroup.subtree_control").read_text().split()):
                break
        if not (parent.parent / "cgroup.controllers").exists():
            raise OSError(0, "no group from this process's up gives its children the controllers memory and pids")
        parent = parent.parent
    if not os.access(parent / "cgroup.procs", os.W_OK):
        raise OSError(0, f"no right to write {parent}/cgroup.procs")
    return parent


def _remove_stale(parent: Path) -> None:
    """Groups of processes that were killed before they could remove them, with what they left running."""
    for folder in parent.glob(f"{_PREFIX}*"):
        if is_gone(folder.name.removeprefix(_PREFIX).rpartition("-")[0]):
            _is_removed(folder)


def _is_removed(folder: Path) -> bool:
    """Removes a group, or at least kills what keeps it from being removed."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        with contextlib.suppress(OSError):
            for process in (folder / "cgroup.procs").read_text().split():
                # Process 0 is one that this /proc does not show.
                if process != "0":
                    os.kill(int(process), signal.SIGKILL)
        return False
    return True


def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _start_of(process: int) -> str:
    """When a process started, in ticks since the host did; empty if it has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


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

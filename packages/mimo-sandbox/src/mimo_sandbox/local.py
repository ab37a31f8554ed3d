"""The `local` backend: agents in Linux namespaces on this host; and `unsafe`, agents in none."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import weakref
from functools import cache
from pathlib import Path

from mimo_sandbox import cgroups
from mimo_sandbox.verdict import SandboxUnavailable
from mimo_sandbox.worker import Channel, Worker, start_command

_SYSTEM_PYTHON = "/usr/bin/python3"
_OLDEST = (3, 10)
_END_S = 5.0
_NUM_SLOTS = 100_000
_slots = itertools.count(os.getpid() * 64)


@cache
def find_python() -> tuple[str, tuple[str, ...]]:
    """The interpreter for programs, and the folders outside /usr that it needs.

    The system's, if it is not too old: it starts fastest and sees the system's numpy. Otherwise the one that runs us.
    """
    check = f"import sys; sys.exit(sys.version_info < {_OLDEST})"
    with contextlib.suppress(OSError):
        if subprocess.run([_SYSTEM_PYTHON, "-I", "-S", "-c", check], check=False, capture_output=True).returncode == 0:
            return _SYSTEM_PYTHON, ()
    python = os.path.realpath(sys.executable)
    return python, (os.path.realpath(sys.base_prefix),)


class Network:
    """One empty network namespace that the workers of a sandbox share: the first makes it."""

    path = ""

    def keep(self, process: int) -> None:
        """From here on it is this process's, which is alive; held open, for later its number may be another's."""
        with contextlib.suppress(OSError):
            file = os.open(f"/proc/{process}/ns/net", os.O_RDONLY)
            weakref.finalize(self, os.close, file)
            self.path = f"/proc/{os.getpid()}/fd/{file}"


async def start_local_worker(
    *, isolated: bool, network: Network, modules: tuple[str, ...] = (), shown: tuple[tuple[str, str], ...] = ()
) -> Worker:
    """Starts an agent on this host.

    Args:
        isolated: in namespaces; otherwise the program can do whatever this user can.
        modules: what its warm interpreter should have loaded besides the usual.
        shown: folders of this host, and where the sandbox shows them.

    Raises:
        SandboxUnavailable: not Linux, or the kernel does not allow it.
    """
    if not sys.platform.startswith("linux"):
        raise SandboxUnavailable("the local sandbox needs Linux namespaces; use the docker backend on this host.")
    python, extra = find_python()
    try:
        folder = "" if isolated else tempfile.mkdtemp(prefix="mimo-sandbox-")
    except OSError as error:
        raise SandboxUnavailable(f"no folder for temporary files: {error}. Make room in it, or set TMPDIR.") from None
    groups, _ = cgroups.create()
    try:
        process = await asyncio.create_subprocess_exec(
            *start_command(python),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            cwd="/",
            start_new_session=True,
            limit=1 << 20,
        )
    except BaseException as error:
        cgroups.remove(groups)
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise SandboxUnavailable(f"no process could be started: {error}.") from None
        raise
    reader, writer, errors = process.stdout, process.stdin, process.stderr
    assert reader is not None
    assert writer is not None
    assert errors is not None

    handles: list[int] = []
    with contextlib.suppress(OSError):
        handles.append(os.pidfd_open(process.pid))

    async def kill() -> None:
        writer.close()
        if isolated:
            # All processes inside die with the agent, and the kernel sees to that.
            _kill(handles)
            await process.wait()
        # Otherwise the agent meets the end of its requests, and ends what it has started.
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(_END_S):
                while await reader.read(1 << 20):
                    pass
        _kill(handles)
        await process.wait()
        await asyncio.to_thread(cgroups.remove, groups)
        if not isolated:
            shutil.rmtree(folder, ignore_errors=True)

    async def last_words() -> str:
        try:
            return (await asyncio.wait_for(errors.read(65_536), 1.0)).decode(errors="replace")
        except TimeoutError:
            return ""

    channel = Channel(reader=reader, writer=writer, kill=kill, last_words=last_words)
    settings = {
        "world": "namespaces" if isolated else "none",
        "extra": [*((path, path) for path in extra), *shown],
        "network": network.path,
        "slot": next(_slots) % _NUM_SLOTS,
        "cgroup": groups,
        "modules": modules,
        "folder": folder,
    }
    worker = await Worker.start(channel, settings)
    if isolated:
        with contextlib.suppress(OSError, ValueError):
            handles.append(os.pidfd_open(int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())))
    # One that is forgotten with its event loop: a thread that waits for the process would keep its streams open.
    weakref.finalize(worker, _kill, handles)
    weakref.finalize(worker, cgroups.remove, groups)
    if isolated and not network.path:
        network.keep(process.pid)
    return worker


def _kill(handles: list[int]) -> None:
    """Ends the processes behind these descriptors, and closes them."""
    while handles:
        handle = handles.pop()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)

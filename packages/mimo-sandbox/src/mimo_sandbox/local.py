"""The `local` backend: agents in Linux namespaces on this host; and `unsafe`, agents in none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache

from mimo_sandbox.verdict import SandboxUnavailable
from mimo_sandbox.worker import Channel, Worker, start_command

_SYSTEM_PYTHON = "/usr/bin/python3"
_OLDEST = (3, 9)


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


async def start_local_worker(*, isolated: bool) -> Worker:
    """Starts an agent on this host.

    Args:
        isolated: in namespaces; otherwise the program can do whatever this user can.

    Raises:
        SandboxUnavailable: not Linux, or the kernel does not allow it.
    """
    if not sys.platform.startswith("linux"):
        raise SandboxUnavailable("the local sandbox needs Linux namespaces; use the docker backend on this host.")
    python, extra = find_python()
    folder = "/tmp" if isolated else tempfile.mkdtemp(prefix="mimo-sandbox-")
    process = await asyncio.create_subprocess_exec(
        *start_command(python),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        cwd="/",
        start_new_session=True,
    )
    reader, writer, errors = process.stdout, process.stdin, process.stderr
    assert reader is not None
    assert writer is not None
    assert errors is not None

    async def kill() -> None:
        # The launcher's death takes process 1 of the sandbox with it, and that one everything else.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        writer.close()
        await process.wait()
        if not isolated:
            shutil.rmtree(folder, ignore_errors=True)

    async def last_words() -> str:
        try:
            return (await asyncio.wait_for(errors.read(65_536), 1.0)).decode(errors="replace")
        except TimeoutError:
            return ""

    channel = Channel(reader=reader, writer=writer, kill=kill, last_words=last_words)
    world = "namespaces" if isolated else "none"
    return await Worker.start(channel, {"world": world, "extra": list(extra), "folder": folder})

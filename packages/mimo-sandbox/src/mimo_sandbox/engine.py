"""The `docker` backend: one warm container per worker, with an agent and its spawner, which is process 1.

The agent's frames travel over the container's attached stdin and stdout. A test costs no call of the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import secrets
import socket
import struct
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mimo_sandbox import cgroups
from mimo_sandbox.inside import seccomp
from mimo_sandbox.languages import PRECOMPILED
from mimo_sandbox.verdict import Limits, SandboxUnavailable
from mimo_sandbox.worker import Channel, Worker, start_command

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

IMAGE = "mimo-sandbox:2"
"""The judge image, as `mimo-sandbox build` names it."""

LABEL = "mimo-sandbox"
"""Every container has it, and the process that it belongs to as its value."""

_GROUPS = "/groups"
"""Where the container finds its control groups. The agent opens their files; the programs' world has no such folder."""

_AGENT_BYTES = 128 << 20
"""Memory of the container beyond one program's: the agent, its copy of input and output, and the tmpfs."""

_AGENT_PROCESSES = 32
_COMPILER_BYTES, _COMPILER_PROCESSES = 1 << 30, 32
PYTHON = "/usr/bin/python3"
"""The interpreter in the judge image."""


def connect() -> DockerClient:
    """A client of the engine that answers.

    Raises:
        SandboxUnavailable: none does.
    """
    import docker

    try:
        client = docker.from_env(timeout=60)
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise SandboxUnavailable(
            f"no Docker engine answers ({str(error)[:200]}). Start one, or use the local backend."
        ) from None
    return client


def require_image(client: DockerClient) -> str:
    """The judge image's id.

    Raises:
        SandboxUnavailable: the engine has none.
    """
    import docker

    try:
        return str(client.images.get(IMAGE).id)
    except docker.errors.ImageNotFound:
        raise SandboxUnavailable(f"the engine has no image {IMAGE}. Run `mimo-sandbox build`.") from None
    except docker.errors.DockerException as error:
        raise SandboxUnavailable(f"the Docker engine failed: {error}") from None


def remove_stale(client: DockerClient) -> None:
    """Removes containers of processes that were killed before they had started them."""
    import docker

    with contextlib.suppress(docker.errors.DockerException, OSError):
        for found in client.api.containers(all=True, filters={"label": LABEL}):
            host, _, process = found["Labels"][LABEL].partition(" ")
            if host == _host() and cgroups.is_gone(process):
                with contextlib.suppress(docker.errors.DockerException, OSError):
                    client.api.remove_container(found["Id"], force=True)


def _host() -> str:
    """Names this host until it starts again."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


async def start_docker_worker(
    client: DockerClient, limits: Limits, runtime: str | None, modules: tuple[str, ...]
) -> Worker:
    """Starts a container and the agent in it.

    Args:
        limits: of the sandbox: how much memory the container as a whole must have.
        runtime: None: the engine's default.
        modules: what its warm interpreter should have loaded besides the usual.

    Raises:
        SandboxUnavailable: the engine refused or the agent did not start.
    """
    import docker

    # A user of its own, so that the kernel counts its processes apart from every other container's.
    user = 100_000 + secrets.randbelow(1_000_000_000)
    # Only of use if the engine runs on this host, under the same root.
    is_here = os.geteuid() == 0 and client.api.base_url.startswith("http+docker:")
    groups, _ = await asyncio.to_thread(cgroups.create) if is_here else ({}, "")
    try:
        container, connection = await asyncio.to_thread(_create, client, limits, runtime, groups)
    except (docker.errors.DockerException, OSError) as error:
        await asyncio.to_thread(cgroups.remove, groups)
        raise SandboxUnavailable(f"the Docker engine did not start a container: {error}") from None
    connection.setblocking(False)
    raw, writer = await asyncio.open_connection(sock=connection)
    reader, words = asyncio.StreamReader(limit=1 << 20), bytearray()
    pump = asyncio.create_task(_separate(raw, writer, reader, words))

    async def kill() -> None:
        pump.cancel()
        writer.close()
        with contextlib.suppress(docker.errors.DockerException, OSError):
            await asyncio.to_thread(container.remove, force=True)
        await asyncio.to_thread(cgroups.remove, groups)

    async def last_words() -> str:
        return words.decode(errors="replace")

    # Without control groups of their own, the programs share the container's.
    room = None if groups else _room(limits)
    channel = Channel(reader=reader, writer=writer, kill=kill, last_words=last_words, room=room)
    settings = {
        "world": "container",
        "slot": user,
        "network": None,
        "extra": [(PRECOMPILED, PRECOMPILED)],
        "cgroup": {controller: f"{_GROUPS}/{controller}" for controller in groups},
        "modules": modules,
    }
    worker = await Worker.start(channel, settings)
    # One that is forgotten with its event loop.
    weakref.finalize(worker, cgroups.remove, groups)
    return worker


def _room(limits: Limits) -> Limits:
    """Limits that a container for tests with these limits has room for: of a test, and of a compiler or checker."""
    return dataclasses.replace(
        limits,
        memory_bytes=max(limits.memory_bytes, _COMPILER_BYTES),
        num_processes=max(limits.num_processes, _COMPILER_PROCESSES),
    )


def _create(
    client: DockerClient, limits: Limits, runtime: str | None, groups: Mapping[str, str]
) -> tuple[Container, socket.socket]:
    """Creates, attaches to and starts a container; no state of the host is in it but its own control groups."""
    room = _room(limits)
    memory_bytes = room.memory_bytes + _AGENT_BYTES
    api = client.api
    host = api.create_host_config(
        # With the host gone, however it went, the agent reads the end of its input, and the container is removed.
        auto_remove=True,
        network_mode="none",
        ipc_mode="none",
        # The host's, for the control groups of the tests are not below the container's.
        cgroupns="host",
        cap_drop=["ALL"],
        cap_add=["SETUID", "SETGID"],
        read_only=True,
        # The agent makes process ids and mounts of its own, as an ordinary user. Programs get a narrower filter.
        security_opt=["no-new-privileges", "apparmor=unconfined", f"seccomp={json.dumps(seccomp.docker_profile())}"],
        binds={folder: {"bind": f"{_GROUPS}/{controller}", "mode": "rw"} for controller, folder in groups.items()},
        mem_limit=memory_bytes,
        memswap_limit=memory_bytes,
        pids_limit=room.num_processes + _AGENT_PROCESSES,
        log_config=docker_log_config(),
        runtime=runtime,
    )
    # Or the kernel would not let an ordinary user mount the /proc of its own process ids.
    host["MaskedPaths"], host["ReadonlyPaths"] = [], []
    made = api.create_container(
        IMAGE,
        command=start_command(PYTHON),
        entrypoint=[],
        # The agent opens the control groups and becomes a user of its own, which owns nothing, before anything else.
        user="0:0",
        working_dir="/",
        environment={"LANG": "C.UTF-8"},
        labels={LABEL: f"{_host()} {cgroups.owner()}"},
        stdin_open=True,
        tty=False,
        hostname="sandbox",
        host_config=host,
    )
    container = client.containers.get(made["Id"])
    try:
        stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        connection = stream._sock.dup()
        stream.close()
        container.start()
    except BaseException:
        container.remove(force=True)
        raise
    return container, connection


def docker_log_config() -> object:
    """No log: replies hold what programs print, and the engine would keep all of it."""
    from docker.types import LogConfig

    return LogConfig(type="none")


async def _separate(
    raw: asyncio.StreamReader, writer: asyncio.StreamWriter, out: asyncio.StreamReader, words: bytearray
) -> None:
    """Takes the engine's framing off: stream 1 is the agent's replies, stream 2 its last words."""
    try:
        while True:
            stream, size = struct.unpack("!BxxxI", await raw.readexactly(8))
            data = await raw.readexactly(size)
            if stream == 1:
                out.feed_data(data)
            else:
                words += data[: 65_536 - len(words)]
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        out.feed_eof()
        # The engine takes nothing more for a container that has ended; who is sending must not wait for it.
        writer.transport.abort()

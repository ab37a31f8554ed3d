"""What this host has for isolation, what that means, and which backend `auto` takes."""

from __future__ import annotations

import asyncio
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from mimo_sandbox import engine
from mimo_sandbox.inside import seccomp
from mimo_sandbox.local import find_python, start_local_worker
from mimo_sandbox.verdict import SandboxUnavailable


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    subject: str
    found: str
    meaning: str


async def examine() -> tuple[list[Finding], str]:
    """Looks at the host and tries both backends; also returns the one that `auto` takes, or ''."""
    findings = [
        Finding("kernel", f"{platform.system()} {platform.release()} {platform.machine()}", ""),
        Finding("seccomp", *_seccomp()),
        Finding("user namespaces", *_user_namespaces()),
        Finding("cgroups", _cgroups(), "used by the docker backend for memory and processes of a whole container"),
        Finding(
            "python", (await asyncio.to_thread(find_python))[0], "what the local backend runs Python programs with"
        ),
        Finding("g++", *_compiler()),
    ]
    docker_works, docker_findings = await asyncio.to_thread(_docker)
    findings += docker_findings
    try:
        await (await start_local_worker(isolated=True)).kill()
        local_works = True
        findings.append(Finding("local sandbox", "starts", ""))
    except SandboxUnavailable as error:
        local_works = False
        findings.append(Finding("local sandbox", "does not start", str(error)))
    return findings, "docker" if docker_works else "local" if local_works else ""


def _seccomp() -> tuple[str, str]:
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    if not actions.exists():
        return "none", "the local backend cannot run: the kernel has no seccomp filters"
    if not seccomp.supported():
        return "yes", f"but there is no filter for {platform.machine()}: neither backend can run"
    return "yes", ""


def _user_namespaces() -> tuple[str, str]:
    try:
        limit = int(Path("/proc/sys/user/max_user_namespaces").read_text())
    except (OSError, ValueError):
        return "none", "the local backend cannot run: the kernel has no user namespaces"
    if limit == 0:
        return "0", "the local backend cannot run: raise user.max_user_namespaces with sysctl"
    return f"up to {limit}", "started by root, gives root up for an unused id" if os.geteuid() == 0 else ""


def _cgroups() -> str:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return "version 2"
    return "version 1" if Path("/sys/fs/cgroup/memory").exists() else "none mounted"


def _compiler() -> tuple[str, str]:
    if Path("/usr/bin/g++").exists():
        return "/usr/bin/g++", ""
    return "none", "the local backend cannot judge C++: install g++"


def _docker() -> tuple[bool, list[Finding]]:
    try:
        client = engine.connect()
    except SandboxUnavailable as error:
        return False, [Finding("docker engine", "none", str(error))]
    info, version = client.info(), client.version()
    runc = next((part["Version"] for part in version.get("Components", ()) if part["Name"] == "runc"), "?")
    found = f"{version['Version']}, runc {runc}, cgroup version {info.get('CgroupVersion', '1')}"
    findings = [Finding("docker engine", found, f"runtimes: {', '.join(sorted(info.get('Runtimes', ())))}")]
    try:
        engine.require_image(client)
    except SandboxUnavailable as error:
        return False, [*findings, Finding("judge image", "none", str(error))]
    return True, [*findings, Finding("judge image", engine.IMAGE, "")]

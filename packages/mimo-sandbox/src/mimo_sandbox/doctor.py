"""What this host has for isolation, what that means, and which backend `auto` takes."""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mimo_sandbox import cgroups, engine
from mimo_sandbox.inside import seccomp
from mimo_sandbox.languages import LANGUAGES
from mimo_sandbox.local import Network, find_python, start_local_worker
from mimo_sandbox.verdict import SandboxUnavailable

MODULES = ("numpy", "sortedcontainers")
"""What submissions import besides the standard library, and the judge image has (`judge_image/packages.txt`)."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    subject: str
    found: str
    meaning: str


async def examine() -> tuple[list[Finding], str]:
    """Looks at the host and tries both backends; also returns the one that `auto` takes, or ''."""
    python = (await asyncio.to_thread(find_python))[0]
    findings = [
        Finding("kernel", f"{platform.system()} {platform.release()} {platform.machine()}", ""),
        Finding("seccomp", *_seccomp()),
        Finding("user namespaces", *_user_namespaces()),
        Finding("control groups", *_control_groups()),
        Finding("python", python, "what the local backend runs Python programs with"),
        Finding("python modules", *await asyncio.to_thread(find_modules, python)),
        Finding("languages", *_languages()),
    ]
    docker_works, docker_findings = await asyncio.to_thread(_docker)
    findings += docker_findings
    try:
        await (await start_local_worker(isolated=True, network=Network())).kill()
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


def _control_groups() -> tuple[str, str]:
    version = cgroups.version()
    folders, reason = cgroups.create()
    tells_peaks = cgroups.tells_peaks(folders)
    cgroups.remove(folders)
    if tells_peaks:
        return f"version {version}", "CPU time and memory are exact, children that nobody waited for included"
    if folders:
        return f"version {version}", (
            "CPU time and limits are exact, children that nobody waited for included; reported memory is from rusage "
            "and a look each 50 ms, and verdicts say so: the kernel tells each test's peak from Linux 6.12 on"
        )
    found = f"version {version}" if version else "none"
    return found, f"{reason}; CPU time and memory come from rusage instead, and verdicts say so"


def find_modules(python: str) -> tuple[str, str]:
    """Which of `MODULES` an interpreter finds, and what it means that it lacks the others."""
    tells = f"import importlib.util as u; print(*(name for name in {MODULES} if u.find_spec(name)))"
    found = subprocess.run([python, "-I", "-c", tells], check=True, capture_output=True, text=True).stdout.split()
    lacking = ", ".join(name for name in MODULES if name not in found)
    meaning = f"the local backend fails programs that import {lacking}; the judge image has them" if lacking else ""
    return ", ".join(found) or "none", meaning


def _languages() -> tuple[str, str]:
    there = {name: Path(language.needs).exists() or name == "python" for name, language in LANGUAGES.items()}
    lacking = [f"{name} needs {LANGUAGES[name].needs}" for name, is_there in there.items() if not is_there]
    meaning = f"the local backend cannot judge the others: {', '.join(lacking)}" if lacking else ""
    return ", ".join(name for name, is_there in there.items() if is_there), meaning


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

"""Makes the judge image, from a registry's Debian or, where no registry is to be had, from Debian's own packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mimo_sandbox import engine
from mimo_sandbox.verdict import SandboxUnavailable

if TYPE_CHECKING:
    from docker import DockerClient

_CONTEXT = Path(__file__).parent / "judge_image"
_SUITE = "bookworm"
_LEFT_OUT = (
    "./tmp/*",
    "./var/cache/apt",
    "./var/lib/apt/lists",
    "./proc",
    "./sys",
    "./dev",
    "./usr/share/doc",
    "./usr/share/man",
)

METHODS = ("auto", "dockerfile", "debootstrap")


def build(method: str, *, mirror: str, say: Callable[[str], None]) -> None:
    """Makes the image `engine.IMAGE`; both ways install the packages of `judge_image/packages.txt`.

    Args:
        method: `dockerfile` needs a registry, `debootstrap` needs root; `auto` tries them in this order.
        mirror: where debootstrap takes Debian from.
        say: told what happens, a line at a time.

    Raises:
        SandboxUnavailable: no engine, or the image could not be made; the message says why.
    """
    client = engine.connect()
    if method in ("auto", "dockerfile"):
        try:
            _from_dockerfile(client, say)
        except SandboxUnavailable as error:
            if method == "dockerfile":
                raise
            say(f"{error} Trying debootstrap.")
        else:
            return
    _from_debootstrap(client, mirror, say)


def _from_dockerfile(client: DockerClient, say: Callable[[str], None]) -> None:
    import docker

    say(f"building {engine.IMAGE} from {_CONTEXT / 'Dockerfile'}")
    try:
        client.images.build(path=str(_CONTEXT), tag=engine.IMAGE, rm=True, forcerm=True)
    except (docker.errors.DockerException, OSError) as error:
        raise SandboxUnavailable(f"the Dockerfile could not be built: {str(error)[:300]}.") from None


def _from_debootstrap(client: DockerClient, mirror: str, say: Callable[[str], None]) -> None:
    import docker

    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise SandboxUnavailable(
            "making the image without a registry needs root and debootstrap: "
            "`apt-get install debootstrap`, then run this as root."
        )
    packages = ",".join((_CONTEXT / "packages.txt").read_text().split())
    with tempfile.TemporaryDirectory(prefix="mimo-sandbox-image-") as folder:
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", _SUITE, folder, mirror]
        say(" ".join(command))
        made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if made.returncode != 0:
            raise SandboxUnavailable(f"debootstrap failed: {' / '.join(made.stdout.strip().splitlines()[-3:])}.")
        say("precompiling standard headers")
        shutil.copy(_CONTEXT / "precompile.sh", Path(folder) / "tmp")
        made = subprocess.run(
            ["chroot", folder, "/bin/sh", "/tmp/precompile.sh"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise SandboxUnavailable(f"the headers could not be precompiled: {made.stdout.strip()[-300:]}.")
        (Path(folder) / "program").mkdir()
        say(f"importing it as {engine.IMAGE}")
        pack = ["tar", "-C", folder, *(f"--exclude={path}" for path in _LEFT_OUT), "-cf", "-", "."]
        repository, tag = engine.IMAGE.split(":")
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as tar:
            try:
                client.api.import_image_from_stream(tar.stdout, repository=repository, tag=tag)
            except (docker.errors.DockerException, OSError) as error:
                tar.kill()
                raise SandboxUnavailable(f"the engine did not import the image: {error}.") from None
        if tar.returncode != 0:
            raise SandboxUnavailable(f"tar ended with {tar.returncode}: the image is not whole. Run this again.")
    engine.require_image(client)

"""Each member's wheel, installed alone in a clean environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

# A member, and the members and heavy packages that its wheel may bring.
BRINGS = {
    "mimo-sandbox": set(),
    "mimo-model": {"torch", "transformers"},
    "mimo-data": set(),
    "mimo-eval": {"mimo-sandbox"},
    "mimo-train": {"mimo-data", "mimo-model", "torch", "transformers"},
    "mimo-rl": {
        "mimo-eval",
        "mimo-model",
        "mimo-sandbox",
        "mimo-train",
        "mimo-data",
        "torch",
        "transformers",
    },
}
WATCHED = {*BRINGS, "torch", "transformers", "vllm", "deepspeed", "pymupdf"}


def run(*command: str | Path, **kwargs) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)
    assert result.returncode == 0, f"{command}: {result.stderr[-2000:]}"
    return result.stdout


@pytest.fixture(scope="module")
def wheels(root, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheels")
    run("uv", "build", "--wheel", "--all-packages", "--out-dir", out, cwd=root)
    return out


@pytest.mark.parametrize("member", BRINGS)
def test_a_wheel_alone_imports_answers_help_and_brings_no_other_heavy_member(member, wheels, root, tmp_path):
    run("uv", "venv", "--quiet", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    # The versions of the lock, so that the test does not change with the index.
    pins = run(
        "uv",
        "export",
        "--frozen",
        "--package",
        member,
        "--no-dev",
        "--no-emit-workspace",
        "--no-hashes",
        cwd=root,
    )
    (tmp_path / "pins.txt").write_text(pins)
    (wheel,) = wheels.glob(f"{member.replace('-', '_')}-*.whl")
    run(
        "uv", "pip", "install", "--quiet", "--python", python,
        "--find-links", wheels, "--constraint", tmp_path / "pins.txt", wheel,
    )  # fmt: skip

    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    run(python, "-c", f"import {member.replace('-', '_')}", cwd=tmp_path, env=clean)
    usage = run(tmp_path / "venv" / "bin" / member, "--help", cwd=tmp_path, env=clean)
    assert usage.startswith(f"usage: {member}")
    listed = run("uv", "pip", "list", "--format", "freeze", "--python", python)
    installed = {line.partition("==")[0] for line in listed.splitlines()}
    assert installed & WATCHED == BRINGS[member] | {member}


@pytest.mark.parametrize("member", BRINGS)
def test_help_imports_nothing_heavy(member, root):
    code = (
        "import sys, importlib.metadata as m\n"
        f"entry, = m.entry_points(group='console_scripts', name='{member}')\n"
        "main = entry.load()\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'pymupdf', 'sympy', 'docker'} & set(sys.modules)))\n"
    )
    assert run("uv", "run", "--no-sync", "python", "-c", code, cwd=root).splitlines()[-1] == "[]"

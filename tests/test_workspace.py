"""The rules that hold between packages: front doors, version bounds, what a package must have."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
MEMBERS = sorted(path.name for path in (ROOT / "packages").iterdir())
MODULES = {name.replace("-", "_") for name in MEMBERS}


def project(member: str) -> dict:
    return tomllib.loads((ROOT / "packages" / member / "pyproject.toml").read_text())["project"]


def imported_names(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def exported_names(member: str) -> list[str]:
    front_door = ROOT / "packages" / member / "src" / member.replace("-", "_") / "__init__.py"
    for node in ast.parse(front_door.read_text()).body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in node.targets):
            return ast.literal_eval(node.value)
    raise AssertionError(f"{front_door} has no __all__")


def test_there_are_the_six_members_of_the_design():
    assert MEMBERS == ["mimo-data", "mimo-eval", "mimo-model", "mimo-rl", "mimo-sandbox", "mimo-train"]


@pytest.mark.parametrize("member", MEMBERS)
def test_a_package_is_entered_by_its_front_door_only(member):
    own = member.replace("-", "_")
    files = [
        *(ROOT / "packages" / member).glob("src/**/*.py"),
        *(ROOT / "packages" / member).glob("tests/**/*.py"),
    ]
    doors = {module: set(exported_names(module.replace("_", "-"))) for module in MODULES - {own}}
    for file in files:
        for name in imported_names(file):
            module, _, rest = name.partition(".")
            assert module not in doors or not rest or rest in doors[module], f"{file}: {name} is not exported"


def test_scripts_and_tests_of_the_workspace_use_front_doors_too():
    doors = {module: set(exported_names(module.replace("_", "-"))) for module in MODULES}
    for file in [*(ROOT / "scripts").glob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        for name in imported_names(file):
            module, _, rest = name.partition(".")
            assert module not in doors or not rest or rest in doors[module], f"{file}: {name} is not exported"


@pytest.mark.parametrize("member", MEMBERS)
def test_a_front_door_exports_at_most_a_dozen_names_and_they_exist(member):
    names = exported_names(member)
    assert 1 <= len(names) <= 12
    assert names == sorted(set(names), key=names.index)


@pytest.mark.parametrize("member", MEMBERS)
def test_bounds_between_members_admit_the_versions_in_the_tree(member):
    tables = [project(member)["dependencies"], *project(member).get("optional-dependencies", {}).values()]
    for requirement in (Requirement(line) for table in tables for line in table):
        if requirement.name in MEMBERS:
            assert requirement.specifier, f"{member} needs {requirement.name} without a bound"
            assert requirement.specifier.contains(Version(project(requirement.name)["version"])), str(requirement)


@pytest.mark.parametrize("member", MEMBERS)
def test_a_package_has_what_a_user_looks_for(member):
    folder = ROOT / "packages" / member
    for name in ("README.md", "CHANGELOG.md", "LICENSE", f"src/{member.replace('-', '_')}/py.typed"):
        assert (folder / name).exists(), name
    assert f"## {project(member)['version']}" in (folder / "CHANGELOG.md").read_text()
    assert len((folder / "README.md").read_text().splitlines()) > 15
    assert list((folder / "tests").glob("test_*.py"))


def test_heavy_packages_stay_out_of_the_light_members():
    heavy = {"torch", "transformers", "vllm", "deepspeed", "pymupdf"}
    for member in ("mimo-sandbox", "mimo-data", "mimo-eval"):
        assert not heavy & {Requirement(line).name for line in project(member)["dependencies"]}

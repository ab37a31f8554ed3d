from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimo_data import Document
from mimo_data.documents import Drop
from mimo_data.run import DataError
from mimo_data.sources import repository
from mimo_data.sources.codefiles import FileRecipe, file_text
from mimo_data.sources.languages import language_of
from mimo_data.sources.licences import is_permissive, licence_of_text
from mimo_data.sources.page import Page, PageError
from mimo_data.sources.repository import RepositoryRecipe

MIT = (
    "MIT License\n\nCopyright (c) 2024 Somebody\n\nPermission is hereby granted, free of charge, to any person\n"
    "obtaining a copy ... The above copyright notice and this permission notice shall be included ..."
)
APACHE = "Apache License\n   Version 2.0, January 2004\n http://www.apache.org/licenses/\n"
CLAUSE = (
    "“Commons Clause” License Condition v1.0 ... the License does not grant to you, the right to Sell the Software."
)
GPL = "GNU GENERAL PUBLIC LICENSE\n  Version 3, 29 June 2007 ..."
AGPL = "GNU AFFERO GENERAL PUBLIC LICENSE\n  Version 3, 19 November 2007 ... Remote Network Interaction ...\n"
CODE = "def double(number):\n    return 2 * number\n\n\ndef half(number):\n    return number / 2\n"
KEEP_ALL = RepositoryRecipe(only_permissive=False, keep_unlicensed=True)


def read(folder: Path, recipe: RepositoryRecipe = KEEP_ALL) -> list[Page | Document | Drop]:
    return [result for part in repository.parts([folder], recipe) for result in repository.read(part, recipe)]


def reasons(results: list[Page | Document | Drop]) -> dict[str, str]:
    """By path below the repository: the reason of a drop, or "" for a document."""
    return {result.id.partition("/")[2]: result.reason if isinstance(result, Drop) else "" for result in results}


def git(folder: Path, *words: str) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    names = ["-c", "user.name=A", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *names, *words], cwd=folder, env=environment, capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[dict[str, str | bytes]], Path]:
    """Writes files by their paths, and returns the folder `project`."""

    def write(files: dict[str, str | bytes]) -> Path:
        for name, content in files.items():
            path = tmp_path / "project" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / "project"

    return write


@pytest.fixture
def committed(folder: Callable[[dict[str, str | bytes]], Path]) -> Callable[[dict[str, str | bytes]], Path]:
    """The same as a git repository's only commit."""

    def write(files: dict[str, str | bytes]) -> Path:
        path = folder(files)
        git(path, "init", "-q")
        git(path, "add", "-A", "-f")
        git(path, "commit", "-q", "-m", "first")
        return path

    return write


def test_the_files_of_a_commit_are_documents_in_the_order_of_their_paths(committed):
    path = committed(
        {"src/b.py": CODE, "src/a.py": CODE + "# a", "README.md": "# Title\n\n" + "Words. " * 9, "LICENSE": MIT}
    )
    git(path, "remote", "add", "origin", "git@github.com:owner/name.git")
    commit = git(path, "rev-parse", "HEAD")
    (path / "src" / "b.py").write_text("uncommitted")
    (path / "new.py").write_text(CODE)
    found = read(path, RepositoryRecipe())
    assert reasons(found) == {"LICENSE": "not_code", "README.md": "", "src/a.py": "", "src/b.py": ""}
    assert found[-1] == Document(
        id="project/src/b.py",
        text=CODE,
        source="code",
        url=f"https://github.com/owner/name/blob/{commit}/src/b.py",
        meta={
            "repository": "https://github.com/owner/name",
            "path": "src/b.py",
            "language": "Python",
            "commit": commit,
            "licence": "MIT",
        },
    )


def test_a_bare_repository_gives_what_its_checkout_gives(committed, tmp_path):
    path = committed({"a.py": CODE, "b/c.rs": 'fn main() { println!("hello"); } // and more'})
    (tmp_path / "all").mkdir()
    git(tmp_path, "clone", "-q", "--bare", str(path), str(tmp_path / "all" / "project.git"))
    assert read(tmp_path / "all") == read(path)


def test_a_folder_without_git_is_one_repository(folder):
    (document,) = read(folder({"a.py": CODE}))
    assert (document.id, document.meta) == (
        "project/a.py",
        {"repository": "project", "path": "a.py", "language": "Python"},
    )


def test_repositories_below_a_folder_are_a_part_each(committed, tmp_path):
    path = committed({"a.py": CODE})
    for name in ("owner/one", "owner/two", "three"):
        shutil.copytree(path, tmp_path / "all" / name)
    parts = repository.parts([tmp_path / "all"], KEEP_ALL)
    assert [part.names for part in parts] == [("owner/one",), ("owner/two",), ("three",)]
    assert len({part.id for part in parts}) == 3


def test_files_beside_and_above_git_repositories_are_a_part_of_their_own(committed, tmp_path):
    (tmp_path / "all" / "source").mkdir(parents=True)
    (tmp_path / "all" / "source" / "b.py").write_text(CODE)
    shutil.copytree(committed({"a.py": CODE}), tmp_path / "all" / "deep" / "er" / "and" / "deeper" / "project")
    assert [document.id for document in read(tmp_path / "all")] == [
        "all/source/b.py",
        "deep/er/and/deeper/project/a.py",
    ]


def test_an_empty_folder_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: an empty folder"):
        repository.parts([tmp_path / "empty"], KEEP_ALL)


def test_links_and_names_that_are_not_utf_8_do_no_harm(committed, tmp_path):
    path = committed({"a.py": CODE})
    (path / "link.py").symlink_to("/etc/passwd")
    (path / os.fsdecode(b"\xff.py")).write_text(CODE)
    for _ in range(2):  # as a git repository, then as a folder
        if (path / ".git").exists():
            git(path, "add", "-A")
            git(path, "commit", "-q", "-m", "second")
        assert [document.id for document in read(path)] == ["project/a.py", "project/\\xff.py"]
        shutil.rmtree(path / ".git", ignore_errors=True)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("image.png", b"\x89PNG\r\n", "not_code"),
        ("data.csv", "1,2,3\n" * 40, "not_code"),
        ("script", "no first line that names a language", "not_code"),
        ("a.c", "int table[] = {" + "1," * 600 + "};", "not_code"),
        ("a.c", ("x" * 150 + ";\n") * 9, "not_code"),
        ("a.py", "(" * 90 + "print", "not_code"),
        ("a.py", "x = 1\n", "too_short"),
        ("empty.py", "", "too_short"),
        ("a.py", "x = 1 # long\n" * 1000, "too_large"),
        ("a.py", CODE.encode() + b"\0" * 9, "not_text"),
        ("node_modules/pad/index.js", "module.exports = function pad() { return 1; }", "vendored"),
        ("third_party/lib/a.c", "int main(void) { return 0; } /* and so on */", "vendored"),
        ("static/jquery-3.1.0.js", "module.exports = function pad() { return 1; }", "vendored"),
        ("app.min.js", "module.exports = function pad() { return 1; }", "generated"),
        ("yarn.lock", "pad@1:\n  version 1\n  resolved somewhere\n", "generated"),
        ("api_pb2.py", CODE, "generated"),
        ("a.go", "// Code generated by protoc-gen-go. DO NOT EDIT.\npackage a\nfunc main() {}\n", "generated"),
        ("a.py", "# This file was automatically generated.\n" + CODE, "generated"),
        ("a.py", CODE + "KEY = '" + "AKIA" + "Q3EGRTV5BNZ7WPLM" + "'\n", "secret"),
        ("a.py", CODE + "TOKEN = '" + "ghp_" + "a1B2" * 9 + "'\n", "secret"),
        ("a.py", CODE + "KEY = '''-----BEGIN RSA " + "PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQ" * 9 + "'''\n", "secret"),
        ("a.py", CODE + "KEY = '" + "sk-" + "a1B2c3D4" * 6 + "'\n", "secret"),
        ("a.ipynb", "{", "broken"),
        ("a.ipynb", '{"cells": ' + "[" * 5000, "broken"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_worth_reading_is_dropped_with_the_reason(folder, name, content, reason):
    files = FileRecipe(max_file_bytes=10_000)
    found = read(folder({name: content, "good.py": CODE}), RepositoryRecipe(keep_unlicensed=True, files=files))
    assert reasons(found) == {name: reason, "good.py": ""}


@pytest.mark.parametrize(
    "text",
    [
        "def f(ids):\n    '''Takes ids that were generated before; do not modify them.'''\n    return sorted(ids)\n",
        "# Example from the manual: AKIAIOSFODNN7EXAMPLE is no key, and neither is sk-learn.\nimport sklearn\n",
        "NAMES = ['sk-estimator-with-a-long-name-of-a-class-in-css', 'task-1', 'hf_hub', 'ghp_token']\n",
        "# Looks for lines of -----BEGIN PRIVATE KEY----- in text.\nMARK = '-----BEGIN PRIVATE KEY-----'\n",
    ],
)
def test_talk_of_keys_and_generated_things_is_kept(text):
    assert file_text("a.py", text.encode(), FileRecipe()) == (text, "Python")


def test_prose_may_have_long_lines(folder):
    line = "A long paragraph in one line. " * 60
    assert reasons(read(folder({"README.md": line, "a.tex": line, "a.py": line}))) == {
        "README.md": "", "a.py": "not_code", "a.tex": "",
    }  # fmt: skip


def test_only_languages_that_the_recipe_names_are_kept(folder):
    recipe = RepositoryRecipe(keep_unlicensed=True, files=FileRecipe(languages=("Python",)))
    assert reasons(read(folder({"a.py": CODE, "README.md": CODE}), recipe)) == {"README.md": "not_code", "a.py": ""}
    with pytest.raises(ValueError, match="no language Pyton"):
        FileRecipe(languages=("Pyton",))


def test_old_encodings_and_line_ends_are_read(folder):
    (document,) = read(folder({"a.c": "// größer\r\nint main(void) { return 0; }\r\n".encode("latin-1")}))
    assert document.text == "// größer\nint main(void) { return 0; }\n"


def test_a_notebook_is_markdown_with_its_code_fenced(folder):
    cells = [
        {"cell_type": "markdown", "source": ["# Sums\n", "\n", "Of $n$ numbers."]},
        {"cell_type": "code", "source": "sum(range(10))\n", "outputs": [{"text": "45"}], "execution_count": 1},
        {"cell_type": "code", "source": "%%bash\nls\n", "outputs": []},
        {"cell_type": "code", "source": "", "outputs": []},
        {"cell_type": "code", "source": "print('''\n```\n''')", "outputs": []},
    ]
    notebook = {"cells": cells, "metadata": {"language_info": {"name": "python"}}, "nbformat": 4}
    (document,) = read(folder({"a.ipynb": json.dumps(notebook)}))
    assert document.meta["language"] == "Jupyter Notebook"
    assert document.text == (
        "# Sums\n\nOf $n$ numbers.\n\n```python\nsum(range(10))\n```\n\n```bash\n%%bash\nls\n```\n\n"
        "````python\nprint('''\n```\n''')\n````"
    )


@pytest.mark.parametrize(
    ("path", "text", "language"),
    [
        ("a/b.py", "", "Python"),
        ("Makefile", "", "Makefile"),
        ("A.F90", "", "Fortran"),
        ("run", "#!/usr/bin/env python3\n", "Python"),
        ("run", "#! /bin/bash -e\n", "Shell"),
        ("run", "#!/usr/bin/env -S node --flag\n", "JavaScript"),
        ("run", "plain words", ""),
        ("a.h", "int f(void);\n", "C"),
        ("a.h", "namespace a {\nclass B;\n}\n", "C++"),
        ("a.h", "@interface A : B\n", "Objective-C"),
        ("a.m", "function y = f(x)\n  y = 2 * x;\nend\n", "MATLAB"),
        ("a.m", "#import <A/A.h>\n", "Objective-C"),
        ("a.pl", "use strict;\nmy $x = 1;\n", "Perl"),
        ("a.pl", "parent(tom, bob).\n", "Prolog"),
        ("a.v", "module m(input a);\nendmodule\n", "Verilog"),
        ("a.v", "Theorem a : True.\nProof. trivial. Qed.\n", "Coq"),
        ("a.ts", "const a: number = 1;\n", "TypeScript"),
        ("a.ts", "<?xml version='1.0'?><TS></TS>", ""),
        ("a.unknown", "#!/bin/sh\n", ""),
    ],
)  # fmt: skip
def test_the_language_is_told_by_the_name_the_first_line_and_the_text(path, text, language):
    assert language_of(path, text.encode()) == language


BSD = (
    "Redistribution and use in source and binary forms, with or without modification, are permitted ...\n"
    "1. Redistributions of source code must retain the above copyright notice, this list ..."
)


@pytest.mark.parametrize(
    ("name", "text", "licence"),
    [
        ("LICENSE", MIT, "MIT"),
        ("LICENSE", BSD, "BSD-2-Clause"),
        ("LICENSE", BSD + " ... to endorse or promote products derived from this software ...", "BSD-3-Clause"),
        ("LICENSE", APACHE, "Apache-2.0"),
        ("LICENSE", APACHE + CLAUSE, "Commons-Clause"),
        ("COPYING", GPL, "GPL-3.0"),
        ("COPYING", AGPL + "version 3 of the GNU General Public License", "AGPL-3.0"),
        ("LICENSE", "All rights reserved.", ""),
        ("package.json", '{\n "name": "a",\n "license": "MIT"\n}', "MIT"),
        ("Cargo.toml", '[package]\nlicense = "MIT OR Apache-2.0"\n', "MIT OR Apache-2.0"),
        ("pyproject.toml", '[project]\nlicense = {text = "BSD-3-Clause"}\n', "BSD-3-Clause"),
        ("pyproject.toml", '[project]\nname = "a"\n', ""),
    ],
)  # fmt: skip
def test_a_licence_is_known_by_its_phrases_or_its_identifier(name, text, licence):
    assert licence_of_text(name, text) == licence


@pytest.mark.parametrize(
    ("expression", "permissive"),
    [
        ("MIT", True),
        ("mit", True),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-2.0-only", True),
        ("MIT AND GPL-2.0-only", False),
        ("MIT/Apache-2.0", True),
        ("(MIT OR GPL-2.0) AND BSD-3-Clause", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-2.0 WITH Classpath-exception-2.0", False),
        ("MIT AND", False),
        ("(" * 2000 + "MIT", False),
        ("", False),
    ],
)
def test_a_permissive_choice_in_an_expression_counts(expression, permissive):
    assert is_permissive(expression) == permissive


def test_the_nearest_licence_counts_and_an_identifier_in_the_head_most(folder):
    files = {
        "LICENSE": GPL,
        "a.py": CODE,
        "b.py": "# SPDX-License-Identifier: MIT OR GPL-3.0-only\n" + CODE,
        "lib/LICENSE.txt": MIT,
        "lib/c.py": CODE,
        "lib/deep/d.py": CODE,
        "lib/e.c": "/* SPDX-License-Identifier: GPL-2.0 */\nint main(void) { return 0; }\n",
    }
    found = reasons(read(folder(files), RepositoryRecipe()))
    assert {name: reason for name, reason in found.items() if not name.startswith(("LICENSE", "lib/LICENSE"))} == {
        "a.py": "licence", "b.py": "", "lib/c.py": "", "lib/deep/d.py": "", "lib/e.c": "licence",
    }  # fmt: skip


def test_what_an_unknown_licence_means_is_for_the_recipe_to_say(folder):
    path = folder({"a.py": CODE})
    assert reasons(read(path, RepositoryRecipe())) == {"a.py": "licence"}
    assert reasons(read(path, RepositoryRecipe(keep_unlicensed=True))) == {"a.py": ""}


def test_a_repository_that_git_cannot_read_is_a_drop(committed, tmp_path):
    path = committed({"a.py": CODE, "b.py": CODE + "# b"})
    content = git(path, "rev-parse", "HEAD:a.py")
    file = path / ".git" / "objects" / content[:2] / content[2:]
    file.chmod(0o600)
    file.write_bytes(b"damaged")
    assert reasons(read(path)) == {"a.py": "broken", "b.py": ""}
    (path / ".git" / "HEAD").write_text("ref: refs/heads/gone\n")
    (drop,) = read(path)
    assert (drop.id, drop.reason) == ("project", "broken")


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        repository.parts([tmp_path / "gone"], KEEP_ALL)


@given(
    name=st.sampled_from(["a.py", "a.h", "a.ipynb", "run", "README", "a.tex", "a.pl"]),
    data=st.binary(max_size=400),
    text=st.text(max_size=200),
)
def test_any_bytes_are_a_text_or_have_a_reason(name, data, text):
    for content in (data, text.encode("utf-8", "replace"), data + text.encode("utf-8", "replace")):
        try:
            found, language = file_text(name, content, FileRecipe(min_characters=0))
        except PageError:
            continue
        assert language
        assert found.encode()


def test_what_is_not_committed_changes_no_digest(folder):
    project = folder({"lib/a.py": CODE, "notes/b.py": CODE})
    lib = project / "lib"
    git(lib, "init", "-q")
    git(lib, "add", ".")
    git(lib, "commit", "-qm", "first")
    before = repository.digest(project)
    (lib / "a.py").touch()
    (lib / "untracked.py").write_text(CODE)
    git(lib, "status")
    assert repository.digest(project) == before
    git(lib, "add", ".")
    git(lib, "commit", "-qm", "second")
    committed = repository.digest(project)
    assert committed != before
    (project / "notes" / "b.py").write_text("x = 1\n")
    assert repository.digest(project) != committed

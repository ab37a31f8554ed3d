"""Bad input, through the real commands: what each says, how it exits, and that it leaves nothing behind.

One row a fault. A message is one line on stderr, `mimo-X: error: …`, which names the file (or the word of the
command line) and the remedy. Exit code 2 is a wrong command line or recipe, 1 is everything else.
"""

from __future__ import annotations

import gzip
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from mimo_data import Run, read_documents
from mimo_train import PretrainRecipe


@dataclass(frozen=True)
class Fault:
    """One row of the table."""

    name: str
    """What is wrong with the input."""

    command: str
    """{bad}: the folder of broken things, {tiny}: recipes/tiny, {golden}: the golden files; out: what it would make."""

    says: tuple[str, ...]
    """Parts of the message, in order: what is wrong, and what to do."""

    exit_code: int = 1
    hidden: str = ""
    """A module that is not installed."""


RECIPES = [
    Fault(
        "no recipe",
        "mimo-data filter {bad}/none.toml out --documents {golden}/documents",
        ("none.toml: no such recipe", "See recipes/"),
        exit_code=2,
    ),
    Fault(
        "a recipe that is not TOML",
        "mimo-data filter {golden}/verdict.json out --documents {golden}/documents",
        ("verdict.json: not a TOML file",),
        exit_code=2,
    ),
    Fault(
        "an unknown key in a recipe of mimo-data",
        "mimo-data filter {bad}/data.toml out --documents {golden}/documents",
        ("data.toml", "`min_charactres`", "Did you mean `min_characters`?"),
        exit_code=2,
    ),
    Fault(
        "an unknown key in a recipe of mimo-eval",
        "mimo-eval run {bad}/eval-rl.toml out --model {golden}/checkpoint --problems {golden}/problems/problems.jsonl",
        ("eval-rl.toml", "`max_tokns`", "Did you mean `max_tokens`?"),
        exit_code=2,
    ),
    Fault(
        "an unknown key in a recipe of mimo-train",
        "mimo-train pretrain {bad}/pretrain-1.toml out --model {golden}/checkpoint --shards {golden}/shards",
        ("pretrain-1.toml", "`peak_rl`", "Did you mean `peak_lr`?"),
        exit_code=2,
    ),
    Fault(
        "an unknown key in a recipe of mimo-rl",
        "mimo-rl train {bad}/rl.toml out --model {golden}/checkpoint --problems {golden}/problems/curated.jsonl",
        ("rl.toml", "`clip_hihg`", "Did you mean `clip_high`?"),
        exit_code=2,
    ),
    Fault(
        "--set of an unknown key",
        "mimo-data filter {tiny}/data.toml out --documents {golden}/documents --set filter.min_charactres=1",
        ("--set filter.min_charactres=1: ", "Did you mean `min_characters`?"),
        exit_code=2,
    ),
    Fault(
        "--set of a wrong type",
        "mimo-train pretrain {tiny}/pretrain-1.toml out --model {golden}/checkpoint --shards {golden}/shards"
        " --set schedule.peak_lr=fast",
        ("--set schedule.peak_lr=fast: Expected `float`, got `str`", "$.schedule.peak_lr"),
        exit_code=2,
    ),
    Fault(
        "--set without a value",
        "mimo-rl train {tiny}/rl.toml out --model {golden}/checkpoint --problems {golden}/problems/curated.jsonl"
        " --set num_steps",
        ("--set num_steps: expected key=value, such as",),
        exit_code=2,
    ),
    Fault(
        "--set of an unknown limit",
        "mimo-sandbox judge {bad}/program.py --tests {bad}/cases.jsonl --set cpu=2",
        ("--set cpu=2: expected one of cpu_s",),
        exit_code=2,
    ),
]

COMMAND_LINES = [
    Fault("no verb", "mimo-data", ("required: VERB",), exit_code=2),
    Fault("an unknown verb", "mimo-model destroy out", ("invalid choice", "init"), exit_code=2),
    Fault(
        "an input left out",
        "mimo-data extract {tiny}/data.toml out",
        ("one of the arguments --pages --archives",),
        exit_code=2,
    ),
    Fault("an output left out", "mimo-train sft {tiny}/sft.toml", ("required: OUT, --model, --samples",), exit_code=2),
    Fault("an unknown option", "mimo-rl check train {tiny}/rl.toml --fast", ("unrecognized arguments: --fast",), 2),
    Fault("an unknown benchmark", "mimo-eval problems sudoku {bad}/torn.jsonl out", ("sudoku", "gsm8k"), exit_code=2),
    Fault(
        "a program in no known language",
        "mimo-sandbox judge {golden}/README.md --tests {bad}/cases.jsonl",
        ("README.md: no language has this suffix", "--language"),
        exit_code=2,
    ),
]

FILES = [
    Fault(
        "no folder of pages",
        "mimo-data extract {tiny}/data.toml out --pages {bad}/none",
        ("none: no such file or folder (the pages of `extract`)",),
    ),
    Fault(
        "an empty corpus",
        "mimo-data extract {tiny}/data.toml out --pages {bad}/empty",
        ("empty: holds no page", "It needs files that end in .html"),
    ),
    Fault(
        "no documents file",
        "mimo-data deduplicate {tiny}/data.toml out --documents {bad}/none.jsonl.zst",
        ("none.jsonl.zst: no such file",),
    ),
    Fault(
        "a truncated documents file",
        "mimo-data filter {tiny}/data.toml out --documents {bad}/torn.jsonl.zst",
        ("torn.jsonl.zst: truncated", "Make it again"),
    ),
    Fault(
        "a damaged Parquet file",
        "mimo-data filter {tiny}/data.toml out --documents {bad}/torn.parquet",
        ("torn.parquet: not a Parquet file of documents", "Make it again"),
    ),
    Fault(
        "no document to tokenize",
        "mimo-data tokenize {tiny}/data.toml out --documents {bad}/no-documents.jsonl.zst"
        " --tokenizer {golden}/checkpoint",
        ("no document to tokenize", "See the drop logs"),
    ),
    Fault(
        "no tokenizer",
        "mimo-data tokenize {tiny}/data.toml out --documents {golden}/documents --tokenizer {bad}/empty",
        ("empty/tokenizer.json: no such file",),
    ),
    Fault(
        "no problem file",
        "mimo-data decontaminate {tiny}/data.toml out --documents {golden}/documents --problems {bad}/none.jsonl",
        ("none.jsonl: no such file",),
    ),
    Fault(
        "a truncated shard",
        "mimo-data check {tiny}/data.toml --shards {bad}/torn-shards",
        ("sums/00000-0000.tokens.bin: 31 bytes, but its manifest says 32", "run `mimo-data tokenize` again"),
    ),
    Fault(
        "a changed shard",
        "mimo-data check {tiny}/data.toml --shards {bad}/changed-shards",
        ("sums/00000-0000.tokens.bin: checksum differs", "run `mimo-data tokenize` again"),
    ),
    Fault(
        "an unfinished shard",
        "mimo-data check {tiny}/data.toml --shards {bad}/unfinished-shards",
        ("unfinished-shards: holds no finished shard", "Make it with `mimo-data tokenize`"),
    ),
    Fault(
        "PDF pages without the extra for PDF",
        "mimo-data extract {tiny}/data.toml out --pages {bad}/pages",
        ("broken.pdf: reading PDF needs PyMuPDF", "pip install 'mimo-data[pdf]'"),
        hidden="pymupdf",
    ),
    Fault(
        "no problem file to evaluate on",
        "mimo-eval run {bad}/one-benchmark.toml out --model {golden}/checkpoint --problems {bad}/none/problems.jsonl",
        ("none/problems.jsonl: no such file",),
    ),
    Fault(
        "a problem file that the recipe does not read",
        "mimo-eval run {tiny}/eval-rl.toml out --model {golden}/checkpoint --problems {golden}/problems/curated.jsonl",
        ("curated.jsonl: no [[benchmark]]", "It wants: test-arithmetic.jsonl"),
    ),
    Fault(
        "no checkpoint",
        "mimo-eval run {bad}/one-benchmark.toml out --model {bad}/none --problems {golden}/problems/problems.jsonl",
        ("none: no such file or folder (the model of `run`)",),
    ),
    Fault(
        "an evaluation without the extra for local models",
        "mimo-eval run {bad}/one-benchmark.toml out --model {golden}/checkpoint"
        " --problems {golden}/problems/problems.jsonl",
        ("mimo_model", "pip install 'mimo-eval[local]'"),
        hidden="mimo_model",
    ),
    Fault(
        "a truncated benchmark file",
        "mimo-eval problems gsm8k {bad}/torn.jsonl out",
        ("torn.jsonl",),
    ),
    Fault(
        "no result to compare",
        "mimo-eval compare {golden}/evaluation {bad}/empty",
        ("empty/result.json: no such file", "`mimo-eval run` makes it"),
    ),
    Fault(
        "no program to judge",
        "mimo-sandbox judge {bad}/none.py --tests {bad}/cases.jsonl",
        ("none.py: No such file",),
    ),
    Fault(
        "truncated test cases",
        "mimo-sandbox judge {bad}/program.py --tests {bad}/torn.jsonl",
        ("torn.jsonl:1: not a case", "Expected"),
    ),
    Fault(
        "an output folder that something else made",
        "mimo-data filter {tiny}/data.toml {golden}/shards --documents {golden}/documents",
        ("shards: was not made by `filter`", "Choose another output folder"),
    ),
]

SMALL = (
    "schedule={constant_tokens=64, peak_lr=1e-3}",
    "batch={sequence_length=4, num_sequences=1}",
    "mixture.weights={sums=1.0}",
)
"""Settings with which the golden checkpoint could be trained on the golden shards."""

SET_SMALL = "".join(f" --set '{setting}'" for setting in SMALL).replace("{", "{{").replace("}", "}}")

WITH_TORCH = [
    Fault(
        "an unknown key in a recipe of mimo-model",
        "mimo-model init {bad}/model.toml out",
        ("model.toml", "`hiden_size` in [model]", "Did you mean `hidden_size`?"),
        exit_code=2,
    ),
    Fault(
        "a folder that is not a checkpoint",
        "mimo-model inspect {bad}/empty",
        ("empty: has no config.json, so it is not a checkpoint folder",),
    ),
    Fault(
        "a truncated checkpoint",
        "mimo-model replicate-mtp {bad}/torn-checkpoint out",
        ("torn-checkpoint/model.safetensors: truncated", "Copy or download it again"),
    ),
    Fault(
        "a checkpoint without one of its tensors",
        "mimo-eval run {bad}/one-benchmark.toml out --model {bad}/short-checkpoint"
        " --problems {golden}/problems/problems.jsonl",
        ("short-checkpoint: 1 tensors are missing, model.norm.weight", "belong to one checkpoint"),
    ),
    Fault(
        "a truncated shard to train on",
        "mimo-train pretrain {tiny}/pretrain-1.toml out --model {golden}/checkpoint --shards {bad}/torn-shards"
        + SET_SMALL,
        ("sums/00000-0000.tokens.bin: 31 bytes, but its manifest says 32", "run `mimo-data tokenize` again"),
    ),
    Fault(
        "a truncated state of the stage before",
        "mimo-train pretrain {tiny}/pretrain-2.toml out --model {bad}/torn-state --shards {golden}/shards" + SET_SMALL,
        ("torn-state/state/training.pt: not a whole training state",),
    ),
    Fault(
        "no samples to fine-tune on",
        "mimo-train sft {tiny}/sft.toml out --model {golden}/checkpoint --samples {bad}/none.jsonl",
        ("none.jsonl: no such file or folder (the samples of `sft`)",),
    ),
    Fault(
        "no problem file to train on",
        "mimo-rl train {tiny}/rl.toml out --model {golden}/checkpoint --problems {bad}/none.jsonl",
        ("none.jsonl: no such file or folder",),
    ),
    Fault(
        "a curated problem with an unknown key",
        "mimo-rl train {tiny}/rl.toml out --model {golden}/checkpoint --problems {bad}/coloured.jsonl",
        ("coloured.jsonl:1: not a problem", "colour", "schemas/curated-problem.schema.json"),
    ),
]

TABLE = [
    *(pytest.param(fault, id=fault.name) for fault in (*RECIPES, *COMMAND_LINES, *FILES)),
    *(pytest.param(fault, id=fault.name, marks=pytest.mark.slow) for fault in WITH_TORCH),
]

ONE_BENCHMARK = """
[sampling]
temperature = 0.0
max_tokens = 4

[[benchmark]]
name = "problems"
"""

HIDE_A_MODULE = """
import importlib.machinery as machinery
import os

find = machinery.PathFinder.find_spec


def find_others(name, path=None, target=None):
    return None if name.partition(".")[0] == os.environ["HIDDEN"] else find(name, path, target)


machinery.PathFinder.find_spec = find_others
"""


@pytest.fixture(scope="module")
def golden(root: Path) -> Path:
    return root / "tests" / "contracts" / "golden"


@pytest.fixture(scope="module")
def bad(root: Path, golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of broken things."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "empty").mkdir()

    for name, key, typo in (
        ("data.toml", "min_characters", "min_charactres"),
        ("eval-rl.toml", "max_tokens", "max_tokns"),
        ("pretrain-1.toml", "peak_lr", "peak_rl"),
        ("rl.toml", "clip_high", "clip_hihg"),
        ("model.toml", "hidden_size", "hiden_size"),
    ):
        text = (root / "recipes" / "tiny" / name).read_text()
        assert key in text
        (folder / name).write_text(text.replace(key, typo, 1))
    (folder / "one-benchmark.toml").write_text(ONE_BENCHMARK)

    documents = golden / "documents"
    (folder / "torn.jsonl.zst").write_bytes((documents / "documents.jsonl.zst").read_bytes()[:-20])
    (folder / "torn.parquet").write_bytes((documents / "documents.parquet").read_bytes()[:-20])
    # The zstd frame of nothing.
    (folder / "no-documents.jsonl.zst").write_bytes(bytes.fromhex("28b52ffd2000010000"))
    problem = (golden / "problems" / "curated.jsonl").read_text().splitlines()[0]
    (folder / "torn.jsonl").write_text(problem[:-20])
    (folder / "coloured.jsonl").write_text(json.dumps({**json.loads(problem), "colour": "red"}) + "\n")
    (folder / "cases.jsonl").write_text('{"id": "one", "stdin": "", "expected": "1"}\n')
    (folder / "program.py").write_text("print(1)\n")

    for name in ("torn-shards", "changed-shards", "unfinished-shards"):
        shutil.copytree(golden / "shards", folder / name)
    tokens = (golden / "shards" / "sums" / "00000-0000.tokens.bin").read_bytes()
    (folder / "torn-shards" / "sums" / "00000-0000.tokens.bin").write_bytes(tokens[:-1])
    (folder / "changed-shards" / "sums" / "00000-0000.tokens.bin").write_bytes(b"\3" + tokens[1:])
    (folder / "unfinished-shards" / "sums" / "manifest.json").unlink()

    for name in ("torn-checkpoint", "short-checkpoint", "torn-state"):
        shutil.copytree(golden / "checkpoint", folder / name)
    weights = folder / "torn-checkpoint" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    weights = folder / "short-checkpoint" / "model.safetensors"
    tensors = load_file(weights)
    del tensors["model.norm.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    (folder / "torn-state" / "state").mkdir()
    state = (golden / "training" / "state" / "training.pt").read_bytes()
    (folder / "torn-state" / "state" / "training.pt").write_bytes(state[:-100])

    (folder / "pages").mkdir()
    (folder / "pages" / "broken.pdf").write_bytes(b"%PDF-1.7\n%torn")
    (folder / "pages" / "broken.html.gz").write_bytes(gzip.compress(b"<p>Half of a page.</p>" * 100)[:-30])
    (folder / "pages" / "empty.html").write_bytes(b"")
    (folder / "pages" / "gone.html").symlink_to("nowhere.html")
    (folder / "pages" / "whole.html").write_text("<title>Primes</title><p>Two, three, five and seven are primes.</p>")

    (folder / "hide").mkdir()
    (folder / "hide" / "sitecustomize.py").write_text(HIDE_A_MODULE)
    return folder


Execute = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def execute(root: Path, golden: Path, bad: Path, tmp_path: Path) -> Execute:
    """Runs a command line in an empty folder."""

    def run(command: str, *, hidden: str = "") -> subprocess.CompletedProcess[str]:
        places = {"bad": bad, "golden": golden, "tiny": root / "recipes" / "tiny"}
        program, *arguments = (word.format(**places) for word in shlex.split(command))
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if hidden:
            environment |= {"PYTHONPATH": str(bad / "hide"), "HIDDEN": hidden}
        words = [str(Path(sys.executable).parent / program), *arguments]
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize("fault", TABLE)
def test_one_line_names_the_fault_and_nothing_is_left(fault, execute, tmp_path):
    done = execute(fault.command, hidden=fault.hidden)
    *before, message = done.stderr.splitlines()
    program = fault.command.split()[0]
    assert done.returncode == fault.exit_code, done.stderr
    assert message.startswith(program)
    assert "error: " in message
    rest = message
    for part in fault.says:
        assert part in rest, message
        rest = rest.partition(part)[2]
    # Only argparse writes more: how the command is used.
    assert not before or before[0].startswith("usage: "), done.stderr
    assert list(tmp_path.iterdir()) == [], "something half-written is left"


def test_broken_and_missing_pages_are_dropped_with_their_reasons_and_the_rest_goes_on(execute, tmp_path):
    done = execute("mimo-data extract {tiny}/data.toml out --pages {bad}/pages")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "drops.jsonl").read_text().splitlines()]
    assert {row["id"]: row["reason"] for row in rows} == {
        "broken.html.gz": "broken",
        "broken.pdf": "broken",
        "empty.html": "broken",
        "gone.html": "broken",
    }
    assert [document.id for document in read_documents(tmp_path / "out")] == ["whole.html"]


@pytest.mark.slow
def test_a_truncated_state_stops_a_resumed_run_and_stays_for_its_owner_to_judge(execute, bad, golden, root, tmp_path):
    """A kill cannot tear the state, which is replaced whole; a full disk or a bad copy can."""
    recipe = root / "recipes" / "tiny" / "pretrain-1.toml"
    interrupted = Run.open(
        tmp_path / "out",
        package="mimo-train",
        command="pretrain",
        recipe=Run.load_recipe(recipe, PretrainRecipe, SMALL),
        inputs={"model": golden / "checkpoint", "shards": golden / "shards"},
        resumable=True,
    )
    shutil.copytree(bad / "torn-state" / "state", interrupted.folder / "state")
    del interrupted  # and with it the lock
    command = "mimo-train pretrain {tiny}/pretrain-1.toml out --model {golden}/checkpoint --shards {golden}/shards"
    done = execute(command + SET_SMALL)
    assert done.returncode == 1, done.stderr
    (message,) = done.stderr.splitlines()
    assert message.startswith("mimo-train: error: out.partial/state/training.pt: not a whole training state")
    assert "Delete out.partial/state to start this run again from its beginning." in message
    assert [path.name for path in tmp_path.iterdir()] == ["out.partial"]

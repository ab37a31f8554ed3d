"""Every benchmark runs to its end on a small input, as on a machine without a GPU, and prints its tables."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"

Rows = list[list[str]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a Python command that leaves nothing behind."""
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()

    def run(*command: object) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "PYTHONPATH": str(BENCHMARKS),
            "TMPDIR": str(temporary),
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
        }
        program = [sys.executable, *map(str, command)]
        done = subprocess.run(program, capture_output=True, text=True, cwd=here, env=environment)
        left = [path.name for folder in (here, temporary) for path in folder.iterdir()]
        assert [name for name in left if not name.startswith("torchinductor_")] == []
        return done

    return run


def tables(done: subprocess.CompletedProcess[str]) -> list[Rows]:
    """The rows of each table, headers left out."""
    assert done.returncode == 0, done.stdout + done.stderr
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", done.stdout, re.MULTILINE):
        _, rule, *rows = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in table.splitlines()]
        assert set("".join(rule)) <= {"-", ":"}, table
        assert rows, table
        assert {len(row) for row in rows} == {len(rule)}, table
        assert not re.search(r"\b(?:nan|inf)\b", table), table
        found.append(rows)
    return found


def test_decoding(run, checkpoint, tmp_path):
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": "Hello"}) + "\n")
    sizes = {"vocab_size": 320, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    settings = f"b.REPEATS = 1; b.PLANTED_LAYERS, b.PLANTED_SIZES, b.RANDOM = 2, (64,), {sizes}"
    done = run("-c", f"import decoding as b; {settings}; b.main()", checkpoint, tmp_path / "prompts.jsonl")

    trained, planted, single, half = tables(done)
    assert "other tokens" not in done.stdout
    assert [row[:2] for row in planted[:5]] == [
        ["1", engine] for engine in ("transformers", "ours, K = 0", "ours, K = 1", "ours, K = 3", "ours, K = auto")
    ]
    for row in (*trained, *planted, *single, *half):
        assert float(row[2].replace(",", "")) > 0


def test_decoding_cuda_without_a_device(run):
    done = run(BENCHMARKS / "decoding_cuda.py")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "No CUDA device: nothing to measure. --tiny runs a very small model on the CPU.\n"


def test_decoding_cuda_of_a_tiny_model(run):
    speeds, plain, drafting, others = tables(run(BENCHMARKS / "decoding_cuda.py", "--tiny"))
    assert [row[:4] for row in speeds[:6]] == [
        ["16", "1", drafts, kind] for drafts in "013" for kind in ("greedy", "sampled")
    ]
    assert all(float(row[4].replace(",", "")) > 0 for row in speeds)
    assert plain[0][0].startswith("`")
    assert drafting[0][0].startswith("`")
    assert [row[0] for row in others] == ["transformers", "transformers", "transformers", "vLLM"]


def test_kernels_compile_for_a_device_that_is_not_there(run):
    pytest.importorskip("triton", reason="triton is not installed")
    (rows,) = tables(run("-c", "import kernels; kernels.CAPABILITIES = (90,); kernels.main()"))
    assert len(rows) > 10
    for _, needs in rows:
        registers, shared_bytes, spills = (int(need.replace(",", "")) for need in needs.split(" / "))
        assert 0 < registers <= 255
        assert 0 <= shared_bytes <= 227 << 10
        assert spills == 0

from __future__ import annotations

import pytest

from mimo_data.cli import main
from mimo_data.dedup.generated import sample_documents
from mimo_data.dedup.minhash import DeduplicateRecipe, find_duplicates
from mimo_data.plan import Demand, make_plan

DEMAND = Demand(text_bytes=1e12, hours=24, document_bytes=2000, copies=0.4, cores_per_machine=64)


def test_the_generated_sample_has_copies_of_every_kind():
    documents = list(sample_documents(400_000, 2000, 0.5))
    dropped = find_duplicates(documents, DeduplicateRecipe())
    assert {reason for *_, reason in dropped} == {"same_url", "same_text", "near_duplicate"}
    assert 0.1 < len(dropped) / len(documents) < 0.5
    assert next(sample_documents(50_000, 2000, 0.5, first=10)) == documents[10]


def test_twice_the_corpus_in_half_of_the_time_needs_four_times_the_cores():
    plan = make_plan(DEMAND, DeduplicateRecipe(), sample_bytes=500_000)
    larger = type(plan)(
        Demand(text_bytes=2e12, hours=12, document_bytes=2000, copies=0.4, cores_per_machine=64),
        plan.sample_bytes,
        plan.stored_share,
        plan.phases,
    )
    assert larger.num_cores == pytest.approx(4 * plan.num_cores, abs=4)
    assert larger.disk_bytes == pytest.approx(2 * plan.disk_bytes)
    assert plan.exchanged_bytes > 0


def test_the_command_says_what_a_corpus_needs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mimo_data.commands.plan._SAMPLE_BYTES", 300_000)
    recipe = tmp_path / "data.toml"
    recipe.write_text("")
    assert main(["plan", str(recipe), "--terabytes", "150", "--hours", "24"]) == 0
    assert "150 TB in 24 hours need" in capsys.readouterr().out
    assert main(["plan", str(recipe), "--terabytes", "0", "--hours", "24"]) == 2
    assert "terabytes is 0.0, but must lie between" in capsys.readouterr().err

"""Students: several heads in one classifier, calibration, training from nothing and from a base, tagging."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from mimo_data import Document, read_documents, write_documents
from mimo_data.cli import main
from mimo_data.tag.recipe import TaggerRecipe

torch = pytest.importorskip("torch", reason="needs torch: install mimo-data[tag]")
pytest.importorskip("transformers", reason="needs transformers: install mimo-data[tag]")

from mimo_data.run import DataError  # noqa: E402
from mimo_data.tag.calibration import calibrate, calibrated, expected_calibration_error  # noqa: E402
from mimo_data.tag.card import load_card  # noqa: E402
from mimo_data.tag.heads import Heads  # noqa: E402
from mimo_data.tag.tagger import Tagger  # noqa: E402
from mimo_data.tag.windows import batches  # noqa: E402

HEADS = Heads(load_card())
QUICK = TaggerRecipe(num_epochs=8, num_folds=2, window_tokens=128)


def words(draw: random.Random, subjects: str) -> str:
    return " ".join(draw.choices(subjects.split(), k=12))


def mathematics(draw: random.Random) -> str:
    lines = [
        f"Let $x_{draw.randrange(9)} > {draw.randrange(99)}$. Then $$\\sum_k \\frac{{k}}{{{draw.randrange(99)}}}$$"
        f" {words(draw, 'converges lemma proof bound integral hence theorem sequence limit')}."
        for _ in range(4)
    ]
    return "\n\n".join(lines)


def code(draw: random.Random) -> str:
    body = "\n".join(f"    value_{draw.randrange(99)} = call({draw.randrange(9)}, [])" for _ in range(5))
    return f"{words(draw, 'function returns list argument module raises library type')}.\n\n```python\n{body}\n```"


def everyday(draw: random.Random) -> str:
    subjects = "we walked to the market and bought bread before rain came over old houses near my garden"
    return "\n\n".join(f"{words(draw, subjects).capitalize()}, {words(draw, subjects)}." for _ in range(4))


def menu(draw: random.Random) -> str:
    entries = ["Home", "Shop", "Login", "Cart", "Contact", "Imprint", "Terms", "Careers", "Share", "Follow", "Help"]
    return "\n".join(f"- {entry}" for entry in draw.sample(entries, 9))


KINDS = {
    "mathematics": (mathematics, {"domain": "mathematics", "quality": "3", "reasoning_depth": "3"}),
    "code": (code, {"domain": "code", "quality": "2", "reasoning_depth": "2"}),
    "general": (everyday, {"domain": "general", "quality": "2", "reasoning_depth": "1"}),
    "menu": (menu, {"quality": "0", "reasoning_depth": "0"}),
}


def pages(count: int, seed: int) -> list[Document]:
    """Pages of each kind in turn, with their labels, each from one of ten sites."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        name, (make, tags) = list(KINDS.items())[number % len(KINDS)]
        url = f"http://{number % 10}.example/{number}"
        found.append(Document(id=f"{name}-{number}", text=make(draw), source="web", url=url, tags=tags))
    return found


def bare(documents: list[Document]) -> list[Document]:
    return [Document(id=document.id, text=document.text, source="web") for document in documents]


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return Tagger.train(pages(80, seed=1), QUICK)


def test_a_student_from_nothing_learns_domains_and_scores(tagger):
    unseen = pages(40, seed=2)
    tagged = list(tagger.tag(bare(unseen)))
    assert [document.id for document in tagged] == [document.id for document in unseen]
    for found, truth in zip(tagged, unseen, strict=True):
        assert {name: found.tags[name] for name in truth.tags} == truth.tags
        assert 0 < float(found.tags["quality_confidence"]) <= 1


def test_a_head_without_labels_gives_no_tag(tagger):
    assert sorted(tagger.heads) == ["domain", "quality", "reasoning_depth"]
    (found,) = tagger.tag(bare(pages(1, seed=3)))
    assert "knowledge_density" not in found.tags


def test_training_again_gives_the_same_tags(tagger):
    again = Tagger.train(pages(80, seed=1), QUICK)
    unseen = bare(pages(12, seed=4))
    assert list(again.tag(unseen)) == list(tagger.tag(unseen))


def test_a_saved_tagger_is_a_hugging_face_folder_and_tags_the_same(tagger, tmp_path):
    tagger.save(tmp_path / "tagger")
    unseen = bare(pages(12, seed=5))
    assert list(Tagger.load(tmp_path / "tagger").tag(unseen)) == list(tagger.tag(unseen))
    names = {path.name for path in (tmp_path / "tagger").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tagger.json"} <= names
    config = json.loads((tmp_path / "tagger" / "config.json").read_text())
    assert config["id2label"]["0"] == "domain: mathematics"
    assert "quality >= 1" in config["id2label"].values()


def test_empty_and_enormous_documents_are_tagged(tagger):
    texts = ["", " \n", "x" * 3_000_000, "\x00\ufffd"]
    tagged = list(tagger.tag([Document(id=str(i), text=text, source="web") for i, text in enumerate(texts)]))
    assert all(document.tags["domain"] for document in tagged)


def test_other_steps_tags_stay(tagger):
    (found,) = tagger.tag([Document(id="a", text="one", source="web", tags={"language": "en"})])
    assert found.tags["language"] == "en"


def test_unknown_labels_and_too_few_are_errors():
    wrong = Document(id="a", text="one", source="web", tags={"domain": "maths"})
    with pytest.raises(DataError, match="a: domain is 'maths'"):
        Tagger.train([wrong], QUICK)
    with pytest.raises(DataError, match="mimo-data label"):
        Tagger.train(bare(pages(40, seed=1)), QUICK)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", None, "there is no tokenizer.json"),
        ("tokenizer.json", b"{", "not a tagger: "),
        ("tokenizer_config.json", b"[", "not a tagger: "),
        ("model.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{", "not a tagger: "),
        ("config.json", b"[]", "not a tagger: "),
        ("tagger.json", b"{}", "not a tagger: "),
    ],
)
def test_a_damaged_tagger_is_one_line(tagger, tmp_path, name, content, message):
    folder = tmp_path / "damaged"
    folder.mkdir()
    tagger.save(folder)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        Tagger.load(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_tagger_is_an_error(tmp_path):
    with pytest.raises(DataError, match="not a tagger"):
        Tagger.load(tmp_path)


def test_a_learning_rate_for_a_bag_is_refused_for_a_pretrained_base():
    with pytest.raises(ValueError, match="2e-5"):
        TaggerRecipe(base="some/model")


def test_windows_are_batched_by_length_and_keep_their_owners():
    documents = [[[1] * 5, [2]], [[3, 3]], [[4] * 9]]
    found = list(batches(documents, batch_tokens=8, pad_id=0))
    assert [batch.input_ids.tolist() for batch in found] == [[[2, 0], [3, 3]], [[1] * 5], [[4] * 9]]
    assert [batch.owners.tolist() for batch in found] == [[0, 1], [0], [2]]
    assert found[0].attention_mask.tolist() == [[1, 0], [1, 1]]


def test_score_probabilities_sum_to_one_even_if_logits_contradict_each_other():
    probabilities = HEADS.probabilities("quality", torch.tensor([[-2.0, 3.0, 0.0], [9.0, 9.0, 9.0]]))
    assert probabilities.sum(1).tolist() == pytest.approx([1.0, 1.0])
    assert (probabilities >= 0).all()
    assert HEADS.choices("quality", probabilities).tolist() == [0, 3]


def test_a_missing_label_gives_no_gradient():
    logits = torch.zeros(2, len(HEADS.logit_names), requires_grad=True)
    targets = torch.tensor([HEADS.targets({"domain": "code"}), HEADS.targets({"quality": "2"})])
    HEADS.loss(logits, targets).backward()
    assert logits.grad is not None
    assert logits.grad[0, HEADS.columns["quality"]].tolist() == [0.0, 0.0, 0.0]
    assert logits.grad[1, HEADS.columns["domain"]].abs().sum() == 0
    assert logits.grad[1, HEADS.columns["quality"]].sign().tolist() == [-1.0, -1.0, 1.0]


def test_calibration_lowers_the_error_of_logits_that_are_too_large():
    draw = torch.Generator().manual_seed(0)
    true = torch.randn(2000, 3, generator=draw).sort(1, descending=True).values
    probabilities = HEADS.probabilities("quality", true)
    wanted = torch.multinomial(probabilities, 1, generator=draw).squeeze(1)
    folds = torch.arange(2000) % 4
    head = calibrate(HEADS, "quality", 5 * true, wanted, folds)
    assert head.error_before > 0.1
    assert head.error_after < 0.04
    assert head.scale == pytest.approx(0.2, rel=0.2)
    after = HEADS.probabilities("quality", calibrated(5 * true, head))
    assert expected_calibration_error(after, HEADS.choices("quality", after), wanted) < 0.04


@pytest.mark.slow
def test_any_hugging_face_base_can_be_fine_tuned(tmp_path):
    """A tiny BERT with random weights and a tokenizer of our own words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordLevelTrainer(vocab_size=300, special_tokens=["[PAD]", "[UNK]"])
    made.train_from_iterator((document.text for document in pages(200, seed=1)), trainer=trainer)
    base = str(tmp_path / "base")
    PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(base)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertForSequenceClassification(BertConfig(vocab_size=300, **size)).save_pretrained(base)
    recipe = TaggerRecipe(
        base=base, peak_learning_rate=0.01, num_epochs=10, batch_documents=8, num_folds=2, window_tokens=64
    )
    tagger = Tagger.train(pages(80, seed=1), recipe)
    tagger.save(tmp_path / "tagger")
    unseen = pages(40, seed=2)
    tagged = list(Tagger.load(tmp_path / "tagger").tag(bare(unseen)))
    right = [found.tags["quality"] == truth.tags["quality"] for found, truth in zip(tagged, unseen, strict=True)]
    assert sum(right) >= 36


def test_a_base_that_is_none_is_an_error(tmp_path):
    with pytest.raises(DataError, match="not a base for a tagger"):
        Tagger.train(pages(20, seed=1), TaggerRecipe(base=str(tmp_path), peak_learning_rate=1e-3))


@pytest.mark.slow
def test_commands_train_tag_report_and_filter(tmp_path: Path, capsys):
    labelled, others = tmp_path / "labelled.jsonl.zst", tmp_path / "others.jsonl.zst"
    write_documents(labelled, pages(80, seed=1))
    write_documents(others, pages(40, seed=2))
    recipe = tmp_path / "data.toml"
    recipe.write_text("[tagger]\nnum_epochs = 8\nnum_folds = 2\nwindow_tokens = 128\n")
    tagger, report, tagged, kept = (tmp_path / name for name in ("tagger", "report", "tagged", "kept"))
    for step in (
        ["train-tagger", recipe, tagger, "--documents", labelled],
        ["tag-report", recipe, report, "--documents", others, "--tagger", tagger],
        ["tag", tagged, "--documents", others, "--tagger", tagger, "--workers", "1"],
        ["filter", recipe, kept, "--documents", tagged, "--workers", "1", "--set", "filter.min_characters=1"],
    ):
        assert main([str(word) for word in step]) == 0
    assert "| mathematics | 10 | 10 | 10 | 0 | 10 | 10 (100.0%) | 0 (0.0%) |" in (report / "report.md").read_text()
    assert "10 (100.0%) |" in next(line for line in (report / "report.md").read_text().splitlines() if "junk" in line)
    drops = [json.loads(line) for line in (kept / "drops.jsonl").read_text().splitlines()]
    assert {drop["reason"] for drop in drops if drop["id"].startswith("menu")} == {"low_quality"}
    assert len(drops) == 10
    assert len(list(read_documents(kept))) == 30
    assert "calibration error" in capsys.readouterr().out

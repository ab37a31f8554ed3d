"""The label card and the teacher: what is asked, and which answers are taken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest

from mimo_data import Document
from mimo_data.cli import main
from mimo_data.documents import read_documents, write_documents
from mimo_data.run import DataError
from mimo_data.synth.asking import ask_all
from mimo_data.synth.endpoint import EndpointRecipe, Message, SamplingRecipe
from mimo_data.synth.journal import Entry, Journal
from mimo_data.tag.card import load_card
from mimo_data.tag.label import LabelRecipe, first_messages, label, read_answer
from mimo_data.tag.passages import cut

CARD = load_card()
ANSWER = {"reason": "a proof", "domain": "mathematics", "quality": 3, "knowledge_density": 3, "reasoning_depth": 2}
TAGS = {"domain": "mathematics", "quality": "3", "knowledge_density": "3", "reasoning_depth": "2"}
DOCUMENT = Document(id="a", text="Let $n$ be even.", source="web", tags={"language": "en"})


def test_the_card_has_the_four_dimensions_of_the_report():
    assert list(CARD.answers) == ["domain", "quality", "knowledge_density", "reasoning_depth"]
    assert {"mathematics", "code", "news", "jobs", "advertising"} <= set(CARD.answers["domain"])
    assert CARD.answers["quality"] == ("0", "1", "2", "3")


def test_a_card_that_is_none_is_an_error(tmp_path):
    path = tmp_path / "card.toml"
    path.write_text('[domains.a]\nmeaning = "all"\n[scores]\n')
    with pytest.raises(DataError, match="at least two domains"):
        load_card(path)


def test_the_teacher_is_told_every_label_and_shown_the_document():
    system, user = first_messages("Let $n$ be {even}.", CARD, 1000)
    assert all(name in system.content for name in CARD.domains)
    assert all(level.meaning in system.content for score in CARD.scores.values() for level in score.levels)
    assert user.content == "<document>\nLet $n$ be {even}.\n</document>"


def test_of_a_long_document_the_teacher_sees_head_middle_and_tail():
    text = "head " + "x" * 5000 + " middle " + "x" * 5000 + " tail"
    shown = first_messages(text, CARD, 300)[1].content
    assert "head" in shown
    assert "middle" in shown
    assert "tail" in shown
    assert len(shown) < 500


@pytest.mark.parametrize(
    ("length", "expected"), [(0, [""]), (10, ["x" * 10]), (11, ["x" * 10] * 2), (1000, ["x" * 10] * 3)]
)
def test_a_text_is_cut_only_if_it_is_long(length, expected):
    assert cut("x" * length, 3, 10) == expected


def test_passages_are_at_even_distances():
    assert cut("aabbccddee", 3, 2) == ["aa", "cc", "ee"]
    assert cut("aabbccddee", 1, 2) == ["aa"]


@pytest.mark.parametrize(
    "answer", [json.dumps(ANSWER), f"```json\n{json.dumps(ANSWER)}\n```", f"<think>{{…}}</think>{json.dumps(ANSWER)}"]
)
def test_an_answer_is_found_in_what_surrounds_it(answer):
    assert read_answer(answer, CARD) == TAGS


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("It is mathematics.", "no JSON object"),
        ("{mathematics}", "not a JSON object"),
        (json.dumps({**ANSWER, "domain": "maths"}), "domain is 'maths'"),
        (json.dumps({**ANSWER, "quality": 4}), "quality is '4'"),
        (json.dumps({**ANSWER, "quality": 2.5}), "whole numbers"),
        (json.dumps({"domain": "code"}), "quality, knowledge_density, reasoning_depth is missing"),
    ],
)
def test_an_answer_that_is_not_on_the_card_is_refused(answer, problem):
    with pytest.raises(ValueError, match=problem):
        read_answer(answer, CARD)


def test_a_wrong_answer_is_sent_back_with_what_is_wrong():
    answers = iter(["no idea", json.dumps(ANSWER)])
    chats: list[Sequence[Message]] = []

    async def ask(messages: Sequence[Message]) -> str:
        chats.append(messages)
        return next(answers)

    labelled = asyncio.run(label(DOCUMENT, CARD, ask, LabelRecipe()))
    assert isinstance(labelled, Document)
    assert labelled.tags == {"language": "en", **TAGS}
    assert [message.role for message in chats[1]] == ["system", "user", "assistant", "user"]
    assert "no JSON object" in chats[1][-1].content


def test_a_teacher_that_never_answers_well_is_given_up():
    async def ask(messages: Sequence[Message]) -> str:
        return "no idea"

    assert asyncio.run(label(DOCUMENT, CARD, ask, LabelRecipe(max_tries=2))) == "there is no JSON object"


def test_the_command_labels_drops_and_asks_nothing_twice(chat_server, completion, tmp_path, capsys):
    pytest.importorskip("httpx", reason="needs httpx: install mimo-data[synth]")

    def respond(body, number):
        shown = body["messages"][1]["content"]
        return completion("?" if "unclear" in shown else json.dumps(ANSWER))

    server = chat_server(respond)
    texts = {"a": "Let n be even.", "b": "unclear", "c": "Let n be odd."}
    path = tmp_path / "documents.jsonl.zst"
    write_documents(path, [Document(id=name, text=text, source="web") for name, text in texts.items()])
    recipe = tmp_path / "data.toml"
    recipe.write_text(
        f'[label]\nendpoint = "teacher"\n[synthesize.endpoints.teacher]\nurl = "{server.url}"\nmodel = "tiny"\n'
        "prompt_price = 1e5\n"
    )
    words = ["label", str(recipe), str(tmp_path / "out"), "--documents", str(path)]
    assert main([*words, "--set", "label.budget=1.0", "--set", "synthesize.endpoints.teacher.concurrency=1"]) == 1
    assert "Raise label.budget" in capsys.readouterr().err
    num_asked = len(server.requests)
    assert num_asked == 1
    assert main(words) == 0
    assert len(server.requests) == num_asked + 3 + 1
    found = {document.id: document.tags for document in read_documents(tmp_path / "out")}
    assert found == {"a": TAGS, "c": TAGS}
    drops = [json.loads(line) for line in (tmp_path / "out" / "drops.jsonl").read_text().splitlines()]
    assert [(drop["id"], drop["reason"]) for drop in drops] == [("b", "no_label")]


def test_a_teacher_that_rejects_every_request_is_an_error_and_drops_nothing(chat_server, tmp_path, capsys):
    pytest.importorskip("httpx", reason="needs httpx: install mimo-data[synth]")
    server = chat_server(lambda body, number: (400, {"error": {"message": "no such parameter"}}, {}))
    path = tmp_path / "documents.jsonl.zst"
    write_documents(path, [Document(id=str(number), text="text", source="web") for number in range(30)])
    recipe = tmp_path / "data.toml"
    recipe.write_text(
        f'[label]\nendpoint = "teacher"\n[synthesize.endpoints.teacher]\nurl = "{server.url}"\nmodel = "tiny"\n'
    )
    assert main(["label", str(recipe), str(tmp_path / "out"), "--documents", str(path)]) == 1
    assert "all of the first 20 requests were rejected" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("ids", "cut", "message"),
    [("aa", 0, "documents.jsonl.zst: two documents have the id 'a'"), ("ab", 9, "documents.jsonl.zst: truncated")],
)
def test_documents_that_cannot_be_labelled_are_one_line_before_anything_is_asked(
    chat_server, completion, tmp_path, capsys, ids, cut, message
):
    pytest.importorskip("httpx", reason="needs httpx: install mimo-data[synth]")
    server = chat_server(lambda body, number: completion(json.dumps(ANSWER)))
    path = tmp_path / "documents.jsonl.zst"
    write_documents(path, [Document(id=id, text=f"text {number}", source="web") for number, id in enumerate(ids)])
    path.write_bytes(path.read_bytes()[: -cut or None])
    recipe = tmp_path / "data.toml"
    recipe.write_text(
        f'[label]\nendpoint = "teacher"\n[synthesize.endpoints.teacher]\nurl = "{server.url}"\nmodel = "tiny"\n'
    )
    assert main(["label", str(recipe), str(tmp_path / "out"), "--documents", str(path)]) == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert server.requests == []
    assert list(tmp_path.glob("out*")) == []


def test_an_item_that_cannot_be_read_is_that_error_and_keeps_the_replies_before_it(chat_server, completion, tmp_path):
    pytest.importorskip("httpx", reason="needs httpx: install mimo-data[synth]")
    server = chat_server(lambda body, number: completion("fine"))

    def items():
        yield "a"
        raise DataError("documents.jsonl.zst: truncated.")

    async def ask(endpoint, item):
        return Entry(id=item, price=0.0, reply=await endpoint.ask([], SamplingRecipe(), seed=0))

    where = EndpointRecipe(url=server.url, model="tiny", concurrency=1)
    with Journal(tmp_path / "replies.jsonl") as journal:
        with pytest.raises(DataError, match=r"^documents.jsonl.zst: truncated. 1 replies are kept.$"):
            ask_all(items(), ask, journal, where, budget=None, on_replies=lambda count: None)
        assert "a" in journal

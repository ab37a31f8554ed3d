"""`mimo-data synthesize` against a real HTTP server: seeds, resumption, budget, checking, what is dropped."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimo_data import Document, read_documents, write_documents
from mimo_data.cli import main
from mimo_data.run import DataError
from mimo_data.synth.checking import Question, check
from mimo_data.synth.prompts import Template, template_path
from mimo_data.synth.seeds import passages

pytest.importorskip("httpx", reason="needs httpx: install mimo-data[synth]")

RECIPE = """
[synthesize.endpoints.here]
url              = "{url}"
model            = "tiny"
concurrency      = 4
first_wait_s     = 0.0
max_tries        = 3
prompt_price     = 1.0
completion_price = 2.0

[synthesize.strategies.solve]
endpoint = "here"
prompts  = ["solve-mathematics"]
sampling = {{ temperature = 0.5, max_tokens = 64 }}
"""
LETTERS = "amber birch cedar delta ember fjord grove heath islet jetty knoll ledge marsh notch oasis plain"
WORDS = LETTERS.split()


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[[str], Path]:
    def write(url: str) -> Path:
        path = tmp_path / "data.toml"
        path.write_text(RECIPE.format(url=url))
        return path

    return write


@pytest.fixture
def problems(tmp_path: Path) -> Callable[[int], Path]:
    """A file of problems that are no near-duplicates, with their answers."""

    def write(count: int) -> Path:
        path = tmp_path / "problems.jsonl"
        lines = [{"id": f"p{number}", "prompt": prompt(number), "answer": str(number)} for number in range(count)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write


def prompt(number: int) -> str:
    return f"Count the {' '.join(WORDS[(number * step) % len(WORDS)] for step in (1, 3, 5, 7))} in row {number}."


def essay(number: int) -> str:
    return f"There are {number} of them: " + " ".join(f"{word}{number}" for word in WORDS) + "."


def solve(recipe: Path, out: Path, seeds: Path, *more: str) -> int:
    return main(["synthesize", str(recipe), str(out), "--strategy", "solve", "--seeds", str(seeds), *more])


def number_of(body: dict) -> int:
    return int(body["messages"][0]["content"].split("in row ")[1].split(".")[0])


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_problem_becomes_a_document_and_a_sample_that_say_where_they_come_from(
    chat_server, completion, recipe, problems, tmp_path
):
    def respond(body, number):
        # Later requests are answered first.
        time.sleep(0.01 * (4 - number % 4))
        return completion(essay(number_of(body)), reasoning_content="I count.")

    server = chat_server(respond)
    out = tmp_path / "out"
    assert solve(recipe(server.url), out, problems(8)) == 0
    documents = list(read_documents(out))
    assert [document.id for document in documents] == [f"p{number}#0" for number in range(8)]
    asked = f"{prompt(3)}\n\nReason step by step, and put your final answer within \\boxed{{}}."
    answered = f"<think>\nI count.\n</think>\n\n{essay(3)}"
    assert documents[3].text == f"{asked}\n\n{answered}"
    assert documents[3].source == "synthetic"
    sampling_seed = documents[3].meta["sampling_seed"]
    assert documents[3].meta == {
        "strategy": "solve",
        "seed": "p3",
        "template": "solve-mathematics",
        "model": "tiny",
        "temperature": "0.5",
        "top_p": "0.95",
        "max_tokens": "64",
        "sampling_seed": sampling_seed,
    }
    assert {str(body["seed"]) for body in server.requests} == {document.meta["sampling_seed"] for document in documents}
    assert lines(out / "samples.jsonl")[3] == {"id": "p3#0", "prompt": asked, "response": answered}


def test_the_ledger_has_every_reply_and_the_totals_are_its_sums(chat_server, completion, recipe, problems, tmp_path):
    def respond(body, number):
        return (500, b"", {}) if number == 1 else completion("It is 12.")

    out = tmp_path / "out"
    assert solve(recipe(chat_server(respond).url), out, problems(3)) == 0
    ledger = lines(out / "ledger.jsonl")
    assert [line["id"] for line in ledger] == ["p0#0", "p1#0", "p2#0"]
    assert sorted(line["num_tries"] for line in ledger) == [1, 1, 2]
    # Ten prompt tokens at 1 and three completion tokens at 2 a million.
    assert {line["price"] for line in ledger} == {16e-6}
    assert json.loads((out / "totals.json").read_text()) == {
        "num_seeds": 3,
        "num_selected": 3,
        "num_replies": 3,
        "prompt_tokens": 30,
        "completion_tokens": 9,
        "price": pytest.approx(48e-6),
    }


def test_what_cannot_be_used_is_dropped_for_a_reason_and_counts_add_up(
    chat_server, completion, recipe, problems, tmp_path
):
    replies = {
        0: completion(essay(0)),
        1: completion("There are many, and", finish="length"),
        2: completion("", refusal="No."),
        3: completion("Not this.", finish="content_filter"),
        4: (400, {"error": {"message": "too long for me"}}, {}),
        5: completion(" \n"),
        6: completion("First, we count the rows. Then, we"),
        7: completion("<think>I count", finish="stop"),
        8: completion(essay(8)),
        9: completion(essay(8)),
        10: completion("Gone.", finish="tool_calls"),
    }
    server = chat_server(lambda body, number: replies[number_of(body)])
    out = tmp_path / "out"
    assert solve(recipe(server.url), out, problems(11)) == 0
    drops = {line["id"]: (line["reason"], line["detail"]) for line in lines(out / "drops.jsonl")}
    assert drops == {
        "p1#0": ("cut", "length"),
        "p2#0": ("refused", "No."),
        "p3#0": ("refused", "content_filter"),
        "p4#0": ("rejected", "HTTP 400: too long for me"),
        "p5#0": ("empty", ""),
        "p6#0": ("incomplete", "ends in “we”"),
        "p7#0": ("incomplete", "<think> is not closed"),
        "p9#0": ("repeated_response", "p8#0"),
        "p10#0": ("unfinished", "tool_calls"),
    }
    assert [document.id for document in read_documents(out)] == ["p0#0", "p8#0"]
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert (counts["num_in"], counts["num_out"], counts["num_dropped"]) == (11, 2, 9)


def test_seeds_are_chosen_by_tags_and_each_other_one_is_accounted_for(chat_server, completion, recipe, tmp_path):
    seeds = tmp_path / "seeds.jsonl.zst"
    tags = {
        "deep": {"domain": "science", "reasoning_depth": "3"},
        "shallow": {"domain": "science", "reasoning_depth": "1"},
        "news": {"domain": "news", "reasoning_depth": "3"},
        "untagged": {},
    }
    write_documents(
        seeds,
        [
            Document(id=name, text=f"On {name}: {essay(number)}", source="web", tags=found)
            for number, (name, found) in enumerate(tags.items())
        ]
        + [Document(id="again", text=f"On deep: {essay(0)}", source="web", tags=tags["deep"])],
    )
    server = chat_server(lambda body, number: completion("A thought about it."))
    wanted = '{values = {domain = ["science"]}, at_least = {reasoning_depth = 2}}'
    out = tmp_path / "out"
    assert solve(recipe(server.url), out, seeds, "--set", f"synthesize.strategies.solve.select={wanted}") == 0
    drops = {line["id"]: (line["reason"], line["detail"]) for line in lines(out / "drops.jsonl")}
    kept = next(read_documents(out)).meta["seed"]
    assert kept in ("deep", "again")
    assert drops == {
        "shallow": ("not_selected", "reasoning_depth = 1"),
        "news": ("not_selected", "domain = news"),
        "untagged": ("not_selected", "no tag domain"),
        ({"deep", "again"} - {kept}).pop(): ("repeated_seed", kept),
    }


def test_untagged_documents_say_that_they_want_tagging(recipe, problems, tmp_path, capsys):
    wanted = "synthesize.strategies.solve.select={at_least = {reasoning_depth = 2}}"
    assert solve(recipe("http://127.0.0.1:1/v1"), tmp_path / "out", problems(2), "--set", wanted) == 1
    assert "none of 2 seeds is selected (no tag reasoning_depth)" in capsys.readouterr().err


def test_seeds_drawn_are_the_same_in_any_order_and_more_hold_fewer(chat_server, completion, recipe, problems, tmp_path):
    def drawn(name: str, seeds: Path, count: int) -> set[str]:
        server = chat_server(lambda body, number: completion(essay(number_of(body))))
        more = ["--set", f"synthesize.strategies.solve.select.max_seeds={count}"]
        assert solve(recipe(server.url), tmp_path / name, seeds, *more) == 0
        return {document.meta["seed"] for document in read_documents(tmp_path / name)}

    forward = problems(9)
    backward = tmp_path / "backward.jsonl"
    backward.write_text("".join(reversed(forward.read_text().splitlines(keepends=True))))
    few = drawn("few", forward, 3)
    assert len(few) == 3
    assert drawn("backward", backward, 3) == few
    assert drawn("more", forward, 5) > few


def test_each_sample_of_a_long_document_is_about_another_passage(chat_server, completion, recipe, tmp_path):
    seeds = tmp_path / "seeds.jsonl.zst"
    text = "\n\n".join(essay(number) for number in range(3))
    write_documents(seeds, [Document(id="d", text=text, source="books")])
    server = chat_server(lambda body, number: completion(essay(number + 10)))
    settings = {"samples_per_seed": 3, "max_seed_characters": len(essay(0)) + 5}
    more = [word for key, value in settings.items() for word in ("--set", f"synthesize.strategies.solve.{key}={value}")]
    assert solve(recipe(server.url), tmp_path / "out", seeds, *more) == 0
    documents = list(read_documents(tmp_path / "out"))
    assert {document.meta["passage"] for document in documents} == {"1 of 3", "2 of 3", "3 of 3"}
    for document in documents:
        place = int(document.meta["passage"][0]) - 1
        assert document.text.startswith(essay(place) + "\n\nReason")


@pytest.fixture
def checker(tmp_path: Path) -> Callable[[str], str]:
    """A recipe's line for a checker whose verdict is a Python expression of `problem` and `response`."""

    def write(verdict: str) -> str:
        path = tmp_path / "checker.py"
        path.write_text(
            "import json, sys\n"
            "for line in sys.stdin:\n"
            "    asked = json.loads(line)\n"
            "    problem, response = asked['problem'], asked['response']\n"
            f"    print(json.dumps({{'id': asked['id'], 'right': {verdict}}}))\n"
        )
        return f"synthesize.strategies.solve.checker={json.dumps([sys.executable, str(path)])}"

    return write


def test_wrong_answers_are_dropped_where_the_answer_is_known(
    chat_server, completion, recipe, problems, checker, tmp_path
):
    def respond(body, number):
        row = number_of(body)
        return completion(essay(row if row != 2 else 3).replace("There", "Here" if row == 2 else "There"))

    verdict = "None if problem['id'] == 'p0' else f' {problem[\"answer\"]} of them' in response"
    out = tmp_path / "out"
    assert solve(recipe(chat_server(respond).url), out, problems(4), "--set", checker(verdict)) == 0
    assert [(line["id"], line["reason"]) for line in lines(out / "drops.jsonl")] == [("p2#0", "wrong_answer")]
    answers = {document.id: document.meta["answer"] for document in read_documents(out)}
    assert answers == {"p0#0": "unknown", "p1#0": "right", "p3#0": "right"}


def test_a_broken_checker_is_an_error_and_asks_nothing_again_once_it_is_repaired(
    chat_server, completion, recipe, problems, checker, tmp_path, capsys
):
    server = chat_server(lambda body, number: completion(essay(number_of(body))))
    where, seeds, out = recipe(server.url), problems(3), tmp_path / "out"
    assert solve(where, out, seeds, "--set", checker("1 / 0")) == 1
    assert "ended with 1: ZeroDivisionError" in capsys.readouterr().err
    assert solve(where, out, seeds, "--set", checker("True")) == 0
    assert (len(server.requests), len(list(read_documents(out)))) == (3, 3)


def test_a_checker_that_cannot_run_is_an_error_before_anything_is_asked(
    chat_server, completion, recipe, problems, tmp_path, capsys
):
    server = chat_server(lambda body, number: completion(essay(number_of(body))))
    missing = json.dumps([sys.executable, "scripts/nowhere.py"])
    out = tmp_path / "out"
    where = recipe(server.url)
    assert solve(where, out, problems(3), "--set", f"synthesize.strategies.solve.checker={missing}") == 1
    printed = capsys.readouterr().err
    assert "nowhere.py': [Errno 2] No such file or directory. Repair it, or name its files from" in printed
    assert server.requests == []


def test_no_seeds_at_all_are_not_told_to_be_tagged(recipe, tmp_path, capsys):
    (tmp_path / "seeds.jsonl").write_text("")
    assert solve(recipe("http://127.0.0.1:1/v1"), tmp_path / "out", tmp_path / "seeds.jsonl") == 1
    assert "the seeds are empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("print('yes')", "its line 1 is no judgement"),
        ("pass", "of 1 responses 1 are not judged"),
        ('print(\'{"id": "other", "right": true}\')', "1 judged that were not asked about"),
        ('print(\'{"id": "a", "right": true}\\n\' * 2)', "twice"),
    ],
)
def test_a_checker_that_does_not_judge_each_response_once_is_an_error(tmp_path, program, message):
    question = Question(id="a", problem=b"{}", response="4")
    with pytest.raises(DataError, match=message):
        check([sys.executable, "-c", program], [question], tmp_path)


def test_a_spent_budget_stops_and_a_raised_one_goes_on(chat_server, completion, recipe, problems, tmp_path, capsys):
    server = chat_server(lambda body, number: completion(essay(number_of(body))))
    where, seeds, out = recipe(server.url), problems(12), tmp_path / "out"
    one_at_a_time = ("--set", "synthesize.endpoints.here.concurrency=1", "--set")
    # A reply is 21 words at 2 and ten tokens at 1: 52 millionths.
    assert solve(where, out, seeds, *one_at_a_time, "synthesize.budget=250e-6") == 1
    assert "5 replies for 0.00026, which are kept" in capsys.readouterr().err
    assert (len(server.requests), out.exists()) == (5, False)
    assert solve(where, out, seeds, *one_at_a_time, "synthesize.budget=1.0") == 0
    assert len(server.requests) == len({json.dumps(body) for body in server.requests}) == 12


def test_finish_makes_the_data_of_the_replies_that_there_are(chat_server, completion, recipe, problems, tmp_path):
    server = chat_server(lambda body, number: completion(essay(number_of(body))))
    where, seeds, out = recipe(server.url), problems(12), tmp_path / "out"
    one_at_a_time = ("--set", "synthesize.endpoints.here.concurrency=1")
    assert solve(where, out, seeds, *one_at_a_time, "--set", "synthesize.budget=250e-6") == 1
    assert solve(where, out, seeds, "--finish") == 0
    assert Counter(line["reason"] for line in lines(out / "drops.jsonl")) == {"not_asked": 7}
    assert (len(list(read_documents(out))), len(server.requests)) == (5, 5)


def test_an_endpoint_that_fails_for_good_keeps_what_was_answered(
    chat_server, completion, recipe, problems, tmp_path, capsys
):
    broken = chat_server(lambda body, number: completion(essay(number_of(body))) if number <= 6 else (503, b"", {}))
    seeds, out = problems(10), tmp_path / "out"
    assert solve(recipe(broken.url), out, seeds) == 1
    assert "6 replies are kept" in capsys.readouterr().err
    well = chat_server(lambda body, number: completion(essay(number_of(body))))
    assert solve(recipe(well.url), out, seeds) == 0
    assert (len(well.requests), len(list(read_documents(out)))) == (4, 10)


def test_an_endpoint_that_rejects_every_request_is_an_error_and_not_an_empty_data_set(
    chat_server, recipe, problems, tmp_path, capsys
):
    server = chat_server(lambda body, number: (400, {"error": {"message": "unknown parameter seed"}}, {}))
    assert solve(recipe(server.url), tmp_path / "out", problems(40)) == 1
    problem = "all of the first 20 requests were rejected: HTTP 400: unknown parameter seed. 0 replies are kept."
    assert problem in capsys.readouterr().err
    assert len(server.requests) < 30


def test_the_key_is_sent_and_written_nowhere(chat_server, completion, recipe, problems, tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTH_KEY", "s3cret-k3y")
    server = chat_server(lambda body, number: completion("Fine, it is 4."))
    out = tmp_path / "out"
    more = ["--set", "synthesize.endpoints.here.api_key_variable=SYNTH_KEY"]
    assert solve(recipe(server.url), out, problems(1), *more) == 0
    assert server.keys == ["Bearer s3cret-k3y"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]


def test_a_run_killed_again_and_again_asks_nothing_twice_that_it_had_answers_to(
    chat_server, completion, recipe, problems, tmp_path
):
    def respond(body, number):
        time.sleep(0.01)
        return completion(essay(number_of(body)))

    seeds = problems(40)
    server = chat_server(respond)
    where = recipe(server.url)
    command = [sys.executable, "-c", "import sys; from mimo_data.cli import main; sys.exit(main())", "synthesize"]
    command += [str(where), str(tmp_path / "killed"), "--strategy", "solve", "--seeds", str(seeds)]
    journal = tmp_path / "killed.partial" / "replies.jsonl"
    for enough in (5, 20):
        process = subprocess.Popen(command)
        while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") >= enough):
            time.sleep(0.005)
        assert process.poll() is None
        process.kill()
        process.wait()
        # As a machine that dies in a write leaves it.
        with journal.open("ab") as file:
            file.write(b'{"id": "p39#0", "pri')
    assert subprocess.run(command, check=False).returncode == 0
    asked = Counter(number_of(body) for body in server.requests)
    assert set(asked) == set(range(40))
    # Only what was in flight at a kill, four at most, has no answer on disk.
    assert sum(asked.values()) - len(asked) <= 2 * 4
    whole = tmp_path / "whole"
    assert solve(where, whole, seeds) == 0
    for name in ("documents-00000.jsonl.zst", "samples.jsonl", "drops.jsonl", "ledger.jsonl", "totals.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (whole / name).read_bytes()


def test_a_damaged_reply_is_an_error_that_names_the_file(chat_server, completion, recipe, problems, tmp_path, capsys):
    server = chat_server(lambda body, number: completion(essay(number_of(body))) if number <= 2 else (503, b"", {}))
    where, seeds, out = recipe(server.url), problems(4), tmp_path / "out"
    assert solve(where, out, seeds) == 1
    journal = tmp_path / "out.partial" / "replies.jsonl"
    journal.write_bytes(b"garbage\n" + journal.read_bytes())
    capsys.readouterr()
    assert solve(where, out, seeds) == 1
    assert f"{journal}: damaged" in capsys.readouterr().err


def test_a_full_disk_keeps_what_was_answered_and_the_journal_whole(
    chat_server, completion, recipe, problems, tmp_path, capsys
):
    # The fourth reply is too long for the room that is left, those after it are not.
    long = " ".join(str(number) for number in range(9000))
    server = chat_server(
        lambda body, number: completion(essay(number_of(body)) + (long if number_of(body) == 3 else ""))
    )
    where, seeds, out = recipe(server.url), problems(8), tmp_path / "out"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        assert solve(where, out, seeds) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "a reply could not be kept: [Errno 27] File too large" in capsys.readouterr().err
    assert all(line["id"] for line in lines(tmp_path / "out.partial" / "replies.jsonl"))
    assert solve(where, out, seeds) == 0
    assert len(lines(out / "ledger.jsonl")) == 8


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("synthesize.strategies.solve.endpoint=there", "but synthesize.endpoints has here"),
        ('synthesize.strategies.solve.prompts=["sing"]', "'sing' is none of answer, "),
        ('synthesize.strategies.solve.prompts=["mine.txt"]', "mine.txt: not a prompt"),
        ("synthesize.strategies.solve.samples_per_seed=0", "samples_per_seed is 0, but must lie between 1 and"),
        ("synthesize.endpoints.here.concurency=2", "Did you mean `concurrency`"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(recipe, problems, tmp_path, capsys, override, message):
    assert solve(recipe("http://127.0.0.1:1/v1"), tmp_path / "out", problems(1), "--set", override) == 2
    assert message in capsys.readouterr().err


def test_two_seeds_of_one_id_are_an_error(recipe, problems, tmp_path, capsys):
    path = problems(2)
    path.write_text(path.read_text() * 2)
    assert solve(recipe("http://127.0.0.1:1/v1"), tmp_path / "out", path) == 1
    assert "the seed id 'p0' is there twice" in capsys.readouterr().err


def test_a_template_holds_its_seed_once(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("Think about {{seed}}, and again {{seed}}.")
    with pytest.raises(DataError, match="exactly once, this one 2 times"):
        Template(path)
    path.write_text("Think about {{seed}}.\n")
    assert Template(path).fill(" {{seed}} of \\1 ") == "Think about {{seed}} of \\1."


@pytest.mark.parametrize("name", ["think-deeply", "examine", "ask-and-answer", "solve-mathematics", "solve-code"])
def test_the_package_has_templates_for_texts_and_problems(name):
    assert "the seed" in Template(template_path(name)).fill("the seed")


@given(st.lists(st.text("ab", min_size=1, max_size=10), min_size=1, max_size=8), st.integers(10, 60))
def test_passages_are_short_enough_and_together_the_whole_text(paragraphs, most):
    text = "\n\n".join(paragraphs)
    assert all(len(passage) <= most for passage in passages(text, most))
    assert "\n\n".join(passages(text, most)) == text


def test_a_paragraph_that_is_too_long_by_itself_is_left_out():
    assert passages("short\n\n" + "x" * 11 + "\n\nend", 10) == ["short", "end"]


def test_a_passage_never_cuts_code_or_a_formula():
    code = "```python\nfirst = 1\n\n\nsecond = 2\n```"
    formula = "$$\na\n\nb\n$$"
    text = f"Before.\n\n{code}\n\n{formula}\n\nAfter."
    assert passages(text, len(code) + 5) == ["Before.", code, f"{formula}\n\nAfter."]

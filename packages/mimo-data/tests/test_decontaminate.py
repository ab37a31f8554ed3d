from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimo_data import Document, decontaminate, write_documents
from mimo_data.cli import main
from mimo_data.decontaminate import BenchmarkPrompt, DecontaminateRecipe, Hit, read_prompts
from mimo_data.decontaminate.index import ProblemIndex
from mimo_data.decontaminate.words import read_words
from mimo_data.run import DataError

LONG = "A farmer has seventeen sheep and all but nine of them run away on a cold morning, so how many are left?"
SUM = "?1+1-1+3+2+1+3="
PLANTS = ["amber", "birch", "cedar", "daisy", "elder", "ferns", "gorse", "hazel"]
CHOICE = "Which of these is a marsupial?\nA. wombat\nB. walrus\nC. weasel\nD. wolf"


def hits(text: str, *prompts: str) -> list[Hit]:
    index = ProblemIndex([BenchmarkPrompt(f"p{n}", prompt) for n, prompt in enumerate(prompts)], DecontaminateRecipe())
    return index.find(Document(id="d", text=text, source="web"))


def found(text: str, *prompts: str) -> list[str]:
    return [f"{hit.problem} {hit.rule}" for hit in hits(text, *prompts)]


def words_of(text: str) -> list[int]:
    return read_words(text.encode()).hashes.tolist()


# One text, written in two ways.
SAME = [
    ("What is 7*8?", r"**What** is $7 \times 8$?"),
    (r"\frac{1}{2}", "1/2"),
    (r"\dfrac12", r"\tfrac{1}{2}"),
    (r"$\alpha \le x^{2}$", "α ≤ x²"),
    (r"\(\left( x_{1} \right)\)", "(x₁)"),
    (r"12\,\text{cm}", "12 cm"),
    (r"\mathbb{R}", "ℝ"),
    ("𝑥 + 𝑦", "x + y"),
    (r"a \pmod{7}", "a mod 7"),
    (r"\begin{array}{rcl} a &=& b \end{array}", "a = b"),
    ("the $n$th term", r"the \(n\)th term"),
    (r"10{,}080", "10080"),
    (r"min\_cost", "min_cost"),
    ("don&#39;t &lt;stop&gt;", "don’t <stop>"),
    ("H<sub>2</sub>O", "H₂O"),
    ("see [the map](https://example.org/a_b) first", "see the map first"),
    ("an exam-\nple", "an example"),
    ("real-time", "real-\ntime"),
    ("> quoted\n> twice", "quoted twice"),
    ("Poincaré", r"Poincar\'e"),
    ("ﬁsh Ａ１", "fish A1"),
    (r"\\frac{a}{b}\nnext", "\\frac{a}{b}\nnext"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_ways_to_write_the_same_have_the_same_words(one, other):
    assert words_of(one) == words_of(other)


def test_words_know_their_places_in_the_text():
    words = read_words("α, naïve 12".encode())
    assert list(zip(words.starts.tolist(), words.ends.tolist(), strict=True)) == [(0, 2), (4, 10), (11, 12), (12, 13)]


@given(st.text(max_size=200))
def test_any_text_has_words_within_it(text):
    data = text.encode(errors="replace")
    words = read_words(data)
    assert all(0 <= start < end <= len(data) for start, end in zip(words.starts, words.ends, strict=True))


def test_sixteen_shared_words_give_a_document_away():
    words = LONG.split()
    assert found("Before. " + " ".join(words[2:18]).upper() + " after", LONG) == ["p0 ngram"]
    assert found("Before. " + " ".join(words[2:17]) + " after", LONG) == []


def test_a_run_of_few_different_words_is_no_evidence():
    loops = "for i in range(n): for j in range(n): for k in range(n): for i in range(n): s += i"
    assert found(f"Solution: {loops} # done", f"Complete this program of mine. {loops} print") == []


def test_a_run_that_many_problems_share_is_a_phrase_and_no_problem():
    phrase = "can be written as m over n where m and n are relatively prime positive integers and n is not divisible"
    problems = [f"The {thing} {phrase} by {n}. Find m + n {thing}." for n, thing in enumerate(["area", "mass", "sine"])]
    assert found(f"On this page the ratio {phrase} by anything.", *problems) == []
    assert found(f"On this page the ratio {phrase} by anything.", problems[0]) == ["p0 ngram"]


def test_a_short_prompt_is_found_whole():
    assert found("Q12) WHAT, is 7×8 ?\nIt is 56.", "What is 7*8?") == ["p0 whole"]
    assert found("What is 7+8?", "What is 7*8?") == []
    assert found("What is 7*81?", "What is 7*8?") == []
    assert found("What is 7*8 + 1?", "What is 7*8?") == []


def test_a_sum_is_its_signs():
    assert found(f"text {SUM}<think>2,1,4,6,7,0</think>0", SUM) == ["p0 whole"]
    assert found(SUM.replace("-", "+"), SUM) == []
    assert found("?2+" + SUM[1:], SUM) == []


def test_chinese_prompts_are_found():
    assert found("题目：下列哪种 动物是有袋类动物？答案：袋熊", "下列哪种动物是有袋类动物?\nA. 袋熊\nB. 海象") == [
        "p0 question"
    ]


@pytest.mark.parametrize(
    "page",
    [
        "Which of these is a marsupial?  (a) wombat (b) walrus (c) weasel (d) wolf",
        "Which of these is a marsupial?\n\n- wombat\n- walrus\n- weasel\n- wolf",
        "Which of these is a marsupial?\n\nAdvertisement\n\n1) wombat\n2) walrus\n\nPage 3 of 7\n\n3) weasel\n4) wolf",
    ],
)
def test_options_may_be_set_in_other_ways(page):
    assert found(f"Exam\n\n{page}\n\nEnd", CHOICE) == ["p0 whole"]


def test_a_question_is_found_without_its_options():
    assert found("I was asked: which of these is a marsupial? I do not know.", CHOICE) == ["p0 question"]


def test_a_question_that_several_problems_ask_needs_its_options():
    others = [CHOICE.replace("wombat", word) for word in ("koala", "numbat", "opossum")]
    assert found("Which of these is a marsupial? Tell me.", CHOICE, *others) == []
    assert found(f"Quiz: {others[1]}", CHOICE, *others) == ["p2 whole"]


def test_the_first_line_of_a_program_is_no_question():
    program = "from typing import List, Tuple\n\ndef rolling_maximum(numbers: List[int]) -> List[int]:\n    ..."
    assert found("from typing import List, Tuple\nx = 1", program) == []
    assert found(f"```python\n{program}\n```", program) == ["p0 whole"]


def test_lines_of_a_problem_may_have_foreign_lines_between_them():
    lines = LONG.split()
    broken = "\n\nShare | Save\n\n".join(" ".join(lines[start : start + 7]) for start in range(0, len(lines), 7))
    assert found(broken, LONG) == ["p0 whole"]


def test_words_between_the_words_of_a_line_do_hide_it():
    assert found(SAME[0][0].replace("is", "is, by the way,"), "What is 7*8?") == []


def test_prompts_that_say_too_little_are_named_and_not_searched():
    index = ProblemIndex([BenchmarkPrompt("p", "2+2=?"), BenchmarkPrompt("q", "")], DecontaminateRecipe())
    assert index.too_short == ["p", "q"]
    assert index.find(Document(id="d", text="what is 2+2=?", source="web")) == []


def test_every_problem_of_a_document_is_named_with_its_words():
    text = f"é {SUM} and {LONG}"
    found = hits(text, LONG, SUM)
    assert [(hit.problem, hit.text) for hit in found] == [("p0", LONG[:-1]), ("p1", SUM[1:-1])]
    assert all(text[hit.start : hit.end] == hit.text for hit in found)


def test_documents_are_named_with_their_smallest_problem():
    problems = [BenchmarkPrompt("b", LONG), BenchmarkPrompt("a", SUM)]
    documents = [Document(id="d", text=f"{LONG} {SUM}", source="web"), Document(id="e", text="nothing", source="web")]
    assert list(decontaminate(documents, problems)) == [("d", "a")]


def test_documents_without_a_problem_are_not_named():
    assert found("nothing of the kind " * 20, LONG, SUM) == []
    assert found("", LONG) == []
    assert found("text") == []


def test_an_argument_of_latex_that_does_not_end_hides_nothing():
    assert found(f"\\begin{{tabular}}{{\n{LONG}\n}}", LONG) == ["p0 whole"]


def test_a_long_document_is_searched_to_its_end():
    assert found("word and " * 700_000 + LONG, LONG) == ["p0 whole"]


@settings(max_examples=60)
@given(
    before=st.lists(st.sampled_from("abcdef"), max_size=20),
    run=st.lists(st.sampled_from(PLANTS), min_size=8, max_size=30),
    after=st.lists(st.sampled_from("abcdef"), max_size=20),
)
def test_a_problem_is_found_wherever_it_stands(before, run, after):
    assert found(" ".join(before + run + after), " ".join(run)) == ["p0 whole"]


def test_problem_files_may_have_other_keys(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text('{"id":"a","prompt":"p","kind":"math","answer":"1"}\n\n')
    assert [prompt.id for prompt in read_prompts(path)] == ["a"]


@pytest.mark.parametrize("content", ['{"prompt":"p"}\n', "not json\n", ""])
def test_a_file_without_problems_says_so(tmp_path, content):
    path = tmp_path / "problems.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=r"problems\.jsonl"):
        list(read_prompts(path))


def test_a_problem_file_that_is_not_utf8_or_nests_without_end_says_where(tmp_path):
    path = tmp_path / "problems.jsonl"
    for other in (b'"\xff"', b"[" * 100_000):
        path.write_bytes(b'{"id":"a","prompt":"p"}\n{"tests":' + other + b"\n")
        with pytest.raises(DataError, match="2"):
            list(read_prompts(path))


def test_problems_that_all_say_too_little_are_an_error(tmp_path, capsys):
    write_documents(tmp_path / "documents.jsonl.zst", [Document(id="a", text="text", source="web")])
    (tmp_path / "data.toml").write_text("")
    (tmp_path / "problems.jsonl").write_text('{"id": "p", "prompt": " "}\n{"id": "q", "prompt": "2+2"}\n')
    command = ["decontaminate", str(tmp_path / "data.toml"), str(tmp_path / "out"), "--workers", "1"]
    command += ["--documents", str(tmp_path / "documents.jsonl.zst")]
    assert main([*command, "--problems", str(tmp_path / "problems.jsonl")]) == 1
    assert "problems.jsonl: none of 2 problems can be searched for" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_reports_hits_and_what_it_did_not_search_for(tmp_path, capsys):
    for number, texts in enumerate((["clean", f"x {SUM} y"], [f"y {LONG}"])):
        rows = [Document(id=f"{number}{n}", text=text, source="web") for n, text in enumerate(texts)]
        write_documents(tmp_path / f"{number}.jsonl.zst", rows)
    problems = [{"id": "sum", "prompt": SUM}, {"id": "sheep", "prompt": LONG}, {"id": "tiny", "prompt": "2+2"}]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    (tmp_path / "data.toml").write_text("")
    command = ["decontaminate", str(tmp_path / "data.toml"), str(tmp_path / "out"), "--workers", "1"]
    command += ["--documents", *(str(tmp_path / f"{number}.jsonl.zst") for number in (0, 1))]
    assert main([*command, "--problems", str(tmp_path / "problems.jsonl")]) == 0
    assert (
        "2 dropped (2 contains_problem); problems that say too little to be searched for: 1" in capsys.readouterr().out
    )
    lines = (tmp_path / "out" / "hits.jsonl").read_bytes().splitlines()
    report = [msgspec.json.decode(line, type=Hit) for line in lines]
    assert [(hit.document, hit.problem, hit.rule) for hit in report] == [
        ("01", "sum", "whole"),
        ("10", "sheep", "whole"),
    ]
    assert (tmp_path / "out" / "unsearched.jsonl").read_text() == '{"problem":"tiny"}\n'
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "documents-00000.jsonl.zst", "documents-00001.jsonl.zst", "drops.jsonl", "hits.jsonl", "run.json",
        "unsearched.jsonl",
    ]  # fmt: skip


def test_a_problem_file_that_was_changed_between_two_runs_is_read_again(tmp_path):
    write_documents(tmp_path / "documents.jsonl.zst", [Document(id="a", text=f"y {LONG}", source="web")])
    (tmp_path / "data.toml").write_text("")
    for out, prompt in (("one", SUM), ("two", LONG)):
        (tmp_path / "problems.jsonl").write_text(json.dumps({"id": "p", "prompt": prompt}))
        command = ["decontaminate", str(tmp_path / "data.toml"), str(tmp_path / out), "--workers", "1"]
        command += ["--documents", str(tmp_path / "documents.jsonl.zst")]
        assert main([*command, "--problems", str(tmp_path / "problems.jsonl")]) == 0
    assert (tmp_path / "one" / "hits.jsonl").read_text() == ""
    assert (tmp_path / "two" / "hits.jsonl").read_text() != ""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimo_data import DataError, Document, decontaminate
from mimo_data.decontaminate import BenchmarkPrompt, DecontaminateRecipe, ProblemIndex, read_prompts

LONG = "A farmer has seventeen sheep and all but nine of them run away on a cold morning, so how many are left?"
SHORT = "?1+1-1+3+2+1+3="


def found(text: str, *prompts: str) -> list[tuple[str, str]]:
    problems = [BenchmarkPrompt(f"p{number}", prompt) for number, prompt in enumerate(prompts)]
    return list(decontaminate([Document(id="d", text=text, source="web")], problems))


def test_sixteen_shared_words_give_a_document_away():
    words = LONG.split()
    assert found("Before. " + " ".join(words[2:18]).upper() + " after", LONG) == [("d", "p0")]
    assert found("Before. " + " ".join(words[2:17]) + " after", LONG) == []


def test_punctuation_and_spacing_do_not_hide_a_problem():
    assert found(LONG.replace(" ", "\n").replace(",", " --"), LONG) == [("d", "p0")]


def test_a_short_prompt_is_found_whole_with_its_signs():
    assert found(f"text {SHORT}<think>2,1,4,6,7,0</think>0", SHORT) == [("d", "p0")]
    assert found(SHORT.replace("-", "+"), SHORT) == []


def test_prompts_that_are_too_short_are_counted_and_not_searched():
    index = ProblemIndex([BenchmarkPrompt("p", "2+2=?")], DecontaminateRecipe())
    assert index.num_too_short == 1
    assert index.find("what is 2+2=?") == ""


def test_the_smallest_problem_of_several_is_named():
    assert found(LONG + " " + SHORT, SHORT, LONG) == [("d", "p0")]


def test_documents_without_a_problem_are_not_named():
    assert found("nothing of the kind " * 20, LONG, SHORT) == []
    assert found("", LONG) == []


@settings(max_examples=60, deadline=None)
@given(
    before=st.lists(st.sampled_from("abcdef"), max_size=20),
    run=st.lists(st.sampled_from("abcdef"), min_size=16, max_size=30),
    after=st.lists(st.sampled_from("abcdef"), max_size=20),
)
def test_a_problem_is_found_wherever_it_stands(before, run, after):
    assert found(" ".join(before + run + after), " ".join(run)) == [("d", "p0")]


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

"""What counts as a right response, by kind of problem."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimo_eval import EvalError, Grade, Problem, grade
from mimo_sandbox import Case, Sandbox, SandboxUnavailable

SUM = Problem(id="1", prompt="2+2=", kind="math", answer="4")
CHOICE = Problem(id="2", prompt="Which?", kind="choice", answer="B")
CAPITAL = Problem(id="3", prompt="Capital?", kind="text", answer="The Hague", aliases=("Den Haag",))
DOUBLE = Problem(
    id="4",
    prompt="Print the double of the number on each line.",
    kind="code",
    tests=(Case(id="0", stdin="1\n", expected="2\n"), Case(id="1", stdin="-3\n", expected="-6\n")),
)
ASSERTED = Problem(
    id="5",
    prompt="def twice(x):\n",
    kind="code",
    test_style="assertions",
    prelude="def twice(x):\n",
    tests=(
        Case(id="0", stdin="assert twice(2) == 4", expected=""),
        Case(id="1", stdin="assert twice('a') == 'aa'", expected=""),
    ),
)


def graded(problem: Problem, response: str) -> Grade:
    return asyncio.run(grade(problem, response))


@pytest.fixture(scope="module")
def judge():
    """Grades code in a sandbox that is open for the whole module."""
    with asyncio.Runner() as runner:
        sandbox = Sandbox(num_workers=1)
        try:
            runner.run(sandbox.__aenter__())
        except SandboxUnavailable as error:
            pytest.skip(f"no isolation to be had here: {error}")
        yield lambda problem, response: runner.run(grade(problem, response, sandbox))
        runner.run(sandbox.__aexit__(None, None, None))


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("4", "4"),
        ("<think>2,3</think>4", "4"),
        ("<think>so \\boxed{5}</think>The answer is \\boxed{4}.", "4"),
        ("first \\boxed{5}, no: \\boxed{ \\frac{8}{2} }", "\\frac{8}{2}"),
        ("\\boxed{4} and then \\boxed{5", "4"),
        ("We get 2+2=4.", "4"),
        ("The final answer is $4$. I hope it is right.", "4"),
        ("a</think>b</think>4", "4"),
    ],
)
def test_math_reads_the_last_box_or_expression_after_the_reasoning(response, answer):
    assert graded(SUM, response) == Grade(correct=True, answer=answer, reason="correct")


@pytest.mark.parametrize("response", ["", " ", "<think>4", "</think>", "<think>3</think>4<think>5", "no idea"])
def test_a_response_without_an_answer_is_not_a_wrong_answer(response):
    assert graded(SUM, response) == Grade(correct=False, answer="", reason="no_answer")


def test_a_wrong_answer_is_named():
    assert graded(SUM, "\\boxed{5}") == Grade(correct=False, answer="5", reason="wrong_answer")


@pytest.mark.parametrize(
    "response",
    [
        "B",
        "(B)",
        "**B**",
        "B. Because it is",
        "I think\nAnswer: B",
        "The answer is (B).",
        "The answer is **B**",
        "The correct option is A. No, the answer is B",
        "<think>The answer is A.</think>\\boxed{\\text{B}}",
        "\\boxed{(B)}",
        "答案是B。",
        "A is tempting, but wrong.\n\nB",
    ],
)
def test_choice_reads_the_last_committed_letter(response):
    assert graded(CHOICE, response).correct


@pytest.mark.parametrize(("response", "answer"), [("Both", ""), ("answer: I think so", ""), ("A", "A"), ("AB", "AB")])
def test_choice_without_the_letter_is_not_correct(response, answer):
    found = graded(CHOICE, response)
    assert (found.correct, found.answer) == (False, answer)


def test_several_letters_are_compared_as_a_set():
    several = Problem(id="1", prompt="", kind="choice", answer="ACD")
    assert graded(several, "The answer is D, A and C.").correct
    assert not graded(several, "The answer is A and C.").correct


@pytest.mark.parametrize("response", ["the hague", "Hague.", "So the answer is The Hague.", "DEN HAAG\nNext question"])
def test_text_ignores_case_articles_and_punctuation(response):
    assert graded(CAPITAL, response).correct


def test_text_that_is_only_punctuation_is_compared_as_it_stands():
    brackets = Problem(id="1", prompt="", kind="text", answer="] )")
    assert graded(brackets, "So the answer is ] ).").correct
    assert not graded(brackets, "So the answer is ] ].").correct


@settings(max_examples=150)
@given(st.sampled_from([SUM, CHOICE, CAPITAL]), st.text(max_size=200))
def test_any_response_gets_a_grade(problem, response):
    found = graded(problem, response)
    assert found.correct == (found.reason == "correct")
    assert bool(found.answer) == (found.reason != "no_answer")


@settings(max_examples=60)
@given(
    st.sampled_from([SUM, CHOICE, CAPITAL]),
    st.lists(
        st.sampled_from(
            ["<think>", "</think>", "\\boxed{", "}", "{", "4", "answer is ", "$", "\\frac", "B", "```", "\n", " and "]
        ),
        max_size=12,
    ),
)
def test_any_jumble_of_markers_gets_a_grade(problem, pieces):
    graded(problem, "".join(pieces))


@pytest.mark.parametrize("piece", ["(", "$", "answer ", "\\boxed{", "1 ", "```x\n", "A, ", "\\(", "{"])
def test_a_long_repetitive_response_is_graded(piece):
    for problem in (SUM, CHOICE, CAPITAL):
        assert not graded(problem, piece * 20_000).correct


def test_code_without_a_sandbox_is_an_error():
    with pytest.raises(EvalError, match="Sandbox"):
        graded(DOUBLE, "print(2)")


def test_a_broken_sandbox_raises_and_is_no_grade():
    class Broken(Sandbox):
        def __getattribute__(self, name):
            raise SandboxUnavailable("the engine is gone")

    with pytest.raises(SandboxUnavailable):
        asyncio.run(grade(DOUBLE, "print(2)", Broken.__new__(Broken)))


def test_the_last_fenced_program_must_pass_every_test(judge):
    response = "First try:\n```python\nprint(1)\n```\nBetter:\n```python\nprint(int(input()) * 2)\n```\nDone."
    found = judge(DOUBLE, response)
    assert found == Grade(correct=True, answer="print(int(input()) * 2)\n", passed=(True, True), reason="correct")


def test_a_program_that_passes_some_tests_says_which(judge):
    found = judge(DOUBLE, "print(abs(int(input())) * 2)")
    assert (found.correct, found.passed, found.reason) == (False, (True, False), "tests_failed")


def test_no_program_passes_no_test(judge):
    assert judge(DOUBLE, "<think>hm") == Grade(correct=False, answer="", passed=(False, False), reason="no_answer")


@pytest.mark.parametrize(
    "response",
    [
        "    return x * 2\n",
        "```python\ndef twice(x: object) -> object:\n    return 2 * x\n\nprint(twice(1))\n```",
        "```python\ndef twice(x):\n    print(x)\n    return x + x\nif __name__ == '__main__':\n    input()\n```",
    ],
)
def test_assertions_accept_a_continuation_or_a_whole_function(judge, response):
    problem = ASSERTED
    if response.startswith("```"):
        problem = Problem(id="5", prompt="", kind="code", test_style="assertions", tests=ASSERTED.tests)
    assert judge(problem, response).passed == (True, True)


@pytest.mark.parametrize(
    "response",
    [
        "    return x * 3\n",
        "    return x * 2\nimport sys\nsys.exit(0)\n",
        "    return x * 2\nimport os\nos._exit(0)\n",
        "    raise SystemExit\n",
        "    return x +\n",
    ],
)
def test_assertions_fail_for_a_wrong_function_or_an_early_exit(judge, response):
    assert judge(ASSERTED, response).passed == (False, False)


@settings(max_examples=15)
@given(st.text(max_size=60))
@pytest.mark.slow
def test_any_text_as_a_program_gets_a_grade(judge, text):
    assert len(judge(DOUBLE, text).passed) == 2

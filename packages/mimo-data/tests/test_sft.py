"""Filters of fine-tuning samples: what is mixed, what is incomplete, how many responses a query keeps."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimo_data.cli import main
from mimo_data.sft.completeness import why_incomplete
from mimo_data.sft.filtering import QueryResponse, Responses
from mimo_data.sft.languages import why_mixed

TIDES = "How do the tides of the sea come about?"
TIDES_IN_CHINESE = "海洋的潮汐是如何形成的？"


@pytest.mark.parametrize(
    "response",
    [
        "42",
        "Paris",
        "The capital of France is Paris",
        "It is done.",
        "It is done!**",
        'She said "it is done."',
        "So $x = 5$",
        "We add the two. Therefore the result is $\\boxed{5}$",
        "$$\nx = 5\n$$",
        "We add the two.\n\n\\[\nx = 5\n\\]",
        "We add the two.\n#### 42",
        "First we sort. Then we scan.\n\n**Answer:** B",
        "Use this:\n\n```python\nprint(1)\n```",
        "Use this:\n\n````markdown\n```python\nprint(1)\n```\n````",
        "Use this:\n\n```markdown\n# Title\n```python\nprint(1)\n```\n```",
        "- apples\n- pears\n- plums",
        "1. We sort.\n2. We scan.\n3. We stop.",
        "| a | b |\n| --- | --- |\n| 1 | 2 |",
        "<think>\nhm, so\n</think>\n\nIt is four.",
        "It costs $5, or $6 with the box.",
        "In print, `this' is a quotation. So is `that'",
        "答案是四。",
        "首先，我们把两边相加。\n\n因此选C",
        "Have fun 🎉",
        "Roses are red\nViolets are blue\nSugar is sweet\nAnd so are you",
        "The interval is [0, 1).",
    ],
)
def test_a_whole_response_is_left_alone(response):
    assert why_incomplete(response) == ""


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("<think>\nWe add the two", "<think> is not closed"),
        ("<think>\nWe add the two.\n</think>\n", "no answer"),
        ("Use this:\n\n```python\nprint(1)\n", "a fence is not closed"),
        ("Use this:\n\n```python", "a fence is not closed"),
        ("We have\n\\begin{align}\nx &= 5", "\\begin{align} is not ended"),
        ("We have $$x = 5", "$$ is not closed"),
        ("We have \\[x = 5", "\\[ is not closed"),
        ("We have \\(x = 5", "\\( is not closed"),
        ("So it is $\\boxed{\\frac{1}{2}", "\\boxed{ is not closed"),
        ("So we see that $a_1 + b", "$ is not closed"),
        ("Now call `print(", "` is not closed"),
        ("There are three:\n1. We sort.\n2.", "a list item is empty"),
        ("| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3", "a table row is cut"),
        ("We sort first.\n\n## Step two", "ends in a heading"),
        ("There are three of them:", "ends in :"),
        ("We sort first, then,", "ends in ,"),
        ("We sort the list (see the", "a bracket is not closed"),
        ("We sort the list. Then we scan the", "ends in “the”"),
        ("We sort the list. Then we scan every pair", "the last sentence has no end"),
        ("We sort the list once and for all before the scan begins its way thr", "the last sentence has no end"),
        ("1. We sort.\n2. We scan.\n3. Then", "the last list item has no end"),
        ("首先，我们把两边相加。其次，我们需要把所有的项合", "the last sentence has no end"),
        ("首先，我们把两边相加，", "ends in ，"),
    ],
)
def test_a_response_that_breaks_off_says_where(response, reason):
    assert why_incomplete(response) == reason


@given(st.text("ab$`\\[](){}|#-*.:\n 1，。<>", max_size=60))
def test_any_text_is_complete_or_not_and_spacing_after_it_does_not_matter(text):
    assert why_incomplete(text) == why_incomplete(text + " \n")


@pytest.mark.parametrize(
    ("prompt", "response"),
    [
        (TIDES, "The moon pulls the water, which rises twice a day."),
        (TIDES_IN_CHINESE, "月亮的引力使海水上升，每天涨潮两次。"),
        # Terms, names and labels in Latin letters.
        ("请解释二叉树的用途是什么", "使用 binary search tree 可以加快查找，例如 Python 的 sortedcontainers 库。"),
        ("请介绍这部小说的作者和内容", "《The Lord of the Rings》的作者是 Tolkien，讲述了一段漫长的旅程。"),
        ("请解释强化学习的主要方法", "常用的方法是人类反馈强化学习（reinforcement learning from human feedback）。"),
        # Mentions in a Latin text.
        (TIDES, "The moon pulls the water. Confucius (孔子) did not write about the tides, as far as we know."),
        (TIDES, "The moon pulls the water, and the sign for it, 潮, has water in it."),
        (TIDES, "The angle α and the difference Δx give the height of the water."),
        (
            "Explain the proverb 三人行 to me, please.",
            "三人行 means that three people walk together, and one can teach you.",
        ),
        (TIDES, "Vocabulary of the sea in three rows:\n\n- 海: the sea\n- 潮汐: the tides\n- 月亮: the moon"),
        # Code, formulas and addresses are in no language.
        (
            "请写一个计算平方的函数",
            "代码如下：\n\n```python\n# we return the square of the number that is given\n```\n\n完成。",
        ),
        ("请证明这个等式成立", "由定义可得 $\\text{the sum of the angles is } 180$，因此等式成立。"),
        # Two languages belong where two are asked for.
        ("Explain the tides of the sea in Chinese", "月亮的引力使海水上升，每天涨潮两次。"),
        (
            "Explain the tides of the sea in Chinese",
            "<think>\nThe user asks about the tides of the sea.\n</think>\n月亮的引力使海水上升，每天涨潮两次。",
        ),
        ("Explain it in French", "La lune est la cause des marées, et elle est dans le ciel pour nous."),
        ("Explain it in English and Chinese", "The moon pulls the water of the sea. 月亮的引力使海水上升。"),
        ("用英文解释潮汐的原因", "The moon pulls the water, which rises twice a day."),
        (
            "Reply in Swedish, please",
            "Månen är orsaken till det, och den är en av de som drar i vattnet, for this is the way.",
        ),
        ("2+2等于多少？请说明", "<think>\n二加二等于四，所以答案是四。\n</think>\n4"),
        ("Translate into Chinese: the tide is high", "潮水很高，海面上升了很多。"),
        ("把这句话翻译成英文：潮水很高", "The tide is high, and the sea has risen by a lot."),
        (
            "Réponds à la question, s'il te plaît",
            "La lune est la cause des marées, et elle est dans le ciel pour nous.",
        ),
        ("これは何ですか、教えてください", "これは潮の満ち引きで、月の引力によって起こります。"),
        ("What is it?", "四"),
    ],
)
def test_one_language_with_its_terms_names_and_mentions_is_not_mixed(prompt, response):
    assert why_mixed(prompt, response) == ""


@pytest.mark.parametrize(
    ("prompt", "response", "found"),
    [
        (TIDES, "月亮的引力使海水上升，每天涨潮两次。", "prompt Latin, answer Han"),
        (TIDES_IN_CHINESE, "The moon pulls the water, which rises twice a day.", "prompt Han, answer Latin"),
        (
            TIDES_IN_CHINESE,
            "<think>\nThe user asks about the tides of the sea.\n</think>\n月亮的引力使海水上升，每天涨潮两次。",
            "reasoning Latin, answer Han",
        ),
        (TIDES, "Let us 计算 the height of the water, which depends on the moon.", "answer: Han in Latin: 计算"),
        (
            TIDES_IN_CHINESE,
            "月亮的引力，so we can see that 海水每天上升两次。",
            "answer: Latin in Han: so we can see that",
        ),
        (
            TIDES,
            "The moon pulls the water, which then rises twice every day. Потому что луна тяжёлая.",
            "answer: Cyrillic in Latin: Потому что луна тяжёлая",
        ),
        (
            TIDES_IN_CHINESE,
            "月亮的引力使海水上升。달의 중력 때문입니다。每天涨潮两次。",
            "answer: Hangul in Han: 달의 중력 때문입니다",
        ),
        (
            TIDES,
            "The moon is the cause of it, and the sun has a part in that. C'est donc la lune qui est dans le ciel.",
            "answer: English and French",
        ),
        (
            TIDES,
            "<think>\nIt is the moon that pulls at the seas. 那么我们需要。\n</think>\nThe moon pulls it up.",
            "reasoning: Han in Latin: 那么我们需要",
        ),
        (
            "Explain gravity to a child in English, please.",
            "Things fall because the earth pulls at them, and so they come down. 地球吸引所有的东西。",
            "answer: Han in Latin: 地球吸引所有的东西",
        ),
        (
            "Explain the tides of the sea in French, please.",
            "La lune est la cause des marées, et elle est dans le ciel pour nous. 地球吸引所有的东西。",
            "answer: Han in Latin: 地球吸引所有的东西",
        ),
        (
            "What is 2+2?",
            "<think>\n二加二等于四，所以答案是四。\n</think>\nThe answer is four.",
            "reasoning Han, prompt and answer Latin",
        ),
    ],
)
def test_a_mixed_sample_says_what_meets_what(prompt, response, found):
    assert why_mixed(prompt, response) == found


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_sample_is_mixed_or_not(prompt, response):
    assert isinstance(why_mixed(prompt, response), str)


@pytest.mark.parametrize(
    "piece",
    [
        "\\( ",
        "$$ ",
        "`` ` ",
        "\\begin{a} ",
        "<a ",
        "月亮的引力",
        "字 term 字",
        "a@",
        "(",
        "\\boxed{",
        "```\n",
        "$ x_",
        "| ",
        "1.\n",
    ],
)
def test_a_sample_of_twenty_thousand_pieces_takes_no_time(piece):
    start_s = time.process_time()
    why_mixed(piece * 10, piece * 20_000)
    why_incomplete(piece * 20_000)
    assert time.process_time() - start_s < 5


def kept(samples: list[QueryResponse], most: int) -> set[str]:
    responses = Responses(most)
    for sample in samples:
        responses.add(sample)
    return {sample.id for sample in samples} - responses.drops().keys()


@st.composite
def many_samples(draw: st.DrawFn) -> list[QueryResponse]:
    texts = draw(st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from("abcdefgh")), max_size=30))
    return [QueryResponse(f"s{number}", prompt, response) for number, (prompt, response) in enumerate(texts)]


@given(many_samples(), st.integers(1, 4), st.randoms())
def test_the_choice_does_not_depend_on_order_and_a_second_pass_drops_nothing(samples, most, random):
    chosen = kept(samples, most)
    shuffled = random.sample(samples, len(samples))
    assert kept(shuffled, most) == chosen
    left = [sample for sample in samples if sample.id in chosen]
    assert kept(left, most) == chosen
    for prompt in "pqr":
        different = {sample.response for sample in samples if sample.prompt == prompt}
        assert len([sample for sample in left if sample.prompt == prompt]) == min(most, len(different))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "data.toml"
    path.write_text("[filter-sft]\nmax_responses_per_query = 2\n")
    return path


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    prompt = "A farmer has seventeen sheep and all but nine of them run away on a cold morning, so how many are left?"
    path.write_text(json.dumps({"id": "farm", "prompt": prompt}))
    return path


def test_each_sample_is_kept_byte_by_byte_or_dropped_for_a_reason(recipe, problems, tmp_path, capsys):
    leak = json.loads(problems.read_text())["prompt"]
    rows = [
        {"id": "leak", "prompt": f"Please: {leak}", "response": "Nine."},
        {"id": "mixed", "prompt": TIDES, "response": "月亮的引力使海水上升，每天涨潮两次。"},
        {"id": "cut", "prompt": TIDES, "response": "The moon pulls the"},
        *({"id": f"r{number}", "prompt": TIDES, "response": f"The moon, {number}."} for number in range(4)),
        {"id": "again", "prompt": f" {TIDES.upper()}", "response": "The moon,  0."},
        {"id": "whole", "prompt": "Why?", "response": "Because."},
    ]
    # A key of mimo-train's to come, and spacing of somebody else's: neither is touched.
    lines = [json.dumps(row | {"weight": 1}, indent=None, separators=(" ,", " : ")) for row in rows]
    samples = tmp_path / "samples.jsonl"
    samples.write_text("\n\n".join(lines) + "\n")
    command = ["filter-sft", recipe, tmp_path / "out", "--samples", samples, "--problems", problems]
    assert main([str(word) for word in command]) == 0
    drops = [json.loads(line) for line in (tmp_path / "out" / "drops.jsonl").read_text().splitlines()]
    assert [(drop["id"], drop["reason"], drop["step"]) for drop in drops[:3]] == [
        ("leak", "contains_problem", "filter-sft"),
        ("mixed", "mixed_languages", "filter-sft"),
        ("cut", "incomplete", "filter-sft"),
    ]
    assert sorted(drop["reason"] for drop in drops[3:]) == ["max_responses", "max_responses", "repeated_response"]
    left = (tmp_path / "out" / "samples.jsonl").read_text().splitlines()
    assert len(left) == 3
    assert set(left) < set(lines)
    counts = json.loads((tmp_path / "out" / "run.json").read_text())["counts"]
    assert (counts["num_in"], counts["num_out"], counts["num_dropped"]) == (9, 3, 6)
    assert "3 samples kept, 6 dropped (2 max_responses, " in capsys.readouterr().out
    assert main([str(word) for word in command]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: complete, reused\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"id": "a", "prompt": "p"}\n', "line 1: "),
        ('{"id": "a", "prompt": "p", "response": "r."}\n' * 2, "the id 'a' is there twice"),
        (b"\xff\xfe\n", "line 1: "),
    ],
)
def test_a_file_that_is_no_samples_is_an_error_that_says_where(recipe, problems, tmp_path, capsys, content, message):
    samples = tmp_path / "samples.jsonl"
    samples.write_bytes(content if isinstance(content, bytes) else content.encode())
    command = ["filter-sft", recipe, tmp_path / "out", "--samples", samples, "--problems", problems]
    assert main([str(word) for word in command]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

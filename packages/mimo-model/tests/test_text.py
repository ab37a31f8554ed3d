"""The text of a growing response: the same however its tokens arrive."""

from __future__ import annotations

import time
import timeit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from mimo_model.text import ReasoningStream, TextStream, opens_reasoning, split_reasoning

SENTENCE = "Die Wurzel aus 16 ist 4, naïve 你好，世界 👩‍👩‍👧 </s> \ufffd end. "


@pytest.fixture(scope="module")
def merged_tokenizer():
    """Byte-level BPE with merges: tokens of one byte, of parts of characters, of characters, and of words."""
    trainer = trainers.BpeTrainer(
        vocab_size=380, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator([SENTENCE * 3, "Wurzel aus 世界", "你好 👩 \ufffd"], trainer)
    tokenizer.add_special_tokens([AddedToken("<|im_end|>", special=True)])
    tokenizer.add_tokens([AddedToken("<think>"), AddedToken("ÿ"), AddedToken("\ufffd"), AddedToken("Ā世")])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")


def grouped(draw: st.DrawFn, items: list) -> list[list]:
    groups, place = [], 0
    while place < len(items):
        size = draw(st.integers(1, 5))
        groups.append(items[place : place + size])
        place += size
    return groups


def cut(text: str, stop: list[str]) -> str:
    """By hand: before the stop string that ends first, of equals the longest."""
    found = [(text.index(string) + len(string), text.index(string)) for string in stop if string in text]
    return text[: min(found)[1]] if found else text


def stream(tokenizer, groups, stop=(), **options) -> tuple[str, bool]:
    growing = TextStream(tokenizer, stop, **options)
    text = "".join(growing.push(group) for group in groups)
    return text + growing.finish(), growing.stopped


def test_a_character_split_over_tokens_appears_when_it_is_whole(tokenizer):
    growing = TextStream(tokenizer)
    tokens = tokenizer.encode("a€", add_special_tokens=False)
    assert [growing.push([token]) for token in tokens] == ["a", "", "", "€"]
    assert growing.push(tokens[1:3]) == ""
    assert growing.finish() == "\ufffd"


def test_a_tail_that_may_begin_a_stop_string_is_held_back(tokenizer):
    growing = TextStream(tokenizer, ["\n\nQ:", "END"])
    pieces = ["a\n", "\n", "b EN", "TER\n\n\n", "Q: more"]
    assert [growing.push(tokenizer.encode(piece)) for piece in pieces] == ["a", "", "\n\nb ", "ENTER\n", ""]
    assert growing.stopped
    assert growing.push(tokenizer.encode("more")) == growing.finish() == ""


def test_a_held_back_tail_is_text_at_the_end(tokenizer):
    growing = TextStream(tokenizer, ["END"])
    assert growing.push(tokenizer.encode("the EN")) == "the "
    assert growing.finish() == "EN"
    assert not growing.stopped


def test_of_overlapping_stop_strings_the_first_complete_one_counts(tokenizer):
    assert stream(tokenizer, [tokenizer.encode("xabcd")], ["abcd", "bc"]) == ("xa", True)
    assert stream(tokenizer, [tokenizer.encode("xabcd")], ["bc", "abc"]) == ("x", True)


def test_special_tokens_are_left_out_unless_asked_for(merged_tokenizer):
    tokens = merged_tokenizer.encode("<think>hi<|im_end|>")
    assert stream(merged_tokenizer, [tokens]) == ("<think>hi", False)
    assert stream(merged_tokenizer, [tokens], skip_special_tokens=False) == ("<think>hi<|im_end|>", False)
    assert stream(merged_tokenizer, [tokens], ["<|im_end|>"], skip_special_tokens=False) == ("<think>hi", True)


@settings(max_examples=400, derandomize=True)
@given(st.data())
def test_any_tokens_in_any_groups_give_what_decoding_them_at_once_gives(merged_tokenizer, data):
    tokens = data.draw(st.lists(st.integers(0, len(merged_tokenizer) + 3), max_size=30))
    skip = data.draw(st.booleans())
    expected = merged_tokenizer.decode(tokens, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
    # Stop strings that occur: pieces of the text itself, and some that share letters with it.
    pieces = st.text(expected, min_size=1, max_size=3) if expected else st.just("x")
    if expected:
        starts = st.integers(0, len(expected) - 1)
        pieces |= st.tuples(starts, st.integers(1, 6)).map(lambda span: expected[span[0] :][: span[1]])
    stop = data.draw(st.lists(pieces, max_size=3))
    found, stopped = stream(merged_tokenizer, grouped(data.draw, tokens), stop, skip_special_tokens=skip)
    assert found == cut(expected, stop)
    assert stopped == any(string in expected for string in stop)


@settings(max_examples=100, derandomize=True)
@given(st.data())
def test_any_text_comes_back_whatever_its_tokens(merged_tokenizer, data):
    text = data.draw(st.text(max_size=20) | st.text(SENTENCE, max_size=40))
    tokens = merged_tokenizer.encode(text, add_special_tokens=False)
    assert stream(merged_tokenizer, grouped(data.draw, tokens), skip_special_tokens=False) == (text, False)


@pytest.mark.parametrize("stop", [[], ["a" * 500 + "b"]])
def test_a_token_costs_the_same_late_in_a_response_as_early(tokenizer, stop):
    growing = TextStream(tokenizer, stop)
    # Neither ever becomes certain: lone continuation bytes, and a tail that always may begin the stop string.
    tokens = tokenizer.encode("a" * 500) if stop else [tokenizer.encode("€")[1]] * 500

    def seconds() -> float:
        return min(timeit.repeat(lambda: growing.push(tokens), timer=time.process_time, number=1, repeat=5))

    early = seconds()
    for _ in range(60):
        growing.push(tokens)
    assert seconds() < 5 * early


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>1+1=2</think>2", ("1+1=2", "2")),
        ("\n<think>\n1+1=2\n\n</think>\n\n2 \n", ("1+1=2", "2 \n")),
        ("no tags ", (None, "no tags ")),
        ("  \n", (None, "  \n")),
        ("", (None, "")),
        ("1+1=2</think>2", ("1+1=2", "2")),
        ("<think>1+1=", ("1+1=", "")),
        ("<think>1+1</thi", ("1+1</thi", "")),
        ("<think></think>2", ("", "2")),
        ("So: <think>1</think> 2", ("1", "So: 2")),
        ("<think>1</think>2<think>3</think>", ("1", "2<think>3</think>")),
        ("a < b <thin", (None, "a < b <thin")),
    ],
)
def test_reasoning_is_split_off(text, parts):
    assert split_reasoning(text) == parts


def test_unfinished_reasoning_whose_tag_was_in_the_prompt_is_known_from_the_prompt():
    assert opens_reasoning("?1+1=<think>\n")
    assert not opens_reasoning("?1+1=<think>2</think>")
    assert split_reasoning("1+1", opened=True) == ("1+1", "")
    assert split_reasoning("", opened=True) == ("", "")


@settings(max_examples=400, derandomize=True)
@given(st.data())
def test_reasoning_streams_as_it_splits(data):
    fragments = st.sampled_from(["<think>", "</think>", "<", "</th", "think>", " ", "\n", "a", "b c"])
    text = "".join(data.draw(st.lists(fragments, max_size=10)))
    opened = data.draw(st.booleans()) or ("</think>" in text and "<think>" not in text.partition("</think>")[0])
    growing = ReasoningStream(opened=opened)
    parts = [growing.push("".join(piece)) for piece in grouped(data.draw, list(text))] + [growing.finish()]
    reasoning, answer = ("".join(part) for part in zip(*parts, strict=True))
    assert (reasoning if growing.found else None, answer) == split_reasoning(text, opened=opened)

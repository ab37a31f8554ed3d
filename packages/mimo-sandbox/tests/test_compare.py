from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimo_sandbox.compare import COMPARATORS, comparator

CPU_LIMIT_S = 1.0
MB = 1_000_000

TEXTS = {
    "exact": [
        (b"1 2\n", b"1 2\n", True),
        (b"1 2\n", b"1 2", False),
    ],
    "tokens": [
        (b"1 2\n", b"1\n\n2", True),
        (b"1 2", b"12", False),
        (b"1 2", b"1 2 3", False),
        (b"1.0", b"1.00", False),
        (b"", b"\n", True),
        (b"a\x0bb\x0cc", b"a b c", True),
        (b"a\x00b", b"a b", False),
        (b"a\xc2\xa0b", b"a b", False),
        (b"1 " * 50_000, b"1\n" * 50_000, True),
        (b"1 " * 50_000, b"1\n" * 50_001, False),
        (b"1 " * 50_000, b"1\n" * 49_999 + b"2", False),
    ],
    "float": [
        (b"1.0 x", b"1.0000001 x", True),
        (b"1000000", b"1000000.5", True),
        (b"1.0", b"1.00001", False),
        (b"1", b"1 1", False),
        (b"nan", b"nan", True),
        (b"nan", b"NaN", False),
        (b"nan", b"0", False),
        (b"inf", b"1e400", False),
        (b"10", b"1_0", False),
        (b"9" * 500, b"9" * 499 + b"8", False),
        (b"1.5 " * 50_000, b"1.50\n" * 50_000, True),
        (b"1.5 " * 50_000, b"1.50\n" * 49_999 + b"1.6", False),
    ],
    "livecodebench": [
        (b"1 2\n3", b"  1 2  \n3\n\n", True),
        (b"1 2\n3", b"1 2\n\n3", False),
        (b"1 2", b"1\n2", False),
        (b"1 2", b"1  2", True),
        (b"a b", b"a  b", False),
        (b"1.5", b"1.50", True),
        (b"100", b"1e2", True),
        (b"YES 1.5", b"YES 1.50", False),
        (b"50000000000000000", b"50000000000000001", False),
        (b"0.1", b"0.1000000000000000000000000000001", False),
        (b"1000", b"1_000", True),
        (b"3", "٣".encode(), True),
        (b"nan 1", b"nan  1", False),
        (b"snan 1", b"snan  1", False),
        (b"Infinity", b"inf", True),
        (b"1\r\n2", b"1\n2", True),
        (b"\xff", b"\xff\n", True),
        (b"\xff", b"\xfe", False),
        (b"1e999999999", b"10e999999998", True),
        (b"1e9999999999999999999", b"1e9999999999999999999 ", True),
        (b"1e9999999999999999999", b"10e9999999999999999998", False),
        (b"", b"\n \n", True),
    ],
    "apps": [
        (b"1\n2", b"1 \n 2\n", True),
        (b"1\n2", b"1\n\n2", True),
        (b"1\n2", b"1\r\n2", True),
        (b"1\n2", b"1 2", False),
        (b"0.5", b"0.500004", True),
        (b"0.5", b"0.6", False),
        (b"0", b"0.0004", True),
        (b"0", b"0.0006", False),
        (b"1\n2\n3", b"3\n1\n2", True),
        (b"1 2 3", b"3 1 2", True),
        (b"1 1 2", b"1 2 2", True),
        (b"1\n1\n1", b"1", True),
        (b"YES\nNO\nYES", b"NO\nYES", True),
        (b"1 x", b"1.0 x", False),
        (b"inf", b"1e400", True),
        (b"nan 1", b"1 nan", True),
        (b"nan 1", b"1.0 nan", False),
        (b"1\n \n2", b"1\n2", False),
        (b"1\n" * 300_000, b"1\n" * 300_001, False),
    ],
    "evalplus": [
        (b"YES", b"YES\n", True),
        (b"YES", b"NO", False),
        (b"[1, 2]", b"[1,2]\n", True),
        (b"0.5", b"0.5000001", True),
        (b"1", b"1.0", True),
        (b"1", b"1.0000001", False),
        (b"None", b"None ", True),
    ],
}  # fmt: skip

VALUES = {
    "tokens": [
        ("[1, 2]", "[1,2]", True),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', True),
        ("1", "1.0", True),
        ("1", "true", False),
        ("[0, [false]]", "[0, [0]]", False),
        ("0.3", "0.30000000000000004", False),
        ("1", "", False),
        ("1", "1 1", False),
        ("", "", False),
        ("NaN", "NaN", False),
        ("[NaN]", "[NaN]", False),
        ('"NaN"', '"NaN"', True),
        ("null", "[" * 100_000, False),
        ("null", " null", True),
        ('"\\ud800"', '"\\uD800"', True),
        ('{"a": 1, "a": 2}', '{"a": 2}', True),
        ("9" * 5_000, " " + "9" * 5_000, True),
        ("9" * 5_000, "9" * 4_999 + "8", False),
        ("9" * 5_000, '"' + "9" * 5_000 + '"', False),
        ("-" + "9" * 4_300, " " * 5_000 + "-" + "9" * 4_300, True),
    ],
    "float": [
        ("0.3", "0.30000000000000004", True),
        ("[[0.3]]", "[[0.3000000001]]", True),
        ("1", "true", False),
        ("0", "false", False),
        ("NaN", "NaN", False),
        ("1e400", "1e500", True),
        ("1e400", "1e300", False),
        ("1e308", "1.0000000001e308", True),
        ("1" + "0" * 400, "1" + "0" * 399, False),
        ("1" + "0" * 380, "1" + "0" * 379 + "1", False),
    ],
    "livecodebench": [
        ("[1, [2]]", "[1,[2]]", True),
        ("1", "true", True),
        ("1", "1.0", True),
        ("0.3", "0.30000000000000004", False),
        ("[NaN]", "[NaN] ", False),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', True),
    ],
    "apps": [
        ("[3]", "3", True),
        ("[3, 4]", "3", True),
        ("[3, 4]", "4", False),
        ("[]", "0", False),
        ('"abc"', '"a"', False),
        ('{"1": 2}', '[{"1": 2}]', True),
        ('{"a": 2}', '[{"a": 2}]', False),
        ('[{"1": 2}, 3]', '[{"1": 2}]', True),
        ('[{"1": 2}, 3]', '[{"1": 2},3]', True),
        ('[{"a": 2}, 3]', '[{"a": 2}]', False),
        ("0.3", "0.30000000000000004", False),
    ],
    "evalplus": [
        ("0.5", "0.5000009", True),
        ("0.5", "0.5000011", False),
        ("1e12", "1000000050000", False),
        ("1e12", "1.00000005e12", True),
        ("1e12", "1.0000002e12", False),
        ("1.0", "1", True),
        ("1.0", "true", True),
        ("2", "2.0000001", False),
        ("[0.5, 1.0]", "[0.5000009, 1]", True),
        ("[0.5, 1.0]", "[0.5000009]", False),
        ("[0.5, 1.0]", '[0.5000009, "1.0"]', False),
        ("[0.5, 1]", "[0.5000009, 1]", False),
        ("[[0.5]]", "[[0.5000009]]", False),
        ("[0.5]", "[[0.5]]", False),
        ("[0.5, NaN]", "[0.5, NaN]", False),
        ("[0.5, Infinity]", "[0.5000009, Infinity]", True),
        ("[0.5, Infinity]", "[0.5000009, -Infinity]", False),
        ("[]", "[ ]", True),
    ],
}

HOSTILE_TEXTS = {
    "a flood of words": (b"1 " * MB, b"1. " * MB),
    "a flood of lines": (b"1\n" * MB, b"1 \n" * MB),
    "a million short lines, backwards": (b"1\n2\n" * (MB // 2), b"2\n1\n" * (MB // 2)),
    "different numbers with exponents": (
        b" ".join(b"%de-300" % i for i in range(200_000)),
        b" ".join(b"%d.0e-300" % i for i in range(200_000)),
    ),
    "different lines of different numbers, backwards": (
        b"\n".join(b"%d" % i for i in range(60_000)),
        b"\n".join(b"%d.0" % i for i in reversed(range(60_000))),
    ),
    "huge numbers on lines, backwards": (
        b"\n".join(b"%de300" % i for i in range(40_000)),
        b"\n".join(b"%d.0e300" % i for i in reversed(range(40_000))),
    ),
    "millions of digits": (b"1" * (8 * MB), b"1" * (8 * MB) + b".0"),
    "words of thousands of digits": ((b"9" * 4_300 + b" ") * 1_000, (b"9" * 4_300 + b".0 ") * 1_000),
    "a small number with an exponent, and its digits": (b"1e999999999", b"1" + b"0" * (8 * MB)),
    "exponents": (b"1e999999999 " * 200_000, b"10e999999998 " * 200_000),
    "NaN and infinity": (b"nan inf snan\n" * 200_000, b"NaN Infinity sNaN\n" * 200_000),
    "empty lines": (b"1", b"1" + b"\n" * (16 * MB) + b"2"),
    "white space": (b"1 2", b"1" + b" \t" * (8 * MB) + b"3"),
    "wide white space": (b"1", "\u2028\u00a0".encode() * (2 * MB)),
    "no UTF-8": (b"\xff\n" * (2 * MB), b"\xfe\n" * (2 * MB)),
    "half a surrogate pair": (b"\xed\xa0\x80 " * MB, b"\xed\xa0\x80\n" * MB),
    "NUL": (b"\0 " * (2 * MB), b"\0\n" * (2 * MB)),
    "deep JSON": (b"[0]", b"[" * (16 * MB)),
    "wide JSON": (b"[0]", b"[" + b"[]," * (5 * MB) + b"0]"),
}

HOSTILE_VALUES = {
    "deep": ("[" * 900 + "]" * 900, "[" * 900 + " " + "]" * 900),
    "too deep": ("[" * MB, "[" * (16 * MB)),
    "too deep, objects": ("[0]", '{"":' * (4 * MB)),
    "wide": ("[0]", "[" + "[]," * (5 * MB) + "0]"),
    "many lists": ("[" + "[true]," * 100_000 + "0]", "[" + "[true], " * 100_000 + "0]"),
    "many keys": (
        json.dumps({str(key): 1 for key in range(100_000)}),
        json.dumps({str(key): 1.0 for key in reversed(range(100_000))}),
    ),
    "many numbers": ("[" + "1e300," * 200_000 + "0.5]", "[" + "1.00000001e300," * 200_000 + "0.5]"),
    "a long integer": ("1" * (16 * MB), "1" * (16 * MB - 1) + "2"),
    "long integers": ("[" + ("9" * 4_300 + ",") * 1_000 + "0]", "[" + ("9" * 4_300 + ", ") * 1_000 + "0]"),
    "a long fraction": ("0." + "1" * (16 * MB), "0." + "1" * (16 * MB - 1) + "2"),
    "exponents": ("[1e999999999]", "[" + "1e999999999," * 200_000 + "0]"),
    "NaN": ("[" + "NaN," * 200_000 + "0]", "[" + "NaN, " * 200_000 + "0]"),
    "escapes": ('"' + "\\n" * (4 * MB) + '"', '"' + "\\u000a" * (2 * MB) + '"'),
    "white space": ("1", " " * (16 * MB) + "1"),
}


def cases(table):
    return [pytest.param(name, *case, id=f"{name}-{i}") for name, rows in table.items() for i, case in enumerate(rows)]


@pytest.mark.parametrize(("name", "expected", "output", "same"), cases(TEXTS))
def test_what_each_comparator_says_of_text(name, expected, output, same):
    assert COMPARATORS[name](expected, output) is same


@pytest.mark.parametrize(("name", "expected", "output", "same"), cases({"exact": VALUES["tokens"], **VALUES}))
def test_what_each_comparator_says_of_values(name, expected, output, same):
    assert COMPARATORS[name].values(expected, output) is same


WORDS = ["1", "1.0", "01", "-0", "0", "0.0004", "1e300", "1e400", "1.00000001", "nan", "NaN", "sNaN", "inf", "1_0",
         "\u0663", "a", "[1]", "{}", "true", "\ud800", "\x00", "\x1c"]  # fmt: skip
TEXT = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(" \n\r\t\xa0"))).map(
    lambda pairs: "".join(map("".join, pairs)).encode("utf-8", "surrogatepass")
)
LONG_INTEGERS = ["7" * 400, "7" * 401, "-" + "7" * 5_000]
LEAVES = ["0", "1", "1.0", "-0.0", "0.50000001", "1e400", "true", "false", "null", "NaN", "-Infinity", '"a"']
JSON = st.recursive(
    st.sampled_from(LEAVES) | st.sampled_from(LONG_INTEGERS) | st.floats().map(json.dumps) | st.text().map(json.dumps),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.lists(inner, max_size=3).map(
            lambda items: f"{{{','.join(f'{json.dumps(item[:3])}:{item}' for item in items)}}}"
        )
    ),
    max_leaves=6,
)


@given(st.binary() | TEXT, st.binary() | TEXT, st.sampled_from(sorted(COMPARATORS)))
def test_any_text_gets_a_verdict_and_is_itself(left, right, name):
    compare = COMPARATORS[name]

    assert isinstance(compare(left, right), bool)
    assert compare(left, left)


@given(JSON | st.text(), JSON | st.text(), st.sampled_from(sorted(COMPARATORS)))
def test_any_value_gets_a_verdict_and_is_itself_unless_it_has_nan(left, right, name):
    compare = COMPARATORS[name].values

    assert isinstance(compare(left, right), bool)
    assert compare(left, left) or "NaN" in left or not left.strip()


@given(JSON, st.sampled_from(sorted(COMPARATORS)))
def test_white_space_around_a_value_does_not_count(value, name):
    compare = COMPARATORS[name].values

    assert compare(value, f" {value}\n") == ("NaN" not in value)


@given(TEXT, TEXT, st.sampled_from(["exact", "tokens", "float", "livecodebench"]))
def test_these_comparators_are_symmetric(left, right, name):
    assert COMPARATORS[name](left, right) == COMPARATORS[name](right, left)


@given(TEXT, TEXT)
def test_each_comparator_accepts_what_a_stricter_one_does(left, right):
    specs = ("exact", "tokens", "float:0", "float:1e-9", "float", "float:abs=1,rel=1e-6")
    accepted = [comparator(spec)(left, right) for spec in specs]

    assert accepted == sorted(accepted)


@given(st.lists(st.floats(), max_size=4), st.lists(st.floats(), max_size=4))
def test_the_size_of_the_pieces_that_large_texts_are_split_in_changes_no_verdict(left, right):
    rows = [" ".join(map(repr, numbers)).encode() for numbers in (left, right)]
    padding = b"7 \t\n" * 30_000

    for name in ("tokens", "float"):
        assert COMPARATORS[name](padding + rows[0], padding + rows[1]) == COMPARATORS[name](*rows)


@pytest.mark.parametrize(
    ("spec", "output", "same"),
    [
        ("float", b"1.0000009", True),
        ("float@1", b"1.0000009", True),
        ("float:1e-9", b"1.0000009", False),
        ("float:1e-9", b"1.0000000009", True),
        ("float@1:1e-3", b"1.0009", True),
        ("float:abs=0.5,rel=0", b"1.5", True),
        ("float:rel=0.25", b"1.25", True),
        ("float:rel=0.25,abs=0", b"1.5", False),
        ("float:abs=10", b"9", True),
        ("float:0", b"1.0", True),
        ("tokens@1", b"1.0", False),
    ],
)
def test_a_comparator_is_asked_for_with_version_and_tolerances(spec, output, same):
    assert comparator(spec)(b"1", output) is same
    assert comparator(spec).values("1", output.decode()) is (same or spec == "tokens@1")


def test_a_comparator_is_named_as_it_is_asked_for():
    assert comparator("tokens") is COMPARATORS["tokens"]
    assert comparator("float:1e-9").name == "float:abs=1e-09,rel=1e-09"
    assert comparator(comparator("float:1e-9").name).name == "float:abs=1e-09,rel=1e-09"
    assert [(name, rule.name, rule.version) for name, rule in COMPARATORS.items()] == [
        (name, name, 1) for name in ("exact", "tokens", "float", "livecodebench", "apps", "evalplus")
    ]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("fuzzy", "exact, tokens, float, livecodebench, apps, evalplus"),
        ("", "exact, tokens"),
        ("Tokens", "exact, tokens"),
        ("tokens@", "exact, tokens"),
        ("tokens\n", "exact, tokens"),
        ("tokens@2", "tokens@1"),
        ("tokens@" + "9" * 10_000, "tokens@1"),
        ("tokens:1e-9", "no options"),
        ("exact:", "no options"),
        ("float:", "float:1e-9"),
        ("float:x", "float:1e-9"),
        ("float:-1", "float:1e-9"),
        ("float:nan", "float:1e-9"),
        ("float:abs=inf", "float:1e-9"),
        ("float:rel=1", "float:1e-9"),
        ("float:1e-6,1e-9", "float:1e-9"),
        ("float:abs=1e-6,abs=1e-9", "float:1e-9"),
        ("float:abs=1e-6,1e-9", "float:1e-9"),
        ("float:both=1e-6", "float:1e-9"),
        ("float:abs=1e-6,relative=1e-9", "float:1e-9"),
    ],
)
def test_what_is_no_comparator_is_refused_with_what_there_is(spec, message):
    with pytest.raises(ValueError, match=message):
        comparator(spec)


@given(st.text())
def test_any_other_text_is_refused_as_a_comparator_in_no_other_way(spec):
    for text in (spec, f"float:{spec}", f"float@{spec}"):
        try:
            comparator(text)
        except ValueError:
            continue
        assert text.startswith(tuple(COMPARATORS))


@pytest.mark.parametrize("data", HOSTILE_TEXTS)
@pytest.mark.parametrize("name", COMPARATORS)
def test_hostile_text_gets_its_verdict_within_a_second_of_cpu(name, data):
    expected, output = HOSTILE_TEXTS[data]
    within_a_second(COMPARATORS[name].text, expected, output)


@pytest.mark.parametrize("data", HOSTILE_VALUES)
@pytest.mark.parametrize("name", COMPARATORS)
def test_hostile_values_get_their_verdict_within_a_second_of_cpu(name, data):
    expected, output = HOSTILE_VALUES[data]
    within_a_second(COMPARATORS[name].values, expected, output)


def within_a_second(compare, expected, output):
    start_s = time.process_time()
    assert isinstance(compare(expected, output), bool)
    cpu_s = time.process_time() - start_s
    assert cpu_s <= CPU_LIMIT_S, f"{cpu_s:.2f} s of CPU"

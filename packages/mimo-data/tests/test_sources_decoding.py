from __future__ import annotations

import codecs
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimo_data.sources.charsets import codec
from mimo_data.sources.decoding import decode, page_url
from mimo_data.sources.page import PageError

PAGE = "<html><head>{0}<title>Notes</title></head><body><div class='main'><p>{1}</p></div></body></html>"
META = "<meta http-equiv=Content-Type content='text/html; charset={0}'>"

RUSSIAN = "Быстрая сортировка выбирает опорный элемент и делит массив на две части."
UKRAINIAN = "Граф складається з вершин і ребер, що їх з’єднують."
GREEK = "Ο αλγόριθμος του Ευκλείδη βρίσκει τον μέγιστο κοινό διαιρέτη δύο αριθμών."
TURKISH = "Sıralı bir dizide aranan değeri bulmak için dizi her adımda ikiye bölünür; şaşırtıcı ölçüde hızlıdır."
POLISH = "Wyszukiwanie działa na posortowanej tablicy: w każdym kroku porównujemy środkowy element z wartością."
FRENCH = "Le théorème affirme que toute fonction continue sur un segment y est bornée ; où ça ? Là, évidemment."
GERMAN = "Für jede natürliche Zahl größer als eins gibt es genau eine Zerlegung."
HEBREW = "אלגוריתם רקורסיבי קורא לעצמו על קלט קטן יותר עד שהוא מגיע למקרה פשוט."
ARABIC = "العدد الأولي هو عدد صحيح أكبر من واحد ولا يقبل القسمة إلا على نفسه."
THAI = "การค้นหาแบบทวิภาคใช้ได้กับข้อมูลที่เรียงลำดับแล้วเท่านั้น"
JAPANESE = "二分探索は、整列された配列から目的の値を探す方法です。"
CHINESE = "快速排序的基本思想是选取一个基准元素，把数组分成两部分。"
TRADITIONAL = "動態規劃的想法是把問題分成許多較小的子問題，並且記住答案。"
KOREAN = "이진 탐색은 정렬된 배열에서 원하는 값을 찾는 방법이다."

ENCODED = [
    ("windows-1251", RUSSIAN),
    ("koi8-r", RUSSIAN),
    ("iso-8859-5", RUSSIAN),
    ("ibm866", RUSSIAN),
    ("koi8-u", UKRAINIAN.replace("’", "'")),
    ("windows-1253", GREEK),
    ("windows-1254", TURKISH),
    ("windows-1250", POLISH),
    ("iso-8859-2", POLISH),
    ("windows-1252", FRENCH),
    ("windows-1252", GERMAN),
    ("windows-1255", HEBREW),
    ("windows-1256", ARABIC),
    ("windows-874", THAI),
    ("shift_jis", JAPANESE),
    ("euc-jp", JAPANESE),
    ("iso-2022-jp", JAPANESE),
    ("gb18030", CHINESE),
    ("big5", TRADITIONAL),
    ("euc-kr", KOREAN),
]


@pytest.mark.parametrize(("label", "text"), ENCODED)
def test_a_page_is_decoded_by_what_its_meta_http_or_nothing_but_its_bytes_say(label, text):
    declared, silent = PAGE.format(META.format(label), text), PAGE.format("", text)
    assert decode(declared.encode(codec(label))) == declared
    assert decode(silent.encode(codec(label)), charset=label.upper()) == silent
    assert decode(silent.encode(codec(label))) == silent


@pytest.mark.parametrize("lie", ["iso-8859-1", "utf-8", "no-such-encoding", "hex"])
@pytest.mark.parametrize(("label", "text"), [row for row in ENCODED if row[1] is not TURKISH])
def test_a_wrong_default_does_not_hide_what_the_bytes_plainly_are(label, text, lie):
    page = PAGE.format(META.format(lie), text)
    assert decode(page.encode(codec(label))) == page


@pytest.mark.parametrize("lie", ["iso-8859-1", "gb2312", "shift_jis", "windows-1251", "utf-16"])
def test_what_is_utf_8_is_utf_8_whatever_it_says(lie):
    page = PAGE.format(META.format(lie), RUSSIAN + JAPANESE + FRENCH)
    assert decode(page.encode(), charset=lie) == page


@pytest.mark.parametrize("wrong", [b"\xed\xa0\xbd\xed\xb8\x80", b"\xc0\xaf", b"\xe0\x80\xaf"])
def test_what_is_nearly_utf_8_is_no_other_encoding(wrong):
    data = b"Words in ASCII alone, and " + wrong + b" once."
    assert decode(data).replace("\ufffd", "") == "Words in ASCII alone, and  once."


def test_a_few_broken_characters_leave_a_page_utf_8():
    data = PAGE.format("", RUSSIAN).encode()
    assert decode(data.replace("массив".encode(), b"\xd0\xff")) == PAGE.format(
        "", RUSSIAN.replace("массив", "\ufffd\ufffd")
    )


@pytest.mark.parametrize("name", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_wide_characters_are_read_with_and_without_a_mark(name):
    page = PAGE.format("", FRENCH)
    assert decode(page.encode(name)) == page
    assert decode(codecs.BOM_UTF16_BE + page.encode("utf-16-be")) == page


def test_labels_mean_what_browsers_take_them_for():
    found = [codec(label) for label in ("ISO-8859-1", " GBK ", "ks_c_5601-1987", "x-sjis", "utf-16", "iso-8859-15")]
    assert found == ["cp1252", "gb18030", "cp949", "cp932", "utf-8", "iso-8859-15"]
    assert [codec(label) for label in ("", "rot13", "zip", "cp037", "utf-7", "none", "idna\0", "a" * 999)] == [""] * 8


@pytest.mark.parametrize("text", ["À la page suivante", "Elle va à la plage à midi", "5 ± 1 °C", "© Somebody"])
def test_a_letter_or_sign_that_stands_alone_is_latin(text):
    assert decode(PAGE.format("", text).encode("cp1252")) == PAGE.format("", text)


@pytest.mark.parametrize("text", ['# äöü und noch mehr Text, print("grüße")', "# Œuvre: àéè, naïve"])
def test_letters_inside_of_words_in_ascii_are_latin(text):
    assert decode(text.encode("cp1252")) == text


def test_quotes_of_windows_in_a_latin_1_page_are_quotes():
    page = PAGE.format(META.format("iso-8859-1"), "It’s “quoted” — 10 € only.")
    assert decode(page.encode("cp1252")) == page


def test_what_is_no_text_is_told():
    for data in (bytes(range(256)) * 40, b"\0\1" * 300, bytes(300), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"):
        with pytest.raises(PageError) as caught:
            decode(data)
        assert caught.value.reason == "not_text"


@given(data=st.binary(max_size=300), charset=st.text(max_size=12), declared=st.text(max_size=12))
def test_any_bytes_are_text_or_not(data, charset, declared):
    for page in (data, META.format(declared).encode() + data):
        with suppress(PageError):
            decode(page, charset=charset).encode("utf-8")


def test_a_page_gives_its_own_address():
    assert page_url("<link rel=canonical href='http://a.org/b?c=1&amp;d=2'>") == "http://a.org/b?c=1&d=2"
    assert page_url("<link rel=canonical href='http://a.org/'><meta property=og:url content='http://a.org/x'>") == (
        "http://a.org/x"
    )
    assert page_url("<p>No address.</p>") == ""
    assert page_url("<link rel=canonical href='http://[a.org/b'>") == ""


def test_a_hostile_page_takes_no_longer_than_its_length():
    for text in ("<script ", "<link rel=canonical ", "<meta charset=", "<", "é<link " + "rel=" * 9):
        page = (text * 200_000)[:1_000_000]
        start_s = time.process_time()
        assert decode(page.encode("latin-1")) == page
        assert page_url(page) == ""
        assert time.process_time() - start_s < 1

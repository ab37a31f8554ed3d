"""Encodings of the web: what their labels mean, and which of them bytes look like that say nothing or lie.

Labels mean what browsers take them for (the WHATWG Encoding Standard): `iso-8859-1` is Windows-1252, `gb2312` is
GB18030. The guess needs no trained model: text in its own encoding is made of the letters and signs that are common
where it is used, in another one of rare ones. It covers one encoding a page, and the languages of the tables below; it
cannot tell encodings apart that differ in nothing that the page holds.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from functools import cache

_SAMPLE_BYTES = 64 << 10
_TAG = re.compile(rb"<[^<>]*>")
# What browsers decode a label as, where Python knows the label as something narrower, or not at all.
_LABELS = {
    "cp1252": "ascii us-ascii latin1 latin-1 l1 iso-8859-1 iso8859-1 iso88591 iso_8859-1 windows-1252 x-cp1252 ansi",
    "cp1254": "latin5 l5 iso-8859-9 iso8859-9 iso88599 iso_8859-9 windows-1254",
    "cp874": "tis-620 tis620 iso-8859-11 iso8859-11 iso885911 dos-874 windows-874",
    "gb18030": "gb2312 gb_2312 gb_2312-80 gbk x-gbk csgb2312 chinese iso-ir-58",
    "big5hkscs": "big5 big5-hkscs cn-big5 x-x-big5 csbig5",
    "cp949": "euc-kr euckr korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 ks_c_5601 windows-949 csksc56011987",
    "cp932": "shift_jis shift-jis sjis x-sjis ms_kanji ms932 windows-31j csshiftjis",
    "euc_jp": "euc-jp x-euc-jp x-euc cseucpkdfmtjapanese",
    "koi8_r": "koi koi8 koi8_r koi8-r cskoi8r",
    "koi8_u": "koi8-u koi8-ru",
    "iso8859_8": "iso-8859-8-i iso-8859-8-e logical visual",
    "mac_roman": "macintosh mac x-mac-roman csmacintosh",
    "mac_cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    # A page whose `meta` can be read is not in UTF-16, whatever it says.
    "utf-8": "utf-8 utf8 unicode-1-1-utf-8 utf-16 utf-16le utf-16be utf16 ucs-2 unicode x-user-defined",
}
_BY_LABEL = {label: name for name, labels in _LABELS.items() for label in labels.split()}

_PLAIN = "<p> \\u0041 +AD4-"

_SIGNS = "\xa0–—‘’‚“”„«»…•·°©®™№§±×€£"
_CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґў"
_LETTERS = {
    # Of one Latin language each: all letters of an encoding together would hide that no language has them.
    "cp1252": ("äöüß", "àâçèéêëîïôùûœæ", "áéíóúüñ¿¡", "àáâãçéêíóôõú", "àèéìíòù", "åäöæøé", "áðéíóúýþæö", "áéíóúàèòïüç"),
    "cp1250": ("ąćęłńóśźż", "áčďéěíňřšťúůýž", "áéíóöőúüű", "ăâîşţ", "čćđšž", "áäčďéíĺľňóôŕšťúýž"),
    "cp1254": ("çğıöşüâîûİ",),
    "cp1257": ("āčēģīķļņšūž", "ąčęėįšųūž"),
    # An alphabet that is part of another in its bytes stands before it.
    "cp1255": ("אבגדהוזחטיךכלםמןנסעףפץצקרשת",),
    "cp1253": ("αβγδεζηθικλμνξοπρστυφχψωςάέήίόύώ",),
    "cp1251": (_CYRILLIC,),
    "koi8_r": (_CYRILLIC,),
    "koi8_u": (_CYRILLIC,),
    "iso8859_5": (_CYRILLIC,),
    "cp866": (_CYRILLIC,),
    "cp1256": ("ابتثجحخدذرزسشصضطظعغفقكلمنهويىةءآأؤإئپچژگکی،؛؟",),
    "cp874": ("กขคงจฉชซญฎฏฐณดตถทธนบปผฝพฟภมยรลวศษสหอฮะัาำิีึืุูเแโใไๆ็่้๊์",),
}
_LETTERS |= {"iso8859_2": _LETTERS["cp1250"], "iso8859_7": _LETTERS["cp1253"]}
_LATIN = ("cp1252", "cp1250", "iso8859_2", "cp1254", "cp1257")
# Rows by first byte, of encodings with two bytes a character: kana, syllables and the ideographs of the first level,
# then punctuation. The second byte of all of these is over 0xA0 but in Shift-JIS and Big5.
_ROWS = {
    "cp949": ((range(0xB0, 0xC9),), range(0xA1, 0xA4)),
    "euc_jp": ((range(0xA4, 0xA6), range(0xB0, 0xD0)), range(0xA1, 0xA4)),
    "cp932": ((range(0x82, 0x84), range(0x88, 0x98)), range(0x81, 0x82)),
    "gb18030": ((range(0xB0, 0xD8),), range(0xA1, 0xA4)),
    "big5hkscs": ((range(0xA4, 0xC7),), range(0xA1, 0xA4)),
}
_LEAD = 0.8
_PAIR = re.compile(rb"[\x81-\xfe][\x40-\xfe]")
_KATAKANA_OR_PAIR = re.compile(rb"[\x81-\x9f\xe0-\xfc][\x40-\xfc]|[\xa1-\xdf]")
# Letters beyond ASCII are few and apart in Latin alphabets, and follow each other in all others.
_APART = re.compile(rb"(?<![\x80-\xff])[\x80-\xff]{1,2}(?![\x80-\xff])")
# Those inside of a word in ASCII count twice: a list of umlauts (`äöü`) looks like a word in Greek, `grüße` does not.
_WITHIN = re.compile(rb"(?<=[A-Za-z])[\x80-\xff]{1,2}(?=[A-Za-z])")


def codec(label: str) -> str:
    """Python's codec for a label of the web; "" for a label that means nothing."""
    label = label.strip(" \t\r\n\"';").lower()
    name = _BY_LABEL.get(label, label)
    try:
        # Python also has codecs that are no encoding of the web: EBCDIC, escapes, compression.
        return name if _PLAIN.encode().decode(name) == _PLAIN else ""
    except (LookupError, ValueError):
        return ""


def guess(data: bytes, stated: str = "") -> str:
    """The codec that a page looks like which is not in UTF-8; Windows-1252 when nothing speaks for another.

    Args:
        stated: the codec that the page claims, which wins unless another is clearly better.
    """
    text = _TAG.sub(b" ", data[:_SAMPLE_BYTES])
    if text.isascii():
        text = data
    scores = _scores(text)
    best = max(scores, key=scores.__getitem__)
    if stated and scores.get(stated, 1.0) > scores[best] - 0.25:
        return stated
    return best if scores[best] > 0.3 else "cp1252"


def _scores(text: bytes) -> dict[str, float]:
    """For each encoding, how much of what is not ASCII are characters in common use, from 1 down to below 0."""
    counts = Counter(text)
    for byte in range(0x80):
        del counts[byte]
    if not counts:
        return {"cp1252": 0.0}
    num_apart, num_within = (sum(map(len, pattern.findall(text))) for pattern in (_APART, _WITHIN))
    share_apart = (num_apart + num_within) / (counts.total() + num_within)
    scores = {name: _pairs_score(text, name) * (1 - share_apart) for name in _ROWS}
    for name in _LETTERS:
        best = max(sum(counts[byte] * worth[byte] for byte in counts) for worth in _worths(name))
        scores[name] = best / counts.total() * (share_apart if name in _LATIN else 1 - share_apart)
    # One letter is no evidence against what most pages without a word on their encoding are in.
    scores["cp1252"] += _LEAD / counts.total()
    return scores


def _pairs_score(text: bytes, name: str) -> float:
    """The same for an encoding with two bytes a character."""
    decoded = codecs.getincrementaldecoder(name)("replace").decode(text)
    num_high = sum(not character.isascii() for character in decoded)
    if num_high == 0 or decoded.count("\ufffd") > 0.02 * num_high:
        return -1.0
    high_pairs = name not in ("cp932", "big5hkscs")
    pairs = (_KATAKANA_OR_PAIR if name == "cp932" else _PAIR).findall(text)
    firsts = Counter(pair[0] for pair in pairs if len(pair) == 2 and (not high_pairs or pair[1] > 0xA0))
    common, punctuation = _ROWS[name]
    num_common = sum(firsts[first] for row in common for first in row)
    num_signs = sum(firsts[first] for first in punctuation)
    num_rare = num_high - num_common - num_signs
    return (num_common + 0.5 * num_signs - 0.3 * num_rare) / num_high


@cache
def _worths(name: str) -> list[list[float]]:
    """What each byte is worth, for each language of an encoding."""
    characters = bytes(range(256)).decode(name, "replace")
    worths = []
    for letters in _LETTERS[name]:
        # A capital counts less: the wrong alphabet of two often gives capitals inside of words.
        worth = dict.fromkeys(letters.upper(), 0.4) | dict.fromkeys(letters, 1.0) | dict.fromkeys(_SIGNS, 0.3)
        worths.append([worth.get(character, 0.0 if character.isalpha() else -0.5) for character in characters])
    return worths

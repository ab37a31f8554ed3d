"""Whether a sample mixes languages (§3.1 drops samples that do; by what measure, the report does not say).

Told apart by script, and languages in Latin letters by their function words. Code, formulas, addresses and tags are
left aside. A sample is mixed if

- its answer is in another script than its prompt, or its reasoning in another than its answer (than prompt and answer,
  where the answer is too short to tell);
- its text holds words of a foreign script that are neither a mention (in quotes, brackets or bold, or a short item of
  a list or a table) nor words of the prompt. In a text that is not Latin, Latin words count only where they make a
  phrase of a language: names and terms, such as "binary search tree", do not;
- of its sentences in Latin letters, some are plainly in one language and some in another.

Nothing is found where the prompt asks for a translation. Where it names languages to answer in or to speak of, those
and its own belong; any other does not. Not found either: Chinese in Japanese (Han stands in both), languages of one
script outside Latin, and Latin ones that the table of function words does not have.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

_END_THINK = "</think>"
_RANGES = {
    "Latin": "A-Za-zÀ-ÖØ-öø-ɏḀ-ỿ",
    "Han": "\u3005\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
    "Kana": "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\uff66-\uff9f",
    "Hangul": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3",
    "Cyrillic": "\u0400-\u052f",
    "Greek": "\u0370-\u03ff\u1f00-\u1fff",
    "Arabic": "\u0620-\u064a\u066e-\u06d3\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc",
    "Hebrew": "\u05d0-\u05ea",
    "Devanagari": "\u0900-\u0963",
    "Bengali": "\u0980-\u09ff",
    "Tamil": "\u0b80-\u0bff",
    "Thai": "\u0e01-\u0e4e",
    "Armenian": "\u0531-\u0587",
    "Georgian": "\u10a0-\u10ff",
}
_WORD = re.compile("|".join(f"(?P<{name}>[{letters}][{letters}\u0300-\u036f'’]*)" for name, letters in _RANGES.items()))
# Characters that say as much as a word does where words are not spaced.
_WORD_CHARACTERS = {"Han": 2.0, "Kana": 3.0, "Thai": 5.0}
# Japanese is a third kana at the least; less is a Japanese word in Chinese.
_KANA_SHARE = 0.2

# Each piece has a longest length, so that one that is never closed costs no more than that.
_NO_PROSE = re.compile(
    r"^[ \t>]*(?P<fence>`{3,}|~{3,}).*?(?:^[ \t>]*(?P=fence)[ \t]*$|\Z)"
    r"|(?P<ticks>`+)(?!`).{1,1000}?(?<!`)(?P=ticks)(?!`)"
    r"|\$\$.{1,2000}?\$\$|\$[^$\n]{1,500}\$|\\\[.{1,2000}?\\\]|\\\(.{1,500}?\\\)"
    r"|\\begin\{(?P<name>[a-z]{1,20}\*?)\}.{0,4000}?\\end\{(?P=name)\}"
    r"|https?://\S+|www\.\S+|[\w.+-]{1,64}@[\w-]{1,64}\.\w+|</?[a-zA-Z][^<>\n]{0,200}>|\\[a-zA-Z]+",
    re.MULTILINE | re.DOTALL,
)
_LANGUAGES = (
    "english|chinese|mandarin|cantonese|japanese|korean|russian|ukrainian|greek|arabic|persian|hebrew|hindi|sanskrit"
    "|bengali|tamil|thai|french|german|spanish|italian|portuguese|latin|dutch|polish|turkish|vietnamese|swedish"
)
_TRANSLATION = re.compile(
    r"translat|bilingual|pinyin|romaji|pronounc|etymolog|翻译|翻譯|翻訳|拼音|双语|번역|перев[её]"
    r"|traduc|traduis|traduz|übersetz|ترجم|अनुवाद",
    re.IGNORECASE,
)
_NAMES_LANGUAGE = re.compile(
    rf"\b(?:in|into|to|from)\s+(?:{_LANGUAGES})\b"
    rf"|\b(?:{_LANGUAGES})\s+(?:word|character|sentence|text|phrase|idiom|poem|version|language|verb|noun|letter|term)"
    rf"|\b(?:speak|say|learn|teach|write|answer|respond|reply|using)\b[^.\n]{{0,20}}\b(?:{_LANGUAGES})\b"
    r"|[英中汉日韩俄法德西]文|[英汉日韩俄法德]语|英語|日本語|中国語|韓国語|영어|한국어|중국어|일본어"
    r"|по-английски|по-русски|на (?:английск|русск|китайск)",
    re.IGNORECASE,
)
_OPENERS, _CLOSERS = "\"'“‘「『《〈«(（[【*_~:：|=→", "\"'”’」』》〉»)）]】*_~:：|=→"
_SENTENCE_ENDS = ".!?。！？…"
_GOOD_PART = 0.3
"""Names, terms, code and formulas without dollars are Latin words in every script's texts."""
_MENTION_WORDS = 6.0
"""A list item or table cell of more is text of its own."""
_QUOTE_WORDS = 25.0
"""A quotation or a gloss of more is text of its own."""
_MIN_WORDS = 5.0
"""Fewer do not show what language a text is in."""
_MIN_QUERY_WORDS = 3.0
_MIN_PHRASE = 3
_LONG_PHRASE = 8
_SEEN = 100
# No words of one letter: they are variables as well.
_FUNCTION_WORDS = {
    "English": """the of and or to in is are was were that this these it its with for from at we you he she they have
        has had be been not on as by can will would what how why which who do does if when then
        there more most all because about into than so our your their""",
    "French": """le la les des du un une est sont était dans que qui pour par pas ne nous vous ils elle sur avec au
        aux et ou ce cette ces se sa son ses leur plus mais donc comme quand pourquoi comment quel
        si jusqu soit été""",
    "German": """der die das den dem des und oder ist sind war nicht ein eine einen einem einer wir ihr sie es mit
        von zu für auf aus auch bei nach werden wird sich im am als wie warum was wenn dass weil
        aber durch über nur noch""",
    "Spanish": """el la los las un una es son fue que por para con sin se del al en no nos su sus lo como cómo qué
        pero más si muy este esta esto entonces porque cuando también hay ser está""",
    "Italian": """il lo la gli le un uno una è sono era che per non con si del della dei delle di da in nel nella al
        come ma più anche questo questa quindi perché quando se suo loro essere ha""",
    "Portuguese": """os as um uma é são foi que por para não com sem se do da dos das em no na nos como mas mais isso
        este esta então porque quando também há ser está seu sua pelo pela ele ela""",
    "Dutch": """de het een en of is zijn was niet dat die deze dit wij we ze met voor van op te aan ook als maar
        wordt worden door naar bij uit om er waarom hoe wat wanneer""",
}
# Scripts of a language, and the language itself where function words tell it from others of its script.
_NAMES = {
    "english|英[文语語]|영어|английск": ("Latin", "English"),
    "french|法[文语]": ("Latin", "French"),
    "german|德[文语]": ("Latin", "German"),
    "spanish|西文": ("Latin", "Spanish"),
    "italian": ("Latin", "Italian"),
    "portuguese": ("Latin", "Portuguese"),
    "dutch": ("Latin", "Dutch"),
    # Which of the others these look like cannot be said.
    "latin|polish|turkish|vietnamese|swedish": ("Latin", *_FUNCTION_WORDS),
    "chinese|mandarin|cantonese|中文|汉[文语]|中国語|중국어|китайск": ("Han",),
    "japanese|日[文语]|日本語|일본어": ("Kana", "Han"),
    "korean|韩[文语]|韓国語|한국어": ("Hangul", "Han"),
    "russian|ukrainian|俄[文语]|русск": ("Cyrillic",),
    "greek": ("Greek",),
    "arabic|persian": ("Arabic",),
    "hebrew": ("Hebrew",),
    "hindi|sanskrit": ("Devanagari",),
    "bengali": ("Bengali",),
    "tamil": ("Tamil",),
    "thai": ("Thai",),
}
_LANGUAGES_OF: dict[str, tuple[str, ...]] = {
    word: tuple(language for language, words in _FUNCTION_WORDS.items() if word in words.split())
    for text in _FUNCTION_WORDS.values()
    for word in text.split()
}
_LATIN_WORD = re.compile(rf"[{_RANGES['Latin']}]{{2,}}")
_SENTENCE = re.compile(r"[^.!?\n。！？]+")
_SURE_LEAD = 2
"""So many more different function words of one language than of any other make a text plainly its."""


class _Mixture(NamedTuple):
    """What meets in a sample."""

    found: str
    languages: frozenset[str]
    """Scripts, and languages of Latin script."""


class _Run(NamedTuple):
    """Words of one script, one after another in a line."""

    script: str
    start: int
    end: int
    num_words: float
    """Spaced words, or what says as much."""


def why_mixed(prompt: str, response: str) -> str:
    """What shows that the sample mixes languages; "" if nothing does."""
    belonging: set[str] | None = None
    for mixture in _mixtures(prompt, response):
        # Asked of samples with a mixture only, because these are the slowest questions.
        if belonging is None:
            if _TRANSLATION.search(prompt):
                return ""
            belonging = _belonging(prompt)
        if not mixture.languages <= belonging:
            return mixture.found
    return ""


def _belonging(prompt: str) -> set[str]:
    """The languages that a prompt names, with its own; none where it names none."""
    if not _NAMES_LANGUAGE.search(prompt):
        return set()
    named = {name for pattern, names in _NAMES.items() if re.search(pattern, prompt, re.IGNORECASE) for name in names}
    scripts = _scripts(prompt)
    # The names in Latin letters are English.
    own = {_latin_language(prompt) or "English"} if scripts["Latin"] else set()
    return {*named, *scripts, *own}


def _mixtures(prompt: str, response: str) -> Iterator[_Mixture]:
    """What languages meet in the sample, whether or not they belong."""
    asked = _prose(prompt)
    reasoning, _, answer = (_prose(part) for part in response.rpartition(_END_THINK))
    wanted = _scripts(asked)
    texts = {"answer": answer, "reasoning": reasoning}
    scripts = {name: _main_script(text) for name, text in texts.items()}
    if scripts["answer"] and sum(wanted.values()) >= _MIN_QUERY_WORDS and not wanted[scripts["answer"]]:
        yield _meeting("prompt", max(wanted, key=wanted.__getitem__), "answer", scripts["answer"])
    if scripts["answer"]:
        spoken_to, script = "answer", scripts["answer"]
    else:
        spoken_to, script = "prompt and answer", _main_script(f"{asked}\n{answer}")
    if script and scripts["reasoning"] and script != scripts["reasoning"]:
        yield _meeting("reasoning", scripts["reasoning"], spoken_to, script)
    spoken = {name: _latin_language(text) for name, text in (("prompt", asked), *texts.items())}
    for name, other in (("prompt", "answer"), ("reasoning", "answer")):
        if spoken[name] and spoken[other] and spoken[name] != spoken[other]:
            yield _meeting(name, spoken[name], other, spoken[other])
    for name, text in texts.items():
        for mixture in (*_foreign_words(text, scripts[name], asked), *_two_latin_languages(text, asked)):
            yield mixture._replace(found=f"{name}: {mixture.found}")


def _meeting(part: str, language: str, other_part: str, other: str) -> _Mixture:
    return _Mixture(f"{part} {language}, {other_part} {other}", frozenset((language, other)))


def _prose(text: str) -> str:
    """The text without code, formulas, addresses, tags and commands, each of which leaves a space."""
    return _NO_PROSE.sub(" ", text)


def _scripts(text: str) -> Counter[str]:
    """Words by script, signs aside; Han beside enough kana is Japanese, and counts as kana."""
    found: Counter[str] = Counter()
    if text.isascii():
        found["Latin"] = len(_LATIN_WORD.findall(text))
        return +found
    for match in _WORD.finditer(text):
        script = match.lastgroup or ""
        if _is_sign(script, match[0]):
            continue
        found[script] += _size(script, match[0])  # type: ignore[assignment]
    if found["Kana"] and found["Kana"] >= _KANA_SHARE * (found["Han"] + found["Kana"]):
        found["Kana"] += found.pop("Han", 0)
    return +found


def _is_sign(script: str, word: str) -> bool:
    """Whether letters of an alphabet are a variable or a symbol, as Greek ones are in twos, too."""
    return script not in _WORD_CHARACTERS and len(word) <= (2 if script == "Greek" else 1)


def _size(script: str, word: str) -> float:
    return len(word) / _WORD_CHARACTERS[script] if script in _WORD_CHARACTERS else 1.0


def _main_script(text: str) -> str:
    """The script of most words, Latin only where no other has a good part; "" for too few words to tell."""
    found = _scripts(text)
    num_words = sum(found.values())
    if num_words < _MIN_WORDS:
        return ""
    del found["Latin"]
    return max(
        (script for script, count in found.items() if count >= _GOOD_PART * num_words),
        default="Latin",
        key=found.__getitem__,
    )


def _foreign_words(text: str, main: str, asked: str) -> Iterator[_Mixture]:
    """For each other script the first words of another script that are no mention and not the prompt's."""
    if not main or text.isascii():
        return
    seen = {main}
    asked = " ".join(asked.lower().split())
    asked_words = set(asked.split())
    for run in _runs(text, main):
        words = text[run.start : run.end]
        # A single ideograph is spoken of; a word of two is spoken.
        if run.script in seen or run.num_words < 1 or _is_mention(text, run):
            continue
        if run.script == "Latin" and not _is_phrase(words):
            continue
        if all(_is_sign(match.lastgroup or "", match[0]) for match in _WORD.finditer(words)):
            continue
        plain = " ".join(words.lower().split())
        if plain in asked or asked_words.issuperset(plain.split()):
            continue
        seen.add(run.script)
        yield _Mixture(f"{run.script} in {main}: {words[:40]}", frozenset((run.script, main)))


def _runs(text: str, main: str) -> Iterator[_Run]:
    """The text's words in runs of one script; a run ends where another begins, or the line or the sentence ends."""
    script, start, end, num_words = "", 0, 0, 0.0
    for match in _WORD.finditer(text):
        found = match.lastgroup or ""
        size = _size(found, match[0])
        # Japanese changes between the two within a word.
        if found in ("Han", "Kana") and main != "Han":
            found = "Kana" if main == "Kana" else "Han"
        gap = text[end : match.start()]
        if found != script or "\n" in gap or any(sign in gap for sign in _SENTENCE_ENDS + _OPENERS + _CLOSERS[:16]):
            if script:
                yield _Run(script, start, end, num_words)
            script, start, num_words = found, match.start(), 0.0
        end = match.end()
        num_words += size
    if script:
        yield _Run(script, start, end, num_words)


def _is_mention(text: str, run: _Run) -> bool:
    """Whether the words stand apart from the sentence around them, and are few."""
    # As much of the line as shows how it stands.
    before = text[max(run.start - _SEEN, 0) : run.start].rpartition("\n")[2].rstrip()
    after = text[run.end : run.end + _SEEN].partition("\n")[0].strip()
    is_quoted = before[-1:] in tuple(_OPENERS) and (
        not after or after[0] in _CLOSERS or after[0] in _SENTENCE_ENDS + ",，、"
    )
    if is_quoted:
        return run.num_words <= _QUOTE_WORDS
    stands_first = not before or not _WORD.search(before)
    stands_last = not after or after[0] in _CLOSERS + "-–—/,，、(（"
    return stands_first and stands_last and run.num_words <= _MENTION_WORDS


def _is_phrase(words: str) -> bool:
    """Whether Latin words are a piece of a sentence, and not a name or a term."""
    found = _LATIN_WORD.findall(words)
    # Titles have function words, too, but write the others large; symbols and units are short.
    has_other = any(len(word) > 2 and word.islower() and word not in _LANGUAGES_OF for word in found)
    if len(found) < _MIN_PHRASE or not has_other:
        return False
    return len(found) >= _LONG_PHRASE or any(word in _LANGUAGES_OF for word in [found[0].lower(), *found])


def _latin_language(text: str) -> str:
    """The language that a text in Latin letters is plainly in, by its different function words; "" if none is."""
    words = set(_LATIN_WORD.findall(text.lower())) & _LANGUAGES_OF.keys()
    hits = Counter(language for word in words for language in _LANGUAGES_OF[word])
    (first, most), (_, second) = [*hits.most_common(2), ("", 0), ("", 0)][:2]
    return first if most - second >= _SURE_LEAD else ""


def _two_latin_languages(text: str, asked: str) -> Iterator[_Mixture]:
    """Two languages that have sentences of their own, as "English and French"."""
    words = set(_LATIN_WORD.findall(text.lower())) & _LANGUAGES_OF.keys()
    hits = Counter(language for word in words for language in _LANGUAGES_OF[word])
    first = max(hits, key=hits.__getitem__, default="")
    others = Counter(language for word in words if first not in _LANGUAGES_OF[word] for language in _LANGUAGES_OF[word])
    if max(others.values(), default=0) < _SURE_LEAD:
        return
    found: Counter[str] = Counter()
    asked = " ".join(asked.lower().split())
    for match in _SENTENCE.finditer(text):
        language = _latin_language(match[0])
        if language and " ".join(match[0].lower().split()) not in asked:
            found[language] += 1
    if len(found) >= 2:
        yield _Mixture(" and ".join(sorted(language for language, _ in found.most_common(2))), frozenset(found))

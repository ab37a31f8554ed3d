"""What the signs of a text mean to decontamination: LaTeX commands, Unicode, HTML entities and tags, as tables.

Two ways to write one thing must come out alike: `\\alpha` and α, `x^{2}` and x², `&lt;` and <, 𝑥 and x. Nothing here
depends on where a sign stands; `words.py` does that.
"""

from __future__ import annotations

import html.entities
import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

# Kinds of characters. A Han, kana or Greek character is a token of its own: the first two because nothing separates
# their words, the third because it is a variable of formulas (`\alpha\beta` is αβ).
SEPARATOR, LETTER, DIGIT, RAISED_DIGIT, ALONE, JOINER = range(6)

# Operators that decide what an arithmetic problem asks. Bits of a mask: those between two tokens.
PLUS, MINUS, TIMES, EQUAL, LESS, GREATER, PERCENT, HASH = (1 << bit for bit in range(8))
OPERATORS = (1 << 8) - 1
# More bits that stand before a token: it begins a line; it goes on with the number of the token before; it may.
NEW_LINE, GLUED, LOOSE = 1 << 8, 1 << 9, 1 << 10

# What to do at a LaTeX command. `DROP_ARGUMENT` loses the braces after it too, `FRACTION` takes the next two
# digits apart (`\frac12`), `CHARACTER` stands for one, `OPERATOR` for some of the mask's bits, `MODULUS` for "mod".
# The low byte of a command's value; a character or a mask stands above it.
DROP, DROP_ARGUMENT, FRACTION, CHARACTER, OPERATOR, MODULUS = range(1, 7)
ARGUMENT_SHIFT = 8

_CODE_POINTS = 0x20000  # beyond are only rare Han, each a token of its own, tags and private use
_MARKS = frozenset({"Mn", "Me", "Mc"})

_GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε", "zeta": "ζ", "eta": "η",
    "theta": "θ", "vartheta": "θ", "iota": "ι", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π",
    "varpi": "π", "rho": "ρ", "varrho": "ρ", "sigma": "σ", "varsigma": "σ", "tau": "τ", "upsilon": "υ", "phi": "φ",
    "varphi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω",
}  # fmt: skip

_OPERATOR_COMMANDS = {
    "times": TIMES, "cdot": TIMES, "ast": TIMES, "le": LESS | EQUAL, "leq": LESS | EQUAL, "leqslant": LESS | EQUAL,
    "ge": GREATER | EQUAL, "geq": GREATER | EQUAL, "geqslant": GREATER | EQUAL, "lt": LESS, "gt": GREATER,
    "ne": LESS | GREATER | EQUAL, "neq": LESS | GREATER | EQUAL, "pm": PLUS | MINUS, "mp": PLUS | MINUS,
    "to": MINUS | GREATER, "rightarrow": MINUS | GREATER, "longrightarrow": MINUS | GREATER,
    "mapsto": MINUS | GREATER, "Rightarrow": EQUAL | GREATER, "implies": EQUAL | GREATER,
}  # fmt: skip

_OPERATOR_CHARACTERS = {
    "+": PLUS, "-": MINUS, "−": MINUS, "–": MINUS, "‐": MINUS, "‑": MINUS, "×": TIMES, "·": TIMES, "⋅": TIMES,
    "∙": TIMES, "∗": TIMES, "*": TIMES, "=": EQUAL, "<": LESS, ">": GREATER, "≤": LESS | EQUAL, "⩽": LESS | EQUAL,
    "≥": GREATER | EQUAL, "⩾": GREATER | EQUAL, "≠": LESS | GREATER | EQUAL, "±": PLUS | MINUS, "∓": PLUS | MINUS,
    "→": MINUS | GREATER, "↦": MINUS | GREATER, "⇒": EQUAL | GREATER, "%": PERCENT, "#": HASH,
}  # fmt: skip

# Layout, fonts and signs without a letter. What is in no list is a word, as `\gcd` and an unknown macro are.
_DROPPED_COMMANDS = """
    left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle textstyle scriptstyle
    limits nolimits quad qquad text textbf textit textrm textsf texttt textnormal textsc emph underline mbox hbox
    mathrm mathbf mathit mathsf mathtt mathbb mathcal mathfrak mathscr mathop mathbin mathrel mathord operatorname
    boldsymbol bm bf it rm sf tt cal pmb overline bar vec hat widehat tilde widetilde dot ddot overrightarrow
    overleftarrow underbrace overbrace stackrel overset underset substack boxed cancel phantom hphantom vphantom
    sqrt root of over sum prod int iint iiint oint infty partial nabla in notin ni subset subseteq supset supseteq cup
    cap bigcup bigcap setminus emptyset varnothing forall exists neg lnot land lor wedge vee oplus otimes circ bullet
    star div mid nmid parallel perp angle measuredangle triangle square cong equiv approx sim simeq propto prime degree
    ldots cdots vdots ddots dots dotsc dotsb lfloor rfloor lceil rceil langle rangle lbrace rbrace lbrack rbrack vert
    lvert rvert Vert lVert rVert lgroup rgroup not iff leftrightarrow Leftrightarrow leftarrow Leftarrow uparrow
    downarrow rightleftharpoons xrightarrow therefore because hline hfill noindent par item centering newline
    nonumber notag allowbreak break smallskip medskip bigskip ll gg prec succ models vdash colon
"""
_DROPPED_ARGUMENTS = "begin end hspace vspace label tag ref eqref cite color textcolor includegraphics"
_FRACTIONS = "frac dfrac tfrac cfrac binom dbinom tbinom genfrac"
_LETTERS = {"ell": "l", "imath": "i", "jmath": "j", "hbar": "h"}
_MODULI = "pmod bmod pod"

_WORD_TAGS = """a abbr b big code em font i img ins kbd mark math mi mn mo mrow q s samp small span strong sub sup
    tbody tfoot thead tt u var"""
_LINE_TAGS = "blockquote br center dd div dl dt h1 h2 h3 h4 h5 h6 hr li ol p pre table td th tr ul"


@dataclass(frozen=True)
class SignTables:
    """Arrays that the scanner reads; names are looked up by `hash_name` in open addressing."""

    kinds: NDArray[np.uint8]
    """Kind of each code point."""
    folded: NDArray[np.uint64]
    """Up to three code points that it stands for, 21 bits each, the first lowest."""
    operators: NDArray[np.uint16]
    commands: tuple[NDArray[np.uint64], NDArray[np.int64]]
    """LaTeX: action in the low byte, its argument above."""
    entities: tuple[NDArray[np.uint64], NDArray[np.int64]]
    """HTML: a code point; of those that stand for two, the first."""
    tags: tuple[NDArray[np.uint64], NDArray[np.int64]]
    """HTML: 1, or 2 for one that begins a line."""


def hash_name(name: str) -> int:
    """FNV-1a of a name's characters, never 0."""
    value = 0xCBF29CE484222325
    for character in name:
        value = ((value ^ ord(character)) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value or 1


@cache
def sign_tables() -> SignTables:
    """Made once a process."""
    kinds = np.zeros(_CODE_POINTS, np.uint8)
    folded = np.zeros(_CODE_POINTS, np.uint64)
    operators = np.zeros(_CODE_POINTS, np.uint16)
    for code_point in range(_CODE_POINTS):
        if not 0xD800 <= code_point < 0xE000:
            kinds[code_point], folded[code_point] = _character(chr(code_point))
    for character, mask in _OPERATOR_CHARACTERS.items():
        operators[ord(character)] = mask
    commands = dict.fromkeys(_DROPPED_COMMANDS.split(), DROP)
    commands |= dict.fromkeys(_DROPPED_ARGUMENTS.split(), DROP_ARGUMENT)
    commands |= dict.fromkeys(_FRACTIONS.split(), FRACTION)
    commands |= {name: OPERATOR | mask << ARGUMENT_SHIFT for name, mask in _OPERATOR_COMMANDS.items()}
    for name, character in _GREEK.items():
        # Capitals fold to small letters, as everywhere.
        commands[name] = commands[name.capitalize()] = CHARACTER | ord(character) << ARGUMENT_SHIFT
    commands |= {name: CHARACTER | ord(letter) << ARGUMENT_SHIFT for name, letter in _LETTERS.items()}
    commands |= dict.fromkeys(_MODULI.split(), MODULUS)
    entities = {name[:-1]: ord(text[0]) for name, text in html.entities.html5.items() if name[-1] == ";"}
    tags = dict.fromkeys(_WORD_TAGS.split(), 1) | dict.fromkeys(_LINE_TAGS.split(), 2)
    return SignTables(kinds, folded, operators, _by_name(commands), _by_name(entities), _by_name(tags))


def _character(character: str) -> tuple[int, int]:
    """Kind and folded code points."""
    category = unicodedata.category(character)
    if category == "Cf" or category in _MARKS:
        return JOINER, 0
    plain = unicodedata.normalize("NFKC", character).lower()
    if not "\uac00" <= plain[:1] <= "\ud7a3":
        plain = "".join(c for c in unicodedata.normalize("NFKD", plain) if unicodedata.category(c) not in _MARKS)
    plain = plain.replace("ς", "σ").replace("ϕ", "φ").replace("ɛ", "ε")
    if not plain or not plain[0].isalnum():
        return SEPARATOR, 0
    if plain[0].isdigit():
        raised = category != "Nd"
        digits = "".join(str(unicodedata.digit(c)) for c in plain[:3] if unicodedata.digit(c, None) is not None)
        return (RAISED_DIGIT if raised else DIGIT), _packed(digits)
    if not plain.isalnum():
        return SEPARATOR, 0
    name = unicodedata.name(plain[0], "")
    alone = name.startswith(("CJK", "HIRAGANA", "KATAKANA", "GREEK", "HANGUL SYLLABLE"))
    return (ALONE if alone and len(plain) == 1 else LETTER), _packed(plain)


def _packed(text: str) -> int:
    return sum(ord(character) << 21 * place for place, character in enumerate(text[:3]))


def _by_name(values: dict[str, int]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """An open-addressing table four times as large as its names."""
    size = 1 << (4 * len(values)).bit_length()
    keys, found = np.zeros(size, np.uint64), np.zeros(size, np.int64)
    for name, value in values.items():
        key = hash_name(name)
        slot = key & (size - 1)
        while keys[slot]:
            slot = (slot + 1) & (size - 1)
        keys[slot] = key
        found[slot] = value
    return keys, found

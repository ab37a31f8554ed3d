"""Characters of mathematics and what LaTeX calls them."""

from __future__ import annotations

import re
import unicodedata

from mimo_data.pdf.fonts import Font

RELATIONS = frozenset("=<>≤≥⩽⩾≪≫≈≡∼≃≅∝≺≻⪯⪰∈∉∋⊂⊆⊃⊇⊢⊨→←↔⇒⇐⇔⟹⟺⟶↦≠≐≜≔∣")
OPERATORS = frozenset("+-−±∓×÷·⋅∗*/∘◦∪∩∧∨⊕⊗⊖∖⋆†‡")
BIG = frozenset("∑∏∐∫∬∮⋃⋂⨆⨁⨂⨀⨄⋀⋁")
LIMITS = BIG - frozenset("∫∬∮")
OPEN = {"(": "(", "[": "[", "{": r"\{", "⟨": r"\langle", "⌊": r"\lfloor", "⌈": r"\lceil", "〈": r"\langle"}
CLOSE = {")": ")", "]": "]", "}": r"\}", "⟩": r"\rangle", "⌋": r"\rfloor", "⌉": r"\rceil", "〉": r"\rangle"}
BARS = {"|": "|", "∣": "|", "⏐": "|", "‖": r"\|", "∥": r"\|"}
ACCENTS = {
    "¯": r"\bar", "ˉ": r"\bar", "ˆ": r"\hat", "˜": r"\tilde", "˙": r"\dot", "¨": r"\ddot", "ˇ": r"\check",
    "˘": r"\breve", "´": r"\acute", "ˊ": r"\acute", "`": r"\grave", "˚": r"\mathring", "⃗": r"\vec",
    "\u0302": r"\hat", "\u0303": r"\tilde", "\u0304": r"\bar", "\u0305": r"\overline", "\u0307": r"\dot",
    "\u0308": r"\ddot",
}  # fmt: skip
WIDE = {r"\hat": r"\widehat", r"\tilde": r"\widetilde", r"\bar": r"\overline"}
FUNCTIONS = frozenset([
    "arccos", "arcsin", "arctan", "arg", "cos", "cosh", "cot", "coth", "csc", "deg", "det", "dim", "exp", "gcd",
    "hom", "inf", "ker", "lg", "lim", "liminf", "limsup", "ln", "log", "max", "min", "sec", "sin", "sinh", "sup",
    "tan", "tanh", "Pr",
])  # fmt: skip
UNDER = frozenset(["lim", "liminf", "limsup", "max", "min", "sup", "inf", "det", "gcd", "Pr", "argmax", "argmin"])
PIECES = {
    **dict.fromkeys("⎛⎜⎝", "("), **dict.fromkeys("⎞⎟⎠", ")"), **dict.fromkeys("⎡⎢⎣", "["), **dict.fromkeys("⎤⎥⎦", "]"),
    **dict.fromkeys("⎧⎨⎩⎪", "{"), **dict.fromkeys("⎫⎬⎭", "}"),
}  # fmt: skip

_NAMES = {
    "−": "-", "–": "-", "∗": "*", "…": r"\ldots", "⋯": r"\cdots", "⋮": r"\vdots", "⋱": r"\ddots",
    "⋅": r"\cdot", "·": r"\cdot", "×": r"\times", "÷": r"\div", "±": r"\pm", "∓": r"\mp", "∘": r"\circ",
    "◦": r"\circ", "°": r"^\circ", "≠": r"\neq", "≤": r"\leq", "≥": r"\geq", "⩽": r"\leqslant", "⩾": r"\geqslant",
    "≪": r"\ll", "≫": r"\gg", "≈": r"\approx", "≡": r"\equiv", "∼": r"\sim", "≃": r"\simeq", "≅": r"\cong",
    "∝": r"\propto", "≺": r"\prec", "≻": r"\succ", "⪯": r"\preceq", "⪰": r"\succeq", "∈": r"\in", "∉": r"\notin",
    "∋": r"\ni", "⊂": r"\subset", "⊆": r"\subseteq", "⊃": r"\supset", "⊇": r"\supseteq", "∪": r"\cup",
    "∩": r"\cap", "∖": r"\setminus", "∅": r"\emptyset", "∀": r"\forall", "∃": r"\exists", "¬": r"\neg",
    "∧": r"\wedge", "∨": r"\vee", "⊕": r"\oplus", "⊗": r"\otimes", "⊖": r"\ominus", "⊙": r"\odot", "⊥": r"\perp",
    "∠": r"\angle", "△": r"\triangle", "∴": r"\therefore", "⊢": r"\vdash", "⊨": r"\models", "≐": r"\doteq",
    "→": r"\to", "←": r"\leftarrow", "↔": r"\leftrightarrow", "⇒": r"\Rightarrow", "⇐": r"\Leftarrow",
    "⇔": r"\Leftrightarrow", "⟹": r"\implies", "⟺": r"\iff", "⟶": r"\longrightarrow", "↦": r"\mapsto",
    "↑": r"\uparrow", "↓": r"\downarrow", "∑": r"\sum", "∏": r"\prod", "∐": r"\coprod", "∫": r"\int",
    "∬": r"\iint", "∮": r"\oint", "⋃": r"\bigcup", "⋂": r"\bigcap", "⨆": r"\bigsqcup", "⨁": r"\bigoplus",
    "⨂": r"\bigotimes", "⨀": r"\bigodot", "⨄": r"\biguplus", "⋀": r"\bigwedge", "⋁": r"\bigvee",
    "∂": r"\partial", "∇": r"\nabla", "∞": r"\infty", "ℏ": r"\hbar", "ħ": r"\hbar", "ℓ": r"\ell", "ℜ": r"\Re",
    "ℑ": r"\Im", "ℵ": r"\aleph", "√": r"\surd", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "_": r"\_",
    "ℝ": r"\mathbb{R}", "ℂ": r"\mathbb{C}", "ℕ": r"\mathbb{N}", "ℤ": r"\mathbb{Z}", "ℚ": r"\mathbb{Q}",
    "ϕ": r"\phi", "φ": r"\varphi", "ϵ": r"\epsilon", "ε": r"\varepsilon", "ϑ": r"\vartheta", "ϖ": r"\varpi",
    "ϱ": r"\varrho", "ς": r"\varsigma", "µ": r"\mu", "∆": r"\Delta", "Ω": r"\Omega", "†": r"\dagger",
    "‡": r"\ddagger", "⋆": r"\star", "★": r"\star", "•": r"\bullet", "♯": r"\sharp", "♭": r"\flat", "′": "'",
    "\u2126": r"\Omega", "″": "''", "ı": r"\imath", "ȷ": r"\jmath", "ﬁ": "fi", "ﬂ": "fl",
    "\\": r"\backslash", "§": r"\S", "▷": r"\triangleright",
    "◁": r"\triangleleft", "□": r"\square", "■": r"\blacksquare", "⟵": r"\longleftarrow", "≜": r"\triangleq",
    "~": r"\sim", "^": r"\wedge", "⏞": r"\overbrace", "⏟": r"\underbrace", "⎷": r"\surd",
    **OPEN, **CLOSE, **BARS,
}  # fmt: skip
_NAMES |= {
    unicodedata.lookup(f"GREEK {case} LETTER {name.upper().replace('LAMBDA', 'LAMDA')}"): "\\"
    + (name if case == "SMALL" else name.capitalize())
    for case, names in (
        ("SMALL", "alpha beta gamma delta zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
                  "upsilon chi psi omega"),
        ("CAPITAL", "gamma delta theta lambda xi pi sigma upsilon phi psi omega"),
    )
    for name in names.split()
}  # fmt: skip
# What only mathematics writes, whatever the font; letters of living alphabets are not among it.
MATHEMATICAL = frozenset(
    "−≠≤≥⩽⩾≪≫≈≡∼≃≅∝≺≻⪯⪰∈∉∋⊂⊆⊃⊇∪∩∖∅∀∃¬∧∨⊕⊗⊖⊙⊥∴⊢⊨→←↔⇒⇐⇔⟹⟺⟶↦∑∏∐∫∬∮⋃⋂∂∇∞ℏℓℜℑℵ√ℝℂℕℤℚ±∓×÷⋅∗∘◦′″∆⟨⟩⌊⌋⌈⌉ϵϕϑϱ"
)
# Computer Modern calls the straight phi "phi" and the curly one "phi1", the other way round than Unicode.
_SWAPPED = {"φ": r"\phi", "ϕ": r"\varphi"}
_VARIANTS = (
    ("DOUBLE-STRUCK", r"\mathbb"), ("FRAKTUR", r"\mathfrak"), ("SCRIPT", r"\mathcal"), ("MONOSPACE", r"\mathtt"),
    ("SANS-SERIF", r"\mathsf"), ("BOLD ITALIC", r"\boldsymbol"), ("BOLD", r"\mathbf"),
)  # fmt: skip
_WORD_END = re.compile(r"\\[A-Za-z]+$")


def latex_of(text: str, font: Font) -> str:
    """LaTeX of one character in its font."""
    if len(text) == 1 and ord(text) >= 0x1D400 and unicodedata.name(text, "").startswith("MATHEMATICAL"):
        name = unicodedata.name(text)
        plain = unicodedata.normalize("NFKC", text)
        variant = next((command for word, command in _VARIANTS if word in name), "")
        latex = _NAMES.get(plain, plain)
        return f"{variant}{{{latex}}}" if variant else latex
    latex = _NAMES.get(text, text)
    if font.style == "italic" and text in _SWAPPED:
        return _SWAPPED[text]
    if text.isupper() and text.isascii():
        family = {"symbol": r"\mathcal", "blackboard": r"\mathbb", "script": r"\mathscr", "fraktur": r"\mathfrak"}
        if font.style in family:
            return f"{family[font.style]}{{{latex}}}"
    if font.style == "fraktur" and text.isalpha():
        return rf"\mathfrak{{{latex}}}"
    if font.bold and text.isalpha():
        return rf"\{'boldsymbol' if font.italic or font.is_math or not text.isascii() else 'mathbf'}{{{latex}}}"
    return latex


def is_mathematical(text: str) -> bool:
    """Whether a character stands in formulas only, in any font."""
    return text in MATHEMATICAL or "\U0001d400" <= text <= "\U0001d7ff"


def join(parts: list[str]) -> str:
    """Parts side by side, with a space where a command would swallow the next letter."""
    text = ""
    for part in parts:
        if not part:
            continue
        if text and part[0].isalpha() and _WORD_END.search(text):
            text += " "
        text += part
    return text


def braced(latex: str) -> str:
    """As the argument of a script: bare when it is one character or one command."""
    return latex if len(latex) == 1 or re.fullmatch(r"\\[A-Za-z]+", latex) else f"{{{latex}}}"

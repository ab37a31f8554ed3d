"""Unicode's mathematics in LaTeX's words, for formulas that pages and PDF files write in it."""

from __future__ import annotations

import re
import unicodedata

_TABLE = r"""
− -   ∗ *   ′ '   ″ ''   ‴ '''   … \ldots   ⋯ \cdots   ⋮ \vdots   ⋱ \ddots   ⋅ \cdot   · \cdot   × \times   ÷ \div
± \pm   ∓ \mp   ∘ \circ   • \bullet   ∙ \bullet   ⋆ \star   ★ \star   ⁄ /   ∕ /   ∶ :   ≔ :=   ⊞ \boxplus
⊠ \boxtimes   ≠ \neq
≤ \leq   ≥ \geq   ⩽ \leqslant   ⩾ \geqslant   ≪ \ll   ≫ \gg   ≈ \approx   ≡ \equiv   ≢ \not\equiv   ∼ \sim   ≃ \simeq
≅ \cong   ≍ \asymp   ≐ \doteq   ≜ \triangleq   ∝ \propto   ≺ \prec   ≻ \succ   ⪯ \preceq   ⪰ \succeq   ≲ \lesssim
≳ \gtrsim   ≮ \not<   ≯ \not>   ≰ \nleq   ≱ \ngeq   ≁ \nsim   ≉ \not\approx   ∤ \nmid   ∦ \nparallel   ∈ \in
∉ \notin   ∋ \ni   ⊂ \subset   ⊆ \subseteq   ⊃ \supset   ⊇ \supseteq   ⊊ \subsetneq   ⊋ \supsetneq   ⊄ \not\subset
∪ \cup   ∩ \cap   ∖ \setminus   ∅ \emptyset   ⊎ \uplus   ⊔ \sqcup   ⊓ \sqcap   ∀ \forall   ∃ \exists   ∄ \nexists
¬ \neg   ∧ \wedge   ∨ \vee   ⊕ \oplus   ⊖ \ominus   ⊗ \otimes   ⊘ \oslash   ⊙ \odot   ⊺ \intercal
⊢ \vdash   ⊣ \dashv   ⊨ \models
⊤ \top   ⊥ \perp   ∥ \parallel   ∣ \mid   ∠ \angle   ∡ \measuredangle   △ \triangle   ▵ \triangle   ▽ \triangledown
□ \square   ◻ \square   ■ \blacksquare   ◊ \lozenge   ∴ \therefore   ∵ \because   → \to   ← \leftarrow
↔ \leftrightarrow   ⇒ \Rightarrow   ⇐ \Leftarrow   ⇔ \Leftrightarrow   ⟹ \implies   ⟸ \impliedby   ⟺ \iff
⟶ \longrightarrow   ⟵ \longleftarrow   ⟷ \longleftrightarrow   ↦ \mapsto   ⟼ \longmapsto   ↑ \uparrow   ↓ \downarrow
↕ \updownarrow   ⇑ \Uparrow   ⇓ \Downarrow   ↗ \nearrow   ↘ \searrow   ↙ \swarrow   ↖ \nwarrow   ↪ \hookrightarrow
↩ \hookleftarrow   ↠ \twoheadrightarrow   ↣ \rightarrowtail   ⇀ \rightharpoonup   ⇁ \rightharpoondown
⇌ \rightleftharpoons   ⇄ \rightleftarrows   ⇝ \rightsquigarrow   ↝ \leadsto   ∑ \sum   ∏ \prod   ∐ \coprod   ∫ \int
∬ \iint   ∭ \iiint   ∮ \oint   ⋃ \bigcup   ⋂ \bigcap   ⋁ \bigvee   ⋀ \bigwedge   ⨁ \bigoplus   ⨂ \bigotimes
⨆ \bigsqcup   ⨄ \biguplus   ∂ \partial   ∇ \nabla   ∞ \infty   ℏ \hbar   ℓ \ell   ℜ \Re   ℑ \Im   ℵ \aleph   ℶ \beth
℘ \wp   √ \surd   ∛ \sqrt[3]{}   ⟨ \langle   ⟩ \rangle   〈 \langle   〉 \rangle   〈 \langle   〉 \rangle   ⌊ \lfloor
⌋ \rfloor   ⌈ \lceil   ⌉ \rceil   ⟦ \llbracket   ⟧ \rrbracket   ‖ \|   { \{   } \}   % \%   & \&   # \#   $ \$   _ \_
† \dagger   ‡ \ddagger   § \S   ℝ \mathbb{R}   ℂ \mathbb{C}   ℕ \mathbb{N}   ℤ \mathbb{Z}   ℚ \mathbb{Q}
ℙ \mathbb{P}   ℍ \mathbb{H}   𝔼 \mathbb{E}   ϕ \phi   φ \varphi   ϵ \epsilon   ε \varepsilon   ϑ \vartheta   ϖ \varpi
ϱ \varrho   ς \varsigma   ϰ \varkappa   ∆ \Delta   Ω \Omega   µ \mu   ı \imath   ȷ \jmath   ° ^{\circ}   ♯ \sharp
♭ \flat   ♮ \natural   ♠ \spadesuit   ♡ \heartsuit   ♢ \diamondsuit   ♣ \clubsuit   ⋄ \diamond   ⋉ \ltimes   ⋊ \rtimes
≀ \wr   ⨯ \times   ⊲ \triangleleft   ⊳ \triangleright   ⊴ \trianglelefteq   ⊵ \trianglerighteq   ∎ \blacksquare
✓ \checkmark   ⅓ \frac{1}{3}   ½ \frac{1}{2}   ¼ \frac{1}{4}   ℒ \mathcal{L}   ℱ \mathcal{F}   ℋ \mathcal{H}
ℳ \mathcal{M}   ℛ \mathcal{R}   ℬ \mathcal{B}   ℰ \mathcal{E}   ℐ \mathcal{I}
"""
_words = _TABLE.split()
SYMBOLS: dict[str, str] = dict(zip(_words[::2], _words[1::2], strict=True))
"""A character that one sees, and its LaTeX."""

SYMBOLS |= {
    unicodedata.lookup(f"GREEK {case} LETTER {name.upper().replace('LAMBDA', 'LAMDA')}"): "\\"
    + (name if case == "SMALL" else name.capitalize())
    for case, names in (
        ("SMALL", "alpha beta gamma delta zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
                  "upsilon chi psi omega"),
        ("CAPITAL", "gamma delta theta lambda xi pi sigma upsilon phi psi omega"),
    )
    for name in names.split()
}  # fmt: skip
_BLANKS = {
    "\N{FUNCTION APPLICATION}": "", "\N{INVISIBLE TIMES}": "", "\N{INVISIBLE SEPARATOR}": "", "\N{INVISIBLE PLUS}": "",
    "\N{ZERO WIDTH SPACE}": "", "\N{WORD JOINER}": "", "\N{VARIATION SELECTOR-1}": "", "\N{NO-BREAK SPACE}": " ",
}  # fmt: skip

FUNCTIONS = frozenset([
    "arccos", "arcsin", "arctan", "arg", "cos", "cosh", "cot", "coth", "csc", "deg", "det", "dim", "exp", "gcd",
    "hom", "inf", "ker", "lg", "lim", "liminf", "limsup", "ln", "log", "max", "min", "sec", "sin", "sinh", "sup",
    "tan", "tanh", "Pr",
])  # fmt: skip
"""Names that LaTeX has a command for."""

_STYLES = (
    ("MATHEMATICAL BOLD ITALIC", r"\boldsymbol"), ("MATHEMATICAL BOLD", r"\mathbf"),
    ("MATHEMATICAL DOUBLE-STRUCK", r"\mathbb"), ("MATHEMATICAL SCRIPT", r"\mathcal"),
    ("MATHEMATICAL FRAKTUR", r"\mathfrak"), ("MATHEMATICAL SANS-SERIF", r"\mathsf"),
    ("MATHEMATICAL MONOSPACE", r"\mathtt"),
)  # fmt: skip


def plain_letter(letter: str) -> tuple[str, str]:
    """The usual letter behind one of Unicode's mathematical alphabets, and the LaTeX command of its style."""
    if letter < "\u2100":
        return letter, ""
    name = unicodedata.name(letter, "")
    if name == "PLANCK CONSTANT":
        return "h", ""
    if not name.startswith("MATHEMATICAL"):
        return letter, ""
    style = next((command for prefix, command in _STYLES if name.startswith(prefix)), "")
    # One step only: the next would make one letter of phi's two forms.
    decomposition = unicodedata.decomposition(letter).removeprefix("<font> ")
    return chr(int(decomposition, 16)) if decomposition else letter, style


def join(parts: list[str]) -> str:
    """Parts side by side, with a space where a command would swallow the next letter."""
    pieces: list[str] = []
    last = ""
    for part in parts:
        if not part:
            continue
        if last and part[0].isalpha() and _ends_in_command(last):
            pieces.append(" ")
        pieces.append(part)
        last = part
    return "".join(pieces)


def _ends_in_command(latex: str) -> bool:
    position = len(latex)
    while position and latex[position - 1].isalpha() and latex[position - 1].isascii():
        position -= 1
    return 0 < position < len(latex) and latex[position - 1] == "\\"


def symbols_to_latex(text: str) -> str:
    """Text whose characters are written in LaTeX's words, letter by letter."""
    parts = []
    for letter in unicodedata.normalize("NFC", text):
        plain, style = plain_letter(letter)
        latex = _BLANKS.get(plain, SYMBOLS.get(plain, plain))
        parts.append(f"{style}{{{latex}}}" if style else latex)
    return join(parts)


def is_one_group(latex: str) -> bool:
    """Whether the first brace closes with the last."""
    level = 0
    for brace in re.finditer(r"\\.|[{}]", latex, re.DOTALL):
        level += (brace[0] == "{") - (brace[0] == "}")
        if level == 0:
            return brace.end() == len(latex)
    return False


def without_split(latex: str) -> str:
    r"""Without the `split` that Sphinx puts around a display with a `\\`, where an environment in it has all rows."""
    start, end = r"\begin{split}", r"\end{split}"
    if not (latex.startswith(start) and latex.endswith(end)):
        return latex
    inner = latex[len(start) : -len(end)].strip()
    level = 0
    for token in re.finditer(r"\\(begin|end)\b|\\.|[{}&]", inner, re.DOTALL):
        level += (token[0] == "{" or token[1] == "begin") - (token[0] == "}" or token[1] == "end")
        if level < 0 or (level == 0 and token[0] in (r"\\", "&")):
            return latex
    return inner

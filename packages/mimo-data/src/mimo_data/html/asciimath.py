"""AsciiMath to LaTeX: the notation between back-ticks that MathJax and ASCIIMathML.js draw.

The grammar is AsciiMath's own: an expression is a row of simple ones with scripts, `/` between two makes a fraction
and takes off their brackets, brackets around rows of brackets are a matrix. A base is braced, because a script
belongs to the whole simple expression before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mimo_data.latex import FUNCTIONS, join

_MAX_DEPTH = 60
_MAX_SCRIPTS = 4

_SYMBOLS = r"""
+ +   - -   * \cdot   ** \ast   *** \star   // /   \\ \setminus   xx \times   -: \div   @ \circ   o+ \oplus
ox \otimes   o. \odot   sum \sum   prod \prod   ^^ \wedge   ^^^ \bigwedge   vv \vee   vvv \bigvee   nn \cap
nnn \bigcap   uu \cup   uuu \bigcup   = =   != \ne   < <   > >   <= \le   >= \ge   lt <   gt >   le \le   ge \ge
-< \prec   >- \succ   -<= \preceq   >-= \succeq   in \in   !in \notin   sub \subset   sup \supset   sube \subseteq
supe \supseteq   -= \equiv   ~= \cong   ~~ \approx   prop \propto   not \neg   => \implies   <=> \iff   AA \forall
EE \exists   _|_ \bot   TT \top   |-- \vdash   |== \models   int \int   oint \oint   del \partial   grad \nabla
+- \pm   -+ \mp   O/ \emptyset   oo \infty   aleph \aleph   ... \ldots   :. \therefore   :' \because   /_ \angle
|_ \lfloor   _| \rfloor   |__ \lfloor   __| \rfloor   |~ \lceil
~| \rceil   uarr \uparrow   darr \downarrow   rarr \rightarrow   -> \to
>-> \rightarrowtail   ->> \twoheadrightarrow   |-> \mapsto   larr \leftarrow   harr \leftrightarrow   rArr \Rightarrow
lArr \Leftarrow   hArr \Leftrightarrow   CC \mathbb{C}   NN \mathbb{N}   QQ \mathbb{Q}   RR \mathbb{R}   ZZ \mathbb{Z}
lim \lim   Lim \operatorname{Lim}   quad \quad   qquad \qquad   cdots \cdots   ldots \ldots   vdots \vdots
ddots \ddots   diamond \diamond   square \square   if \text{if}   and \text{and}   or \text{or}   dim \dim   mod \bmod
lub \operatorname{lub}   glb \operatorname{glb}   lcm \operatorname{lcm}   times \times   div \div   cdot \cdot
circ \circ   ne \ne   pm \pm   infty \infty   to \to   implies \implies   iff \iff   forall \forall   exists \exists
subset \subset   supset \supset   subseteq \subseteq   cap \cap   cup \cup   emptyset \emptyset   approx \approx
equiv \equiv   propto \propto   setminus \setminus   therefore \therefore   partial \partial   nabla \nabla   dx dx
dy dy   dz dz   dt dt   epsi \epsilon   % \%   & \&   # \#
"""
_GREEK = (
    "alpha beta gamma Gamma delta Delta epsilon varepsilon zeta eta theta Theta vartheta iota kappa lambda Lambda mu "
    "nu xi Xi pi Pi rho sigma Sigma tau upsilon phi Phi varphi chi psi Psi omega Omega"
)
_UNARY = {
    "sqrt": r"\sqrt", "hat": r"\hat", "bar": r"\overline", "vec": r"\vec", "tilde": r"\tilde", "dot": r"\dot",
    "ddot": r"\ddot", "ul": r"\underline", "ubrace": r"\underbrace", "obrace": r"\overbrace", "cancel": r"\cancel",
    "bb": r"\mathbf", "bbb": r"\mathbb", "cc": r"\mathcal", "tt": r"\mathtt", "fr": r"\mathfrak", "sf": r"\mathsf",
    "underline": r"\underline", "overline": r"\overline", "mathbb": r"\mathbb", "mathbf": r"\mathbf",
    "mathcal": r"\mathcal",
}  # fmt: skip
_AROUND = {
    "abs": (r"\left|", r"\right|"),
    "norm": (r"\left\|", r"\right\|"),
    "floor": (r"\left\lfloor", r"\right\rfloor"),
    "ceil": (r"\left\lceil", r"\right\rceil"),
}
_BINARY = {"frac": r"\frac", "root": "root", "stackrel": r"\stackrel", "overset": r"\overset", "underset": r"\underset"}
_LEFT = {"(": "(", "[": "[", "{": r"\{", "(:": r"\langle", "{:": "", "langle": r"\langle", "<<": r"\langle"}
_RIGHT = {")": ")", "]": "]", "}": r"\}", ":)": r"\rangle", ":}": "", "rangle": r"\rangle", ">>": r"\rangle"}

_words = _SYMBOLS.split()
_CONSTANTS = dict(zip(_words[::2], _words[1::2], strict=True))
_CONSTANTS |= {name: f"\\{name}" for name in (*_GREEK.split(), *FUNCTIONS)}
_NAMES = {*_CONSTANTS, *_UNARY, *_AROUND, *_BINARY, *_LEFT, *_RIGHT, "_", "^", "/", "|", "text", "mbox"}
_TOKEN = re.compile(
    r'"([^"]*)"|(?:text|mbox)(?:\(([^)]*)\)|\{([^}]*)\}|\[([^\]]*)\])|\d+(?:\.\d+)?|\\ |'
    + "|".join(re.escape(name) for name in sorted(_NAMES, key=len, reverse=True))
    + r"|\S"
)
# The name of a colour, which says nothing.
_COLOUR = re.compile(r"(?<![A-Za-z])color[({\[][^)}\]]*[)}\]]")
# Braces around these would move their scripts from below to beside them.
_LARGE = frozenset(
    {r"\sum", r"\prod", r"\lim", r"\bigcup", r"\bigcap", r"\bigvee", r"\bigwedge", r"\int", r"\oint", r"\max", r"\min"}
)


def asciimath_to_latex(source: str) -> str:
    """LaTeX of an AsciiMath expression; empty when it holds nothing but spaces."""
    # A backslash before a name is LaTeX's habit and means nothing.
    tokens = [match for match in _TOKEN.finditer(_COLOUR.sub("", source)) if match[0] != "\\"]
    if all(token[0] == r"\ " for token in tokens):
        return ""
    return re.sub(r" {2,}", " ", _Parser(tokens).expression(0)).strip()


class _Parser:
    def __init__(self, tokens: list[re.Match[str]]) -> None:
        self._tokens = tokens
        self._position = 0

    def expression(self, depth: int, closing: str | None = None) -> str:
        """Everything up to the end, a closing bracket, or `closing`."""
        parts: list[str] = []
        while (token := self._peek()) is not None and token != closing and (depth == 0 or token not in _RIGHT):
            whole, bare = self._with_scripts(depth)
            if self._peek() == "/":
                self._position += 1
                below = self._signed(depth, self._with_scripts)
                parts.append(rf"\frac{{{bare}}}{{{below}}}")
            else:
                parts.append(whole)
        return join(parts)

    def _peek(self) -> str | None:
        return self._tokens[self._position][0] if self._position < len(self._tokens) else None

    def _with_scripts(self, depth: int) -> tuple[str, str]:
        """A simple expression with its scripts, and the same without its brackets if it has no scripts."""
        whole, bare = self._simple(depth)
        scripts: dict[str, str] = {}
        for _ in range(_MAX_SCRIPTS):
            if (sign := self._peek()) not in ("_", "^"):
                break
            self._position += 1
            script = self._signed(depth, self._simple)
            # A second power is the power's.
            scripts[sign] = f"{scripts[sign]}{sign}{{{script}}}" if sign in scripts else script
        if not scripts:
            return whole, bare
        scripted = whole if whole in _LARGE else f"{{{whole}}}"
        scripted += "".join(f"{sign}{{{scripts[sign]}}}" for sign in ("_", "^") if sign in scripts)
        return scripted, scripted

    def _signed(self, depth: int, read: Callable[[int], tuple[str, str]]) -> str:
        """What comes next without its brackets, a sign in front of it included: `x^-1`."""
        sign = ""
        if self._peek() in ("-", "+") and self._position + 1 < len(self._tokens):
            sign = self._tokens[self._position][0]
            self._position += 1
        return sign + (read(depth)[1] if self._peek() is not None else "")

    def _simple(self, depth: int) -> tuple[str, str]:
        match = self._tokens[self._position]
        token = match[0]
        self._position += 1
        quoted = next((group for group in match.groups() if group is not None), None)
        if quoted is not None:
            text = rf"\text{{{quoted}}}"
            return text, text
        if depth < _MAX_DEPTH:
            if token in _LEFT:
                return self._bracketed(token, depth)
            if token == "|":
                return self._bars(depth)
            if token in _UNARY and self._peek() is not None:
                latex = f"{_UNARY[token]}{{{self._simple(depth + 1)[1]}}}"
                return latex, latex
            if token in _AROUND and self._peek() is not None:
                left, right = _AROUND[token]
                latex = join([left, self._simple(depth + 1)[1], right])
                return latex, latex
            if token in _BINARY and self._peek() is not None:
                first = self._simple(depth + 1)[1]
                second = self._simple(depth + 1)[1] if self._peek() is not None else ""
                latex = (
                    rf"\sqrt[{first}]{{{second}}}" if token == "root" else f"{_BINARY[token]}{{{first}}}{{{second}}}"
                )
                return latex, latex
        latex = _CONSTANTS.get(token) or _LEFT.get(token) or _RIGHT.get(token) or token
        if latex in ("_", "^"):
            latex = ""
        return latex, latex

    def _bracketed(self, opening: str, depth: int) -> tuple[str, str]:
        start = self._position
        inner = self.expression(depth + 1)
        closing = self._peek()
        if closing is not None:
            self._position += 1
        rows = self._matrix(start, self._position - (closing is not None), depth)
        left, right = _LEFT[opening], _RIGHT.get(closing or "", "")
        if rows is not None:
            if left == r"\{" and not right:
                latex = rf"\begin{{cases}}{rows}\end{{cases}}"
            else:
                latex = rf"\left{left or '.'}\begin{{matrix}}{rows}\end{{matrix}}\right{right or '.'}"
            return latex, latex
        if not left and not right:
            return inner, inner
        if "\\frac" in inner or "\\begin" in inner or not left or not right:
            return join([rf"\left{left or '.'}", inner, rf"\right{right or '.'}"]), inner
        return join([left, inner, right]), inner

    def _bars(self, depth: int) -> tuple[str, str]:
        """`|…|`; a bar that no other closes stands for itself."""
        start = self._position
        if not any(token[0] == "|" for token in self._tokens[start : start + 200]):
            return "|", "|"
        inner = self.expression(depth + 1, "|")
        if self._peek() != "|":
            self._position = start
            return "|", "|"
        self._position += 1
        rows = self._matrix(start, self._position - 1, depth)
        if rows is not None:
            latex = rf"\begin{{vmatrix}}{rows}\end{{vmatrix}}"
            return latex, latex
        return join(["|", inner, "|"]), inner

    def _matrix(self, start: int, end: int, depth: int) -> str | None:
        """The rows of a matrix whose tokens stand from `start` to `end`, or None when it is none."""
        rows = _split(self._tokens[start:end])
        if len(rows) < 2 and not (
            len(rows) == 1 and rows[0] and rows[0][0][0] in ("(", "[") and len(_split(rows[0][1:-1])) > 1
        ):
            return None
        cells = []
        for row in rows:
            if len(row) < 2 or (row[0][0], row[-1][0]) not in (("(", ")"), ("[", "]")):
                return None
            if not _is_one_bracket(row):
                return None
            cells.append(_split(row[1:-1]))
        if len({len(row) for row in cells}) != 1:
            return None
        return r" \\ ".join(
            " & ".join(_Parser(cell).expression(max(1, depth + 1)) if depth < _MAX_DEPTH else "" for cell in row)
            for row in cells
        )


def _split(tokens: list[re.Match[str]]) -> list[list[re.Match[str]]]:
    """Tokens between the commas that no bracket holds."""
    rows: list[list[re.Match[str]]] = [[]]
    level = 0
    for token in tokens:
        name = token[0]
        level += (name in _LEFT) - (name in _RIGHT)
        if name == "," and level == 0:
            rows.append([])
        else:
            rows[-1].append(token)
    return rows


def _is_one_bracket(tokens: list[re.Match[str]]) -> bool:
    """Whether the first bracket closes with the last token."""
    level = 0
    for number, token in enumerate(tokens):
        level += (token[0] in _LEFT) - (token[0] in _RIGHT)
        if level == 0:
            return number == len(tokens) - 1
    return False

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import html

from mimo_data.html.mathml import mathml_to_latex


def latex_of(mathml: str) -> str:
    parser = html.HTMLParser(huge_tree=True)
    return mathml_to_latex(html.fragment_fromstring(f"<math>{mathml}</math>", parser=parser))


def mo(text: str) -> str:
    return f"<mo>{text}</mo>"


X, Y, ONE, TWO = "<mi>x</mi>", "<mi>y</mi>", "<mn>1</mn>", "<mn>2</mn>"
ROWS = f"<mtr><mtd>{X}</mtd><mtd>{ONE}</mtd></mtr><mtr><mtd>{Y}</mtd><mtd>{TWO}</mtd></mtr>"
TABLE = f"<mtable>{ROWS}</mtable>"


@pytest.mark.parametrize(
    ("mathml", "latex"),
    [
        # rows, tokens
        ("<mi>α</mi><mi>x</mi><mo>≤</mo><mi>β</mi>", r"\alpha x\leq\beta"),
        ("<mrow><mi>x</mi><mo>&#x2062;</mo><mi>y</mi></mrow>", "xy"),
        ("<mn>1</mn><mo>&minus;</mo><mi>x</mi>", "1-x"),
        ("<mi>sin</mi><mi>x</mi>", r"\sin x"),
        ("<mi mathvariant='double-struck'>R</mi>", r"\mathbb{R}"),
        ("<mi>𝐯</mi><mo>∈</mo><mi>ℝ</mi>", r"\mathbf{v}\in\mathbb{R}"),
        ("<mi mathvariant='bold'>v</mi>", r"\mathbf{v}"),
        ("<mtext>if </mtext><mi>x</mi>", r"\text{if }x"),
        ("<mtext>50% of $</mtext>", r"\text{50\% of \$}"),
        (f"{X}<mspace width='1em'/>{Y}", r"x\quad y"),
        (f"{X}<mphantom>{Y}</mphantom>", "x"),
        (f"<mstyle displaystyle='true'>{X}</mstyle>", "x"),
        (f"<mstyle mathvariant='bold'><mrow>{X}{Y}</mrow></mstyle>", r"\mathbf{xy}"),
        (f"<mn>1</mn>{mo('if')}{X}", r"1\text{ if }x"),
        (f"{X}{mo('≡')}<mn>3</mn><mspace width='1em'/>{mo('(')}<mi>mod</mi><mspace width='0.3em'/><mn>7</mn>{mo(')')}",
         r"x\equiv3\pmod{7}"),
        (f"{X}{mo('mod')}{Y}", r"x\bmod y"),
        (f"<mi>rank</mi><mo>&#x2061;</mo>{X}", r"\operatorname{rank}x"),
        (f"<msub><mi>ord</mi><mi>n</mi></msub><mo>&#x2061;</mo>{X}", r"\operatorname{ord}_nx"),
        ("<mi>group</mi>", "group"),
        ("".join(f"<mi mathvariant='normal'>{letter}</mi>" for letter in "gcd"), r"\gcd"),
        ("".join(f"<mi mathvariant='monospace'>{letter}</mi>" for letter in "low"), r"\mathtt{low}"),
        (f"<mi mathvariant='normal'>d</mi>{X}", r"\mathrm{d}x"),
        ("<mi>𝜷</mi><mi>ℎ</mi><mi>𝜙</mi><mi>𝜑</mi>", r"\boldsymbol{\beta}h\phi\varphi"),
        (f"{X}{mo('≡&#x338;')}{Y}", r"x\not\equiv y"),
        (f"<mi mathvariant='normal'>∣</mi>{X}<mi mathvariant='normal'>∣</mi>{mo('∣')}{Y}", r"|x|\mid y"),
        ("<mo fence='true'>∥</mo><mi>v</mi><mo fence='true'>∥</mo>", r"\|v\|"),
        # fractions, roots
        (f"<mfrac>{ONE}{X}</mfrac>", r"\frac{1}{x}"),
        (f"{mo('(')}<mfrac linethickness='0'>{X}{Y}</mfrac>{mo(')')}", r"\binom{x}{y}"),
        (f"<mrow>{mo('(')}</mrow><mfrac linethickness='0'>{X}{Y}</mfrac><mrow>{mo(')')}</mrow>", r"\binom{x}{y}"),
        (f"<mfrac linethickness='0pt'>{X}{Y}</mfrac>", r"{x \atop y}"),
        (f"<msqrt>{X}{mo('+')}{ONE}</msqrt>", r"\sqrt{x+1}"),
        (f"<mroot>{X}<mn>3</mn></mroot>", r"\sqrt[3]{x}"),
        # scripts
        (f"<msup><mrow>{mo('(')}{X}{mo('+')}{ONE}{mo(')')}</mrow>{TWO}</msup>", "(x+1)^2"),
        (f"<msup><mrow>{X}{mo('+')}{ONE}</mrow>{TWO}</msup>", "{x+1}^2"),
        (f"<msubsup>{X}<mi>i</mi>{TWO}</msubsup>", "x_i^2"),
        ("<msup><mi>f</mi><mo>′</mo></msup>", "f'"),
        (f"<mmultiscripts><mi>C</mi>{X}<none/><mprescripts/>{Y}<none/></mmultiscripts>", "{}_yC_x"),
        (f"<msup><mrow>{mo('[')}{X}{mo(']')}</mrow>{TWO}</msup>", "[x]^2"),
        (f"<msup><mrow>{mo('(')}{TABLE}{mo(')')}</mrow>{TWO}</msup>",
         r"\begin{pmatrix}x & 1 \\ y & 2\end{pmatrix}^2"),
        (f"<msub><mover>{X}<mo stretchy='false'>→</mo></mover><mi>k</mi></msub>", r"\vec{x}_k"),
        # under, over
        (
            f"<munderover>{mo('∑')}<mrow><mi>k</mi>{mo('=')}{ONE}</mrow><mi>n</mi></munderover><mi>k</mi>",
            r"\sum_{k=1}^nk",
        ),
        (f"<munder><mi>lim</mi><mrow>{X}{mo('→')}<mn>0</mn></mrow></munder>", r"\lim_{x\to0}"),
        (f"<mover>{X}{mo('¯')}</mover>", r"\bar{x}"),
        (f"<mover><mrow>{X}{Y}</mrow>{mo('^')}</mover>", r"\widehat{xy}"),
        (f"<mover accent='true'><mi mathvariant='bold'>v</mi>{mo('→')}</mover>", r"\vec{\mathbf{v}}"),
        (f"<munder>{X}{mo('_')}</munder>", r"\underline{x}"),
        (f"<munder><munder><mrow>{X}</mrow>{mo('⏟')}</munder><mi>n</mi></munder>", r"\underbrace{x}_n"),
        (f"<mover>{mo('=')}<mtext>def</mtext></mover>", r"\overset{\text{def}}{=}"),
        (f"<mover>{X}<mo accent='false'>¯</mo></mover>", r"\overline{x}"),
        (f"<mover><mrow>{X}{Y}</mrow><mo stretchy='false'>→</mo></mover>", r"\vec{xy}"),
        (f"<mover><mrow><munder>{X}{mo('⏟')}</munder>{Y}</mrow>{mo('⏞')}</mover>", r"\overbrace{\underbrace{x}y}"),
        (f"<mo><mover>{mo('=')}{mo('∗')}</mover></mo>", r"\overset{*}{=}"),
        (f"<munder><mrow><mi>lim</mi><mspace width='0.1em'/><mi>sup</mi></mrow>{X}</munder>", r"\limsup_x"),
        (f"<munder>{mo('∑')}<mtable><mtr><mtd>{X}</mtd></mtr><mtr><mtd>{Y}</mtd></mtr></mtable></munder>",
         r"\sum_{\substack{x \\ y}}"),
        # tables
        (f"{mo('{')}<mtable><mtr><mtd>{X}</mtd><mtd></mtd></mtr><mtr><mtd>{Y}</mtd><mtd>{TWO}</mtd></mtr></mtable>",
         r"\begin{cases}x \\ y & 2\end{cases}"),
        (f"{mo('(')}{TABLE}{mo(')')}", r"\begin{pmatrix}x & 1 \\ y & 2\end{pmatrix}"),
        (f"{mo('[')}<mrow>{TABLE}</mrow>{mo(']')}", r"\begin{bmatrix}x & 1 \\ y & 2\end{bmatrix}"),
        (f"{mo('|')}{TABLE}{mo('|')}", r"\begin{vmatrix}x & 1 \\ y & 2\end{vmatrix}"),
        (f"{mo('{')}{TABLE}", r"\begin{cases}x & 1 \\ y & 2\end{cases}"),
        (TABLE, r"\begin{matrix}x & 1 \\ y & 2\end{matrix}"),
        (f"<mtable columnalign='right left'>{ROWS}</mtable>", r"\begin{aligned}x & 1 \\ y & 2\end{aligned}"),
        (f"<mtable><mtr><mtd>{X}</mtd><mtd>{mo('=')}{ONE}</mtd></mtr><mtr><mtd></mtd><mtd>{mo('≤')}{TWO}</mtd></mtr></mtable>",
         r"\begin{aligned}x & =1 \\ & \leq2\end{aligned}"),
        (f"<mtable columnlines='solid'>{ROWS}</mtable>", r"\begin{array}{c|c}x & 1 \\ y & 2\end{array}"),
        (f"<mtable><mlabeledtr><mtd>(1)</mtd><mtd>{X}</mtd></mlabeledtr></mtable>", r"\begin{matrix}x\end{matrix}"),
        # fences, enclosures
        (f"<mfenced>{X}{Y}</mfenced>", r"\left(x,y\right)"),
        (f"<mfenced open='[' close=']' separators=';'>{X}{Y}</mfenced>", r"\left[x;y\right]"),
        (f"<mfenced open='{{' close=''>{TABLE}</mfenced>", r"\begin{cases}x & 1 \\ y & 2\end{cases}"),
        (f"<menclose notation='box'>{X}</menclose>", r"\boxed{x}"),
        (f"<menclose notation='updiagonalstrike'>{X}</menclose>", r"\cancel{x}"),
        (f"<semantics><mrow>{X}</mrow><annotation-xml>{Y}</annotation-xml></semantics>", "x"),
    ],
)  # fmt: skip
def test_mathml_becomes_latex(mathml, latex):
    assert latex_of(mathml) == latex


@pytest.mark.parametrize("depth", [200, 900])
def test_no_depth_of_nesting_is_too_much(depth):
    assert "x" in latex_of("<msup><mrow>" * depth + "<mi>x</mi>")


TAGS = "mrow mi mn mo mfrac msqrt mroot msub msup msubsup munderover mover mtable mtr mtd mfenced mtext".split()  # noqa: SIM905


@settings(max_examples=200)
@given(
    st.lists(
        st.one_of(st.sampled_from([f"<{tag}>" for tag in TAGS] + [f"</{tag}>" for tag in TAGS]), st.text("x(|{∑")),
        max_size=40,
    )
)
def test_any_mathml_gives_latex_and_no_error(pieces):
    latex = latex_of("".join(pieces))
    assert latex.count("{") - latex.count(r"\{") == latex.count("}") - latex.count(r"\}")

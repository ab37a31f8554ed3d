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
        # tables
        (f"{mo('(')}{TABLE}{mo(')')}", r"\begin{pmatrix}x & 1 \\ y & 2\end{pmatrix}"),
        (f"{mo('[')}<mrow>{TABLE}</mrow>{mo(']')}", r"\begin{bmatrix}x & 1 \\ y & 2\end{bmatrix}"),
        (f"{mo('|')}{TABLE}{mo('|')}", r"\begin{vmatrix}x & 1 \\ y & 2\end{vmatrix}"),
        (f"{mo('{')}{TABLE}", r"\begin{cases}x & 1 \\ y & 2\end{cases}"),
        (TABLE, r"\begin{matrix}x & 1 \\ y & 2\end{matrix}"),
        (f"<mtable columnalign='right left'>{ROWS}</mtable>", r"\begin{aligned}x & 1 \\ y & 2\end{aligned}"),
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


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(st.sampled_from([f"<{tag}>" for tag in TAGS] + [f"</{tag}>" for tag in TAGS]), st.text("x(|{∑")),
        max_size=40,
    )
)
def test_any_mathml_gives_latex_and_no_error(pieces):
    latex = latex_of("".join(pieces))
    assert latex.count("{") - latex.count(r"\{") == latex.count("}") - latex.count(r"\}")

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import html as lxml_html

from mimo_data import extract_html
from mimo_data.html.mathml import mathml_to_latex

FILLER = "<p>Some sentences of prose stand around the part that matters, so that the page has content.</p>"


def page(part: str) -> str:
    return extract_html(f"<html><body><article>{FILLER}{part}{FILLER}</article></body></html>")


def part_of(markdown: str) -> str:
    """What stands between the two filler paragraphs."""
    return markdown.split("\n\n", 1)[1].rsplit("\n\n", 1)[0]


MATHML = (
    "<math><semantics><msup><mi>x</mi><mn>2</mn></msup>"
    "<annotation encoding='application/x-tex'>x^2</annotation></semantics></math>"
)


@pytest.mark.parametrize(
    "markup",
    [
        "<script type='math/tex'>x^2</script>",
        "<span class='MathJax_Preview'>x2</span><span class='MathJax'><nobr>x2</nobr></span>"
        "<script type='math/tex'>x^2</script>",
        f"<span class='katex'><span class='katex-mathml'>{MATHML}</span><span class='katex-html'>x2</span></span>",
        f"<mjx-container><svg><path/></svg><mjx-assistive-mml>{MATHML}</mjx-assistive-mml></mjx-container>",
        "<mjx-container><mjx-math><mjx-msup><mjx-mi><mjx-c class='mjx-c1D465'></mjx-c></mjx-mi><mjx-script><mjx-mn>"
        "<mjx-c class='mjx-c32'></mjx-c></mjx-mn></mjx-script></mjx-msup></mjx-math></mjx-container>",
        MATHML,
        "<math alttext='x^2'><mi>x</mi></math>",
        "<math><msup><mi>x</mi><mn>2</mn></msup></math>",
        f"<span class='mwe-math-element'><span style='display: none'>{MATHML}</span><img alt='x^2' src='x.svg'></span>",
        "<img class='latex' alt='x^2' src='x.png'>",
        "<img src='https://latex.codecogs.com/svg.image?x%5E2'>",
        "<img src='https://s0.wp.com/latex.php?latex=x%5E2&amp;bg=ffffff' alt='x^2'>",
        "<span data-math='x^2'>x2</span>",
        "<span class='math inline'>x^2</span>",
        r"<span class='arithmatex'>\(x^2\)</span>",
        "<span class='math-container'>$x^2$</span>",
        r"\(x^2\)",
        "$x^2$",
        "[itex]x^2[/itex]",
        "$latex x^2$",
    ],
)
def test_each_rendering_of_a_formula_gives_it_once(markup):
    assert part_of(page(f"<p>Let {markup} be.</p>")) == "Let $x^2$ be."


@pytest.mark.parametrize(
    "markup",
    [
        "<script type='math/tex; mode=display'>x^2</script>",
        f"<span class='katex-display'><span class='katex'>{MATHML}</span></span>",
        MATHML.replace("<math>", "<math display='block'>"),
        r"<div class='arithmatex'>\[x^2\]</div>",
    ],
)
def test_display_formulas_stand_alone(markup):
    assert part_of(page(f"<div>{markup}</div>")) == "$$\nx^2\n$$"


def test_nothing_in_a_formula_is_escaped():
    latex = r"a_1 * b_2 < c^{*}_{[i]} \% \_ | x"
    assert part_of(page(f"<p>Let <script type='math/tex'>{latex}</script> be.</p>")) == f"Let ${latex}$ be."


def test_rows_of_a_raw_formula_keep_their_lines():
    markdown = page("<p>$$\n\\begin{cases} a &amp; b \\\\\nc &amp; d \\end{cases}\n$$</p>")
    assert "$$\n\\begin{cases} a & b \\\\\nc & d \\end{cases}\n$$" in markdown


def test_money_is_not_mathematics():
    assert (
        part_of(page("<p>It costs $5 and (not \\(that\\) much) $6.</p>")) == r"It costs $5 and (not \(that\) much) $6."
    )


def test_powers_and_indices_are_kept():
    assert part_of(page("<p>10<sup>10</sup>, H<sub>2</sub>O, e<sup>kx</sup>.</p>")) == "10¹⁰, H₂O, e^(kx)."


CODE = "def f(x):\n    if x:\n\n        return 1\n    return 2"


@pytest.mark.parametrize(
    "markup",
    [
        f"<pre><code class='language-python'>{CODE}</code></pre>",
        f"<pre class='brush: python'>{CODE}\n</pre>",
        f"<div class='highlight-python'><div class='highlight'><pre><span></span>{CODE}</pre></div></div>",
        "<pre data-language='python'><code>"
        + "\n".join(f"<span class='line'>{line}</span>" for line in CODE.split("\n"))
        + "</code></pre>",
        "<pre><code class='language-python'>"
        + "\n".join(f"<span class='lineno'>{n}</span>{line}" for n, line in enumerate(CODE.split("\n"), 1))
        + "</code></pre>",
        "<table class='highlighttable'><tr><td class='linenos'><pre>1\n2\n3\n4\n5</pre></td>"
        f"<td class='code'><div class='highlight-python'><pre>{CODE}</pre></div></td></tr></table>",
        "<table lang='python'>"
        + "".join(
            f"<tr><td data-line-number='{n}'></td><td><code>{line}\n</code></td></tr>"
            for n, line in enumerate(CODE.split("\n"), 1)
        )
        + "</table>",
        f"<pre><code class='language-python'><div class='code__header'>python<button>Copy</button></div>"
        f"{CODE}</code></pre>",
        "<code class='block language-python'>" + CODE.replace(" ", "&nbsp;").replace("\n", "<br>\n") + "</code>",
    ],
)
def test_each_layout_of_code_gives_its_exact_text(markup):
    assert part_of(page(markup)) == f"```python\n{CODE}\n```"


def test_a_fence_is_longer_than_any_in_the_code():
    assert part_of(page("<pre>```\ncode\n```</pre>")) == "````\n```\ncode\n```\n````"


def test_formula_delimiters_in_code_stay():
    assert part_of(page(r"<pre>\(x\) $y$</pre>")) == "```\n\\(x\\) $y$\n```"


def test_structure_becomes_markdown():
    markdown = page(
        "<h2>Head</h2><ul><li>one<li>two <b>bold</b><ol><li>in</ol></ul><blockquote><p>said</blockquote>"
        "<table><tr><th>a<th>b<tr><td>1<td>2</table><p><code>x = 1</code> and <em>so</em> <a href='/y'>on</a></p>"
    )
    assert part_of(markdown) == (
        "## Head\n\n- one\n\n- two **bold**\n\n  1. in\n\n> said\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\n"
        "`x = 1` and *so* on"
    )


def test_furniture_is_left_out():
    markdown = extract_html(
        "<body><header>Site</header><nav><a href=/>Home</a></nav><div class='left-sidebar'>Related pages</div>"
        f"<main>{FILLER * 3}<div class='share-buttons'>Share</div></main><footer>Imprint</footer></body>"
    )
    assert "Some sentences" in markdown
    for furniture in ("Site", "Home", "Related", "Share", "Imprint"):
        assert furniture not in markdown


def test_a_page_whose_text_is_for_browsers_without_scripts_is_read():
    posts = "".join(f"<p>Post {number} with a sentence of its own in the thread.</p>" for number in range(9))
    markdown = extract_html(f"<body><div id=app>Loading</div><noscript>{posts}</noscript></body>")
    assert "Post 8" in markdown


def test_a_sidebar_that_is_the_page_is_kept():
    assert "Some sentences" in extract_html(f"<body><div class='sidebar'>{FILLER * 5}</div><p>x</p></body>")


@pytest.mark.parametrize("nothing", ["", "  ", "<html></html>", "<!-- only this -->", "\0\0", "<?xml version='1.0'?>"])
def test_a_page_without_content_gives_no_text(nothing):
    assert extract_html(nothing) == ""


def test_deep_nesting_is_survived():
    assert "Some sentences" in extract_html("<div>" * 1500 + FILLER + "</div>" * 1500)


MARKUP = """
<p> </p> <pre> <code> </code> </pre> <table> <tr> <td> </table> <math> <mfrac> <mi> x </math> $ \\( \\[ ``` <br>
<ul> <li> </ul> <div class='line'> <span class='katex'> <script type='math/tex'> </script> <sup> &amp; text
<mjx-container> <mjx-math> <img src='latex.php?latex=%' alt='\\x_{'> <x-formula> <x-code> <h1> <noscript> <svg> <!-- -->
""".split()  # noqa: SIM905 - a list of fifty quoted tags is harder to read


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(MARKUP),
        max_size=30,
    )
)
def test_any_markup_gives_text_and_no_error(pieces):
    assert isinstance(extract_html(" ".join(pieces)), str)


@pytest.mark.parametrize(
    ("mathml", "latex"),
    [
        ("<mfrac><mn>1</mn><mi>n</mi></mfrac>", r"\frac{1}{n}"),
        (
            "<munderover><mo>∑</mo><mrow><mi>k</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover><mi>k</mi>",
            r"\sum_{k=1}^nk",
        ),
        ("<mi>α</mi><mi>x</mi><mo>≤</mo><mi>β</mi>", r"\alpha x\leq\beta"),
        ("<msqrt><mi>x</mi><mo>+</mo><mn>1</mn></msqrt>", r"\sqrt{x+1}"),
        ("<mroot><mi>x</mi><mn>3</mn></mroot>", r"\sqrt[3]{x}"),
        ("<mover><mi>x</mi><mo>¯</mo></mover>", r"\bar{x}"),
        ("<mi>sin</mi><mi>x</mi>", r"\sin x"),
        ("<mi mathvariant='double-struck'>R</mi>", r"\mathbb{R}"),
        ("<mtext>if </mtext><mi>x</mi>", r"\text{if }x"),
        (
            "<mo>(</mo><mtable><mtr><mtd><mi>a</mi></mtd><mtd><mi>b</mi></mtd></mtr></mtable><mo>)</mo>",
            r"\begin{pmatrix}a & b\end{pmatrix}",
        ),
    ],
)
def test_mathml_becomes_latex(mathml, latex):
    assert mathml_to_latex(lxml_html.fragment_fromstring(f"<math>{mathml}</math>")) == latex

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimo_data import extract_html
from mimo_data.html.asciimath import asciimath_to_latex

FILLER = "<p>Some sentences of prose stand around the part that matters, so that the page has content.</p>"


def page(part: str, *, head: str = "") -> str:
    return extract_html(f"<html><head>{head}</head><body><article>{FILLER}{part}{FILLER}</article></body></html>")


def part_of(markdown: str) -> str:
    """What stands between the two filler paragraphs."""
    return markdown.split("\n\n", 1)[1].rsplit("\n\n", 1)[0]


def written(markup: str, *, head: str = "") -> str:
    """A paragraph's Markdown."""
    return part_of(page(f"<p>{markup}</p>", head=head))


MATHML = (
    "<math><semantics><msup><mi>x</mi><mn>2</mn></msup>"
    "<annotation encoding='application/x-tex'>x^2</annotation></semantics></math>"
)
BARE_MATHML = "<math><msup><mi>x</mi><mn>2</mn></msup></math>"
MATHJAX = "<script src='https://cdn.example.org/MathJax.js'></script>"
ASCIIMATH = "<script src='ASCIIMathML.js'></script>"

INLINE = {
    "MathJax 2 script": "<script type='math/tex'>x^2</script>",
    "MathJax 2 script beside preview and glyphs": (
        "<span class='MathJax_Preview'>x2</span><span class='MathJax'><nobr>x2</nobr></span>"
        "<script type='math/tex'>x^2</script>"
    ),
    "MathJax 2 script after a rendering that holds its MathML twice": (
        f'<span class="MathJax_Preview"></span><span class="MathJax" data-mathml="{BARE_MATHML}"><nobr>x2</nobr>'
        f'<span class="MJX_Assistive_MathML">{BARE_MATHML}</span></span><script type="math/tex">x^2</script>'
    ),
    "MathJax 2 script with MathML": f"<script type='math/mml'>{BARE_MATHML}</script>",
    "MathJax 2 script with AsciiMath": "<script type='math/asciimath'>x_1</script>",
    "MathJax 2 HTML-CSS, data-mathml": f'<span class="MathJax" data-mathml="{BARE_MATHML}"><nobr>x2</nobr></span>',
    "MathJax 2 HTML-CSS, assistive MathML": (
        f"<span class='MathJax'><nobr>x2</nobr><span class='MJX_Assistive_MathML'>{BARE_MATHML}</span></span>"
    ),
    "MathJax 2 CHTML, glyphs only": (
        "<span class='mjx-chtml'><span class='mjx-math'><span class='mjx-mrow'><span class='mjx-msubsup'>"
        "<span class='mjx-base'><span class='mjx-mi'><span class='mjx-char'>x</span></span></span>"
        "<span class='mjx-sup'><span class='mjx-mn'><span class='mjx-char'>2</span></span></span>"
        "</span></span></span></span>"
    ),
    "MathJax 2 on a server, CHTML": (
        "<span class='mjx-chtml'><span class='mjx-math' aria-label='x^{2}'><span class='mjx-mi'>x</span>2</span></span>"
    ),
    "MathJax 2 on a server, SVG": (
        "<svg aria-labelledby='MathJax-SVG-1-Title'><title id='MathJax-SVG-1-Title'>x^2</title><g><path/></g></svg>"
    ),
    "MathJax 3 with assistive MathML": (
        f"<mjx-container><svg><path/></svg><mjx-assistive-mml>{MATHML}</mjx-assistive-mml></mjx-container>"
    ),
    "MathJax 3 CHTML": (
        "<mjx-container><mjx-math><mjx-msup><mjx-mi><mjx-c class='mjx-c1D465'></mjx-c></mjx-mi><mjx-script><mjx-mn>"
        "<mjx-c class='mjx-c32'></mjx-c></mjx-mn></mjx-script></mjx-msup></mjx-math></mjx-container>"
    ),
    "MathJax 3 SVG": (
        "<mjx-container jax='SVG'><svg><g><g data-mml-node='math'><g data-mml-node='msup'>"
        "<g data-mml-node='mi'><use data-c='1D465'></use></g>"
        "<g data-mml-node='mn' transform='translate(605,363)'><use xlink:href='#MJX-1-TEX-N-32'></use></g>"
        "</g></g></g></svg></mjx-container>"
    ),
    "MathJax 3 before a script": (
        "<mjx-container><mjx-math data-latex='x^2'></mjx-math></mjx-container><script type='math/tex'>x^2</script>"
    ),
    "MathJax 4": "<mjx-container><mjx-math data-latex='x^2'><mjx-mi>x</mjx-mi></mjx-math></mjx-container>",
    "KaTeX": (
        f"<span class='katex'><span class='katex-mathml'>{MATHML}</span><span class='katex-html'>x2</span></span>"
    ),
    "KaTeX, HTML only": (
        "<span class='katex'><span class='katex-html'><span class='base'><span class='strut'></span>"
        "<span class='mord'><span class='mord mathnormal'>x</span><span class='msupsub'><span class='vlist-t'>"
        "<span class='vlist-r'><span class='vlist'><span style='top:-3.063em'><span class='pstrut'></span>"
        "<span class='sizing reset-size6 size3 mtight'><span class='mord mtight'>2</span></span></span></span></span>"
        "</span></span></span></span></span></span>"
    ),
    "KaTeX on CSDN": (
        "<span class='katex--inline'><span class='katex'><span class='katex-mathml'>\n \n  x\n \n  2\n \n\n  x^2\n \n"
        "</span>"
        "<span class='katex-html'>x2</span></span></span>"
    ),
    "Temml": f"<span class='temml'>{MATHML}</span>",
    "MathML with annotation": MATHML,
    "MathML without": BARE_MATHML,
    "MathML with a prefix": "<m:math><m:msup><m:mi>x</m:mi><m:mn>2</m:mn></m:msup></m:math>",
    "LaTeXML": "<math class='ltx_Math' alttext='x^{2}'><mi>x</mi></math>",
    "Wikipedia": (
        f"<span class='mwe-math-element'><span style='display: none'>{MATHML}</span><img alt='x^2' src='x.svg'></span>"
    ),
    "Wikipedia's HTML formula": "<span class='texhtml'><i>x</i><sup>2</sup></span>",
    "image named latex": "<img class='latex' alt='x^2' src='x.png'>",
    "image in Doxygen": "<img class='formulaInl' alt='$x^2$' src='form_1.png'>",
    "image between delimiters": r"<img alt='\(x^2\)' src='form_1.png'>",
    "image in Wiris": "<img data-mathml='«math»«msup»«mi»x«/mi»«mn»2«/mn»«/msup»«/math»' alt='x squared'>",
    "image in Canvas": "<img data-equation-content='x^2' alt='LaTeX: x^2'>",
    "image in Moodle": "<img class='texrender' alt='x^2' src='x.png'>",
    "Springer": r"<span class='mathjax-tex'>\(x^2\)</span>",
    "CodeCogs": "<img src='https://latex.codecogs.com/svg.image?x%5E2'>",
    "CodeCogs with options": r"<img src='https://latex.codecogs.com/gif.latex?%5Cinline%20%5Cdpi%7B120%7D%20x%5E2'>",
    "CodeCogs with its own spaces": r"<img src='https://latex.codecogs.com/gif.latex?\dpi{120}&amp;space;x^2'>",
    "WordPress": "<img src='https://s0.wp.com/latex.php?latex=x%5E2&amp;bg=ffffff' alt='x^2'>",
    "mimetex": "<img src='/cgi-bin/mimetex.cgi?x%5E2' alt=''>",
    "Zhihu": "<img src='https://www.zhihu.com/equation?tex=x%5E2' alt='x^2'>",
    "Jianshu": "<img class='math-inline' src='https://math.jianshu.com/math?formula=x%5E2' alt='x^2'>",
    "MathQuill": "<span class='mathquill-rendered-math'><span class='selectable'>$x^2$</span><var>x</var></span>",
    "data attribute": "<span data-math='x^2'>x2</span>",
    "Pandoc": "<span class='math inline'>x^2</span>",
    "Discourse": "<span class='math'>x^2</span>",
    "Discourse, drawn": (
        "<span class='math' data-applied-mathjax='true'>x^2</span><span class='math-container'>"
        f"<mjx-container><mjx-assistive-mml>{MATHML}</mjx-assistive-mml></mjx-container></span>"
    ),
    "Discourse, its drawing gone": "<span class='math' data-applied-mathjax='true'>x^2</span>",
    "KaTeX that could not read it": "<span class='katex-error' title='ParseError: KaTeX'>x^2</span>",
    "GitLab": "<code class='code math js-render-math' data-math-style='inline'>x^2</code>",
    "remark": "<code class='language-math math-inline'>x^2</code>",
    "Codeforces": "$$$x^2$$$",
    "Codeforces's HTML formula": "<span class='tex-span'><i>x</i><sup>2</sup></span>",
    "AtCoder": r"<var>x^{2}</var>",
    "distill": "<d-math>x^2</d-math>",
    "distill, 2016": "<dt-math>x^2</dt-math>",
    "WordPress's KaTeX": "<span class='wp-katex-eq' data-display='false'>x^2</span>",
    "Quill, drawn by itself": "<span class='ql-formula' data-value='x^2'><span>x2</span></span>",
    "Quill": f"<span class='ql-formula' data-value='x^2'><span class='katex'>{MATHML}</span></span>",
    "arithmatex": r"<span class='arithmatex'>\(x^2\)</span>",
    "StackExchange": "<span class='math-container'>$x^2$</span>",
    "parentheses": r"\(x^2\)",
    "dollars": "$x^2$",
    "forum tag": "[itex]x^2[/itex]",
    "Pressbooks tag": "[latex]x^2[/latex]",
    "WordPress source": "$latex x^2$",
    "a script's span with its drawing": f"<span class='math-inline'><span class='katex'>{MATHML}</span></span>",
    "Mathpix": (
        f"<span class='math-inline'><mathml style='display: none'>{BARE_MATHML}</mathml><latex style='display: none'>"
        "x^2</latex><mjx-container jax='SVG'><svg></svg></mjx-container></span>"
    ),
}


@pytest.mark.parametrize("markup", INLINE.values(), ids=INLINE.keys())
def test_each_rendering_of_a_formula_gives_it_once(markup):
    markdown = written(f"Let {markup} be.").replace("x^{2}", "x^2").replace("{x}_{1}", "x^2")
    assert markdown == "Let $x^2$ be."


DISPLAY = {
    "MathJax 2": "<script type='math/tex; mode=display'>x^2</script>",
    "MathJax 2 script after its rendering": (
        f"<div class='MathJax_Display'><span class='MathJax' data-mathml='{BARE_MATHML}'><nobr>x2</nobr></span></div>"
        "<script type='math/tex; mode=display'>x^2</script>"
    ),
    "MathJax 3": f"<mjx-container display='true'><mjx-assistive-mml>{MATHML}</mjx-assistive-mml></mjx-container>",
    "KaTeX": f"<span class='katex-display'><span class='katex'>{MATHML}</span></span>",
    "MathML": MATHML.replace("<math>", "<math display='block'>"),
    "arithmatex": r"<div class='arithmatex'>\[x^2\]</div>",
    "Pandoc": "<span class='math display'>x^2</span>",
    "Discourse": "<div class='math'>x^2</div>",
    "GitLab": "<pre class='code math js-render-math' data-math-style='display'>x^2</pre>",
    "GitLab, code in it": "<pre class='code math js-render-math' data-math-style='display'><code>x^2</code></pre>",
    "Substack": '<div class=\'latex-rendered\' data-attrs=\'{"persistentExpression":"x^2","id":"A"}\'></div>',
    "Mathpix": f"<div class='math-block'><mathml>{BARE_MATHML}</mathml><latex>x^2</latex></div>",
    "brackets": r"\[x^2\]",
    "dollars": "$$x^2$$",
    "Codeforces": "$$$$$$x^2$$$$$$",
    "distill": "<d-math block>x^2</d-math>",
    "mdnice": (
        "<section role='presentation' data-formula='x^2' data-formula-type='block-equation'><svg><g/></svg></section>"
    ),
}


@pytest.mark.parametrize("markup", DISPLAY.values(), ids=DISPLAY.keys())
def test_display_formulas_stand_alone(markup):
    assert part_of(page(f"<div>{markup}</div>")) == "$$\nx^2\n$$"


def test_nothing_in_a_formula_is_escaped():
    latex = r"a_1 * b_2 < c^{*}_{[i]} \% \_ | x"
    assert written(f"Let <script type='math/tex'>{latex}</script> be.") == f"Let ${latex}$ be."


def test_rows_of_a_raw_formula_keep_their_lines():
    markdown = page("<p>$$\n\\begin{cases} a &amp; b \\\\\nc &amp; d \\end{cases}\n$$</p>")
    assert "$$\n\\begin{cases} a & b \\\\\nc & d \\end{cases}\n$$" in markdown


def test_a_raw_environment_is_a_formula():
    assert "$$\\begin{align} a &= b \\\\ c &= d \\end{align}$$" in written(
        r"So \begin{align} a &amp;= b \\ c &amp;= d \end{align} holds."
    )


def test_a_formula_cannot_end_in_what_would_escape_its_delimiter():
    assert written(r"Let <script type='math/tex'>x^2\\</script> be.") == "Let $x^2$ be."


def test_a_comment_in_a_formula_does_not_swallow_the_next_line():
    assert written("Let \\(a % first\n + b\\) be.<br>", head=MATHJAX) == "Let $a + b$ be."


def test_wrappers_and_options_are_no_part_of_a_formula():
    assert written(r"<math alttext='{\displaystyle x_{1}}'></math>") == "$x_{1}$"
    assert written(r"<math alttext='{\displaystyle x}+{y}'></math>") == r"${\displaystyle x}+{y}$"
    assert written("$latex x^2&amp;s=2$") == "$x^2$"


def test_a_formula_in_a_quotation_is_on_one_line():
    assert "> $$a \\leq b$$" in part_of(page("<blockquote>$$a\n\\leq\nb$$</blockquote>"))


def test_wikipedia_roots_and_fractions_in_html():
    fraction = "<span class='sfrac'><span class='num'>1</span>/<span class='den'>n</span></span>"
    assert written(f"<span class='texhtml'>√<span>2</span> &lt; {fraction}</span>") == r"$\sqrt{2} < \frac{1}{n}$"


def test_a_formula_in_code_stays_code():
    assert written(r"<code>\(x\)</code> and <code>$y$</code>", head=MATHJAX) == r"`\(x\)` and `$y$`"


def test_money_is_not_mathematics():
    markup = r"It costs $5 and (not \(that\) much) $6, or 4$ to 5$."
    assert written(markup) == markup


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("from $5 to $10", r"from \$5 to \$10"),
        ("$100 per unit and $n$ units", r"\$100 per unit and $n$ units"),
        ("costs $3.50, and $x^2$ too", r"costs \$3.50, and $x^2$ too"),
        ("$10-$20 and $a + b$", r"\$10-\$20 and $a + b$"),
        ("$HOME and $PATH", r"\$HOME and \$PATH"),
        ("$O(n)$ of $2^n$", "$O(n)$ of $2^n$"),
        ("$i, j$ and $-1$", "$i, j$ and $-1$"),
        (r"$\$5$", r"$\$5$"),
    ],
)
def test_a_dollar_on_a_page_with_formulas_is_escaped_unless_it_delimits_one(text, latex):
    assert written(f"{text} <script type='math/tex'>y</script>") == f"{latex} $y$"


def test_a_row_of_dollars_is_a_price_class():
    assert written("Cheap ($), fair ($$) and dear ($$$).") == "Cheap ($), fair ($$) and dear ($$$)."


def test_a_page_with_latex_in_some_variables_has_it_in_all():
    assert written(r"<var>N</var> lines, <var>1 \leq N</var>") == r"$N$ lines, $1 \leq N$"
    assert written("<var>N</var> lines, <var>A_i</var>") == "$N$ lines, $A_i$"
    assert written("<var>N</var> lines") == "N lines"
    assert written("<var>fg_col</var> and <var>z_0</var>") == "fg_col and z_0"


def test_delimiters_need_an_engine_or_mathematics_between_them():
    assert written(r"\(see below\)") == r"\(see below\)"
    assert written(r"\(n m\)", head=MATHJAX) == "$n m$"


def test_powers_and_indices_are_kept():
    assert written("10<sup>10</sup>, H<sub>2</sub>O, e<sup>kx</sup>, 2<sup>nd</sup>.") == "10¹⁰, H₂O, e^(kx), 2nd."


def test_formulas_in_headings_lists_and_tables():
    formula = "<script type='math/tex'>|x|</script>"
    markdown = part_of(
        page(
            f"<h2>On {formula}</h2><ul><li>{formula}<li>b</ul>"
            f"<table><tr><th>a<th>b<tr><td>{formula}<td>1|2</table><p><b>Where {formula}</b></p>"
        )
    )
    assert markdown == ("## On $|x|$\n\n- $|x|$\n- b\n\n| a | b |\n| --- | --- |\n| $|x|$ | 1\\|2 |\n\n**Where $|x|$**")


def test_mathjax_3_scripts_come_sub_before_sup():
    svg = (
        "<mjx-container><svg><g><g data-mml-node='math'><g data-mml-node='msubsup'>"
        "<g data-mml-node='mi'><use data-c='1D465'></use></g>"
        "<g data-mml-node='mn' transform='translate(605,363) scale(0.7)'><use data-c='32'></use></g>"
        "<g data-mml-node='TeXAtom' transform='translate(605,-247) scale(0.7)'><g data-mml-node='mi'>"
        "<use data-c='1D456'></use></g></g></g></g></g></svg></mjx-container>"
    )
    assert written(svg) == "$x_i^2$"


def chtml(code: str, kind: str = "mi", names: str = "mjx-i") -> str:
    return f"<mjx-{kind} class='{names}'><mjx-c class='mjx-c{code}'></mjx-c></mjx-{kind}>"


N_MINUS_1 = f"<mjx-texatom>{chtml('1D45B')}{chtml('2212', 'mo')}{chtml('31', 'mn')}</mjx-texatom>"


@pytest.mark.parametrize(
    ("drawn", "latex"),
    [
        # Every piece of a script, not only the first.
        (f"<mjx-msub>{chtml('1D44E')}<mjx-script>{N_MINUS_1}</mjx-script></mjx-msub>", "a_{n-1}"),
        (
            f"<mjx-msubsup>{chtml('1D44E')}<mjx-script>{N_MINUS_1}<mjx-spacer></mjx-spacer>{chtml('1D456')}"
            "</mjx-script></mjx-msubsup>",
            "a_i^{n-1}",
        ),
        (f"<mjx-msub><mjx-texatom></mjx-texatom><mjx-script>{chtml('32', 'mn')}</mjx-script></mjx-msub>", "{}_2"),
        (chtml("210E") + chtml("1D719") + chtml("1D711"), r"h\phi\varphi"),
        (chtml("55", names="mjx-n"), r"\mathrm{U}"),
        ("<mjx-mi><mjx-c class='mjx-c55 TEX-C'></mjx-c></mjx-mi>", r"\mathcal{U}"),
        (
            f"{chtml('28', 'mo')}<mjx-mfrac><mjx-frac atop='true'><mjx-num>{chtml('1D45B')}</mjx-num>"
            f"<mjx-den>{chtml('1D458')}</mjx-den></mjx-frac></mjx-mfrac>{chtml('29', 'mo')}",
            r"\binom{n}{k}",
        ),
        (
            "<mjx-mo><mjx-stretchy-v class='mjx-c5B'><mjx-ext><mjx-c></mjx-c></mjx-ext></mjx-stretchy-v></mjx-mo>"
            f"<mjx-mtable><mjx-mtr><mjx-mtd>{chtml('1D44E')}</mjx-mtd><mjx-mtd>{chtml('1D44F')}</mjx-mtd></mjx-mtr>"
            "</mjx-mtable><mjx-mo><mjx-stretchy-v class='mjx-c5D'></mjx-stretchy-v></mjx-mo>",
            r"\begin{bmatrix}a & b\end{bmatrix}",
        ),
        (
            "<mjx-mtable><mjx-mtr>"
            f"<mjx-mtd style='text-align: right'>{chtml('1D44E')}</mjx-mtd>"
            f"<mjx-mtd style='text-align: left'>{chtml('3D', 'mo')}{chtml('1D44F')}</mjx-mtd></mjx-mtr></mjx-mtable>",
            r"\begin{aligned}a & =b\end{aligned}",
        ),
        (
            "<mjx-mover><mjx-over><mjx-mo><mjx-stretchy-h class='mjx-c2013'></mjx-stretchy-h></mjx-mo></mjx-over>"
            f"<mjx-base>{chtml('1D467')}</mjx-base></mjx-mover>",
            r"\overline{z}",
        ),
        (f"{chtml('31', 'mn')}<mjx-mspace style='width: 1em;'></mjx-mspace>{chtml('32', 'mn')}", r"1\quad 2"),
    ],
)
def test_mathjax_3_is_read_from_its_glyphs(drawn, latex):
    assert written(f"<mjx-container><mjx-math>{drawn}</mjx-math></mjx-container>") == f"${latex}$"


def use(code: str, font: str = "I", kind: str = "mi") -> str:
    return f"<g data-mml-node='{kind}'><use data-c='{code}' xlink:href='#MJX-1-TEX-{font}-{code}'></use></g>"


@pytest.mark.parametrize(
    ("drawn", "latex"),
    [
        (f"<g data-mml-node='msqrt'>{use('1D465')}{use('221A', 'N', 'mo')}<rect></rect></g>", r"\sqrt{x}"),
        (f"<g data-mml-node='mfrac'>{use('1D45B')}{use('1D458')}<rect></rect></g>", r"\frac{n}{k}"),
        (
            use("28", "SO", "mo")
            + f"<g data-mml-node='mfrac'>{use('1D45B')}{use('1D458')}</g>"
            + use("29", "SO", "mo"),
            r"\binom{n}{k}",
        ),
        (use("64", "N") + use("1D465"), r"\mathrm{d}x"),
        (use("2223", "S1", "mo") + use("1D465") + use("2223", "S1", "mo"), "|x|"),
        (
            "<g data-mml-node='mo'><use data-c='23A7'></use><use data-c='23A9'></use><use data-c='23A8'></use></g>"
            "<g data-mml-node='mtable'><g data-mml-node='mtr'><g data-mml-node='mtd'>"
            f"{use('31', 'N', 'mn')}</g></g></g>",
            r"\begin{cases}1\end{cases}",
        ),
    ],
)
def test_mathjax_3_is_read_from_its_drawing(drawn, latex):
    assert written(f"<mjx-container><svg><g><g data-mml-node='math'>{drawn}</g></g></svg></mjx-container>") == (
        f"${latex}$"
    )


def char(text: str, kind: str = "mi", font: str = "math-I") -> str:
    return f"<span class='mjx-{kind}'><span class='mjx-char MJXc-TeX-{font}'>{text}</span></span>"


@pytest.mark.parametrize(
    ("drawn", "latex"),
    [
        (
            char("R", font="ams-R") + char("U", font="cal-R") + char("d", font="main-R"),
            r"\mathbb{R}\mathcal{U}\mathrm{d}",
        ),
        (
            f"{char('(', 'mo')}<span class='mjx-mfrac'><span class='mjx-numerator'>{char('n')}</span>"
            f"<span class='mjx-denominator'>{char('k')}</span></span>{char(')', 'mo')}",
            r"\binom{n}{k}",
        ),
        (
            f"<span class='mjx-mfrac'><span class='mjx-numerator'>{char('n')}</span><span class='mjx-denominator'>"
            f"{char('k')}</span><span class='mjx-line'></span></span>",
            r"\frac{n}{k}",
        ),
        (
            f"<span class='mjx-mroot'><span class='mjx-root'>{char('3', 'mn')}</span><span class='mjx-box'>"
            f"<span class='mjx-surd'>√</span><span class='mjx-box'>{char('8', 'mn')}</span></span></span>",
            r"\sqrt[3]{8}",
        ),
        (
            "<span class='mjx-munderover'><span class='mjx-over'><span class='mjx-mo'><span class='mjx-delim-h'>"
            f"<span>¯</span><span>¯</span></span></span></span><span class='mjx-op'>{char('u')}</span></span>",
            r"\bar{u}",
        ),
    ],
)
def test_mathjax_2_is_read_from_its_glyphs(drawn, latex):
    assert written(
        f"<span class='mjx-chtml'><span class='mjx-math'><span class='mjx-mrow'>{drawn}</span></span></span>"
    ) == (f"${latex}$")


def vlist(*boxes: str, depth: bool = False) -> str:
    """KaTeX's stack of boxes."""
    strut = "<span class='pstrut' style='height:3.05em'></span>"
    inner = "".join(f"<span style='top:{top}em'>{strut}{box}</span>" for top, box in
                    (box.split(":", 1) for box in boxes))  # fmt: skip
    names = "vlist-t vlist-t2" if depth else "vlist-t"
    return f"<span class='{names}'><span class='vlist-r'><span class='vlist'>{inner}</span></span></span>"


@pytest.mark.parametrize(
    ("drawn", "latex"),
    [
        (
            f"<span class='mord mathnormal'>a</span><span class='msupsub'>"
            f"{vlist('-2.55:<span class=mord>i</span>', depth=True)}</span>",
            "a_i",
        ),
        (
            f"<span class='mord mathnormal'>a</span><span class='msupsub'>"
            f"{vlist('-2.45:<span class=mord>i</span>', '-3.06:<span class=mord>2</span>', depth=True)}</span>",
            "a_i^2",
        ),
        (
            "<span class='mord'><span class='mopen nulldelimiter'></span><span class='mfrac'>"
            + vlist(
                "-2.31:<span class=mord>n</span>",
                "-3.23:<span class=frac-line></span>",
                "-3.67:<span class=mord>1</span>",
                depth=True,
            )
            + "</span></span>",
            r"\frac{1}{n}",
        ),
        (
            "<span class='mord sqrt'>"
            + vlist("-3:<span class=mord>x</span>", "-2.7:<span class=hide-tail><svg></svg></span>")
            + "</span>",
            r"\sqrt{x}",
        ),
        (
            "<span class='mop op-limits'>"
            + vlist(
                "-1.8:<span class=mord>k</span>",
                "-3.05:<span class='mop op-symbol'>∑</span>",
                "-4.3:<span class=mord>n</span>",
                depth=True,
            )
            + "</span><span class='mord'>k</span>",
            r"\sum_k^nk",
        ),
        ("<span class='mop'>sin</span><span class='mord mathnormal'>x</span>", r"\sin x"),
        ("<span class='mop'><span style='margin-right:0.01em'>g</span>cd</span><span class='mopen'>(</span>", r"\gcd("),
        ("<span class='mord mathnormal'>opt</span>", "opt"),
        ("<span class='mop'><span class='mord mathrm'>rank</span></span>", r"\operatorname{rank}"),
        ("<span class='mord mathbb'>R</span><span class='mrel'>≤</span><span class='mord text'>if</span>",
         r"\mathbb{R}\leq\text{if}"),
        (
            # A subscript in a superscript.
            "<span class='mord'><span class='mord'>2</span><span class='msupsub'>"
            + vlist(
                "-3.06:<span class='mord'><span class='mord mathnormal'>a</span><span class='msupsub'>"
                + vlist("-2.35:<span class='mord'>1</span>", depth=True)
                + "</span></span>"
            )
            + "</span></span>",
            "2^{a_1}",
        ),
        (
            "<span class='mord'><span class='mopen delimcenter'><span class='delimsizing size1'>(</span></span>"
            "<span class='mfrac'>"
            + vlist("-2.35:<span class='mord'>k</span>", "-3.14:<span class='mord'>n</span>", depth=True)
            + "</span><span class='mclose delimcenter'><span class='delimsizing size1'>)</span></span></span>",
            r"\binom{n}{k}",
        ),
        (
            "<span class='mord mathnormal'>a</span><span class='mrel'><span class='mrel'><span class='mord vbox'>"
            "<span class='rlap'><span class='inner'><span class='mrel'>\ue020</span></span></span></span></span>"
            "<span class='mrel'>=</span></span><span class='mord mathnormal'>b</span>",
            r"a\neq b",
        ),
        ("<span class='mord'>∣</span><span class='mord mathnormal'>x</span><span class='mord'>∣</span>", "|x|"),
        ("<span class='mord mathnormal'>a</span><span class='mrel'>∣</span><span class='mord'>6</span>", r"a\mid6"),
        (
            "<span class='mord accent'>"
            + vlist("-3.05:<span class='mord mathnormal'>x</span>",
                    "-3:<span class='accent-body'><span>ˉ</span></span>")
            + "</span>",
            r"\bar{x}",
        ),
        (
            "<span class='mord accent'>"
            + vlist("-3.05:<span class='mord mathnormal'>r</span>",
                    "-3:<span class='accent-body'><svg viewBox='0 0 471 714'></svg></span>")
            + "</span>",
            r"\vec{r}",
        ),
        (
            "<span class='mord overline'>"
            + vlist("-3.05:<span class='mord'><span class='mord mathnormal'>z</span></span>",
                    "-3.5:<span class='overline-line'></span>")
            + "</span>",
            r"\overline{z}",
        ),
        (
            "<span class='minner'><span class='mopen'><span class='delimsizing mult'><svg width='0.875em'></svg></span>"
            "</span><span class='mord'><span class='mtable'><span class='col-align-c'>"
            + vlist("-4:<span class='mord'>1</span>", "-2:<span class='mord'>2</span>")
            + "</span></span></span><span class='mclose'><span class='delimsizing mult'><svg width='0.875em'></svg>"
            "</span></span></span>",
            r"\begin{pmatrix}1 \\ 2\end{pmatrix}",
        ),
        ("<span class='mord'>1</span><span class='mspace' style='margin-right:1em'></span><span class='mord'>2</span>",
         r"1\quad 2"),
    ],
)  # fmt: skip
def test_katex_is_read_from_its_boxes(drawn, latex):
    assert written(f"<span class='katex'><span class='katex-html'><span class='base'>{drawn}</span></span></span>") == (
        f"${latex}$"
    )


@pytest.mark.parametrize(
    ("source", "latex"),
    [
        ("x^2", "{x}^{2}"),
        ("x_(ij)", "{x}_{ij}"),
        ("(a+b)/c", r"\frac{a+b}{c}"),
        ("sum_(k=1)^n k", r"\sum_{k=1}^{n}k"),
        ("sqrt(x) != root(3)(x)", r"\sqrt{x}\ne\sqrt[3]{x}"),
        ("alpha xx beta -> oo", r"\alpha\times\beta\to\infty"),
        ("[[a,b],[c,d]]", r"\left[\begin{matrix}a & b \\ c & d\end{matrix}\right]"),
        ("{(x, if x > 0),(0, text(else)):}", r"\begin{cases}x & \text{if}x>0 \\ 0 & \text{else}\end{cases}"),
        ("|x| <= abs(y)", r"|x|\le\left|y\right|"),
        ("f'(x) = dx", "f'(x)=dx"),
        ("sin^-1(x) + 1/-2", r"{\sin}^{-1}(x)+\frac{1}{-2}"),
        ("x^2_1", "{x}_{1}^{2}"),
        ("x^y^z", "{x}^{y^{z}}"),
        ("text{not defined} epsi", r"\text{not defined}\epsilon"),
        ("color(red)(x) |__y__|", r"(x)\lfloor y\rfloor"),
        (r"\ \ \ ", ""),
    ],
)
def test_asciimath_becomes_latex(source, latex):
    assert asciimath_to_latex(source) == latex


def test_back_ticks_are_asciimath_where_the_page_draws_it():
    assert written("Let `x_1` be.", head=ASCIIMATH) == "Let ${x}_{1}$ be."
    assert written("Let `x_1` be.") == "Let `x_1` be."
    assert written("Let <code>x_1</code> be.", head=ASCIIMATH) == "Let `x_1` be."


def test_asciidoctor_encloses_asciimath_in_escaped_dollars():
    config = r'<script>asciimath2jax: {delimiters: [["\\$", "\\$"]]}</script>'
    assert written(r"Let \$x_1\$ be `code`.", head=config) == "Let ${x}_{1}$ be `code`."


HOSTILE = {
    "dollars": "<p>" + "$" * 300_000,
    "amounts": "<p>" + "$1 " * 100_000,
    "opened parentheses": "<p>" + r"\(" * 200_000,
    "opened parentheses after a dollar": "<p>$" + r"\(x" * 200_000,
    "opened brackets": "<p>" + r"\[" * 200_000,
    "opened environments": "<p>" + r"\begin{align}" * 20_000,
    "opened tags": "<p>" + "[tex]" * 50_000,
    "deep rows": "<math>" + "<mrow>" * 5_000 + "x",
    "deep fractions": "<math>" + "<mfrac><mi>a</mi>" * 5_000,
    "deep KaTeX": "<span class='katex'><span class='katex-html'>" + "<span class='mord'>" * 5_000 + "x",
    "deep CHTML": "<mjx-container><mjx-math>" + "<mjx-msup>" * 5_000 + "x",
    "deep SVG": "<mjx-container><svg><g data-mml-node='math'>" + "<g data-mml-node='msup'>" * 5_000,
    "deep HTML formula": "<span class='texhtml'>" * 5_000 + "x",
    "deep brackets": f"{ASCIIMATH}<p>`{'(' * 5_000}`",
    "bars": f"{ASCIIMATH}<p>`{'|' * 5_000}`",
    "forged marks": "<p>&#1;&#2;<span data-math='x_{&#2;}'>x</span><pre>&#2;</pre>",
}


@pytest.mark.parametrize("part", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_mathematics_costs_little_and_loses_nothing_else(part):
    start = time.process_time()
    assert "Some sentences" in page(part)
    assert time.process_time() - start < 5


@settings(max_examples=300)
# Without `%`, which begins a comment in a formula.
@given(st.text(alphabet="$\\()[]{}^_=xX5 \n`<>&.,|abegin", max_size=80))
def test_text_without_dollars_comes_back_whole_whatever_its_signs(text):
    markdown = extract_html(f"<body><p>{FILLER}</p><p>{text.replace('&', '&amp;').replace('<', '&lt;')}</p></body>")
    assert [letter for letter in markdown if letter.isalnum()] == [
        letter for letter in f"{FILLER[3:-4]}{text}" if letter.isalnum()
    ] or "\\" in text


KATEX_NAMES = [
    "base", "mord mathnormal", "mop", "mrel", "mopen", "msupsub", "vlist-t vlist-t2", "vlist-r", "vlist", "pstrut",
    "mfrac", "frac-line", "sqrt", "root", "accent", "accent-body", "op-limits", "mover", "munder", "svg-align",
    "overline", "delimsizing mult", "mtable", "col-align-l", "mspace", "text", "llap",
]  # fmt: skip
MATHJAX_NAMES = [
    "math", "mrow", "mi", "mo", "mn", "msub", "msubsup", "munderover", "mover", "script", "texatom", "c", "stretchy-v",
    "mfrac", "frac", "num", "den", "base", "over", "mroot", "root", "msqrt", "mtable", "mtr", "mtd", "mspace",
]  # fmt: skip


def drawings(tags: list[str]) -> st.SearchStrategy[str]:
    pieces = [*tags, *(f"</{tag.split()[0][1:].rstrip('>')}>" for tag in tags)]
    return st.lists(st.one_of(st.sampled_from(pieces), st.text("x1(|∣⎧\u200b", max_size=3)), max_size=60).map("".join)


@settings(max_examples=300)
@given(
    drawings([f"<span class='{names}' style='top: -1em'>" for names in KATEX_NAMES] + ["<svg viewBox='0 0 471 714'>"]),
    drawings([f"<mjx-{name} style='width: 1em'>" for name in MATHJAX_NAMES]),
    drawings([f"<g data-mml-node='{name}'>" for name in MATHJAX_NAMES] + ["<use data-c='2223'>"]),
    drawings([f"<span class='mjx-{name}'>" for name in MATHJAX_NAMES] + ["<span class='mjx-numerator'>"]),
)
def test_any_drawing_gives_latex_and_no_error(katex, chtml, svg, mathjax2):
    drawn = (
        f"<span class='katex'><span class='katex-html'>{katex}</span></span>",
        f"<mjx-container><mjx-math>{chtml}</mjx-math></mjx-container>",
        f"<mjx-container><svg><g data-mml-node='math'>{svg}</g></svg></mjx-container>",
        f"<span class='mjx-chtml'><span class='mjx-math'>{mathjax2}</span></span>",
    )
    for markup in drawn:
        assert FILLER[3:30] in page(f"<p>{markup}</p>")


OWN_DELIMITERS = {
    "Physics Forums": (
        "inlineMath: [ ['[itex]', '[/itex]'], ['##', '##'] ], displayMath: [['[tex]', '[/tex]'], ['$$', '$$']]",
        "Let ##x^2## be, [itex]y[/itex] and $$z$$.",
        "Let $x^2$ be, $y$ and $$z$$.",
    ),
    "edX": (
        'inlineMath: [["[mathjaxinline]", "[/mathjaxinline]"]], displayMath: [["[mathjax]", "[/mathjax]"]]',
        "Let [mathjaxinline]x[/mathjaxinline] be and [mathjax]y[/mathjax].",
        "Let $x$ be and $$y$$.",
    ),
    "twice escaped": (r'inlineMath: [["\\\\(", "\\\\)"]]', r"Let \\(x\\) be and \(y\).", "Let $x$ be and $y$."),
    "none": ("inlineMath: [['$', '$']]", "Let $x$ be ##1## of the lot##.", "Let $x$ be ##1## of the lot##."),
}


@pytest.mark.parametrize(("settings", "markup", "expected"), OWN_DELIMITERS.values(), ids=OWN_DELIMITERS.keys())
def test_delimiters_that_the_page_names_for_mathjax_enclose_formulas(settings, markup, expected):
    script = f"<script>MathJax.Hub.Config({{tex2jax: {{{settings}}}}});</script>"
    assert part_of(page(f"{script}<p>{markup}</p>")) == expected


@pytest.mark.parametrize(
    ("display", "latex"),
    [
        (
            r"\begin{split}\begin{aligned}a &= b\\ c &= d\end{aligned}\end{split}",
            r"\begin{aligned}a &= b\\ c &= d\end{aligned}",
        ),
        (r"\begin{split}A = \begin{pmatrix}1\\ 2\end{pmatrix}\end{split}", r"A = \begin{pmatrix}1\\ 2\end{pmatrix}"),
        (r"\begin{split}\sum_{\substack{i\\ j}} a_{ij}\end{split}", r"\sum_{\substack{i\\ j}} a_{ij}"),
        (r"\begin{split}a &= b\\ &= c\end{split}", r"\begin{split}a &= b\\ &= c\end{split}"),
        (
            r"\begin{split}a\end{split}+\begin{split}b\\ c\end{split}",
            r"\begin{split}a\end{split}+\begin{split}b\\ c\end{split}",
        ),
    ],
)
def test_the_split_that_sphinx_adds_goes_where_an_environment_has_all_rows(display, latex):
    assert part_of(page(f"<div class='math'>\\[{display}\\]</div>")) == f"$$\n{latex}\n$$"


def test_the_number_of_a_formula_stands_on_a_line_of_its_own():
    number = "<span class='eqno'>(4)<a class='headerlink' href='#e'>¶</a></span>"
    assert part_of(page(rf"<div class='math'>{number}\[x = y\]</div>")) == "(4)\n\n$$\nx = y\n$$"
    unnamed = "<span class='eqno'>()<a class='headerlink' href='#e'>¶</a></span>"
    assert part_of(page(rf"<div class='math'>{unnamed}\[x = y\]</div>")) == "$$\nx = y\n$$"


def test_double_dollars_in_a_line_that_myst_took_apart_are_put_together():
    math = r"<span class='math notranslate nohighlight'>\({}\)</span>"
    alone = f"as ${math.format('a_1 = b')}$ says"
    assert written(alone) == "as $$a_1 = b$$ says"
    # From there on text is mathematics and mathematics text.
    swapped = f"as ${math.format('a_1 = b')}{math.format(' gives ')}c_1{math.format(', says ')}d_1$"
    assert written(swapped) == "as $$a_1 = b$$ gives $c_1$, says $d_1$"
    amount = rf"a price of 5$ {math.format('x')} each"
    assert written(amount) == r"a price of 5\$ $x$ each"


def test_the_caption_of_a_picture_said_once_more_is_no_formula():
    assert r"\frac" not in page(r"<img src='a.png' alt='Graph of $y=\frac{1}{2}$'>")
    assert r"\beta" not in page(r"<img src='a.png' alt='The parameters \(\beta_{0}\), the mean, and \(\beta_{1}\).'>")
    assert r"$x_{1}\mbox{ if $x>0$}$" in page(r"<p>See <img src='a.png' alt='$x_{1}\mbox{ if $x>0$}$'></p>")


def test_primes_that_became_quotation_marks_are_primes():
    assert written("$f’(x) = g’’_1$ and <b>Ada’s</b>", head="<script src='MathJax.js'></script>") == (
        "$f'(x) = g''_1$ and **Ada’s**"
    )
    assert written("the range $[l’, r’]$", head="<script src='MathJax.js'></script>") == "the range $[l', r']$"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        (r"$|x|<em>{1}+\left|y</em>{1}\right|$", r"$|x|_{1}+\left|y_{1}\right|$"),
        (r"$b'<em>i=b</em>{p_i}$ and <em>so</em> on", r"$b'_i=b_{p_i}$ and *so* on"),
        (r"$n<em>m</em>k$ and $n<em>(m+1)</em>k$", r"$n*m*k$ and $n*(m+1)*k$"),
        (r"sum $n<em>m$, not $n</em>m!$", r"sum $n*m$, not $n*m!$"),
        (r"\(\mathbf{x}<em>{i}\) or \(\mathbf{x}</em>{j}\)", r"$\mathbf{x}_{i}$ or $\mathbf{x}_{j}$"),
        (r"<em>where $x_1$ is</em> it", r"where $x_1$ is it"),
        (r"\begin{equation}{a}<em>{1}+b</em>{1}\end{equation}", r"$$\begin{equation}{a}_{1}+b_{1}\end{equation}$$"),
    ],
)
def test_signs_in_a_formula_that_markdown_took_for_emphasis_are_signs(markup, text):
    found = written(markup, head="<script src='MathJax.js'></script>")
    assert found.replace("$$\n", "$$").replace("\n$$", "$$") == text

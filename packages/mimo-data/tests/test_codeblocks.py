from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimo_data import extract_html

FILLER = "<p>Some sentences of prose stand around the part that matters, so that the page has content.</p>"


def page(part: str) -> str:
    return extract_html(f"<html><body><article>{FILLER}{part}{FILLER}</article></body></html>")


def part_of(markdown: str) -> str:
    """What stands between the two filler paragraphs."""
    return markdown.split("\n\n", 1)[1].rsplit("\n\n", 1)[0]


CODE = "def f(x):\n    if x:\n\n        return 1\n    return 2"
LF = "\n"
LINES = CODE.split(LF)
NUMBERED = list(enumerate(LINES, 1))
BREAKS = CODE.replace(" ", "&nbsp;").replace("\n", "<br>\n")

LAYOUTS = {
    "plain": f"<pre><code class='language-python'>{CODE}</code></pre>",
    "distill": f"<d-code block language='python'>{CODE}</d-code>",
    "SyntaxHighlighter source": f"<pre class='brush: python'>{CODE}\n</pre>",
    "Sphinx": f"<div class='highlight-python'><div class='highlight'><pre><span></span>{CODE}</pre></div></div>",
    "Pygments tokens": (
        "<div class='highlight-python'><pre><span></span><a id='l-1' name='l-1'></a><span class='k'>def</span> "
        f"<span class='nf'>f</span>{CODE.removeprefix('def f')}</pre></div>"
    ),
    "MkDocs line table": (
        "<table class='highlighttable'><tr><td class='linenos'><pre>1\n2\n3\n4\n5</pre></td>"
        f"<td class='code'><div class='highlight-python'><pre>{CODE}</pre></div></td></tr></table>"
    ),
    "Pygments inline numbers": (
        "<pre><code class='language-python'>"
        + "\n".join(f"<span class='lineno'>{number}</span>{line}" for number, line in NUMBERED)
        + "</code></pre>"
    ),
    "Chroma": (
        "<div class='chroma'><pre><code class='language-python'>"
        + "".join(
            f"<span class='line'><span class='ln'>{number}</span><span class='cl'>{line}\n</span></span>"
            for number, line in NUMBERED
        )
        + "</code></pre></div>"
    ),
    "Rouge": (
        "<div class='language-python highlighter-rouge'><table class='rouge-table'><tr><td class='rouge-gutter gl'><pre"
        f" class='lineno'>1\n2\n3\n4\n5</pre></td><td class='rouge-code'><pre>{CODE}</pre></td></tr></table></div>"
    ),
    "Hexo": (
        "<figure class='highlight python'><table><tr><td class='gutter'><pre>"
        + "".join(f"<span class='line'>{number}</span><br>" for number, _ in NUMBERED)
        + "</pre></td><td class='code'><pre>"
        + "".join(f"<span class='line'>{line}</span><br>" for line in LINES)
        + "</pre></td></tr></table></figure>"
    ),
    "Shiki": (
        "<pre class='shiki' data-language='python'><code>"
        + "\n".join(f"<span class='line'>{line}</span>" for line in LINES)
        + "</code></pre>"
    ),
    "rehype-pretty-code": (
        "<figure data-rehype-pretty-code-figure><pre data-language='python'><code style='display: grid'>"
        + "\n".join(f"<span data-line=''>{line or ' '}</span>" for line in LINES)
        + "</code></pre></figure>"
    ),
    "Docusaurus": (
        "<div class='language-python codeBlockContainer'><pre><code>"
        + "".join(f"<span class='token-line'>{line}<br></span>" for line in LINES)
        + "</code></pre><div class='buttonGroup'><button>Copy</button></div></div>"
    ),
    "Prism with a toolbar": (
        f"<div class='code-toolbar'><pre class='language-python'><code>{CODE}<span class='line-numbers-rows'>"
        "<span></span><span></span></span></code></pre><div class='toolbar'><button>Copy</button></div></div>"
    ),
    "highlight.js line numbers": (
        "<pre><code class='hljs language-python'><table class='hljs-ln'>"
        + "".join(
            f"<tr><td class='hljs-ln-numbers' data-line-number='{number}'></td>"
            f"<td class='hljs-ln-code' data-line-number='{number}'>{line}</td></tr>"
            for number, line in NUMBERED
        ).replace("hljs-ln-code' data-line-number", "hljs-ln-code' data-number")
        + "</table></code></pre>"
    ),
    "react-syntax-highlighter": (
        "<pre><code class='language-python'>"
        + "".join(
            f"<span><span class='react-syntax-highlighter-line-number'>{number}</span>{line}\n</span>"
            for number, line in NUMBERED
        )
        + "</code></pre>"
    ),
    "CodeMirror 6": (
        "<pre><div class='cm-editor' data-language='python'><div class='cm-content' data-language='python'>"
        + "".join(f"<div class='cm-line'>{line or '<br>'}</div>" for line in LINES)
        + "</div></div></pre>"
    ),
    "GitHub": (
        "<table lang='python'>"
        + "".join(
            f"<tr><td class='blob-num' data-line-number='{number}'></td><td class='blob-code'>{line}</td></tr>"
            for number, line in NUMBERED
        )
        + "</table>"
    ),
    "rows of code cells": (
        "<table lang='python'>"
        + "".join(
            f"<tr><td data-line-number='{number}'></td><td><code>{line}\n</code></td></tr>" for number, line in NUMBERED
        )
        + "</table>"
    ),
    "SyntaxHighlighter 3": (
        "<div class='syntaxhighlighter' lang='python'><table><tr><td class='gutter'>"
        + "".join(f"<div class='line'>{number}</div>" for number, _ in NUMBERED)
        + "</td><td class='code'><div class='container'>"
        + "".join(f"<div class='line'><code>{line.replace(' ', '&nbsp;') or '&nbsp;'}</code></div>" for line in LINES)
        + "</div></td></tr></table></div>"
    ),
    "a line in an element each": (
        "<div lang='python'>"
        + "".join(f"<div><code>{line.replace(' ', '&nbsp;')}</code></div>" for line in LINES)
        + "</div>"
    ),
    "title and copy button": (
        "<pre><code class='language-python'><div class='code__header'>python<button>Copy</button></div>"
        f"{CODE}</code></pre>"
    ),
    "unselectable numbers": (
        "<pre data-lang='python'>"
        + "\n".join(f"<span style='user-select: none'>{number} </span>{line}" for number, line in NUMBERED)
        + "</pre>"
    ),
    "Doxygen": (
        "<div class='fragment' lang='python'>"
        + "\n".join(
            f"<div class='line'><a id='l{number:05}'></a><span class='lineno'>{number:5}</span>&#160;{line}</div>"
            for number, line in NUMBERED
        )
        + "\n<div class='ttc' id='af'><div class='ttname'>f</div><div class='ttdoc'>Halves.</div></div></div>"
    ),
    "Doxygen that folds": (
        "<div class='fragment' lang='python'><div class='line'>def f(x):</div>\n<div class='foldopen' data-start='{'>\n"
        + "\n".join(f"<div class='line'>{line or ' '}</div>" for line in LINES[1:])
        + "\n</div></div>"
    ),
    "cnblogs": (
        "<div class='cnblogs_code' lang='python'><pre>"
        + "".join(
            f"<span style='color: #008080;'>{number}</span> <span style='color: #000000;'>{line}\n</span>"
            for number, line in NUMBERED
        )
        + "</pre></div>"
    ),
    "CSDN": (
        f"<pre class='prettyprint'><code class='prism language-python has-numbering'>{CODE}</code>"
        "<ul class='pre-numbering'><li>1</li><li>2</li></ul></pre>"
    ),
    "CSDN, a line in an item": (
        "<pre><code class='hljs language-python'><ol class='hljs-ln'>"
        + "".join(
            f"<li><div class='hljs-ln-numbers'><div class='hljs-ln-n' data-line-number='{number}'></div></div>"
            f"<div class='hljs-ln-code'><div class='hljs-ln-line'>{line}</div></div></li>"
            for number, line in NUMBERED
        )
        + "</ol></code></pre>"
    ),
    "SyntaxHighlighter 1": (
        "<div class='dp-highlighter' lang='python'><div class='bar'><a href='#'>view plain</a></div><ol class='dp-py'>"
        + "".join(f"<li><span>{line.replace(' ', '&nbsp;')}&nbsp;&nbsp;</span></li>" for line in LINES)
        + "</ol></div>"
    ),
    "SyntaxHighlighter 1, its source": f"<textarea name='code' class='python' cols='60'>{CODE}</textarea>",
    "Discuz!": (
        "<div class='blockcode' lang='python'><div><ol>"
        + "".join(f"<li>{line.replace('  ', '&nbsp; ')}<br></li>" for line in LINES)
        + "</ol></div><em>Copy</em></div>"
    ),
    "Enlighter": (
        "<div class='enlighter-default'><div class='enlighter-code'><div class='enlighter'>"
        + "".join(f"<div><div><span>{line}</span></div></div>" for line in LINES)
        + f"</div><pre class='enlighter-raw'>{CODE}</pre></div></div>"
        f"<pre class='EnlighterJSRAW' data-enlighter-language='python' style='display: none'>{CODE}</pre>"
    ),
    "Enlighter, its source gone": (
        "<div class='enlighter-default'><div class='enlighter-code'><div class='enlighter'><div>def</div></div>"
        f"<pre class='enlighter-raw' data-lang='python'>{CODE}</pre></div></div>"
    ),
    "CodeMirror 5": (
        "<div class='CodeMirror-code' lang='python'>"
        + "".join(
            f"<div><div class='CodeMirror-gutter-wrapper'><div class='CodeMirror-linenumber'>{number}</div></div>"
            f"<pre class='CodeMirror-line'><span>{line or '&#8203;'}</span></pre></div>"
            for number, line in NUMBERED
        )
        + "</div>"
    ),
    "Monaco": (
        "<div class='view-lines' lang='python'>"
        + "".join(f"<div class='view-line'><span>{line.replace(' ', '&nbsp;')}</span></div>" for line in LINES)
        + "</div>"
    ),
    "Ace": (
        "<div class='ace_gutter'><div>1</div><div>2</div></div><div class='ace_text-layer' lang='python'>"
        + "".join(f"<div class='ace_line'>{line.replace(' ', '&nbsp;')}</div>" for line in LINES)
        + "</div>"
    ),
    "W3Schools": f"<div class='w3-code notranslate' lang='python'>{BREAKS}</div>",
    "TeX4ht": (
        "<div class='lstlisting' lang='python'>"
        + "".join(f"<span class='label'><a id='x'></a></span>{line.replace(' ', '&#160;')}<br>" for line in LINES)
        + "</div>"
    ),
    "LaTeXML": (
        "<div class='ltx_listing ltx_lst_language_Python'>"
        + "".join(
            f"<div class='ltx_listingline'><span class='ltx_tag ltx_tag_listingline'>{number}</span>"
            f"<span class='ltx_text'>{line.replace(' ', '&#160;')}</span></div>"
            for number, line in NUMBERED
        )
        + "</div>"
    ),
    "HeVeA": (
        "<table class='lstframe' lang='python'><tr><td class='lstlisting'>"
        f" {CODE.replace(LF, LF + ' ')}</td></tr></table>"
    ),
    "hilite.me": (f"<table lang='python'><tr><td><pre>1\n2\n3\n4\n5</pre></td><td><pre>{CODE}</pre></td></tr></table>"),
    "numbers in a box beside it": (
        "<div class='line-numbers'><a>1</a><a>2</a></div>"
        f"<div class='blob-content'><pre><code class='language-python'>{CODE}</code></pre></div>"
    ),
    "WeChat": (
        "<section class='code-snippet__fix'><ul class='code-snippet__line-index'><li></li><li></li></ul>"
        "<pre class='code-snippet__js' data-lang='python'>"
        + "".join(f"<code><span class='code-snippet_outer'>{line or '<br>'}</span></code>" for line in LINES)
        + "</pre></section>"
    ),
    "51CTO": (
        f"<pre class='prettyprint language-python'><code class='has-numbering'>{CODE}</code><div class='hljs-cto'>"
        "<button>登录后复制</button></div><ul class='pre-numbering'><li>1.</li><li>2.</li></ul></pre>"
    ),
    "Typora": (
        "<pre class='md-fences' lang='python'><div class='CodeMirror'><div class='CodeMirror-measure'><pre>xxxxx</pre>"
        "</div><div class='CodeMirror-code'>"
        + "".join(f"<pre class='CodeMirror-line'><span>{line or '&#8203;'}</span></pre>" for line in LINES)
        + "</div></div></pre>"
    ),
    "Runoob": f"<div class='example_code' lang='python'>{BREAKS}</div>",
    "Butterfly": (
        "<figure class='highlight python'><div class='highlight-tools'><i></i><div class='code-lang'>Python</div></div>"
        f"<table><tr><td class='gutter'><pre>1<br>2</pre></td><td class='code'><pre>{CODE}</pre></td></tr></table>"
        "</figure>"
    ),
    "breaks": f"<code class='block language-python'>{BREAKS}</code>",
    "forum box": f"<div class='codebox' data-lang='python'>{BREAKS}</div>",
}


@pytest.mark.parametrize("markup", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_each_layout_of_code_gives_its_exact_text(markup):
    assert part_of(page(markup)) == f"```python\n{CODE}\n```"


def test_scribble_writes_a_row_a_line():
    rows = [
        "<span class='stt'>&gt; </span><span class='RktPn'>(</span><span class='RktSym'>if</span> x",
        "<span class='hspace'>&nbsp;&nbsp;&nbsp;&nbsp;</span><span class='RktVal'>1</span>)",
        "<p><span class='RktOut'>- : Integer</span></p>",
    ]
    table = "".join(f"<tr><td>{row}</td></tr>" for row in rows)
    markdown = page(f"<blockquote class='SCodeFlow'><table cellspacing='0' class='RktBlk'>{table}</table></blockquote>")
    assert part_of(markdown) == "```racket\n> (if x\n    1)\n- : Integer\n```"


def test_how_a_function_is_declared_is_code():
    rows = [("double f", "(", "double&#160;", "<em>x</em>, "), ("", "", "int *&#160;", "<em>n</em>&#160;"), ("", ")")]
    table = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    proto = f"<div class='memtemplate'>template&lt;int N&gt;</div><table class='memname'>{table}</table>"
    markdown = page(f"<div class='memitem'><div class='memproto'>{proto}</div><div>Halves x.</div></div>")
    assert part_of(markdown) == "```\ntemplate<int N>\ndouble f (double x, int * n)\n```\n\nHalves x."


@pytest.mark.parametrize(
    ("block", "language"),
    [
        ("<div class='mw-geshi'><div class='cpp source-cpp'><pre class='de1'>int x;</pre></div></div>", "cpp"),
        ("<pre class='rust fn'>fn f();</pre>", "rust"),
        ("<div class='highlight hl-ipython3'><pre>1</pre></div>", "python"),
        (
            "<div class='doctest highlight-default'><div class='highlight'><pre>&gt;&gt;&gt; 1</pre></div></div>",
            "pycon",
        ),
        ("<div class='text source-text'><pre>output</pre></div>", ""),
        ("<div class='highlight highlight-source-js notranslate'><pre>let x</pre></div>", "js"),
        ("<div class='org-src-container'><pre class='src src-c'>int x;</pre></div>", "c"),
        ("<pre class='shiki' language='js'><code language='js'>let x</code></pre>", "js"),
        ("<pre class='syntaxhighlighter-pre' data-syntaxhighlighter-params='brush: js; gutter: false'>let</pre>", "js"),
    ],
)
def test_the_language_is_what_the_page_says(block, language):
    assert part_of(page(block)).startswith(f"```{language}\n")


def test_a_gist_says_its_language_and_not_where_it_is_from():
    rows = "".join(
        f"<tr><td class='blob-num' data-line-number='{number}'></td><td class='blob-code'>{line}</td></tr>"
        for number, line in NUMBERED
    )
    table = f"<table class='highlight tab-size js-file-line-container'>{rows}</table>"
    meta = "<div class='gist-meta'><a href='x'>view raw</a> hosted with love by <a href='y'>GitHub</a></div>"
    gist = f"<div class='gist'><div class='blob-wrapper data type-python'>{table}</div>{meta}</div>"
    assert part_of(page(gist)) == f"```python\n{CODE}\n```"


@pytest.mark.parametrize(
    "label",
    [
        "<span class='lang'>python</span>",
        "<div class='example-header'><span class='language-name'>python</span></div>",
        "<p class='aside-title'>Python</p>",
    ],
)
def test_a_label_above_a_block_that_is_its_language_goes(label):
    block = f"<div class='language-python vp-adaptive-theme'>{label}<pre>{CODE}</pre></div>"
    assert part_of(page(block)) == f"```python\n{CODE}\n```"


@pytest.mark.parametrize(
    "block",
    [
        "<div class='codebox'><p>Code: <a href='#'>Select all</a></p><pre><code>CODE</code></pre></div>",
        "<table><tr><td><span><b>Code:</b></span></td></tr><tr><td class='code'>CODE<br></td></tr></table>",
        "<div><div class='smallfont'>Code:</div><pre class='alt2'>CODE</pre></div>",
        "<div class='codeheader'>Code: <a href='#'>[Select]</a></div><code class='bbc_code block'>CODE</code>",
        "<div class='bbCodeBlock'><div class='bbCodeBlock-title'>Python:</div><div><pre>CODE</pre></div></div>",
        "<div class='codebox'><h4>Code:</h4><div class='scrollbox'><pre>CODE</pre></div></div>",
        "<div class='cnblogs_code'><div class='toolbar'><a>复制代码</a></div><pre>CODE</pre></div>",
        "<div class='cnblogs_code'><pre>CODE</pre><span class='cnblogs_code_collapse'>View Code</span></div>",
        "<div><div class='prompt input_prompt'>In&nbsp;[12]:</div><div><div><pre>CODE</pre></div></div></div>",
    ],
)
def test_that_a_block_is_code_is_not_said_again(block):
    assert part_of(page(block.replace("CODE", "x = 1"))) == "```\nx = 1\n```"


def test_a_sample_that_redoc_draws_as_a_tree_is_json_again():
    inner = "<ul class='array'><li><div>1<span>,</span></div></li><li><div>2</div></li></ul>"
    tree = f"<ul class='obj'><li><div><span>\"sizes\"</span>: [<span class='ellipsis'></span>{inner}]</div></li></ul>"
    markdown = part_of(page(f"<div class='redoc-json'><code><button></button>{{{tree}}}</code></div>"))
    assert markdown == '```json\n{\n  "sizes": [\n    1,\n    2\n  ]\n}\n```'


def test_what_introduces_code_stays():
    assert part_of(page("<p>Code of the page:</p><pre>x = 1</pre>")) == "Code of the page:\n\n```\nx = 1\n```"
    assert "```" not in page("<table><tr><td>1<br>2</td><td>one<br>two</td></tr></table>")
    assert part_of(page("<p>Code: <b>7</b></p><p>of it</p><pre>x</pre>")).startswith("Code: **7**\n\nof it")


def test_a_callout_is_no_part_of_the_code():
    callout = "<i class='conum' data-value='1'></i><b>(1)</b>"
    assert part_of(page(f"<pre><code class='language-go'>f() {callout}\ng()</code></pre>")) == "```go\nf()\ng()\n```"


def test_a_box_of_pseudocode_with_formulas_is_no_code():
    line = "<div class='ltx_listingline'>Let <math><mi>x</mi></math> be.</div>"
    assert part_of(page(f"<div class='ltx_listing'>{line}{line}</div>")) == "Let $x$ be.\n\nLet $x$ be."


def test_crayon_s_spaces_are_kept_beside_an_empty_line():
    lines = "".join(f"<div class='crayon-line'>{line or '&nbsp;'}</div>" for line in LINES)
    nums = "".join(f"<div class='crayon-num'>{number}</div>" for number, _ in NUMBERED)
    crayon = (
        f"<table class='crayon-table'><tr><td class='crayon-nums'>{nums}</td>"
        f"<td class='crayon-code'><div class='crayon-pre'>{lines}</div></td></tr></table>"
    )
    assert part_of(page(crayon)) == f"```\n{CODE}\n```"


def test_declarations_by_mediawikis_highlighter_are_code():
    spans = "<span class='mw-geshi cpp source-cpp'>template&lt; class T &gt;<br>void f( T );</span>"
    table = f"<table><tr><td><div>{spans}</div></td><td></td><td>(since C++11)</td></tr></table>"
    markdown = page(f"{table}<p>It calls <span class='mw-geshi cpp source-cpp'>g(x)</span>.</p>")
    assert "```cpp\ntemplate< class T >\nvoid f( T );\n```\n\n(since C++11)" in markdown
    assert "It calls `g(x)`." in markdown


def test_a_slide_s_fragment_is_no_code():
    assert "```" not in page("<div class='fragment'>One line\n<div>and another</div></div>")


def test_code_inside_of_code_is_a_part_of_it():
    argument = "<em><code><a href='#'>GIOExtension</a> *e</code></em>"
    gtk = f"<pre><span class='type'>gint</span>\nget_priority ({argument});</pre>"
    assert part_of(page(gtk)) == "```\ngint\nget_priority (GIOExtension *e);\n```"
    assert part_of(page("<pre>\ncreatedb <em><code>name</code></em></pre>")) == "```\ncreatedb name\n```"
    docbook = "<pre>SELECT 1;\n<code class='computeroutput'> 1\n</code>\nSELECT 2;\n<code> 2</code></pre>"
    assert part_of(page(docbook)) == "```\nSELECT 1;\n 1\n\nSELECT 2;\n 2\n```"
    titled = "<pre><span class='title'>hello.c</span><code>main()\n{}</code></pre>"
    assert part_of(page(titled)) == "```\nmain()\n{}\n```"


def test_where_spaces_are_entities_a_browser_shows_a_run_of_plain_ones_as_one():
    assert "{\n    return 0;\n}" in page("<code class='bbcode_code'>{<br>&nbsp; &nbsp;  return 0;<br>}</code>")


def test_tabs_and_the_indentation_of_a_fragment_are_kept():
    assert part_of(page("<pre>\tif x:\n\t\treturn\n</pre>")) == "```\nif x:\n\treturn\n```"
    assert part_of(page("<pre>if x:\n\treturn\n</pre>")) == "```\nif x:\n\treturn\n```"


def test_a_fence_is_longer_than_any_in_the_code():
    assert part_of(page("<pre>```\ncode\n```</pre>")) == "````\n```\ncode\n```\n````"


def test_formula_delimiters_in_code_stay():
    assert part_of(page(r"<pre>\(x\) $y$</pre>")) == "```\n\\(x\\) $y$\n```"


def test_code_that_is_a_whole_paragraph_is_a_block():
    assert part_of(page("<p><code>pip install x</code></p>")) == "```\npip install x\n```"
    assert part_of(page("<p>Run <code>pip</code></p>")) == "Run `pip`"
    assert part_of(page("<ul><li><p><code>a</code></p><li>b</ul>")) == "- `a`\n- b"


def test_commands_and_their_output_in_pieces_are_one_block():
    markup = (
        "<code class='hl lean block'>#check 1</code> <pre class='lean-output'>1 : Nat</pre>"
        "<code class='hl lean block'>\n</code> <code class='hl lean block'>#eval 1</code>"
    )
    assert part_of(page(markup)) == "```lean\n#check 1\n1 : Nat\n\n#eval 1\n```"


def test_a_heading_that_was_never_closed_leaves_the_code_below_it_exact():
    assert part_of(page("<h1>Usage <pre>a\n  b</pre><p>Text</p></h1>")) == "# Usage\n\n```\na\n  b\n```\n\nText"


def test_code_in_lists_and_tables_keeps_its_lines():
    assert part_of(page("<ol><li>Run<pre>a\n  b\n\nc</pre></ol>")) == "1. Run\n\n   ```\n   a\n     b\n\n   c\n   ```"
    markdown = page("<table><tr><td>one<td><pre>a\n  b</pre><tr><td>two<td>x</table>")
    assert "```\na\n  b\n```" in markdown


def test_a_fence_that_begins_a_list_item_begins_a_line():
    markdown = page("<ul><li><pre>a\n  b</pre></li><li>then <code>c</code></li></ul>")
    assert part_of(markdown) == "-\n  ```\n  a\n    b\n  ```\n- then `c`"
    assert part_of(page("<ol><li><pre>a</pre>b</li></ol>")) == "1.\n   ```\n   a\n   ```\n\n   b"


def test_a_table_of_numbers_is_no_code():
    markup = "<table><tr><th>n<th>n²<tr><td>1<td>1<tr><td>2<td>4</table>"
    assert part_of(page(markup)) == "| n | n² |\n| --- | --- |\n| 1 | 1 |\n| 2 | 4 |"


HOSTILE = {
    "deep spans": "<pre>" + "<span>" * 5_000 + "x",
    "deep boxes": "<pre>" + "<div>" * 5_000 + "x",
    "nested blocks": "<pre>" * 3_000 + "x",
    "many lines": "<pre>" + "<span class='line'>x</span>" * 20_000,
    "many blocks": "<div><pre>x</pre></div>" * 10_000,
    "many pieces": "<code class='block'>x</code> " * 5_000,
    "nested code boxes": "<div class='code'>x<br>" * 1_000,
    "nested tables": "<table><tr><td class='lineno'>1<td>" * 300,
    "back-ticks": "<pre>" + "`" * 300_000,
}


@pytest.mark.parametrize("part", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_code_costs_little(part):
    start = time.process_time()
    assert "Some sentences" in page(part)
    assert time.process_time() - start < 5


@settings(max_examples=100)
@given(st.lists(st.text("ab( \t{}$`*_#-\\", min_size=1).map(lambda line: "x" + line.rstrip()), min_size=1, max_size=8))
def test_any_lines_come_back_to_the_letter(lines):
    code = "\n".join(lines)
    markdown = part_of(page(f"<pre>{code}</pre>"))
    assert markdown.split("\n")[1:-1] == lines


def test_a_fence_that_became_code_in_a_line_keeps_its_language():
    assert part_of(
        page(f"<ul><li><p>So:</p></li></ul><p><code>c#\n  {CODE.replace(LF, LF + '  ')}</code></p>")
    ).endswith(f"```c#\n{CODE}\n```")
    assert part_of(page("<p><code>x = 1\ny = 2</code></p>")) == "```\nx = 1\ny = 2\n```"

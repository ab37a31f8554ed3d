"""Formulas as browsers leave them: what each renderer draws, read back.

    python benchmarks/renderers.py --mathjax2 FOLDER --mathjax3 FOLDER --katex FOLDER [--formulas FILE]

FOLDER holds `MathJax.js`, `tex-chtml.js` and `tex-svg.js`, or `katex.js` and `katex.css` (Debian's libjs-mathjax and
libjs-katex put them into /usr/share/javascript, PyPI's sphinx-mathjax-offline has MathJax 3). Chromium draws a page of
the formulas, one a line of FILE, with each; a renderer without its folder is left out. From each page the source is
then taken away step by step: LaTeX in scripts and annotations, MathML in attributes and beside the drawing, until only
glyphs are left. A formula counts when it comes back, spaces, styles and two names of one sign aside.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mimo_data import extract_html

RENDERERS = {
    "mathjax2": ("MathJax.js",),
    "mathjax3": ("tex-chtml.js", "tex-svg.js"),
    "katex": ("katex.js", "katex.css"),
}
CHROMIUM = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
SPAN = re.compile(r"\$\$\s*(.+?)\s*\$\$|(?<![\\$])\$(?!\$)((?:[^$\n]|\n(?!\n))+?)(?<!\\)\$", re.DOTALL)
SCRIPT = re.compile(r'<script type="math/tex[^"]*"[^>]*>.*?</script>', re.DOTALL)
ATTRIBUTE = re.compile(r' data-mathml="[^"]*"')
ASSISTIVE = re.compile(r'<span class="MJX_Assistive_MathML.*?</math></span>', re.DOTALL)
ANNOTATION = re.compile(r"<annotation.*?</annotation>", re.DOTALL)

# Two ways to write one sign.
ALIASES = (
    (r"\\leq?(?![A-Za-z])", r"\\le "), (r"\\geq?(?![A-Za-z])", r"\\ge "), (r"\\neq?(?![A-Za-z])", r"\\ne "),
    (r"\\(?:ldots|cdots|dots)(?![A-Za-z])", r"\\dots "), (r"\\(?:left|right|,|:|;|!)|~", ""),
    (r"\\(?:rightarrow|to)(?![A-Za-z])", r"\\to "), (r"\\ast(?![A-Za-z])", "*"),
    (r"\\(?:operatorname|text)(?=\{)", r"\\mathrm"), (r"\\(?:lVert|rVert|Vert|\|)", r"\\|"),
    (r"\\stackrel", r"\\overset"),
    (r"\\(begin|end)\{(?:aligned|align|matrix)\*?\}", r"\\\1{aligned}"), (r"\\quad", ""),
    (r"\\mathrm\{(\w)\}", r"\1"), (r"\\bar\{(\w)\}", r"\\overline{\1}"), (r"\\Longleftrightarrow", r"\\iff "),
    (r"\\overrightarrow", r"\\vec"),
)  # fmt: skip


def bare(latex: str) -> str:
    for pattern, replacement in ALIASES:
        latex = re.sub(pattern, replacement, latex)
    latex = re.sub(r"\\(pmod|vec|hat)\s*(\w)(?!\w)", r"\\\1{\2}", latex)
    latex = re.sub(r"\s+", "", latex)
    latex = re.sub(r"([_^])\{(\\?[A-Za-z]+|.)\}", lambda found: found[1] + found[2], latex)
    latex = re.sub(r"('+)(_\{[^{}]*\}|_.)", r"\2\1", latex)
    return latex.replace("{}", "").rstrip(".,;")


def pages(formulas: list[str], arguments: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """The name of each renderer's output, and a page that draws the formulas with it."""
    lines = [f"<p>Sentence {number} of the text holds {{}} in its midst.</p>" for number in range(len(formulas))]
    marked = "".join(
        line.format(f"\\({html.escape(latex, quote=False)}\\)") for line, latex in zip(lines, formulas, strict=True)
    )
    if arguments.mathjax2:
        for output in ("HTML-CSS", "CommonHTML", "SVG", "NativeMML"):
            settings = {
                "jax": ["input/TeX", f"output/{output}"], "extensions": ["tex2jax.js", "AssistiveMML.js"],
                "TeX": {"extensions": ["AMSmath.js", "AMSsymbols.js"]}, "tex2jax": {"inlineMath": [["\\(", "\\)"]]},
            }  # fmt: skip
            script = f"{arguments.mathjax2.resolve().as_uri()}/MathJax.js"
            yield f"MathJax 2 {output}", page(
                f"<script type='text/x-mathjax-config'>MathJax.Hub.Config({json.dumps(settings)})</script>"
                f"<script src='{script}'></script>", marked,
            )  # fmt: skip
    if arguments.mathjax3:
        for output in ("chtml", "svg"):
            for assistive in (True, False):
                settings = {"tex": {"inlineMath": [["\\(", "\\)"]]},
                            "options": {"menuOptions": {"settings": {"assistiveMml": assistive}}}}  # fmt: skip
                script = f"{arguments.mathjax3.resolve().as_uri()}/tex-{output}.js"
                yield (
                    f"MathJax 3 {output.upper()}{'' if assistive else ', glyphs'}",
                    page(f"<script>MathJax = {json.dumps(settings)}</script><script src='{script}'></script>", marked),
                )
    if arguments.katex:
        empty = "".join(line.format(f"<span id='f{number}'></span>") for number, line in enumerate(lines))
        folder = arguments.katex.resolve().as_uri()
        for output in ("htmlAndMathml", "html"):
            loop = (
                f"{json.dumps(formulas)}.forEach((latex, number) => katex.render(latex, "
                f"document.getElementById('f' + number), {{output: '{output}', throwOnError: false}}))"
            )
            yield (
                f"KaTeX{', glyphs' if output == 'html' else ''}",
                page(
                    f"<link rel='stylesheet' href='{folder}/katex.css'><script src='{folder}/katex.js'></script>",
                    f"{empty}<script>{loop}</script>",
                ),
            )


def page(head: str, body: str) -> str:
    return f"<!DOCTYPE html><html><head><meta charset='utf-8'>{head}</head><body><main>{body}</main></body></html>"


def versions(name: str, drawn: str) -> Iterator[tuple[str, str]]:
    """A drawn page, and it with less and less of the source."""
    yield name, drawn
    if name.startswith("MathJax 2") and "NativeMML" not in name:
        without_scripts = SCRIPT.sub("", drawn)
        yield f"{name}, MathML", without_scripts
        if "CommonHTML" in name:
            yield f"{name}, glyphs", ATTRIBUTE.sub("", ASSISTIVE.sub("", without_scripts))
    elif name == "KaTeX":
        yield f"{name}, MathML", ANNOTATION.sub("", drawn)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in RENDERERS:
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER")
    parser.add_argument("--formulas", type=Path, default=Path(__file__).with_name("formulas.txt"))
    parser.add_argument("--show", action="store_true", help="print each formula that does not come back")
    arguments = parser.parse_args()
    folders = {name: folder for name in RENDERERS if (folder := getattr(arguments, name))}
    if not folders:
        parser.error("name at least one renderer's folder")
    for name, folder in folders.items():
        for file in RENDERERS[name]:
            if not (folder / file).exists():
                parser.error(f"{folder} holds no {file}")
    if shutil.which(CHROMIUM[0]) is None:
        parser.error(f"no {CHROMIUM[0]} here to draw with")
    formulas = arguments.formulas.read_text().splitlines()
    wanted = Counter(map(bare, formulas))
    print("| drawn by | formulas | come back | others in their place |\n| --- | --- | --- | --- |")
    for name, source in pages(formulas, arguments):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "page.html")
            path.write_text(source)
            command = [*CHROMIUM, "--virtual-time-budget=60000", "--dump-dom", path.as_uri()]
            drawn = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for version, markup in versions(name, drawn):
            found = Counter(bare(match[1] or match[2]) for match in SPAN.finditer(extract_html(markup)))
            back = sum((wanted & found).values())
            print(f"| {version} | {len(formulas)} | {back} | {sum((found - wanted).values())} |", flush=True)
            if arguments.show:
                print("".join(f"    lost   {latex}\n" for latex in (wanted - found)), end="")
                print("".join(f"    wrong  {latex}\n" for latex in (found - wanted)), end="")


main()

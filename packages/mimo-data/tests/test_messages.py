"""Messages in a `pre`: of bug trackers and mailing lists."""

from __future__ import annotations

from mimo_data import extract_html

PROSE = "The third step divides by the number of steps left, which is zero by\nthen. Bob wrote:\n&gt; Why does it stop?"
CODE = "    def step(n):\n        return 1 / n\n\n\n    step(3)"
PATCH = """diff --git a/steps.py b/steps.py
--- a/steps.py
+++ b/steps.py
@@ -1,4 +1,4 @@
 def step(n):
-\treturn 1
+\treturn 2

 end"""

MAILMAN = """<h1>[steps] Why it stops</h1><b>Ada L</b> <a href="mailto:steps%40example.org">ada at example.org</a><br>
<i>Fri May 3 10:00:00 CEST 2024</i><p><ul><li>Previous message: <a href="1.html">Other</a></li></ul><hr>
<pre>{text}</pre><hr>"""
BUGZILLA = """<div class="bz_comment"><span class="bz_comment_user"><span class="fn">ada</span></span>
<span class="bz_comment_time">2024-05-03 10:00:00 UTC</span><pre class="bz_comment_text">{text}</pre></div>"""


def test_prose_keeps_its_lines_and_indented_paragraphs_and_patches_are_code():
    markdown = extract_html(MAILMAN.format(text=f"{PROSE}\n\n{CODE}\n\nThanks,\nAda\n\n{PATCH}\n"))
    code = "```\ndef step(n):\n    return 1 / n\n\n\nstep(3)\n```"
    prose = PROSE.replace("&gt;", ">")
    assert f"{prose}\n\n{code}\n\nThanks,\nAda\n\n```\n{PATCH}\n```" in markdown


def test_a_message_of_a_bug_tracker_is_text():
    assert extract_html(BUGZILLA.format(text=PROSE)) == f"**ada**, 2024-05-03 10:00:00\n\n{PROSE.replace('&gt;', '>')}"


def test_a_formula_in_a_message_is_one():
    assert "$x_1^2$" in extract_html(BUGZILLA.format(text="It is \\(x_1^2\\) then."))


def test_any_other_pre_is_code():
    assert extract_html(f"<p>{PROSE}</p><pre>{CODE}</pre>").endswith("    return 1 / n\n\n\nstep(3)\n```")


def test_a_message_of_blanks_is_read_once():
    text = f"Hello.\n{' ' * 400_000}\n{' ' * 400_000}x\n" + "\n" * 200_000 + "Goodbye."
    markdown = extract_html(BUGZILLA.format(text=text))
    assert "Hello." in markdown
    assert markdown.endswith("Goodbye.")

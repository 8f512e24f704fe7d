"""The Markdown of answers keeps arithmetic, TeX and code that CommonMark would take for marks."""

from __future__ import annotations

import pytest

from rstitch_tui.markdown.parser import AnswerParser


def html(source: str) -> str:
    return str(AnswerParser().render(source)).strip().replace("<br />\n", "\n")


@pytest.mark.parametrize(
    "text",
    [
        "26*5=130\n68*6=408", "(2+3)*(4)", "a*b*c", "2*3*x*y", "3 * 4 * 5", "a_1 b_2", "x_1^2", "file_name_x", "[0]*n",
        "2**3", "x**2 + y**2", "2**-1", "f(x)**2", "2**(n+1) and 3**(n+1)", "**kwargs",
        "__name__", "____ is missing", "_1 + _2",
        "[1]: 42", "[a]: b\n[c]: d", "[a][1]", "[2](3)", "f[0](x)", "![n](k)",
        "1986. It was", "42.", "7)", "x\n1986. b", "12345678901. x", "+ 17", "26\n+ 17", "text\n-", "a\n===", "a\n--",
        "#5 is", "costs $5 and $10", "*", "a * b", "-", "5 * ", "\\frac",
    ],
)  # fmt: skip
def test_text_is_kept(text: str) -> None:
    assert html(text) == f"<p>{text.strip()}</p>"


@pytest.mark.parametrize(
    "text", ["<b>x</b>", "<x>", "a < b > c", "<!-- c -->", "&lt;", "AT&T &copy;", "<script>x</script>", "> 5"]
)
def test_html_is_text(text: str) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert html(text) == f"<p>{escaped}</p>"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("*so* and **so** 3 * 4", "<p><em>so</em> and <strong>so</strong> 3 * 4</p>"),
        ("un**believ**able *emph*asis", "<p>un<strong>believ</strong>able <em>emph</em>asis</p>"),
        ("**5**(five) **2**3", "<p><strong>5</strong>(five) <strong>2</strong>3</p>"),
        ("**Note: 2**3 = 8**", "<p><strong>Note: 2**3 = 8</strong></p>"),
        ("这是**重要**的", "<p>这是<strong>重要</strong>的</p>"),
        ("_x_ ~~y~~", "<p><em>x</em> <s>y</s></p>"),
        ("[a](https://x.y) [b](c.html)", '<p><a href="https://x.y">a</a> <a href="c.html">b</a></p>'),
        ("a\n---", "<p>a</p>\n<hr />"),
        ("1. a\n2. b", "<ol>\n<li>a</li>\n<li>b</li>\n</ol>"),
        ("1. a\n2.", "<ol>\n<li>a</li>\n<li></li>\n</ol>"),
        ("> quote 5", "<blockquote>\n<p>quote 5</p>\n</blockquote>"),
        ("`\\[a\\]`", "<p><code>\\[a\\]</code></p>"),
        ("```\n2*3*4\n[1]: 42\n```", "<pre><code>2*3*4\n[1]: 42\n</code></pre>"),
        ("`a**b**c __x__`", "<p><code>a**b**c __x__</code></p>"),
    ],
)
def test_markdown_is_drawn(source: str, expected: str) -> None:
    assert html(source) == expected

"""A whole page around an answer, and the part of one that a notebook shows.

Knows HTML; nothing of where a page is kept. A page runs no script but its own, which it names by its hash, so that
not even a mistake made here could let a model's words run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path

from rstitch_local.trace.page.chart import chart
from rstitch_local.trace.page.figures import circumstances, figures
from rstitch_local.trace.page.tokens import LEGEND, answer_html, html_list, html_text
from rstitch_local.trace.record import Trace

_HERE = Path(__file__).parent
_HINT = (
    '<p class="hint">Hover or tap a token for what is known of it. With the answer in focus (Tab): ← and → walk, n and'
    " p go to the next and the last place where the LLM took over, Esc ends it.</p>"
)


def document(title: str, content: Iterable[str]) -> str:
    """A page to look at in a browser.

    Args:
        title: what the browser calls it; escaped here.
        content: HTML, in which strangers' texts are escaped already.
    """
    style, script = _file("page.css"), _file("page.js")
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta name="generator" content="rstitch-local"><title>{html_text(title)}</title>',
            f'<style>{style}</style></head><body class="rstitch page">',
            *content,
            '<div id="tip" role="status" hidden></div>',
            f"<script>{script}</script></body></html>",
        ]
    )


def answer_parts(trace: Trace, answer: str) -> list[str]:
    """What every page has: figures, chart, legend, the answer and what it was made with.

    Args:
        trace: the answer.
        answer: its sections, as `answer_html` gives them.
    """
    return [
        html_list("figures", figures(trace).items()),
        chart(trace),
        LEGEND,
        _HINT,
        answer,
        html_list("circumstances", circumstances(trace).items()),
    ]


def fragment(trace: Trace) -> str:
    """An answer for a notebook: no script, and no style that reaches beyond it."""
    return "\n".join(
        [
            f'<div class="rstitch"><style>{_file("page.css")}</style>',
            html_list("figures", figures(trace).items()),
            chart(trace),
            LEGEND,
            answer_html(trace, opens_thinking=bool(trace.settings.get("opens_thinking"))),
            html_list("circumstances", circumstances(trace).items()),
            "</div>",
        ]
    )


def _file(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

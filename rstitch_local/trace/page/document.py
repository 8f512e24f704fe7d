"""The HTML document around an answer, and the fragment that a notebook shows.

The page allows no script but its own, which it names by its hash: even a mistake in escaping cannot run a script from
a model's text.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path

from rstitch_local.trace.labels import metrics, settings_of
from rstitch_local.trace.page.chart import chart
from rstitch_local.trace.page.tokens import LEGEND, answer_html, html_list, html_text
from rstitch_local.trace.record import Trace

_FOLDER = Path(__file__).parent
_HINT = (
    '<p class="hint">Hover over a token, or tap it, for its numbers. With the focus on the answer (Tab): ← and → select'
    " a token, n and p jump to the next and previous swap to the LLM, Esc clears the selection.</p>"
)


def document(title: str, content: Iterable[str]) -> str:
    """Return a complete page.

    Args:
        title: title of the page; escaped here.
        content: HTML in which untrusted texts are already escaped.
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
            '<div id="tooltip" role="status" hidden></div>',
            f"<script>{script}</script></body></html>",
        ]
    )


def answer_parts(trace: Trace, answer: str) -> list[str]:
    """Return the parts that every page has: metrics, chart, legend, the answer, settings.

    Args:
        trace: the answer.
        answer: its sections, from `answer_html`.
    """
    return [
        html_list("metrics", metrics(trace).items()),
        chart(trace),
        LEGEND,
        _HINT,
        answer,
        html_list("settings", settings_of(trace).items()),
    ]


def notebook_view(trace: Trace) -> str:
    """Return an answer as an HTML fragment without scripts, whose styles affect nothing else in the notebook."""
    return "\n".join(
        [
            f'<div class="rstitch"><style>{_file("page.css")}</style>',
            html_list("metrics", metrics(trace).items()),
            chart(trace),
            LEGEND,
            answer_html(trace, opens_thinking=bool(trace.settings.get("opens_thinking"))),
            html_list("settings", settings_of(trace).items()),
            "</div>",
        ]
    )


def _file(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

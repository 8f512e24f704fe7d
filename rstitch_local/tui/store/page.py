"""One answer as a self-contained page: every token in the colour of its model, with a chart of the entropy.

Knows HTML and Trace; nothing of files. The page asks the network for nothing and runs no script but its own, which
it names by its hash, so that not even a mistake made here could let a model's words run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from datetime import datetime
from html import escape
from pathlib import Path

from rstitch_local.decoding.routers import Role
from rstitch_local.decoding.trajectory import Step
from rstitch_local.engine.trace import Trace
from rstitch_local.text import safe_text
from rstitch_local.tui.store.chart import chart, level
from rstitch_local.tui.store.figures import STOPS, circumstances, figures
from rstitch_local.tui.store.records import Chat, Message
from rstitch_local.tui.thinking import thinking_steps

_HERE = Path(__file__).parent
_CLASSES = {Role.SLM: "s", Role.LLM: "l"}
_LEVELS = 9


def to_html(chat: Chat, question: Message, answer: Message, trace: Trace) -> str:
    """A page with one answer, to look at in a browser.

    Args:
        chat: the chat it is from.
        question: the message it answers.
        answer: the message itself.
        trace: its record, as `Store.trace` gives it.
    """
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'"
    title = _text(chat.title or "Untitled chat")
    when = f"{datetime.fromtimestamp(answer.created).astimezone():%Y-%m-%d %H:%M}"
    ending = STOPS.get(trace.stop or "", "still being written")
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta name="generator" content="rstitch-local"><title>{title}</title>',
            f"<style>{style}</style></head><body>",
            f"<header><h1>{title}</h1><p>{when}, {_text(ending)}.</p></header>",
            f'<section class="question"><h2>Question</h2><div class="text">{_text(question.text)}</div></section>',
            _list("figures", figures(trace).items()),
            chart(trace),
            _LEGEND,
            *_answer(answer, trace),
            f'<p class="error">{_text(answer.error)}</p>' if answer.error else "",
            _list("circumstances", circumstances(trace).items()),
            '<div id="tip" hidden></div>',
            f"<script>{script}</script></body></html>",
        ]
    )


_LEGEND = (
    '<p class="legend"><span><span class="t s e3">written by the small model (SLM)</span></span>'
    '<span><span class="t l e3">written by the large model (LLM)</span></span>'
    "<span>the stronger the colour, the less sure the model was: "
    + "".join(f'<span class="t scale s e{number}"></span>' for number in range(_LEVELS + 1))
    + "</span></p>"
)


def _answer(answer: Message, trace: Trace) -> Iterable[str]:
    """The answer's sections: its thinking, if there is any, and the rest."""
    # What was given counts as the first token, so that a mark in it is seen.
    given = Step(-1, Role.SLM, 0, answer.prefix, 0.0, 0.0, 0, 0.0)
    split = max(0, thinking_steps([given, *trace.steps], answer.opens_thinking) - 1)
    before = f'<span class="given" title="given by the user">{_text(answer.prefix)}</span>' if answer.prefix else ""
    if split:
        body = before + "".join(map(_token, trace.steps[:split]))
        yield (
            f'<details open><summary>Thinking, {split} tokens</summary><div class="text answer">{body}</div></details>'
        )
        before = ""
    body = before + "".join(map(_token, trace.steps[split:]))
    yield f'<section><h2>Answer</h2><div class="text answer">{body}</div></section>'


def _token(step: Step) -> str:
    marks = ["t", _CLASSES[step.role], f"e{round(level(step.entropy) * _LEVELS)}"]
    text = _text(step.text)
    if not text:
        marks.append("none")
    elif text.startswith("\n"):
        marks.append("newline")
    if step.unsure is not None:
        marks.append("swap")
    lines = [
        f"{step.role.name}, token {step.position}",
        f"entropy {step.entropy:.4f}, likeliest token {step.top1:.1%}".replace("%", " %"),
    ]
    if step.unsure is not None:
        lines.append(f"the SLM was unsure: entropy {step.unsure:.4f}")
    lines.append(f"evaluated: {step.caught_up} in {step.ms:.1f} ms")
    return f'<span class="{" ".join(marks)}" title="{"&#10;".join(lines)}">{text}</span>'


def _list(name: str, items: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<div><dt>{_text(key)}</dt><dd>{_text(value)}</dd></div>" for key, value in items)
    return f'<dl class="{name}">{rows}</dl>'


def _text(text: str) -> str:
    return escape(safe_text(text))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

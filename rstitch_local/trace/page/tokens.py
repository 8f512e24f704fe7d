"""An answer's tokens as HTML: each in the colour of its model, with what is known of it.

Knows Trace, and both models' views of each place where somebody has them; nothing of pages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.thinking import thinking_steps
from rstitch_local.sanitize import safe_text, visible
from rstitch_local.trace.page.chart import level
from rstitch_local.trace.record import Trace

_CLASSES = {Role.SLM: "s", Role.LLM: "l"}
_LEVELS = 9

LEGEND = (
    '<p class="legend"><span><span class="t s e3">written by the small model (SLM)</span></span>'
    '<span><span class="t l e3">written by the large model (LLM)</span></span>'
    '<span>the LLM took over <span class="t l swap e3">here</span>: the SLM was unsure</span>'
    "<span>the stronger the colour, the less sure the writer was: "
    + "".join(f'<span class="t scale s e{number}"></span>' for number in range(_LEVELS + 1))
    + "</span></p>"
)
"""What the colours mean."""

View = Sequence[tuple[str, str, Sequence[tuple[str, float, bool]]]]
"""What the models make of a place, for a page: of each its name, its entropy in words, and its likeliest tokens, each
with its text, its probability and whether it is the token that stands there."""


def html_text(text: str) -> str:
    """A stranger's text for a page: escaped, and without characters that reverse or hide what stands around them."""
    return escape(safe_text(text))


def html_list(name: str, items: Iterable[tuple[str, str]]) -> str:
    """Names and values as a list of the class `name`."""
    rows = "".join(f"<div><dt>{html_text(key)}</dt><dd>{html_text(value)}</dd></div>" for key, value in items)
    return f'<dl class="{name}">{rows}</dl>'


def entropy_words(trace: Trace, role: Role, entropy: float) -> str:
    """An entropy in both its units, or as it is where the size of the vocabulary is not recorded."""
    nats = trace.nats(role, entropy)
    return f"{entropy:.4f}" + ("" if nats is None else f" ({nats:.3f} nats)")


def answer_html(
    trace: Trace, *, prefix: str = "", opens_thinking: bool = False, views: Sequence[View] | None = None
) -> str:
    """The answer's sections: its thinking, if there is any, and the rest.

    Args:
        trace: the answer.
        prefix: the text it was made to begin with.
        opens_thinking: a template had opened the thinking, so that the answer begins inside it.
        views: what both models made of each token's place, as many as there are tokens; None where nobody asked.
    """
    # What was given counts as the first token, so that a mark in it is seen.
    given = Step(-1, Role.SLM, 0, prefix, 0.0, 0.0, 0, 0.0)
    split = max(0, thinking_steps([given, *trace.steps], opens_thinking) - 1)
    before = f'<span class="given" title="given by the user">{html_text(prefix)}</span>' if prefix else ""
    tokens = [_token(trace, index, None if views is None else views[index]) for index in range(len(trace.steps))]
    thinking = ""
    if split:
        thinking = (
            f"<details open><summary>Thinking, {split} tokens</summary>{_box(before, tokens[:split])}</details>\n"
        )
        before = ""
    return f"{thinking}<section><h2>Answer</h2>{_box(before, tokens[split:])}</section>"


def _box(before: str, tokens: Sequence[str]) -> str:
    return f'<div class="text answer" tabindex="0">{before}{"".join(tokens)}</div>'


def _token(trace: Trace, index: int, view: View | None) -> str:
    step = trace.steps[index]
    marks = ["t", _CLASSES[step.role], f"e{round(level(step.entropy) * _LEVELS)}"]
    text = html_text(step.text)
    if not text:
        marks.append("none")
    elif text.startswith("\n"):
        marks.append("newline")
    if step.swap_entropy is not None:
        marks.append("swap")
    lines = [
        f"{step.role.name}, token {step.position}",
        f"entropy {entropy_words(trace, step.role, step.entropy)}",
        f"likeliest token {step.top1:.1%}".replace("%", " %"),
    ]
    if step.swap_entropy is not None:
        lines.append(f"the SLM was unsure: entropy {entropy_words(trace, Role.SLM, step.swap_entropy)}")
    elif step.role is Role.SLM and index and trace.steps[index - 1].role is Role.LLM:
        lines.append("the LLM was sure again: control came back to the SLM")
    tokens = "1 token" if step.evaluated_tokens == 1 else f"{step.evaluated_tokens} tokens"
    lines.append(f"{tokens} evaluated in {step.ms:.1f} ms")
    likeliest = "" if view is None else f' data-view="{escape(_view(view))}"'
    return f'<span class="{" ".join(marks)}" title="{"&#10;".join(lines)}"{likeliest}>{text}</span>'


def _view(view: View) -> str:
    """A place as JSON for the page's script: [[name, entropy, [[token, probability, 1 or 0: it stands there]]]]."""
    shown = [
        [name, entropy, [[visible(text), round(share, 4), int(taken)] for text, share, taken in candidates]]
        for name, entropy, candidates in view
    ]
    return json.dumps(shown, separators=(",", ":"))

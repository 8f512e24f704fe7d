"""The page of one answer with its question and grading verdict."""

from __future__ import annotations

from collections.abc import Sequence

from rstitch_local.trace.labels import stop_reason
from rstitch_local.trace.page.document import answer_parts, document
from rstitch_local.trace.page.tokens import Predictions, answer_html, html_text
from rstitch_local.trace.reading import LoadedAnswer

_VERDICT_CLASSES = {True: ("correct", "✓"), False: ("wrong", "✗"), None: ("ungraded", "·")}


def answer_page(answer: LoadedAnswer, predictions: Sequence[Predictions] | None = None) -> str:
    """Return a self-contained page: no network requests, and no script but its own.

    Args:
        answer: the answer.
        predictions: both models' predictions for the position of each token, from `inspect_all`; None to leave them
            out.
    """
    title = html_text(answer.title or "An answer, token by token")
    verdict = question = ""
    if answer.verdict:
        name, mark = _VERDICT_CLASSES[answer.correct]
        verdict = f'<p class="verdict {name}"><b>{mark}</b> {html_text(answer.verdict)}</p>'
    if answer.question:
        question = question_html(answer.question)
    tokens = answer_html(
        answer.trace, prefix=answer.prefix, opens_thinking=answer.opens_thinking, predictions=predictions
    )
    header = f"<header><h1>{title}</h1>{verdict}<p>{html_text(stop_reason(answer.trace))}</p></header>"
    return document(
        answer.title or "An answer, token by token", [header, question, *answer_parts(answer.trace, tokens)]
    )


def question_html(question: str) -> str:
    """Return the section with the question."""
    return f'<section class="question"><h2>Question</h2><div class="text">{html_text(question)}</div></section>'

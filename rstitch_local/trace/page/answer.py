"""The page of one answer with its question and grading verdict."""

from __future__ import annotations

from collections.abc import Sequence

from rstitch_local.errors import UsageError
from rstitch_local.trace.labels import stop_reason
from rstitch_local.trace.page.document import answer_parts, document
from rstitch_local.trace.page.tokens import Predictions, answer_html, html_text
from rstitch_local.trace.reading import LoadedAnswer
from rstitch_local.trace.record import Trace

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


def trace_page(trace: Trace, question: str = "", predictions: Sequence[Predictions] | None = None) -> str:
    """Return the page of a trace that does not come from a file; see `Trace.to_html`."""
    if predictions is not None and len(predictions) != len(trace.steps):
        raise UsageError(
            "Invalid predictions",
            f"There are {len(predictions)} predictions for {len(trace.steps)} tokens.",
            "Pass `list(inspect_all(pair, question, trace.steps))`.",
        )
    opens_thinking = bool(trace.settings.get("opens_thinking"))
    return answer_page(LoadedAnswer("", trace, question, opens_thinking=opens_thinking), predictions)


def question_html(question: str) -> str:
    """Return the section with the question."""
    return f'<section class="question"><h2>Question</h2><div class="text">{html_text(question)}</div></section>'

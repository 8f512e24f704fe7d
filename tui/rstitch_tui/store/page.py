"""One answer of a chat as a self-contained HTML page.

The layout of the page is in `rstitch_local.trace.page`.
"""

from __future__ import annotations

from datetime import datetime

from rstitch_local.trace.labels import stop_reason
from rstitch_local.trace.page.answer import question_html
from rstitch_local.trace.page.document import answer_parts, document
from rstitch_local.trace.page.tokens import answer_html, html_text
from rstitch_local.trace.record import Trace
from rstitch_tui.store.records import Chat, Message


def to_html(chat: Chat, question: Message, answer: Message, trace: Trace) -> str:
    """Return an HTML page with one answer.

    Args:
        chat: the chat of the answer.
        question: the message it answers.
        answer: the message with the answer.
        trace: its trace, from `Store.trace`.
    """
    title = chat.title or "Untitled chat"
    when = f"{datetime.fromtimestamp(answer.created).astimezone():%Y-%m-%d %H:%M}"
    body = answer_html(trace, prefix=answer.prefix, opens_thinking=answer.opens_thinking)
    error = f'\n<p class="error">{html_text(answer.error)}</p>' if answer.error else ""
    return document(
        title,
        [
            f"<header><h1>{html_text(title)}</h1><p>{when}, {html_text(stop_reason(trace))}.</p></header>",
            question_html(question.text),
            *answer_parts(trace, body + error),
        ],
    )

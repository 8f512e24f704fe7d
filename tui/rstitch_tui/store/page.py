"""One answer of a chat as a self-contained page.

Knows what of a chat belongs on it; how a page looks is engine/page.
"""

from __future__ import annotations

from datetime import datetime

from rstitch_local.trace.page.document import answer_parts, document
from rstitch_local.trace.page.figures import STOPS
from rstitch_local.trace.page.tokens import answer_html, html_text
from rstitch_local.trace.record import Trace
from rstitch_tui.store.records import Chat, Message


def to_html(chat: Chat, question: Message, answer: Message, trace: Trace) -> str:
    """A page with one answer, to look at in a browser.

    Args:
        chat: the chat it is from.
        question: the message it answers.
        answer: the message itself.
        trace: its record, as `Store.trace` gives it.
    """
    title = chat.title or "Untitled chat"
    when = f"{datetime.fromtimestamp(answer.created).astimezone():%Y-%m-%d %H:%M}"
    ending = STOPS.get(trace.stop or "", "still being written")
    said = answer_html(trace, prefix=answer.prefix, opens_thinking=answer.opens_thinking)
    error = f'\n<p class="error">{html_text(answer.error)}</p>' if answer.error else ""
    return document(
        title,
        [
            f"<header><h1>{html_text(title)}</h1><p>{when}, {html_text(ending)}.</p></header>",
            f'<section class="question"><h2>Question</h2><div class="text">{html_text(question.text)}</div></section>',
            *answer_parts(trace, said + error),
        ],
    )

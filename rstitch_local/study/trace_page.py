"""One answer of a run as a page, with what both models would have written where somebody asked them.

Knows what of a solved problem belongs on the page; how a page looks is engine/page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rstitch_local.decoding.roles import Role
from rstitch_local.study.trace_source import LoadedAnswer
from rstitch_local.trace.page.document import answer_parts, document
from rstitch_local.trace.page.figures import STOPS
from rstitch_local.trace.page.tokens import View as PageView
from rstitch_local.trace.page.tokens import answer_html, entropy_words, html_text
from rstitch_local.trace.prediction import Prediction
from rstitch_local.trace.record import Trace

_VERDICTS = {True: ("right", "✓"), False: ("wrong", "✗"), None: ("open", "·")}


def trace_page(looked: LoadedAnswer, views: Sequence[Mapping[Role, Prediction]] | None = None) -> str:
    """A self-contained page: no network, and no script but its own.

    Args:
        looked: the answer.
        views: what both models made of each token's place, as `inspect_all` gives them; None where nobody asked.
    """
    trace = looked.trace
    title = looked.title or "An answer, token by token"
    kind, sign = _VERDICTS[looked.verdict[0]]
    words = looked.verdict[1]
    verdict = f'<p class="verdict {kind}"><b>{sign}</b> {html_text(words)}</p>' if words else ""
    question = (
        f'<section class="question"><h2>Question</h2><div class="text">{html_text(looked.question)}</div></section>'
    )
    shown = None if views is None else [page_view(trace, index, view) for index, view in enumerate(views)]
    answer = answer_html(trace, prefix=looked.prefix, opens_thinking=looked.opens_thinking, views=shown)
    ending = STOPS.get(trace.stop or "", "not at its end")
    return document(
        title,
        [
            f"<header><h1>{html_text(title)}</h1>{verdict}<p>{html_text(ending)}</p></header>",
            question if looked.question else "",
            *answer_parts(trace, answer),
        ],
    )


def page_view(trace: Trace, index: int, views: Mapping[Role, Prediction]) -> PageView:
    """Both models' views of a token's place, as a page wants them.

    The token itself is marked by its id in its writer's list, and by its text in the other one's, whose vocabulary
    may be another.
    """
    step = trace.steps[index]
    shown = []
    for role, view in views.items():
        named = next((c.text for c in views[step.role].candidates if c.token == step.token), step.text)
        candidates = [
            (
                candidate.text,
                candidate.probability,
                candidate.token == step.token if role is step.role else candidate.text == named,
            )
            for candidate in view.candidates
        ]
        shown.append((role.name, entropy_words(trace, role, view.entropy), candidates))
    return shown

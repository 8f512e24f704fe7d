r"""The final answer of a text: in `<answer>` tags, in a box, after "the answer is" or `####`, or its last value.

String processing only, in time linear in the length of the text; no mathematics.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from rstitch_local.decoding.thinking import strip_thinking
from rstitch_local.problems.boxes import last_box_span, unclosed_box
from rstitch_local.problems.choices import chosen_letter, gold_choice, mentioned_letter
from rstitch_local.problems.expressions import last_value
from rstitch_local.problems.statements import hash_marked, plain, stated_value, statements, tagged

_STATEMENT_TAIL = 20_000
_VALUE_TAIL = 4_000
_BOX_LABEL = re.compile(
    r"\s*(?:\\text(?:bf)?\s*\{\s*)?(?:(?:the|final|correct)\s+)*answer\b(?:\s+is)?\s*[:=]?\s*(?:\}|(?<=[\s:=]))\s*(?=\S)",
    re.IGNORECASE,
)
# The label of a choice before its value: `(C) 12`, `\textbf{(E)}\ 7`, `B. 12`.
_CHOICE_LABEL = re.compile(
    r"\s*(?:\\(?:text|math)(?:bf|rm)?\s*\{\s*\(?[A-J]\)?\s*[.:]?\s*\}|\([A-Ja-j]\)|[A-J][).:](?=[\s\\~$]))"
    r"(?:\s|\\[ ,;:!]|\\q?quad|~)*(?=[^\s+\-*/=^_,)])"
)


class _Candidate(NamedTuple):
    text: str
    is_exact: bool
    """Whether all of the text is the answer; otherwise the text begins with it."""


def final_answer(text: str, gold: str | None = None) -> str | None:
    r"""Return the final answer of a text, reasoning excluded, or None.

    The content of the last `<answer>` tag if no box follows it; else the last box; else what follows the last `####` or
    the last statement such as "the answer is"; else the last expression with a value.

    Args:
        text: the answer of a model.
        gold: the gold answer. Where it is the letter of a choice, a letter is looked for; where it is not, the label of
            a choice before a value is removed.
    """
    body = strip_thinking(text)
    candidates = list(_candidates(body))
    letter = gold_choice(gold)
    if letter is not None:
        chosen = next(filter(None, map(_letter_of, candidates)), None) or mentioned_letter(plain(body[-_VALUE_TAIL:]))
        if chosen is not None:
            return chosen if letter.isupper() else chosen.lower()
    values = (each.text if each.is_exact else stated_value(each.text) for each in candidates)
    answer = next(filter(None, values), None) or last_value(plain(_tail(body, _VALUE_TAIL)))
    if answer is None or gold is None or _CHOICE_LABEL.match(gold):
        return answer
    label = _CHOICE_LABEL.match(answer)
    return answer[label.end() :] if label else answer


def _candidates(text: str) -> Iterator[_Candidate]:
    """Yield what may be the answer, the most explicit first."""
    tag = tagged(text)
    box = last_box_span(text)
    if tag is not None:
        position, content = tag
        if box is None or box[0] < position + len(content):
            yield from _marked(content, last_box_span(content))
            yield _Candidate(plain(content), is_exact=False)
    yield from _marked(text, box)


def _marked(text: str, box: tuple[int, int, str] | None) -> Iterator[_Candidate]:
    if box is not None:
        yield _Candidate(_content_of_box(box[2]), is_exact=True)
    tail = _tail(text, _STATEMENT_TAIL)
    marks = list(statements(tail))
    if (marked := hash_marked(tail)) is not None:
        marks.append(marked)
    yield from (_Candidate(rest, is_exact=False) for _, rest in sorted(marks, key=lambda mark: -mark[0]))
    if box is None and (content := unclosed_box(tail)) is not None:
        yield _Candidate(_content_of_box(content), is_exact=True)


def _content_of_box(content: str) -> str:
    label = _BOX_LABEL.match(content)
    content = content[label.end() :] if label else content
    while content.startswith("{") and content.endswith("}") and "}" not in content[1:-1]:
        content = content[1:-1].strip()
    return content


def _letter_of(candidate: _Candidate) -> str | None:
    if (letter := chosen_letter(candidate.text)) is not None or candidate.is_exact:
        return letter
    sentence = re.split(r"[.\n](?:\s|\Z)", candidate.text, maxsplit=1)[0]
    after = re.split(r"\b(?:is|be|choose|pick|select|with|option|choice)\b", sentence)[1:]
    return next(filter(None, map(chosen_letter, reversed(after))), None)


def _tail(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    tail = text[-length:]
    # A cut inside `$...$` would swap the inside and outside of all following pairs of dollars.
    return tail.partition("\n")[2] or tail

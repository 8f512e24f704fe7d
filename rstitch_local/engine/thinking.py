"""Where the thinking of an answer ends and the answer proper begins.

Knows text, steps and the marks models put around their reasoning; nothing of templates, widgets or chats.
"""

from __future__ import annotations

from collections.abc import Sequence

from rstitch_local.decoding.thought import CLOSES, OPENS, PLAINS
from rstitch_local.decoding.trajectory import Step

_QUOTES = "`'\"“‘"


def split_thinking(text: str, opened: bool = False, *, finished: bool = False) -> tuple[str, str]:
    """Part an answer into its thinking and the answer proper, both without the marks and the white space at them.

    Args:
        text: the answer as far as it has come.
        opened: the template had opened the thinking, so that the text begins inside it.
        finished: no more is to come, so that the beginning of a mark is not going to be one.

    Returns:
        (thinking, answer). All is thinking while its closing mark has not come; both are empty while the text may
        yet turn out to be an opening mark.
    """
    first, last, rest = _places(text, opened)
    if rest is None:
        return text[first:].strip(), ""
    if rest == 0:
        return "", "" if not finished and _begins_a_mark(text) else text
    return text[first:last].strip(), text[rest:].lstrip()


def thinking_steps(steps: Sequence[Step], opened: bool = False) -> int:
    """How many of an answer's first steps belong to its thinking, marks included."""
    texts = [step.text for step in steps]
    _, _, rest = _places("".join(texts), opened)
    if rest is None:
        return len(texts)
    count = place = 0
    while place < rest:
        place += len(texts[count])
        count += 1
    return count


def _places(text: str, opened: bool) -> tuple[int, int, int | None]:
    """Where the thinking begins and ends, and where the answer begins: 0 without any thinking, None not yet."""
    start = len(text) - len(text.lstrip())
    plain = next((mark for mark in PLAINS if text.startswith(mark, start)), None)
    if plain is not None and not opened:
        return start, start, start + len(plain)
    mark = next((mark for mark in OPENS if text.startswith(mark, start)), None)
    first = 0 if mark is None else start + len(mark)
    closing = min(((place, close) for close in CLOSES if (place := text.find(close, first)) >= 0), default=None)
    if closing is None:
        return first, len(text), None if opened or mark is not None else 0
    last, close = closing
    if not opened and mark is None and _is_mentioned(text, last):
        return 0, 0, 0
    return first, last, last + len(close)


def _is_mentioned(text: str, place: int) -> bool:
    """Whether a closing mark that nothing opened is spoken of, not used: after an opening one, quoted, or in code."""
    return (
        any(0 <= text.find(mark) < place for mark in OPENS)
        or (place > 0 and text[place - 1] in _QUOTES)
        or text.count("```", 0, place) % 2 == 1
    )


def _begins_a_mark(text: str) -> bool:
    """Whether the text, so far, is the beginning of a mark that an answer may begin with."""
    begun = text.strip()
    return begun != "" and any(mark.startswith(begun) for mark in (*OPENS, *PLAINS))

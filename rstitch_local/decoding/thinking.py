"""How models mark the reasoning before an answer, and where it ends: one table for generation, display and grading.

Knows the marks and text; nothing of models, templates or widgets.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass

from rstitch_local.decoding.step import Step


@dataclass(frozen=True, slots=True)
class ThinkingFormat:
    """One way to mark reasoning.

    name: for reports.
    open, close: what stands before and after the reasoning.
    tokens: the special tokens these are made of; a model that has all of them writes this way.
    plain: what an answer without any reasoning begins with; '' for nothing.
    """

    name: str
    open: str
    close: str
    tokens: tuple[str, ...]
    plain: str = ""

    @property
    def marks_by_use(self) -> tuple[str, str, str]:
        """open, close and plain."""
        return self.open, self.close, self.plain

    @property
    def marks(self) -> tuple[str, ...]:
        """Those of them that there are, in the same order: one that contains another comes first."""
        return tuple(mark for mark in self.marks_by_use if mark)

    @property
    def in_pieces(self) -> bool:
        """Whether a mark takes several tokens, so that there are places inside it."""
        return any(mark not in self.tokens for mark in self.marks)


def _tags(open_: str, close: str) -> ThinkingFormat:
    return ThinkingFormat(f"{open_} {close}", open_, close, (open_, close))


FORMATS = (
    _tags("<think>", "</think>"),
    _tags("[THINK]", "[/THINK]"),
    _tags("<|begin_of_thought|>", "<|end_of_thought|>"),
    ThinkingFormat(
        "harmony channels",
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
        ("<|channel|>", "<|message|>", "<|start|>", "<|end|>"),
        "<|channel|>final<|message|>",
    ),
)
"""Those of DeepSeek, Qwen and most others; of Mistral; of OpenThinker and its kin; of gpt-oss."""

OPENS = tuple(each.open for each in FORMATS)
CLOSES = tuple(each.close for each in FORMATS)
PLAINS = tuple(each.plain for each in FORMATS if each.plain)

_QUOTES = "`'\"“‘"

_ANY = re.compile("|".join(map(re.escape, (*OPENS, *CLOSES, *PLAINS))))
_CLOSING = re.compile("|".join(map(re.escape, (*CLOSES, *PLAINS))))


def format_of(texts: Container[bytes]) -> ThinkingFormat | None:
    """The format of a model with these special tokens; None for one that has none."""
    return next((each for each in FORMATS if all(token.encode() in texts for token in each.tokens)), None)


def respelled(text: str, form: ThinkingFormat | None) -> str:
    """A text with the marks of any format in those of one; as it is where that is None."""
    if form is None:
        return text

    def own(found: re.Match[str]) -> str:
        theirs = next(each for each in FORMATS if found[0] in each.marks)
        return form.marks_by_use[theirs.marks.index(found[0])]

    return _ANY.sub(own, text)


def opened_by(prompt: str) -> ThinkingFormat | None:
    """The format whose opening mark a prompt ends with, white space aside; None for one that opens no reasoning."""
    text = prompt.rstrip()
    return next((each for each in FORMATS if text.endswith(each.open)), None)


def closed_by(prompt: str) -> ThinkingFormat | None:
    """The format whose closing mark a prompt ends with: its template had the reasoning left out."""
    text = prompt.rstrip()
    return next((each for each in FORMATS if text.endswith(each.marks[1:])), None)


def strip_thinking(text: str) -> str:
    """What follows the last closing mark; the whole text where there is none (a thought cut off has none)."""
    end = 0
    for found in _CLOSING.finditer(text):
        end = found.end()
    return text[end:]


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

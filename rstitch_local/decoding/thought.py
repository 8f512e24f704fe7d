"""How models mark the reasoning before an answer: one table, for all who write, carry, show or grade text.

Knows the marks and nothing of models, tokens or templates.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass


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

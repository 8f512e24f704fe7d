"""Thinking formats: the tags around the reasoning before an answer, for generation, display and grading.

Works on text; independent of models, templates and widgets.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass

from rstitch_local.decoding.step import Step


@dataclass(frozen=True, slots=True)
class ThinkingFormat:
    """A set of tags around reasoning.

    Attributes:
        name: shown in reports.
        open: the tag before the reasoning.
        close: the tag after it.
        tokens: the special tokens that the tags consist of; a model with all of them uses this format.
        no_thinking: the beginning of an answer without reasoning; "" if it has no tag.
    """

    name: str
    open: str
    close: str
    tokens: tuple[str, ...]
    no_thinking: str = ""

    @property
    def tags_by_use(self) -> tuple[str, str, str]:
        """`open`, `close` and `no_thinking`."""
        return self.open, self.close, self.no_thinking

    @property
    def tags(self) -> tuple[str, ...]:
        """Those that are not empty, in the same order: a tag that contains another one comes first."""
        return tuple(tag for tag in self.tags_by_use if tag)

    @property
    def has_multi_token_tags(self) -> bool:
        """Whether a tag consists of several tokens."""
        return any(tag not in self.tokens for tag in self.tags)


def _simple(open_: str, close: str) -> ThinkingFormat:
    return ThinkingFormat(f"{open_} {close}", open_, close, (open_, close))


FORMATS = (
    _simple("<think>", "</think>"),
    _simple("[THINK]", "[/THINK]"),
    _simple("<|begin_of_thought|>", "<|end_of_thought|>"),
    ThinkingFormat(
        "harmony channels",
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
        ("<|channel|>", "<|message|>", "<|start|>", "<|end|>"),
        "<|channel|>final<|message|>",
    ),
)
"""The formats of DeepSeek, Qwen and most others; Mistral; OpenThinker and its derivatives; gpt-oss."""

OPEN_TAGS = tuple(each.open for each in FORMATS)
CLOSE_TAGS = tuple(each.close for each in FORMATS)
NO_THINKING_TAGS = tuple(each.no_thinking for each in FORMATS if each.no_thinking)

_QUOTES = "`'\"“‘"

_ANY = re.compile("|".join(map(re.escape, (*OPEN_TAGS, *CLOSE_TAGS, *NO_THINKING_TAGS))))
_CLOSING = re.compile("|".join(map(re.escape, (*CLOSE_TAGS, *NO_THINKING_TAGS))))


def format_of(texts: Container[bytes]) -> ThinkingFormat | None:
    """Return the format of a model whose tokens have these texts; None if it has no tokens for any format."""
    return next((each for each in FORMATS if all(token.encode() in texts for token in each.tokens)), None)


def convert_tags(text: str, form: ThinkingFormat | None) -> str:
    """Replace the tags of all formats in a text by those of one format; None leaves the text unchanged."""
    if form is None:
        return text

    def tag_of_form(match: re.Match[str]) -> str:
        source = next(each for each in FORMATS if match[0] in each.tags)
        return form.tags_by_use[source.tags.index(match[0])]

    return _ANY.sub(tag_of_form, text)


def opened_format(prompt: str) -> ThinkingFormat | None:
    """Return the format whose opening tag a prompt ends with, ignoring white space; None if there is none."""
    text = prompt.rstrip()
    return next((each for each in FORMATS if text.endswith(each.open)), None)


def closed_format(prompt: str) -> ThinkingFormat | None:
    """Return the format whose closing tag a prompt ends with (its template skips the reasoning); None if none."""
    text = prompt.rstrip()
    return next((each for each in FORMATS if text.endswith(each.tags[1:])), None)


def strip_thinking(text: str) -> str:
    """Return the text after the last closing tag; the whole text if there is none (truncated reasoning has none)."""
    end = 0
    for match in _CLOSING.finditer(text):
        end = match.end()
    return text[end:]


def split_thinking(text: str, opened: bool = False, *, finished: bool = False) -> tuple[str, str]:
    """Split an answer into reasoning and answer proper, both without tags and the white space next to them.

    Args:
        text: the answer so far.
        opened: whether the template opened the reasoning, so that the text begins inside it.
        finished: whether the answer is complete, so that the beginning of a tag is ordinary text.

    Returns:
        (thinking, answer). Everything is thinking until its closing tag; both are empty while the text may be the
        beginning of an opening tag.
    """
    first, last, rest = _bounds(text, opened)
    if rest is None:
        return text[first:].strip(), ""
    if rest == 0:
        return "", "" if not finished and _may_become_tag(text) else text
    return text[first:last].strip(), text[rest:].lstrip()


def thinking_steps(steps: Sequence[Step], opened: bool = False) -> int:
    """Return how many of the first steps of an answer belong to its reasoning, tags included."""
    texts = [step.text for step in steps]
    _, _, rest = _bounds("".join(texts), opened)
    if rest is None:
        return len(texts)
    count = end = 0
    while end < rest:
        end += len(texts[count])
        count += 1
    return count


def _bounds(text: str, opened: bool) -> tuple[int, int, int | None]:
    """Return where the reasoning starts and ends, and where the answer starts: 0 without reasoning, None if unknown."""
    start = len(text) - len(text.lstrip())
    no_thinking = next((tag for tag in NO_THINKING_TAGS if text.startswith(tag, start)), None)
    if no_thinking is not None and not opened:
        return start, start, start + len(no_thinking)
    tag = next((tag for tag in OPEN_TAGS if text.startswith(tag, start)), None)
    first = 0 if tag is None else start + len(tag)
    closing = min(((at, close) for close in CLOSE_TAGS if (at := text.find(close, first)) >= 0), default=None)
    if closing is None:
        return first, len(text), None if opened or tag is not None else 0
    last, close = closing
    if not opened and tag is None and _is_mentioned(text, last):
        return 0, 0, 0
    return first, last, last + len(close)


def _is_mentioned(text: str, index: int) -> bool:
    """Return whether an unopened closing tag is only mentioned: after an opening tag, quoted, or in a code block."""
    return (
        any(0 <= text.find(tag) < index for tag in OPEN_TAGS)
        or (index > 0 and text[index - 1] in _QUOTES)
        or text.count("```", 0, index) % 2 == 1
    )


def _may_become_tag(text: str) -> bool:
    """Return whether the text is the beginning of a tag that an answer may begin with."""
    beginning = text.strip()
    return beginning != "" and any(tag.startswith(beginning) for tag in (*OPEN_TAGS, *NO_THINKING_TAGS))

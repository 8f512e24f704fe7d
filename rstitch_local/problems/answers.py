"""Extraction of the final answer from a text: the last box, or what follows "answer is" or `####`.

String processing only, in time linear in the length of the text; no mathematics.
"""

from __future__ import annotations

import re

_BOX = re.compile(r"\\f?box(?:ed)?(?=\s*\{)")
_BARE_BOX = re.compile(r"\\boxed +([^\s{}$\\]+)")
# Allowed between two boxes that form one answer: `$\boxed{3}$ and $\boxed{5}$`.
_BETWEEN_BOXES = re.compile(r"(?:\\text\s*\{\s*(?:and|or)\s*\}|\\[;,\s)(]|\\q?quad|and|or|[\s$,;&])*")
_HASH_MARKED = re.compile(r"####[ \t]*(-?\$?[\d.,]*\d%?)[ \t]*\.?[ \t]*$", re.MULTILINE)
_STATED = re.compile(r"(?i:answer)(?: is)?[ \t]*:?[ \t]+([^\n]{1,80}?)(?:\.?[ \t]*$|\.[ \t])", re.MULTILINE)


def boxes(text: str) -> list[tuple[int, int, str]]:
    r"""Return (start, end, content) of every `\boxed{...}` or `\fbox{...}` that is not inside another.

    Escaped braces (`\{`) do not count; boxes that are never closed are skipped.
    """
    outermost: list[tuple[int, int, str]] = []
    closing = _matching_braces(text)
    end = 0
    for match in _BOX.finditer(text):
        if match.start() < end:
            continue
        opening = text.index("{", match.end())
        close = closing.get(opening)
        if close is not None:
            end = close + 1
            outermost.append((match.start(), end, text[opening + 1 : close].strip()))
    return outermost


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last balanced `\boxed{}`, or None.

    Consecutive boxes at the end of the text (`\boxed{3}` and `\boxed{5}`) are one answer, "3, 5", without
    duplicates.
    """
    filled = [box for box in boxes(text) if box[2]]
    if not filled:
        bare = _BARE_BOX.findall(text)
        return bare[-1].rstrip(".,") if bare else None
    answers = [filled[-1][2]]
    for before, after in zip(reversed(filled[:-1]), reversed(filled[1:]), strict=True):
        if not _BETWEEN_BOXES.fullmatch(text, before[1], after[0]):
            break
        if before[2] not in answers:
            answers.insert(0, before[2])
    nested = any(boxes(answer) for answer in answers)
    return last_boxed(answers[-1]) if nested else ", ".join(answers)


def _matching_braces(text: str) -> dict[int, int]:
    """Map the position of each opening brace to that of its closing brace."""
    matching: dict[int, int] = {}
    open_at: list[int] = []
    position, length = 0, len(text)
    while position < length:
        character = text[position]
        if character == "\\":
            position += 2
            continue
        if character == "{":
            open_at.append(position)
        elif character == "}" and open_at:
            matching[open_at.pop()] = position
        position += 1
    return matching


def stated_answer(text: str) -> str | None:
    """Return the rest of the line after the last "answer is" or "answer:", without emphasis and full stop, or None."""
    stated = _STATED.findall(text)
    return (stated[-1].strip(" *_`.").strip() or None) if stated else None


def hash_marked(text: str) -> str | None:
    """Return the number after the last `####` (the notation of GSM8K), or None."""
    marked = _HASH_MARKED.findall(text)
    return marked[-1] if marked else None

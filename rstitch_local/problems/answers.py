"""Where the final answer stands in a text: after the thinking, in the last box.

Pure string work, linear in the length of the text. Knows nothing of mathematics or of gold answers.
"""

from __future__ import annotations

import re

_BOX = re.compile(r"\\f?box(?:ed)?(?=\s*\{)")
_BARE_BOX = re.compile(r"\\boxed +([^\s{}$\\]+)")
# What may stand between two boxes that together are one answer: `$\boxed{3}$ and $\boxed{5}$`.
_BETWEEN_BOXES = re.compile(r"(?:\\text\s*\{\s*(?:and|or)\s*\}|\\[;,\s)(]|\\q?quad|and|or|[\s$,;&])*")
_HASH_MARKED = re.compile(r"####[ \t]*(-?\$?[\d.,]*\d%?)[ \t]*\.?[ \t]*$", re.MULTILINE)
_STATED = re.compile(r"(?i:answer)(?: is)?[ \t]*:?[ \t]+([^\n]{1,80}?)(?:\.?[ \t]*$|\.[ \t])", re.MULTILINE)


def boxes(text: str) -> list[tuple[int, int, str]]:
    r"""Every balanced `\boxed{...}` (or `\fbox`) that is not inside another: its start, end and content.

    An escaped brace (`\{`) does not count, and a box whose brace is never closed is no box.
    """
    found: list[tuple[int, int, str]] = []
    closing = _matching_braces(text)
    end = 0
    for match in _BOX.finditer(text):
        if match.start() < end:
            continue
        opening = text.index("{", match.end())
        close = closing.get(opening)
        if close is not None:
            end = close + 1
            found.append((match.start(), end, text[opening + 1 : close].strip()))
    return found


def last_boxed(text: str) -> str | None:
    r"""The content of the last balanced `\boxed{}`, or None.

    Boxes that end the text as one list (`\boxed{3}` and `\boxed{5}`) are one answer, "3, 5"; a box that
    only repeats the one before it is left out.
    """
    found = [box for box in boxes(text) if box[2]]
    if not found:
        bare = _BARE_BOX.findall(text)
        return bare[-1].rstrip(".,") if bare else None
    answers = [found[-1][2]]
    for before, after in zip(reversed(found[:-1]), reversed(found[1:]), strict=True):
        if not _BETWEEN_BOXES.fullmatch(text, before[1], after[0]):
            break
        if before[2] not in answers:
            answers.insert(0, before[2])
    inner = [box for answer in answers for box in boxes(answer)]
    return ", ".join(answers) if not inner else last_boxed(answers[-1])


def _matching_braces(text: str) -> dict[int, int]:
    """Position of each opening brace -> position of the brace that closes it."""
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
    """What follows the last "answer is" or "answer:" on its line, without emphasis and full stop; or None."""
    stated = _STATED.findall(text)
    return (stated[-1].strip(" *_`.").strip() or None) if stated else None


def hash_marked(text: str) -> str | None:
    """The number after the last `####`, as one benchmark writes its answers; or None."""
    marked = _HASH_MARKED.findall(text)
    return marked[-1] if marked else None

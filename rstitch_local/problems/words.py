"""Answers that are not mathematics: letters of multiple choice, times of day, words.

String processing only, on cleaned texts (notation.py).
"""

from __future__ import annotations

import re

from rstitch_local.problems.choices import chosen_letter, gold_choice
from rstitch_local.problems.notation import without_text_marks

_LABELED_GOLD = re.compile(r"\(([A-Z])\)\s*[:.]?\s+\S.*", re.DOTALL)
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*(?:([ap])\.?\s*m\.?)?", re.IGNORECASE)
_WORD = re.compile(r"[a-z]+|\d+(?:\.\d+)?|[^\sa-z\d]", re.IGNORECASE)
_IGNORED = frozenset(("the", "a", "an", ".", ",", ";", ":", "!", "{", "}", '"', "'", "\\", "~", "-"))
_MEANINGS = {
    "yes": "true",
    "correct": "true",
    "no": "false",
    "incorrect": "false",
    "dne": "does not exist",
    "none": "no solution",
    "no solutions": "no solution",
    "no real solution": "no solution",
    "no real solutions": "no solution",
    "no solution exists": "no solution",
    "no solutions exist": "no solution",
    "empty set": "no solution",
    r"emptyset": "no solution",
    "": "",
}
_PREFACE = re.compile(
    r"^(?:\\text\{)?\s*(?:(?:so|thus|hence|therefore),?\s+)?(?:the\s+)?(?:final\s+|correct\s+)?"
    r"(?:answers?|results?|solutions?|values?)\s*(?:is|are|:|=)\s*:?\s*\}?\s*(?=\S)",
    re.IGNORECASE,
)
_QUALIFIER = re.compile(
    r"(?:,|;|\s|\\text\{\s*,?)\s*\(?(?:where|with|for (?:all|any|some|every|each)|such that)\b.*"
    r"|\s*\(\s*(?:\\text\{\s*)?(?:since|because|as|by|when|in|from)\b.*\)\s*\}?$|\s*\\text\{\s*\(?(?:since|because|as)\b.*"
    r"|[,;]\s*\(?[A-Za-z](?:\s*,\s*[A-Za-z])*\s*\\in\s*\\mathbb.*",
    re.DOTALL,
)


def same_choice(gold: str, answer: str) -> bool | None:
    """Compare two letters of multiple choice (`C`, `(C)`, `C. text`); None if one of them is no letter."""
    labeled = _LABELED_GOLD.fullmatch(without_text_marks(gold))
    expected = labeled[1] if labeled else gold_choice(gold)
    given = chosen_letter(answer) if expected else None
    return None if expected is None or given is None else given == expected.upper()


def same_time(gold: str, answer: str) -> bool | None:
    """Compare two times of day (`3:30`, `3:30 p.m.`, `15:30`); None if one of them is not a time."""
    times = [_TIME.fullmatch(without_text_marks(text).strip()) for text in (gold, answer)]
    if times[0] is None or times[1] is None:
        return None
    (hours, half), (other_hours, other_half) = ((int(time[1]), (time[4] or "").lower()) for time in times if time)
    if [int(part or 0) for part in times[0].groups()[1:3]] != [int(part or 0) for part in times[1].groups()[1:3]]:
        return False
    if half and other_half:
        return (hours % 12, half) == (other_hours % 12, other_half)
    if hours == other_hours:
        return True
    # 15:30 is 3:30 p.m.
    return bool(half or other_half) and _in_24_hours(hours, half) == _in_24_hours(other_hours, other_half)


def same_words(gold: str, answer: str) -> bool:
    """Compare two texts without regard to case, punctuation and articles; `yes` is `true`, `none` is `no solution`."""
    meaning = _meaning(gold)
    return bool(meaning) and meaning == _meaning(answer)


def is_prose(text: str) -> bool:
    """Return whether a text is one or more words and no formula; three letters are a word if they have e, i or o."""
    bare = without_text_marks(text).strip()
    return re.fullmatch(r"[A-Za-z]{2,}(?:[\s,'-]+[A-Za-z]+)*\.?", bare) is not None and (
        r"\text" in text or len(bare) > 3 or bare.lower() in _MEANINGS or re.search(r"[eio]", bare) is not None
    )


def without_qualifier(text: str) -> str:
    r"""Remove "the answer is", and a condition or reason at the end: `where $k$ is whole`, `k \in \mathbb{Z}`."""
    shortened = _QUALIFIER.sub("", _PREFACE.sub("", text), count=1).strip()
    return shortened.rstrip(",;(").strip() or text


def _in_24_hours(hours: int, half: str) -> int:
    return hours % 12 + (12 if half == "p" else 0) if half else hours


def _meaning(text: str) -> str:
    tokens = [token.lower() for token in _WORD.findall(without_text_marks(text))]
    meaning = " ".join(token for token in tokens if token not in _IGNORED)
    return _MEANINGS.get(meaning, meaning)

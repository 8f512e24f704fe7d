r"""Letters of multiple-choice answers: `(E) something`, `E: text`, `\textbf{(E)}\ 7`, "option E is correct".

A capital letter in a sentence ("A cat", "I think") is not a choice. String processing only.
"""

from __future__ import annotations

import re

_OPEN = r"(?:[\s\"'“*_`$<{\[]|\\[(\[ ,;]|\\(?:text(?:bf|rm|it)?|math(?:rm|bf|sf)|mbox|bf|rm))*"
_CLOSE = r"[\s\"'”*_`$>}\]]|\\[)\] ,;]"
_GOLD = re.compile(rf"{_OPEN}(?:\(([A-Za-z])\)|([A-Z]))[.)]?(?:{_CLOSE}|\.)*")
_NAMED = r"(?:(?:the|correct|right|best|final|answer|option|choice|letter|statement|is|be|:|would|must)\b[\s:*]*)*"
# After the letter: its label's punctuation, the end, or a word that does not make it part of a phrase ("E coli").
_CHOICE = re.compile(
    rf"{_OPEN}(?i:{_NAMED}){_OPEN}(?:\(\s*(?P<round>[A-Za-z])\s*\)|(?P<plain>[A-Za-z])(?![A-Za-z0-9'’^_]))(?P<rest>.*)",
    re.DOTALL,
)
_LONGEST_CHOICE = 200
_END = re.compile(rf"(?:{_CLOSE}|[.,])*\Z")
_LABEL = re.compile(rf"(?:{_CLOSE})*(?:[).:;(|]|[-–—](?=\s))|(?:\s|[*$}}])*(?:\\q?quad|\\[ ,;:]|~)")
_CONNECTED = re.compile(
    r"[\s,*$}\\)]*(?:because|since|as|for|which|with|due|is|was|and\s+not|not|but|given|so|where|while|in|by)\b"
)
_ANOTHER = re.compile(
    r"[\s*)}$\]]*(?:,|&|/|\+|;|\b(?:and|or)\b)[\s*({$]*(?:\\text(?:bf)?\{)?\(?([A-Za-z])\)?(?![A-Za-z'’0-9])"
)
_NEGATION = re.compile(
    r"(?:\b(?:not|rules?\s+out|eliminated?|exclud\w+|rather\s+than|neither|nor)|n't)\s+(?:option\s+)?\W{0,3}\Z",
    re.IGNORECASE,
)
_LISTED = re.compile(r"\b[A-Z]\)?\s*(?:,|&|/|\band|\bor)\s*\W{0,3}\Z")
_DENIED = re.compile(rf"\W{{0,3}}\s*is\s+(?:not|in?correct|wrong|false)\b|{_ANOTHER.pattern}")
_MENTION = re.compile(
    r"\b(?i:option|choice|answer|alternative|choose|choosing|select|pick|go\s+with)s?[\s:*_\"'`$]{1,6}"
    r"(?:\(([A-Za-z])\)|([A-Z]))(?![A-Za-z0-9'’^_])"
    r"|(?<![A-Za-z0-9\\])\(?([A-Z])\)?[*_\"'`$\s]{1,4}is\s+(?:the\s+)?(?:correct|right|best|answer)"
    r"|(?m:^)[ \t>*_`$\-]*\(?([A-Z])[).:]?[*_`$.\s]*(?m:$)"
    r"|\(([A-Z])\)"
)


def gold_choice(gold: str | None) -> str | None:
    r"""Return the letter of a gold answer that is a letter (`E`, `(e)`, `\text{(E)}`), else None.

    A small letter without parentheses is a variable or a number (`e`, `i`).
    """
    match = _GOLD.fullmatch(gold.strip()) if gold else None
    return None if match is None else match[1] or match[2]


def chosen_letter(answer: str, *, is_stated: bool = True) -> str | None:
    r"""Return the letter, in capitals, that an answer consists of or begins with as a label; None for none or several.

    Args:
        answer: a short text such as the content of a box, or what follows "the answer is".
        is_stated: whether the text begins with an answer, so that a word may follow the letter directly.
    """
    match = _CHOICE.match(answer[:_LONGEST_CHOICE])
    if match is None:
        return None
    letter, rest = match["round"] or match["plain"], match["rest"]
    if _ANOTHER.match(rest):
        return None
    if _END.match(rest) or match["round"] or _LABEL.match(rest):
        return letter.upper()
    is_word = letter in ("a", "A", "I", "i")
    follows = _CONNECTED if is_word else re.compile(r"\s+[a-z]{2,}")
    return letter if is_stated and letter.isupper() and follows.match(rest) else None


def mentioned_letter(text: str) -> str | None:
    """Return the letter, in capitals, of the last choice that a text mentions as such ("option E", a line `E.`).

    A last line that begins with a label (`E) 42`), and then the first one, count most.
    """
    lines = text.strip().splitlines()
    for line in [*lines[-1:], *lines[:1]]:
        if (letter := chosen_letter(line, is_stated=False)) is not None:
            return letter
    letter = None
    for match in _MENTION.finditer(text):
        before = text[max(0, match.start() - 40) : match.start()]
        if not (_NEGATION.search(before) or _LISTED.search(before) or _DENIED.match(text, match.end())):
            letter = next(filter(None, match.groups()))
    return letter

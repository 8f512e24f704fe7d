r"""What a text states as its answer: after "the answer is", "**Answer:**", "Final Answer", `####`, in `<answer>` tags.

String processing only, in time linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rstitch_local.problems.expressions import Expression, expressions, last_value, result_of

_SPAN = 400
"""In characters: what is looked at after a statement."""
_MOST_STATEMENTS = 20
_NAMES = r"answers?|ans|final\s+(?:result|solution|value)|(?:correct|right|best)\s+(?:option|choice|alternative|letter)"
_OTHER_NAMES = r"antwort|r[ée]ponse(?:\s+finale)?|respuesta(?:\s+final)?|resposta|risposta|ответ|정답|답|答え"
_STATEMENT = re.compile(
    rf"""(?<![^\W_])(?:{_NAMES})(?![^\W_])(?!\s+(?:choices|options|key|format|the\s+question))
    (?:
        [^\n.:=?!]{{0,60}}?\b(?:is|are|equals|was|would\s+be|should\s+be|must\s+be)\b(?!\s*n[o']t\b)[ \t]*[:=]?
        | [ \t"'*_`)\]]{{0,6}}(?:[:：=→⇒]|-{{1,2}}>|[–—-](?=\s))
        | [ \t]*[*_`]{{0,3}}[ \t]*(?=\n)
    )
    |(?<![^\W_])(?:{_OTHER_NAMES})(?![^\W_])[ \t*_]{{0,4}}(?:[:：]|ist\b|lautet\b|est\b|es\b|é\b|è\b|=)
    |答案[^。\n：:]{{0,10}}?(?:是|为|[:：])+""",
    re.IGNORECASE | re.VERBOSE,
)
_HASHES = re.compile(r"(?<!#)#{4}(?!#)[ \t]*\n?[ \t]*([^\n#]{1,200})")
_TAG = re.compile(r"<(/?)(?:final[_ ]?)?answer>", re.IGNORECASE)
_FILLER = re.compile(
    r"(?:[\s:：=≈~\"'“”‘*_`>]|(?:approximately|about|around|roughly|simply|just|exactly|therefore|thus|then|hence|indeed|"
    r"clearly|equal\s+to|given\s+by|obtained\s+as|now|the\s+(?:number|value|option|choice|letter)|number|value|option|"
    r"choice|letter)\b(?!\s+of\b)[,]?|(?:约|等于))+",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?。](?=[\s\"'*)\]_]|\Z)|\n")
_CLAUSE_END = re.compile(
    r"[\s)\]}$\\]*(?:[^\W\d_]+[\s/]*){0,3}?"
    r"(?:\Z|[.,;:!?(\n]|[–—-]\s|\b(?:because|since|so|as|which|where|for|with|in|and|but|by|of|from|after|when|if|that|or|to)\b)"
)
_MIXED_UNITS = re.compile(
    r"\d+(?:\.\d+)?\s+[a-z]+,?\s+(?:and\s+)?\d+(?:\.\d+)?\s+[a-z]+\Z|\d{1,2}(?::\d\d)?\s*[AaPp]\.?[Mm]\b"
)
_COPULA = re.compile(r"\b(?:is|are|equals?|gives|yields|get|obtain|be|becomes)\b[ \t]*:?|:|=|为|是")
_EMPHASIS = re.compile(
    r"(?<![\w)\]}])\*{2,3}(?=\S)|(?<=\S)\*{2,3}(?![\w(\[{\\])|(?<!\w)__(?=\S)|(?<=\S)__(?!\w)|`|"
    r"(?<![^\s(])\*(?=[^\s*])|(?<=[^\s*])\*(?=[\s.,;:!?)]|\Z)|</?[a-z|_]{1,20}>|<\|[a-z_]{1,20}\|>"
)
_ENVIRONMENT = re.compile(
    r"\\begin\{((?:align|equation|gather|aligned|gathered|split|multline|eqnarray)\*?)\}(.{0,2000}?)\\end\{\1\}",
    re.DOTALL,
)
_PERCENT = re.compile(r"(?<=\d)[ \t]*per[ ]?cent\b")
_DISPLAY = re.compile(r"\\\[.{0,400}?\\\]|\$\$.{0,400}?\$\$", re.DOTALL)
# What a sentence about an answer says without stating it.
_NO_ANSWER = re.compile(
    r"(?:not|as\s+follows|in\s+(?:the\s+)?form|given|expressed|rounded|correct|right|verified|consistent|reasonable|"
    r"wrong|incorrect|confirmed|valid|unique|the\s+same|(?:a|an|the)\s+(?:integer|number|fraction|letter)|positive|"
    r"negative|clear|simple|straightforward|found|obtained|derived|\W*(?:your\s+|the\s+|final\s+)*(?:answer|letter|number|"
    r"result)\W*\Z|to\s+be|too|indeed|also|still|hidden|unknown|based|likely|going)\b",
    re.IGNORECASE,
)
_LONGEST_WORDS = 80


def plain(text: str) -> str:
    """Return the text without Markdown emphasis and chat tokens, with displayed formulas on one line.

    Of aligned equations only the last row stays.
    """
    text = _PERCENT.sub("%", _ENVIRONMENT.sub(_last_row, text))
    return _EMPHASIS.sub("", _DISPLAY.sub(lambda match: " ".join(match[0].split()), text))


def _last_row(environment: re.Match[str]) -> str:
    rows = [row.replace("&", " ").strip() for row in environment[2].split(r"\\")]
    return rf"\[{next((row for row in reversed(rows) if row), '')}\]"


def tagged(text: str) -> tuple[int, str] | None:
    """Return the position and content of the last `<answer>...</answer>` with content, or None.

    The content of a tag that is not closed ends with the text.
    """
    found = opening = None
    for tag in _TAG.finditer(text):
        if not tag[1]:
            opening = tag
        elif opening is not None:
            content = text[opening.end() : tag.start()].strip()
            found, opening = ((opening.start(), content) if content else found), None
    if opening is not None and (content := text[opening.end() :].strip()):
        return opening.start(), content
    return found


def hash_marked(text: str) -> tuple[int, str] | None:
    """Return (position, rest) of the last `####` (the notation of GSM8K) before an answer; headings are skipped."""
    found = None
    for match in _HASHES.finditer(text):
        content = plain(match[1]).strip()
        if content and (not text[match.end() :].strip() or _is_short_answer(content)):
            found = match.start(), content
    return found


def statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield (position, rest) of what is stated as the answer, the last one first; the rest begins with it."""
    matches = list(_STATEMENT.finditer(text))
    for match in reversed(matches[-_MOST_STATEMENTS:]):
        rest = plain(text[match.end() : match.end() + 2 * _SPAN])
        rest = rest[filler.end() :] if (filler := _FILLER.match(rest)) else rest
        rest = re.sub(r"^[-•][ \t]+", "", rest)
        if rest.strip() and not _NO_ANSWER.match(rest):
            yield match.start(), rest


def stated_value(rest: str) -> str | None:
    """Return the answer that the rest of a statement begins with: an expression, else that of its sentence, else words.

    None if it states nothing, such as a heading before a long derivation.
    """
    sentence = _first_sentence(rest)
    if mixed := _MIXED_UNITS.match(sentence):
        return mixed[0]
    first = _leading_expression(rest)
    if first is not None and _CLAUSE_END.match(rest, first.end):
        return result_of(first.text)
    if len(rest) > _SPAN:
        return None
    after = [sentence[match.end() :] for match in _COPULA.finditer(sentence)]
    leading = next(filter(None, map(_leading_expression, reversed(after))), None)
    if leading is not None:
        return result_of(leading.text)
    if (value := last_value(sentence)) is not None:
        return value
    words = _without_full_stop(sentence.split("\n")[0])
    return words if words and len(words) <= _LONGEST_WORDS else None


def _leading_expression(text: str) -> Expression | None:
    """Return the expression that a text begins with, or None."""
    first = next(iter(expressions(text, "is")), None)
    return first if first is not None and first.is_value and not text[: first.start].strip(" ([{$\\") else None


def _first_sentence(text: str) -> str:
    """Return the first sentence; with the next one if it ends with a colon."""
    end = _SENTENCE_END.search(text)
    if end is not None and text[: end.start()].rstrip().endswith(":"):
        end = _SENTENCE_END.search(text, len(text) - len(text[end.end() :].lstrip()))
    return (text if end is None else text[: end.start()]).strip()


def _is_short_answer(content: str) -> bool:
    if re.fullmatch(r"\(?[A-Za-z]\)?\.?", content):
        return True
    first = _leading_expression(content)
    return first is not None and re.fullmatch(r"[\s.)\]}$\\]*(?:[a-z]+[\s.]*){0,3}", content[first.end :]) is not None


def _without_full_stop(text: str) -> str:
    return text.strip().rstrip(".。!;, ").strip("\"'“”‘’ ")

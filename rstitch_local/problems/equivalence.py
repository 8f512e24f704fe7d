r"""Whether an answer equals the gold answer: spelling first, then exact numbers, lists, and math-verify last.

Runs only inside the grading process, for it imports sympy and may hang on hostile input; whoever calls it
keeps the time. Nothing of a text is evaluated as code.
"""

from __future__ import annotations

from fractions import Fraction

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

from rstitch_local.decoding.thinking import strip_thinking
from rstitch_local.problems import notation
from rstitch_local.problems.answers import hash_marked, last_boxed, stated_answer

LONGEST_ANSWER = 2000
"""Characters; a longer answer is compared by its spelling alone and never parsed."""
_TAIL = 4000
_RELATIVE_TOLERANCE = Fraction(1, 10**6)
_CONFIG = (LatexExtractionConfig(), ExprExtractionConfig())


def extract(text: str) -> str | None:
    r"""The answer a text ends with, after the thinking: its last box, `#### 18`, or the last expression."""
    body = strip_thinking(text)
    boxed = last_boxed(body)
    if boxed is not None:
        return boxed
    marked = hash_marked(body)
    if marked is not None:
        return marked
    tail = body[-_TAIL:]
    if len(body) > _TAIL:
        # A cut in the middle of `$...$` would turn every pair of dollars inside out.
        tail = tail.partition("\n")[2] or tail
    found = parse(tail, extraction_config=_CONFIG, parsing_timeout=None)
    if len(found) > 1 and isinstance(found[-1], str) and found[-1].strip():
        return found[-1].strip()
    return stated_answer(tail)


def equivalent(gold: str, answer: str) -> bool:
    """Whether the answer is as good as the gold one. Not symmetric: the gold form decides what is asked."""
    spelled = notation.normal_form(gold)
    if spelled and spelled == notation.normal_form(answer):
        return True
    if max(len(gold), len(answer)) > LONGEST_ANSWER:
        return False
    numeric = _same_number(gold, answer)
    if numeric is not None:
        return numeric
    tuples = _same_tuple(gold, answer)
    if tuples is not None:
        return tuples
    listed = _same_list(gold, answer)
    if listed is not None:
        return listed
    return _same_algebra(gold, answer)


def _same_number(gold: str, answer: str) -> bool | None:
    """The verdict when both are plain numbers, units aside; None when one of them is not."""
    wanted, given = notation.number_with_unit(gold), notation.number_with_unit(answer)
    if wanted is None or given is None:
        return None
    if _close(wanted[0], given[0]):
        # 50 for "what percent" may be written 50%; one half may not be written 0.5%.
        return not (given[1] == "%" and wanted[1] != "%" and abs(wanted[0]) < 1)
    hundredth = Fraction(1, 100)
    if wanted[1] == "%" and not given[1]:
        return _close(wanted[0] * hundredth, given[0])
    if given[1] == "%" and not wanted[1]:
        return _close(wanted[0], given[0] * hundredth)
    return False


def _close(wanted: Fraction, given: Fraction) -> bool:
    if wanted == given:
        return True
    if wanted.denominator == 1 or given.denominator == 1:
        return False
    return abs(wanted - given) <= _RELATIVE_TOLERANCE * abs(wanted)


def _same_tuple(gold: str, answer: str) -> bool | None:
    wanted, given = notation.bracketed(gold), notation.bracketed(answer)
    if wanted is None or given is None or len(wanted[1]) < 2:
        return None
    if len(wanted[1]) != len(given[1]) or (wanted[0], wanted[2]) != (given[0], given[2]):
        return False
    return all(equivalent(mine, theirs) for mine, theirs in zip(wanted[1], given[1], strict=True))


def _same_list(gold: str, answer: str) -> bool | None:
    """The verdict when both are lists of as many elements: each must be matched, in any order."""
    wanted = notation.elements(gold) if notation.number(gold) is None else [gold]
    given = notation.elements(answer)
    if len(wanted) < 2 or len(wanted) != len(given):
        return None
    left = list(given)
    for element in wanted:
        match = next((other for other in left if equivalent(element, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _same_algebra(gold: str, answer: str) -> bool:
    if notation.is_multiple_of_variable(gold) and notation.number(answer) is not None:
        return False
    wanted, given = (
        parse(rf"\boxed{{{notation.for_algebra(text)}}}", extraction_config=_CONFIG, parsing_timeout=None)
        for text in (gold, answer)
    )
    return bool(wanted and given and verify(wanted, given, timeout_seconds=None))

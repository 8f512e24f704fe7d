r"""Comparison of an answer with the gold answer: by spelling, exact numbers, tuples, lists, and math-verify last.

Import this in the grading process only: it imports sympy, and hostile input can make it hang. No text is evaluated as
code.
"""

from __future__ import annotations

from fractions import Fraction

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

from rstitch_local.problems import notation

LONGEST_ANSWER = 2000
"""In characters. A longer answer is compared by spelling only, not parsed."""
_RELATIVE_TOLERANCE = Fraction(1, 10**6)
_CONFIG = (LatexExtractionConfig(), ExprExtractionConfig())


def equivalent(gold: str, answer: str) -> bool:
    """Return whether the answer is correct. Not symmetric: the form of the gold answer decides what is required."""
    normal_gold = notation.normal_form(gold)
    if normal_gold and normal_gold == notation.normal_form(answer):
        return True
    if max(len(gold), len(answer)) > LONGEST_ANSWER:
        return False
    for compare in (_same_number, _same_tuple, _same_list):
        verdict = compare(gold, answer)
        if verdict is not None:
            return verdict
    return _same_algebra(gold, answer)


def _same_number(gold: str, answer: str) -> bool | None:
    """Compare two numbers with or without units; return None if one of them is not a number."""
    parsed_gold, parsed_answer = notation.number_with_unit(gold), notation.number_with_unit(answer)
    if parsed_gold is None or parsed_answer is None:
        return None
    (gold_value, gold_unit), (value, unit) = parsed_gold, parsed_answer
    if _close(gold_value, value):
        # If the gold answer is 50 (percent), 50% is correct; if it is 0.5, 0.5% is not.
        return not (unit == "%" and gold_unit != "%" and abs(gold_value) < 1)
    hundredth = Fraction(1, 100)
    if gold_unit == "%" and not unit:
        return _close(gold_value * hundredth, value)
    if unit == "%" and not gold_unit:
        return _close(gold_value, value * hundredth)
    return False


def _close(gold: Fraction, value: Fraction) -> bool:
    if gold == value:
        return True
    if gold.denominator == 1 or value.denominator == 1:
        return False
    return abs(gold - value) <= _RELATIVE_TOLERANCE * abs(gold)


def _same_tuple(gold: str, answer: str) -> bool | None:
    gold_tuple, answer_tuple = notation.bracketed(gold), notation.bracketed(answer)
    if gold_tuple is None or answer_tuple is None or len(gold_tuple.parts) < 2:
        return None
    if len(gold_tuple.parts) != len(answer_tuple.parts) or gold_tuple.brackets != answer_tuple.brackets:
        return False
    return all(equivalent(*parts) for parts in zip(gold_tuple.parts, answer_tuple.parts, strict=True))


def _same_list(gold: str, answer: str) -> bool | None:
    """Compare two lists of equal length in any order; return None if they are not such lists."""
    gold_elements = notation.elements(gold) if notation.number(gold) is None else [gold]
    unmatched = notation.elements(answer)
    if len(gold_elements) < 2 or len(gold_elements) != len(unmatched):
        return None
    for element in gold_elements:
        match = next((other for other in unmatched if equivalent(element, other)), None)
        if match is None:
            return False
        unmatched.remove(match)
    return True


def _same_algebra(gold: str, answer: str) -> bool:
    if notation.is_multiple_of_variable(gold) and notation.number(answer) is not None:
        return False
    parsed_gold, parsed_answer = (
        parse(rf"\boxed{{{notation.for_algebra(text)}}}", extraction_config=_CONFIG, parsing_timeout=None)
        for text in (gold, answer)
    )
    return bool(parsed_gold and parsed_answer and verify(parsed_gold, parsed_answer, timeout_seconds=None))

r"""Comparison of an answer with the gold answer, by the kind of the gold answer: words, range, tuple, list, quantity.

Import this in the grading process only: it imports sympy, and hostile input can make it hang. No text is evaluated as
code.
"""

from __future__ import annotations

import re

from rstitch_local.problems import notation, numerals, quantities, splitting, words
from rstitch_local.problems.algebra import equations, ranges

LONGEST_ANSWER = 2000
"""In characters. A longer answer is compared by spelling only, not parsed."""
_TO = re.compile(r"\\text\{\s*to\s*\}|(?<=\d)\s+to\s+(?=\d)|\\colon(?![A-Za-z])")
_RANGE_MARKS = ("<", ">", r"\le", r"\ge", r"\ne", "[", "]", r"\cup", r"\infty", r"\mathbb", "real", r"\setminus")


def equivalent(gold: str, answer: str) -> bool:
    """Return whether the answer is correct. Not symmetric: the form of the gold answer decides what is required."""
    if max(len(gold), len(answer)) > LONGEST_ANSWER:
        return bool(gold.strip()) and notation.normal_form(gold) == notation.normal_form(answer)
    return _same(notation.clean(gold), notation.clean(answer))


def _same(gold: str, answer: str) -> bool:
    """Compare two cleaned texts."""
    spelled = notation.spelling(gold)
    if spelled and spelled == notation.spelling(answer):
        return True
    if not gold or not answer:
        return False
    for compare in _COMPARISONS:
        verdict = compare(gold, answer)
        if verdict is not None:
            return verdict
    return words.same_words(gold, answer)


def _same_prose(gold: str, answer: str) -> bool | None:
    return words.same_words(gold, answer) if words.is_prose(gold) and not ranges.names_reals(gold) else None


def _same_decimal_comma(gold: str, answer: str) -> bool | None:
    r"""Compare `1,5` with `1.5`; None if it is wrong, since `1,5` can be a list."""
    for comma, other in ((gold, answer), (answer, gold)):
        point = numerals.decimal_comma_as_point(comma)
        if point is not None and "." in other and "," not in other and _same(point, other):
            return True
    return None


def _same_without_qualifier(gold: str, answer: str) -> bool | None:
    """Compare without the conditions at the end (`where $k$ is an integer`); None if there are none."""
    shortened = words.without_qualifier(gold), words.without_qualifier(answer)
    return _same(*shortened) if shortened != (gold, answer) else None


def _same_named(gold: str, answer: str) -> bool | None:
    """Compare values of which one has a name (`x = 5`); None if none has."""
    if any(sum("=" in element for element in splitting.elements(text)) > 1 for text in (gold, answer)):
        return None
    expected, given = equations.named(gold), equations.named(answer)
    if not expected.name and not given.name:
        return _same_approximated(gold, answer)
    if expected.name and given.name and not equations.same_name(expected.name, given.name):
        return equations.same_equation(gold, answer)
    if not given.name and splitting.relation(answer)[1] == ["="]:
        return equations.same_equation(gold, answer)
    if not expected.name and splitting.relation(gold)[1] == ["="]:
        return equations.same_equation(gold, answer)
    value = equations.with_variable_of(given, expected.name)
    return _same(expected.value, value) or bool(equations.same_equation(gold, answer))


def _same_approximated(gold: str, answer: str) -> bool | None:
    r"""Compare an answer such as `\sqrt{2} \approx 1.414` or `2 + 3 = 5`, or return None."""
    sides, signs = splitting.relation(answer)
    if not signs or set(signs) - {"=", r"\approx"} or splitting.relation(gold)[1]:
        return None
    if signs[0] == r"\approx":
        return any(_same(gold, side) for side in sides if side)
    return _same(gold, sides[-1]) and all(_same(sides[-1], side) for side in sides[:-1])


def _same_range(gold: str, answer: str) -> bool | None:
    """Compare two sets of real numbers; None unless the notation of one can only mean a set."""
    if not any(mark in text for mark in _RANGE_MARKS for text in (gold, answer)):
        return None
    expected, given = ranges.real_range(gold), ranges.real_range(answer)
    if expected is None or given is None or not (expected.certain or given.certain):
        return None
    return ranges.same_range(expected, given, rounded="." in gold or "." in answer)


def _same_tuple(gold: str, answer: str) -> bool | None:
    """Compare a tuple, interval or vector with a tuple or an ordered list."""
    expected = splitting.bracketed(gold) or splitting.column(gold)
    if expected is None or len(expected.parts) < 2:
        return None
    given = splitting.bracketed(answer) or splitting.column(answer)
    if given is None:
        elements = splitting.elements(answer)
        if expected.brackets == "[]" or len(elements) < 2 or splitting.in_braces(answer) is not None:
            return None
        given = splitting.Bracketed(expected.brackets, elements)
    if len(expected.parts) != len(given.parts):
        given = splitting.bracketed(answer, grouped=True)
        if given is None or len(expected.parts) != len(given.parts):
            return False
    # Of three or more parts, brackets cannot be those of an interval.
    if len(expected.parts) == 2 and expected.brackets != given.brackets:
        return False
    return all(
        _same(*(equations.named(part).value for part in parts))
        for parts in zip(expected.parts, given.parts, strict=True)
    )


def _same_list(gold: str, answer: str) -> bool | None:
    """Compare two lists in any order, or in order if the gold answer has dots; None if none of them is a list."""
    expected = _members(gold)
    # `100,200` is a list where the gold answer is one.
    given = _members(answer, grouped=len(expected) == 1)
    if len(expected) == 1 and len(given) == 1:
        return None
    if len(given) == 1:
        tuple_ = splitting.bracketed(given[0])
        if tuple_ is not None and (tuple_.brackets == "()" or len(tuple_.parts) > 2):
            given = tuple_.parts
    if len(expected) != len(given):
        return False
    names = [equations.named(element).name for element in expected]
    given_names = [equations.named(element).name for element in given]
    ordered = r"\ldots" in gold or (all(names) and len(set(names)) == len(names) and not any(given_names))
    if ordered:
        return all(_same(*pair) for pair in zip(expected, given, strict=True))
    for element in expected:
        match = next((other for other in given if _same(element, other)), None)
        if match is None:
            return False
        given.remove(match)
    return True


def _members(text: str, *, grouped: bool = True) -> list[str]:
    r"""Return the elements of a list, both values for each `\pm`."""
    members = [value for element in splitting.elements(text, grouped=grouped) for value in splitting.signed(element)]
    return members if r"\pm" not in text else list(dict.fromkeys(members))


def _same_congruence(gold: str, answer: str) -> bool | None:
    r"""Compare residues (`5 \pmod 7`); None if none has a modulus."""
    parts = [[part.strip(" ()") for part in text.split(r"\pmod")] for text in (gold, answer)]
    if all(len(each) == 1 for each in parts):
        return None
    residues = [equations.named(each[0].replace(r"\equiv", "=")).value for each in parts]
    if any(len(each) != 2 for each in parts):
        return _same(residues[0], residues[1])
    moduli = [each[1].strip("{}") for each in parts]
    modulus, *numbers = (numerals.value(each) for each in (moduli[0], *residues))
    if modulus and numbers[0] is not None and numbers[1] is not None:
        return _same(*moduli) and (numbers[0] - numbers[1]) % modulus == 0
    return _same(*moduli) and _same(*residues)


def _same_ratio(gold: str, answer: str) -> bool | None:
    """Compare ratios (`1:2`), or a ratio with a fraction; None if the gold answer is no ratio."""
    expected, given = (splitting.split(_TO.sub(":", text), ":") for text in (gold, answer))
    if len(expected) < 2 or not all(expected):
        return None
    if len(given) == 1 and len(expected) == 2:
        return _same(f"({expected[0]})/({expected[1]})", answer)
    if len(expected) != len(given):
        return False
    return all(
        _same(f"({expected[0]})*({other})", f"({given[0]})*({part})")
        for part, other in zip(expected[1:], given[1:], strict=True)
    )


_COMPARISONS = (
    words.same_choice, words.same_time, _same_prose, _same_decimal_comma, _same_without_qualifier, _same_named,
    _same_congruence, _same_range, _same_tuple, _same_list, equations.same_equation, _same_ratio,
    quantities.same_quantity,
)  # fmt: skip
"""In this order; the first that returns a verdict decides."""

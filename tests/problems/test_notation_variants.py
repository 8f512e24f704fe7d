"""Properties: an answer stays correct in every notation, and no other value becomes correct in any."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from random import Random

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rstitch_local.problems.equivalence import equivalent

fractions = st.builds(Fraction, st.integers(-10_000, 10_000), st.integers(1, 60))
whole_numbers = st.integers(-(10**12), 10**12)
WRAPPERS = ("{}", "${}$", r"\({}\)", " {} ", "{}.", r"\boxed{{{}}}", "**{}**", r"\left({}\right)", r"\displaystyle {}")
wrappers = st.sampled_from(WRAPPERS)
variants = settings(max_examples=25, deadline=None)


def exact_spellings(value: Fraction) -> list[str]:
    """Return spellings of a fraction without a decimal point."""
    sign, top, bottom = "-" if value < 0 else "", abs(value.numerator), value.denominator
    texts = [
        rf"{sign}\frac{{{top}}}{{{bottom}}}",
        rf"\dfrac{{{sign}{top}}}{{{bottom}}}",
        f"{sign}{top}/{bottom}",
        rf"{sign}\frac{{{3 * top}}}{{{3 * bottom}}}",
        f"{sign}({top}) \\cdot {bottom}^{{-1}}",
        f"\u2212{top}/{bottom}" if sign else f"{top}\u2044{bottom}",
    ]
    if bottom == 1:
        texts += [
            f"{sign}{top}",
            f"{sign}{top:,}",
            f"{sign}{top:,}".replace(",", "{,}"),
            f"{sign}{top:,}".replace(",", " "),
        ]
    elif top > bottom:
        whole, rest = divmod(top, bottom)
        texts += [rf"{sign}{whole}\frac{{{rest}}}{{{bottom}}}", f"{sign}{whole} {rest}/{bottom}"]
    return texts


def decimal_spellings(value: Fraction) -> list[str]:
    """Return spellings of a fraction with a decimal point, rounded to 12 significant digits."""
    text = f"{float(value):.12g}"
    return [text, f"{text}0", rf"{text} \times 10^{{0}}"] if "e" not in text and "." in text else []


@variants
@given(fractions, wrappers, wrappers, st.data())
def test_a_number_equals_itself_in_every_notation(value: Fraction, one: str, other: str, data: st.DataObject) -> None:
    spellings = exact_spellings(value) + decimal_spellings(value)
    gold, answer = (data.draw(st.sampled_from(spellings)) for _ in range(2))
    assert equivalent(one.format(gold), other.format(answer))


@variants
@given(fractions, fractions, wrappers, st.data())
def test_another_number_is_wrong_in_every_notation(
    value: Fraction, other: Fraction, wrapper: str, data: st.DataObject
) -> None:
    assume(value != other)
    gold = data.draw(st.sampled_from(exact_spellings(value) + decimal_spellings(value)))
    answer = data.draw(st.sampled_from(exact_spellings(other) + decimal_spellings(other)))
    assert not equivalent(gold, wrapper.format(answer))


@variants
@given(whole_numbers, st.integers(1, 1000), st.booleans())
def test_whole_numbers_are_compared_exactly(value: int, difference: int, inverse: bool) -> None:
    gold, answer = (rf"\frac{{1}}{{{n}}}" if inverse and n else f"{n}" for n in (value, value + difference))
    assert equivalent(gold, gold.replace("-", "\u2212"))
    assert not equivalent(gold, answer)
    assert not equivalent(f"{value}.0", f"{value + difference}")


coefficients = st.tuples(*[st.integers(-20, 20)] * 3)
TERMS = (("", r"\sqrt{2}", r"\pi"), ("", "√2", "π"), ("", "*sqrt(2)", "*pi"), ("", r" \cdot 2^{1/2}", r"\pi"))


def combination(numbers: Sequence[int], terms: Sequence[str], order: Sequence[int]) -> str:
    return " + ".join(f"({numbers[index]}){terms[index]}" for index in order)


@variants
@given(coefficients, coefficients, st.permutations(range(3)), st.sampled_from(TERMS), st.sampled_from(TERMS))
def test_irrational_sums_are_equal_if_their_coefficients_are(
    one: tuple[int, ...], other: tuple[int, ...], order: list[int], terms: Sequence[str], other_terms: Sequence[str]
) -> None:
    gold = combination(one, terms, range(3))
    assert equivalent(gold, combination(one, other_terms, order))
    assert equivalent(gold, combination(other, other_terms, order)) == (one == other)


@variants
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=4), st.integers(-9, 9), st.sampled_from("xnt"))
def test_a_polynomial_equals_its_factors_only(roots: list[int], wrong: int, name: str) -> None:
    factored = "".join(f"({name}-({root}))" for root in roots)
    expanded = [1]
    for root in roots:
        expanded = [a - root * b for a, b in zip([*expanded, 0], [0, *expanded], strict=True)]
    degree = len(roots)
    gold = "+".join(f"({number}){name}^{{{degree - index}}}" for index, number in enumerate(expanded))
    assert equivalent(gold, factored)
    assert equivalent(factored, f"f({name}) = {gold}")
    assert not equivalent(gold, f"{factored}+1")
    assert equivalent(gold, factored.replace(f"-({roots[0]})", f"-({wrong})", 1)) == (wrong == roots[0])


@variants
@given(
    st.lists(fractions, min_size=2, max_size=5, unique=True),
    st.sampled_from(["{}", r"\{{{}\}}", "${}$"]),
    st.sampled_from([", ", "; ", ","]),
    st.randoms(use_true_random=False),
    st.data(),
)
def test_a_list_has_all_its_elements_in_any_order(
    values: list[Fraction], wrapper: str, separator: str, random: Random, data: st.DataObject
) -> None:
    gold = ", ".join(exact_spellings(value)[0] for value in values)
    shuffled = [data.draw(st.sampled_from(exact_spellings(value)[:4])) for value in values]
    random.shuffle(shuffled)
    assert equivalent(gold, wrapper.format(separator.join(shuffled)))
    assert not equivalent(gold, wrapper.format(separator.join(shuffled[1:])))
    assert not equivalent(gold, wrapper.format(separator.join([*shuffled, "100001"])))
    assert not equivalent(gold, wrapper.format(separator.join([*shuffled[1:], "100001"])))


@variants
@given(fractions, fractions, st.booleans(), st.booleans(), st.booleans())
def test_an_interval_is_an_inequality_with_the_same_bounds(
    low: Fraction, high: Fraction, closed_left: bool, closed_right: bool, swapped: bool
) -> None:
    assume(low < high)
    left, right = (exact_spellings(bound)[0] for bound in (low, high))
    signs = (r"\le" if closed_left else "<", "≤" if closed_right else "<")
    interval = f"{'[' if closed_left else '('}{left}, {right}{']' if closed_right else ')'}"
    inequality = f"{left} {signs[0]} x {signs[1]} {right}"
    if swapped:
        inequality = f"{right} {signs[1].replace('<', '>').replace('≤', '>=')} x "
        inequality += f"{signs[0].replace('<', '>').replace('le', 'ge')} {left}"
    assert equivalent(interval, inequality)
    assert equivalent(inequality, interval)
    other = f"{'(' if closed_left else '['}{interval[1:]}"
    assert not equivalent(inequality, other)
    assert not equivalent(interval, inequality.replace(right, exact_spellings(high + 1)[0]))


@variants
@given(st.integers(2, 10**6), st.integers(0, 3))
def test_a_repeating_decimal_is_its_fraction(period: int, zeros: int) -> None:
    digits = str(period)
    value = Fraction(period, 10**zeros * (10 ** len(digits) - 1))
    gold = rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
    for mark in (rf"\overline{{{digits}}}", rf"\bar{{{digits}}}", f"({digits})"):
        assert equivalent(gold, f"0.{'0' * zeros}{mark}")
        assert not equivalent(rf"\frac{{{value.numerator}}}{{{value.denominator + 1}}}", f"0.{'0' * zeros}{mark}")


@variants
@given(st.integers(2, 1000), st.integers(1, 5))
def test_factorials_and_powers_are_compared_exactly(number: int, step: int) -> None:
    assert equivalent(rf"1-\frac{{1}}{{{number}!}}", rf"\frac{{{number}!-1}}{{{number}!}}")
    assert not equivalent(rf"1-\frac{{1}}{{{number}!}}", rf"1-\frac{{1}}{{{number + step}!}}")
    assert equivalent(rf"2^{{{number}}}", str(2**number))
    assert not equivalent(rf"2-2^{{-{number}}}", rf"2-2^{{-{number + step}}}")
    assert equivalent(rf"\binom{{{number + step}}}{{{step}}}", str(math.comb(number + step, step)))

"""Arithmetic that stays small: huge powers and factorials stay unevaluated, everything else is evaluated exactly.

sympy evaluates integer powers at once, which hangs on `10^{10^{10}}`. A power that is too large becomes a product of
`Huge` objects, one per prime factor: equal powers have equal objects, and no digits are ever computed.
"""

from __future__ import annotations

import math

import sympy
from sympy import Expr, Integer, Rational

MOST_BITS = 300_000
"""Size up to which powers, factorials and binomial coefficients are evaluated."""
_LARGEST_FACTORIAL = 20_000
_MOST_ROUNDED_DIGITS = 1000
_LARGEST_EXPONENT = 10**9
_LARGEST_FACTORED = 10**12


class Huge(sympy.Function):
    """A positive number that is too large to evaluate: `Huge(prime, exponent)`, or a name with arguments.

    It is no power of a symbol, because sympy's polynomials have one coefficient for each exponent.
    """

    is_positive = True
    is_number = False
    """So that sympy does not try to evaluate it."""


def power(base: Expr, exponent: Expr) -> Expr:
    """Return base ** exponent exactly; see the module docstring."""
    if isinstance(exponent, Rational) and _bits(base) * abs(exponent) > MOST_BITS:
        return _huge_power(base, exponent)
    if exponent.has(Huge) or (base.has(Huge) and isinstance(exponent, Rational)):
        return _huge_power(base, exponent)
    if exponent.is_number and base.is_number and base != sympy.I and abs(exponent.evalf(3)) > _LARGEST_EXPONENT:
        return Huge(sympy.Symbol("power"), base, exponent)
    return base**exponent


def _bits(base: Expr) -> Expr:
    """Return the size of the numbers in a base whose powers sympy multiplies out; 0 if it leaves powers alone."""
    if isinstance(base, Rational):
        return Integer(0 if base in (0, 1, -1) else max(abs(base.p), base.q).bit_length())
    if isinstance(base, sympy.Pow) and isinstance(base.exp, Rational):
        return _bits(base.base) * abs(base.exp)
    return max(map(_bits, base.args), default=Integer(0)) if isinstance(base, sympy.Mul) else Integer(0)


def _huge_power(base: Expr, exponent: Expr) -> Expr:
    if isinstance(base, sympy.Mul):
        return sympy.Mul(*(_huge_power(factor, exponent) for factor in base.args))
    if isinstance(base, sympy.Pow) and base.base.is_positive:
        return power(base.base, base.exp * exponent)
    if isinstance(base, Huge) and isinstance(base.args[0], Integer):
        return Huge(base.args[0], base.args[1] * exponent)
    if base in (0, 1):
        return base
    if not isinstance(base, Rational):
        return Huge(sympy.Symbol("power"), base, exponent)
    if base < 0:
        whole = isinstance(exponent, Integer)
        sign = Integer(-1) ** exponent if whole else Huge(sympy.Symbol("power"), Integer(-1), exponent)
        return sign * _huge_power(-base, exponent)
    return _in_primes(base.p, exponent) * _in_primes(base.q, -exponent)


def _in_primes(number: int, exponent: Expr) -> Expr:
    """Return a power of a positive integer as the product of the powers of its prime factors."""
    if number > _LARGEST_FACTORED:
        return Huge(Integer(number), exponent)
    return sympy.Mul(*(Huge(Integer(prime), count * exponent) for prime, count in sympy.factorint(number).items()))


def collected(expression: Expr) -> Expr:
    """Multiply huge powers and rational factors with common primes, so that 2 * 2^N and 2^(N + 1) are equal."""
    if isinstance(expression, sympy.Add):
        return sympy.Add(*map(collected, expression.args))
    exponents: dict[Expr, Expr] = {}
    others: list[Expr] = []
    for factor in sympy.Mul.make_args(expression):
        base, exponent = factor.as_base_exp()
        if isinstance(factor, Rational) and factor not in (0, 1, -1):
            others.append(Integer(1 if factor > 0 else -1))
            base = _in_primes(abs(factor.p), Integer(1)) * _in_primes(factor.q, Integer(-1))
        for part in sympy.Mul.make_args(base):
            if isinstance(part, Huge) and isinstance(part.args[0], Integer):
                exponents[part.args[0]] = exponents.get(part.args[0], sympy.S.Zero) + part.args[1] * exponent
            else:
                others.append(part**exponent)
    return sympy.Mul(*others, *(Huge(prime, exponent) for prime, exponent in exponents.items() if exponent != 0))


def factorial(argument: Expr) -> Expr:
    """Return n!; a factorial of more than 20,000 stays unevaluated."""
    if isinstance(argument, Integer) and argument > _LARGEST_FACTORIAL:
        return Huge(sympy.Symbol("factorial"), argument)
    return sympy.factorial(argument)


def double_factorial(argument: Expr) -> Expr:
    """Return n!!; one of more than 20,000 stays unevaluated."""
    if isinstance(argument, Integer) and argument > _LARGEST_FACTORIAL:
        return Huge(sympy.Symbol("double factorial"), argument)
    return sympy.factorial2(argument)


def binomial(top: Expr, bottom: Expr) -> Expr:
    """Return the binomial coefficient; one that is too large stays unevaluated."""
    if isinstance(top, Integer) and isinstance(bottom, Integer) and top > 0:
        chosen = min(int(bottom), int(top - bottom))
        if chosen > 0 and chosen * int(top).bit_length() > MOST_BITS:
            return Huge(sympy.Symbol("binomial"), top, Integer(chosen))
    return sympy.binomial(top, bottom)


def rounded(function: type[sympy.Function], argument: Expr) -> Expr:
    """Return the floor or the ceiling; that of a number with more than 1,000 digits stays unevaluated."""
    if argument.is_number and not isinstance(argument, Rational) and abs(argument.evalf(3)) > 10**_MOST_ROUNDED_DIGITS:
        return Huge(sympy.Symbol(function.__name__), argument)
    return function(argument)


def greatest_common_divisor(*arguments: Expr) -> Expr:
    """Return the greatest common divisor of whole numbers.

    Raises:
        TypeError: an argument is something else.
    """
    return Integer(math.gcd(*map(_whole, arguments)))


def least_common_multiple(*arguments: Expr) -> Expr:
    """Return the least common multiple of whole numbers.

    Raises:
        TypeError: an argument is something else.
    """
    return Integer(math.lcm(*map(_whole, arguments)))


def _whole(number: Expr) -> int:
    if not isinstance(number, Integer):
        raise TypeError(number)
    return int(number)


def root(radicand: Expr, degree: Expr) -> Expr:
    """Return the real root where there is one: the cube root of -8 is -2."""
    if isinstance(degree, Integer) and degree % 2 == 1 and radicand.is_negative:
        return -power(-radicand, 1 / degree)
    return power(radicand, 1 / degree)

"""Arithmetic that stays small: huge powers and factorials stay symbols, everything else is evaluated exactly.

sympy evaluates integer powers at once, which hangs on `10^{10^{10}}`. A power that is too large becomes a product of
`Huge` symbols of its prime factors: equal powers have equal symbols, and no digits are ever computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import sympy
from sympy import Expr, Integer, Rational

MOST_BITS = 300_000
"""Size up to which powers, factorials and binomial coefficients are evaluated."""
_LARGEST_FACTORIAL = 20_000
_MOST_ROUNDED_DIGITS = 1000
_LARGEST_EXPONENT = 10**9
_LARGEST_FACTORED = 10**12


class Huge(sympy.Symbol):
    """A positive number that is too large to evaluate, or a prime factor of one; equal if the names are equal."""

    def __new__(cls, name: str) -> Huge:
        """Create the symbol of a number, given in words or digits."""
        symbol: Huge = sympy.Symbol.__new__(cls, f"huge {name}", positive=True)
        return symbol


def power(base: Expr, exponent: Expr) -> Expr:
    """Return base ** exponent exactly; see the module docstring."""
    if isinstance(exponent, Rational) and _bits(base) * abs(float(exponent)) > MOST_BITS:
        return _huge_power(base, exponent)
    if exponent.has(Huge) and isinstance(base, Rational):
        return _huge_power(base, exponent)
    if exponent.is_number and base.is_number and base != sympy.I and abs(exponent.evalf(3)) > _LARGEST_EXPONENT:
        return Huge(f"({base})^({exponent})")
    return base**exponent


def _bits(base: Expr) -> float:
    """Return the size of the numbers in a base whose powers sympy multiplies out; 0 if it leaves powers alone."""
    if isinstance(base, Rational):
        return 0 if base in (0, 1, -1) else float(max(abs(base.p), base.q).bit_length())
    if isinstance(base, sympy.Pow) and isinstance(base.exp, Rational):
        return _bits(base.base) * abs(float(base.exp))
    return max(map(_bits, base.args), default=0) if isinstance(base, sympy.Mul) else 0


def _huge_power(base: Expr, exponent: Expr) -> Expr:
    if isinstance(base, sympy.Mul):
        return sympy.Mul(*(_huge_power(factor, exponent) for factor in base.args))
    if isinstance(base, sympy.Pow) and base.base.is_positive:
        return power(base.base, base.exp * exponent)
    if not isinstance(base, Rational) or base in (0, 1):
        return sympy.Pow(base, exponent, evaluate=base in (0, 1))
    if base < 0:
        sign = Integer(-1) ** exponent if isinstance(exponent, Rational) else Huge(f"(-1)^({exponent})")
        return sign * _huge_power(-base, exponent)
    return _primes(base.p) ** exponent / _primes(base.q) ** exponent


def _primes(number: int) -> Expr:
    """Return a positive integer as a product of symbols of its prime factors."""
    if number == 1:
        return sympy.S.One
    if number > _LARGEST_FACTORED:
        return Huge(str(number))
    return sympy.Mul(*(Huge(str(prime)) ** count for prime, count in sympy.factorint(number).items()))


def in_primes(expression: Expr) -> Expr:
    """Write all positive rational factors in the symbols of huge powers, so that 2 * 2^N and 2^(N + 1) are equal."""
    if isinstance(expression, Rational) and expression not in (0, 1, -1):
        sign = 1 if expression > 0 else -1
        return sign * _primes(abs(expression.p)) / _primes(expression.q)
    if isinstance(expression, sympy.Mul | sympy.Add):
        return expression.func(*map(in_primes, expression.args))
    if isinstance(expression, sympy.Pow):
        return sympy.Pow(in_primes(expression.base), expression.exp)
    return expression


def factorial(argument: Expr) -> Expr:
    """Return n!; a factorial of more than 20,000 stays a symbol."""
    if isinstance(argument, Integer) and argument > _LARGEST_FACTORIAL:
        return Huge(f"{argument}!")
    return sympy.factorial(argument)


def double_factorial(argument: Expr) -> Expr:
    """Return n!!; one of more than 20,000 stays a symbol."""
    if isinstance(argument, Integer) and argument > _LARGEST_FACTORIAL:
        return Huge(f"{argument}!!")
    return sympy.factorial2(argument)


def binomial(top: Expr, bottom: Expr) -> Expr:
    """Return the binomial coefficient; one that is too large stays a symbol."""
    if isinstance(top, Integer) and isinstance(bottom, Integer) and top > 0:
        chosen = min(int(bottom), int(top - bottom))
        if chosen > 0 and chosen * int(top).bit_length() > MOST_BITS:
            return Huge(f"C({top},{chosen})")
    return sympy.binomial(top, bottom)


def rounded(function: Callable[[Expr], Expr], argument: Expr) -> Expr:
    """Return the floor or the ceiling; that of a number with more than 1,000 digits before the point stays a symbol."""
    if argument.is_number and not isinstance(argument, Rational) and abs(argument.evalf(3)) > 10**_MOST_ROUNDED_DIGITS:
        return Huge(f"{function} {argument}")
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

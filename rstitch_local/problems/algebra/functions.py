"""The functions that answers may name, as sympy functions, with degrees converted to radians."""

from __future__ import annotations

from collections.abc import Callable

import sympy
from sympy import Expr
from sympy.core.function import AppliedUndef

from rstitch_local.problems.algebra import arithmetic, matrices

DEGREE = sympy.Symbol("degree", positive=True)
"""The unit after an angle in degrees."""
RADIANS = sympy.pi / 180


def logarithm(argument: Expr, base: Expr) -> Expr:
    """Return the logarithm; exact where it is rational (`log_2 8`)."""
    return sympy.log(argument) if base == sympy.E else sympy.log(argument, base)


def _trigonometric(function: Callable[[Expr], Expr]) -> Callable[[Expr], Expr]:
    return lambda argument: function(argument.subs(DEGREE, RADIANS))


def _summation(function: Callable[[Expr, tuple[Expr, Expr, Expr]], Expr]) -> Callable[..., Expr]:
    def evaluated(term: Expr, limits: tuple[Expr, Expr, Expr]) -> Expr:
        value = function(term, limits)
        count = limits[2] - limits[1]
        has_closed_form = function is sympy.Sum and term.is_polynomial(limits[0])
        too_many = isinstance(count, sympy.Integer) and count > _MOST_TERMS and not has_closed_form
        # sympy tries for seconds to find a closed form of a sum over an unknown function.
        return value if too_many or term.has(AppliedUndef) else value.doit()

    return evaluated


_MOST_TERMS = 10_000
_TRIGONOMETRIC = ("sin", "cos", "tan", "cot", "sec", "csc")
FUNCTIONS: dict[str, Callable[..., Expr]] = {
    **{name: _trigonometric(getattr(sympy, name)) for name in _TRIGONOMETRIC},
    **{f"arc{name}": getattr(sympy, f"a{name}") for name in _TRIGONOMETRIC},
    **{name: getattr(sympy, name) for name in ("sinh", "cosh", "tanh", "coth", "sign", "arg")},
    "exp": lambda argument: arithmetic.power(sympy.E, argument),
    "gcd": arithmetic.greatest_common_divisor,
    "lcm": arithmetic.least_common_multiple,
    "floor": lambda argument: arithmetic.rounded(sympy.floor, argument),
    "ceil": lambda argument: arithmetic.rounded(sympy.ceiling, argument),
    "abs": sympy.Abs,
    "sgn": sympy.sign,
    "max": sympy.Max,
    "min": sympy.Min,
    "Re": sympy.re,
    "Im": sympy.im,
    "cbrt": lambda argument: arithmetic.root(argument, sympy.Integer(3)),
    "det": matrices.determinant,
}
"""By the name of the LaTeX command. `log`, `ln` and `lg` are read by the parser, which knows their base."""
INVERSES = {name: FUNCTIONS[f"arc{name}"] for name in _TRIGONOMETRIC}
r"""What `\sin^{-1}` means, and so on."""
SUMMATIONS: dict[str, Callable[..., Expr]] = {"sum": _summation(sympy.Sum), "prod": _summation(sympy.Product)}
"""Functions of a term and its (variable, first, last)."""

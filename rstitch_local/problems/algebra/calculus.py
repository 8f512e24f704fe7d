r"""Integrals, limits and derivatives, which the parser of math-verify reads."""

from __future__ import annotations

import re

import sympy
from sympy import Expr

from rstitch_local.problems.algebra.tokens import NotAnExpressionError

_NEEDED = re.compile(r"\\(?:i?int|oint|lim)(?![A-Za-z])|\\frac\s*\{\s*(?:d|\\partial)\s*\}")


def needed(text: str) -> bool:
    """Return whether a text contains such an operation."""
    return _NEEDED.search(text) is not None


def readings(text: str) -> list[Expr]:
    """Return the value of an expression with such an operation, evaluated if sympy can.

    Raises:
        NotAnExpressionError: the text is something else.
    """
    # Imported here because it takes as long as the rest of the grading process, and few answers need it.
    from math_verify import LatexExtractionConfig, parse

    parsed = parse(rf"\boxed{{{text}}}", extraction_config=(LatexExtractionConfig(),), parsing_timeout=None)
    if not parsed or not isinstance(parsed[0], Expr):
        raise NotAnExpressionError(text)
    return [sympy.expand(parsed[0].doit())]

r"""Reads one mathematical expression, in LaTeX or plain text, as an exact sympy object.

Why not a library: the parser behind math-verify reads `2(3)` as 5, `\sin 30^\circ` as the sine of 30 radians, words as
products of letters, and takes tens of milliseconds. Integrals and limits are still left to it (calculus.py). Decimals
become exact fractions.
"""

from __future__ import annotations

import re

import sympy
from sympy import Expr, Integer, Rational

from rstitch_local.problems.algebra import arithmetic, matrices
from rstitch_local.problems.algebra.functions import DEGREE, FUNCTIONS, INVERSES, RADIANS, SUMMATIONS, logarithm
from rstitch_local.problems.algebra.tokens import Cursor, NotAnExpressionError, Token

_DEEPEST = 60
_GREEK = re.compile(
    r"(?:var)?(?:epsilon|theta|phi)|alpha|beta|gamma|delta|zeta|eta|iota|kappa|lambda|mu|nu|xi|rho|sigma|tau|upsilon"
    r"|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Upsilon|Phi|Psi|Omega|ell|hbar"
)
_ACCENT = re.compile(r"(?:wide)?(?:hat|tilde)|d?dot|bar|vec|overline|underline|overrightarrow")
_CONSTANTS: dict[str, Expr] = {"pi": sympy.pi, "infty": sympy.oo}
_LOGARITHMS = frozenset(("log", "ln", "lg"))
_APPLIED = frozenset("fghFGH")
_BARS = ("|", r"\|")
_CLOSING = {"(": ")", "[": "]", "{": "}", "|": "|", r"\|": r"\|"}
_ROUNDING = {"lfloor": ("rfloor", "floor"), "lceil": ("rceil", "ceil")}
_TIMES = frozenset(("*", "cdot", "times", "ast"))
_DIVIDED_BY = frozenset(("/", "div"))
_NO_FACTORS = _TIMES | _DIVIDED_BY | frozenset(("rfloor", "rceil", "circ"))


def readings(text: str) -> list[Expr]:
    r"""Return the values of an expression: one, or several if its notation has several meanings.

    `1/2x` can be x/2 or 1/(2x), `\log` can have base 10 or e, and a degree sign can be a unit or a factor. The usual
    meaning comes first. Matrices are `sympy.ImmutableDenseMatrix`.

    Raises:
        NotAnExpressionError: the text is something else.
    """
    try:
        first = Parser(text)
        values = [first.whole()]
        if first.ambiguous:
            for loose, decadic in ((False, True), (True, False), (True, True)):
                values.append(Parser(text, loose_division=loose, decadic=decadic).whole())
    except (TypeError, AttributeError, ArithmeticError) as error:
        # Such as a matrix plus a number.
        raise NotAnExpressionError(text) from error
    if any(value.has(DEGREE) for value in values):
        values = [value.subs(DEGREE, unit) for unit in (1, RADIANS) for value in values]
    return list(dict.fromkeys(values))


class Parser(Cursor):
    r"""Recursive descent over the tokens of one text.

    Args:
        text: the expression.
        loose_division: whether `1/2x` is 1/(2x).
        decadic: whether `\log` without a base has base 10 instead of e.

    Attributes:
        ambiguous: after reading, whether one of the two made a difference.
        bound: the variables of sums around the place that is read.
    """

    def __init__(self, text: str, *, loose_division: bool = False, decadic: bool = False) -> None:
        super().__init__(text)
        self.ambiguous = False
        self.bound: set[str] = set()
        self._depth = 0
        self._in_bars = False
        self._loose_division = loose_division
        self._decadic = decadic

    def whole(self) -> Expr:
        """Read all tokens as one expression."""
        value = self.sum()
        if not self.at_end or value.has(sympy.nan, sympy.zoo):
            raise self.error()
        return value

    def sum(self) -> Expr:
        """Read terms between plus and minus signs."""
        terms = [self.term()]
        while self.text in ("+", "-"):
            terms.append(self.term())
        return sum(terms[1:], start=terms[0])

    def term(self) -> Expr:
        """Read factors, with or without multiplication signs, and divisors."""
        negative = self.signs()
        value = self._factor()
        while True:
            if self.accept(*_TIMES):
                value = value * self._signed_factor()
            elif self.accept(*_DIVIDED_BY):
                value = value / self._divisor()
            elif self._continues():
                value = value * self._factor()
            else:
                return -value if negative else value

    def _divisor(self) -> Expr:
        value = self._signed_factor()
        while self._continues():
            self.ambiguous = True
            if not self._loose_division:
                break
            value = value * self._factor()
        return value

    def _signed_factor(self) -> Expr:
        negative = self.signs()
        value = self._factor()
        return -value if negative else value

    def _continues(self) -> bool:
        """Return whether the next token begins a factor, so that a multiplication sign is left out."""
        if self.kind == "number":
            # `3 5` is not a product, and neither is `x3`.
            return self.tokens[self.position - 1].text in (")", "]", "}")
        if self.kind == "command":
            return self.text not in _NO_FACTORS
        if self.text in _BARS:
            return not self._in_bars
        return self.kind in ("letter", "begin") or self.text in ("(", "[", "{")

    def _factor(self) -> Expr:
        value = self._base()
        while True:
            if self.accept("^"):
                value = self._raised(value)
            elif self.accept("!"):
                value = arithmetic.double_factorial(value) if self.accept("!") else arithmetic.factorial(value)
            elif self.accept("%"):
                value = value / 100
            else:
                return value

    def _raised(self, value: Expr) -> Expr:
        if self.accept("circ"):
            return value * DEGREE
        if isinstance(value, sympy.MatrixBase):
            start = self.position
            if self.argument_text() in ("T", "top", "intercal"):
                return value.T
            self.position = start
            return matrices.power(value, self._exponent())
        return arithmetic.power(value, self._exponent())

    def _exponent(self) -> Expr:
        negative = self.signs()
        value = self._base()
        if self.accept("^"):
            self._depth += 1
            value = self._raised(value)
            self._depth -= 1
        return -value if negative else value

    def _base(self) -> Expr:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self.error()
        value = self._at(self.next())
        self._depth -= 1
        return value

    def _at(self, token: Token) -> Expr:
        if token.kind == "number":
            return self._mixed(token.text)
        if token.kind == "letter":
            return self._letter(token.text)
        if token.kind == "command":
            return self._command(token.text)
        if token.kind == "begin":
            return matrices.environment(self, token.text)
        if token.text == "[" and self.text == "[":
            return matrices.nested_lists(self)
        if token.text not in _CLOSING:
            raise self.error()
        value = self._inside(token.text)[0]
        if token.text in _BARS:
            return matrices.determinant(value) if isinstance(value, sympy.MatrixBase) else sympy.Abs(value)
        return value

    def _inside(self, opening: str, *, several: bool = False) -> list[Expr]:
        """Read what is inside brackets, of which the first has been read, and the closing bracket."""
        around, self._in_bars = self._in_bars, opening in _BARS
        values = [self.sum()]
        while several and self.accept(","):
            values.append(self.sum())
        self.expect(_CLOSING[opening])
        self._in_bars = around
        return values

    def _mixed(self, digits: str) -> Expr:
        r"""Read the fraction after a whole number: `2\frac{1}{2}` and `2 1/2` are 5/2."""
        start = self.position
        top = bottom = None
        if self.accept("frac"):
            top, bottom = self.whole_number(), self.whole_number()
        elif self.kind == "number" and self.spaced:
            top = self.whole_number()
            bottom = self.whole_number() if self.accept("/") else None
        if digits.isdecimal() and top is not None and bottom is not None and top < bottom:
            return Rational(digits) + Rational(top, bottom)
        self.position = start
        return Rational(digits)

    def _letter(self, name: str) -> Expr:
        if name == "e":
            return sympy.E
        if name == "i" and self.text != "_" and "i" not in self.bound:
            return sympy.I
        if self._is_applied(name):
            return sympy.Function(name, real=True)(*self._arguments())
        return self._symbol(name)

    def _is_applied(self, name: str) -> bool:
        """Return whether brackets after a letter are an argument: `f(x + 1)`, `V(t)`, `y(0)`, but not `x(x + 1)`."""
        if self.text != "(" or self.spaced:
            return False
        inner, closing = ("", "", *(token.text for token in self.tokens[self.position + 1 : self.position + 3]))[-2:]
        return name in _APPLIED or (closing == ")" and (inner == "0" or (name.isupper() and inner.isalnum())))

    def _symbol(self, name: str) -> Expr:
        """Read subscripts and primes after a name; `a_k` in a sum over k is a function of k."""
        while self.text in ("_", "'"):
            if self.accept("'"):
                name += "'"
                continue
            start = self.position + 1
            self.position = start
            subscript = self.argument_text()
            if any(letter in self.bound for letter in subscript):
                self.position = start
                return sympy.Function(name, real=True)(self.argument())
            name += f"_{subscript}"
        return sympy.Symbol(name, real=True)

    def _command(self, name: str) -> Expr:
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        if _GREEK.fullmatch(name):
            return self._symbol(name)
        if _ACCENT.fullmatch(name):
            return self._symbol(f"{name} {self.argument_text()}")
        if name == "frac":
            return self.argument() / self.argument()
        if name == "binom":
            return arithmetic.binomial(self.argument(), self.argument())
        if name == "sqrt":
            degree = self._inside("[")[0] if self.accept("[") else Integer(2)
            return arithmetic.root(self.argument(), degree)
        if name in _ROUNDING:
            closing, function = _ROUNDING[name]
            value = self.sum()
            self.expect(closing)
            return FUNCTIONS[function](value)
        if name in SUMMATIONS:
            return self._summation(name)
        if name in _LOGARITHMS or name in FUNCTIONS:
            return self._function(name)
        raise self.error()

    def argument(self) -> Expr:
        r"""Read the argument of a command: a group, or one token; of a number one digit (`\frac12`)."""
        digit = self.digit()
        return self._base() if digit is None else Integer(digit)

    def _function(self, name: str) -> Expr:
        exponent: Expr = sympy.S.One
        base: Expr | None = None
        while self.text in ("^", "_"):
            if self.next().text == "^":
                exponent = self._exponent()
            else:
                base = self.argument()
        function = FUNCTIONS.get(name)
        if exponent == -1 and name in INVERSES:
            function, exponent = INVERSES[name], sympy.S.One
        arguments = self._arguments()
        if function is None:
            self.ambiguous |= name == "log" and base is None
            default = Integer(10) if name == "lg" or (name == "log" and self._decadic) else sympy.E
            arguments = [*arguments, default if base is None else base]
            function = logarithm
        return arithmetic.power(function(*arguments), exponent)

    def _arguments(self) -> list[Expr]:
        """Read arguments in brackets, or the product that follows: `sin 2x cos x` is sin(2x) cos(x)."""
        if self.text in ("(", "[", "{"):
            return self._inside(self.next().text, several=True)
        value = self._signed_factor()
        while self._continues() and self.text not in ("(", "[") and not self._names_function():
            value = value * self._factor()
        if self.text in _DIVIDED_BY:
            # `cos pi/3`
            self.ambiguous = True
            if self._loose_division:
                self.next()
                value = value / self._divisor()
        return [value]

    def _names_function(self) -> bool:
        return self.kind == "command" and (self.text in FUNCTIONS or self.text in _LOGARITHMS)

    def _summation(self, name: str) -> Expr:
        r"""Read `_{k=1}^{n}` and the term of `\sum` or `\prod`."""
        self.expect("_")
        self.expect("{")
        variable = self.next()
        self.expect("=")
        outer, self.bound = self.bound, {*self.bound, variable.text}
        if variable.kind != "letter":
            raise self.error()
        first = self.sum()
        self.expect("}")
        self.expect("^")
        last = self.argument()
        term = self.term()
        self.bound = outer
        return SUMMATIONS[name](term, (sympy.Symbol(variable.text, real=True), first, last))

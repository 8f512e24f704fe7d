"""Parses TeX into the tree of a formula."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from rstitch_tui.mathematics import symbols
from rstitch_tui.mathematics.nodes import Fraction, Node, Row, Script, Space, Stack, Symbol
from rstitch_tui.mathematics.tokens import Tokens, UnsupportedError

MAX_LENGTH = 4000
"""Longest source in characters."""
_MAX_DEPTH = 40

_ENDS = frozenset({"", "}", "&", r"\\", r"\cr", r"\end", r"\right"})
_INFIX = {r"\over": True, r"\choose": False}


class Parser:
    """Parses one source.

    Args:
        source: TeX without delimiters.
        commands: for each command with arguments, the function that parses them.
        depth: number of nodes around the source.
    """

    def __init__(self, source: str, commands: Mapping[str, Command], depth: int = 0) -> None:
        self.tokens = Tokens(source)
        self._commands = commands
        self._depth = depth

    def within(self, source: str) -> Row:
        """Parse another source that belongs to the node that is being parsed."""
        return Parser(source, self._commands, self._depth + 1).row()

    def row(self, ends: Collection[str] = ("",)) -> Row:
        """Parse up to one of the tokens that end it, which is not consumed."""
        self._descend()
        items: list[Node] = []
        infix: tuple[Row, bool] | None = None
        while (token := self.tokens.peek()) not in ends:
            if token in _ENDS:
                raise UnsupportedError(f"an unexpected {token}")
            if token in _INFIX:
                if infix is not None:
                    raise UnsupportedError(f"two {token}")
                infix, items = (Row(items), _INFIX[self.tokens.next()]), []
            elif token in "^_'":
                items.append(self._scripts(items.pop() if items else Row(())))
            else:
                items.append(self._item())
        self._depth -= 1
        return Row(items) if infix is None else Row([Fraction(infix[0], Row(items), infix[1])])

    def _descend(self) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise UnsupportedError("too deep")

    def argument(self) -> Node:
        """Parse an argument: a group, or a single token."""
        if self.tokens.peek().isdecimal():
            return Symbol(self.tokens.next())
        return self._item()

    def optional(self) -> Node | None:
        """Parse an argument in square brackets, if there is one."""
        if not self.tokens.skip("["):
            return None
        row = self.row(("]",))
        self.tokens.expect("]")
        return row

    def _item(self) -> Node:
        token = self.tokens.next()
        if token == "{":
            row = self.row(("}",))
            self.tokens.expect("}")
            return row
        if token.isdecimal() or (token == "." and self.tokens.peek_raw().isdecimal()):
            return Symbol(token + self.tokens.digits())
        if token[0] == "\\" and len(token) > 1:
            return self._command(token)
        if token == "~":
            return Space(1)
        if token in _ENDS or token in "$%#^_'":
            raise UnsupportedError(f"an unexpected {token}")
        return symbols.of_character(token)

    def _command(self, token: str) -> Node:
        parse = self._commands.get(token)
        if parse is not None:
            self._descend()
            node = parse(self)
            self._depth -= 1
            return node
        symbol = symbols.named(token[1:])
        if symbol is None:
            raise UnsupportedError(token)
        return symbol

    def _scripts(self, base: Node) -> Node:
        """Parse the subscript, the superscript and the primes that follow a node."""
        sub: Node | None = None
        sup: Node | None = None
        primes = ""
        while (token := self.tokens.peek()) and token in "^_'":
            self.tokens.next()
            if token == "'":
                primes += "′"
            elif token == "_" and sub is None:
                sub = self.argument()
            elif token == "^" and sup is None:
                sup = self.argument()
            else:
                raise UnsupportedError("two scripts")
        if primes:
            sup = Symbol(primes) if sup is None else Row([Symbol(primes), sup])
        if isinstance(base, Stack) and base.brace:
            return _labelled(base, sub, sup)
        return Script(base, sub, sup)


Command = Callable[[Parser], Node]


def _labelled(brace: Stack, sub: Node | None, sup: Node | None) -> Stack:
    """Return a brace with its label, which is written as a script."""
    if (sub and brace.below is None) or (sup and brace.above is None):
        raise UnsupportedError("a script at a brace")
    return replace(brace, below=sub or brace.below, above=sup or brace.above)

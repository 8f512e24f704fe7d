"""The commands with arguments, and those that change nothing in a terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from rich.cells import cell_len

from rstitch_tui.mathematics import symbols
from rstitch_tui.mathematics.environments import lines, parse_environment
from rstitch_tui.mathematics.inline import inline
from rstitch_tui.mathematics.nodes import (
    Accent,
    Boxed,
    Delimited,
    Fraction,
    Kind,
    Node,
    Root,
    Row,
    Space,
    Stack,
    Symbol,
    Text,
    flat,
)
from rstitch_tui.mathematics.parse import Command, Parser
from rstitch_tui.mathematics.tokens import UnsupportedError

_SPACES = {
    r"\,": 1,
    r"\:": 1,
    r"\>": 1,
    r"\;": 1,
    "\\ ": 1,
    "\\\n": 1,
    r"\!": -1,
    r"\enspace": 1,
    r"\quad": 2,
    r"\qquad": 4,
}
_WITHOUT_EFFECT = (
    r"\displaystyle", r"\textstyle", r"\scriptstyle", r"\limits", r"\nolimits", r"\nonumber", r"\notag", r"\rm", r"\it",
    r"\mathstrut", r"\strut", r"\allowbreak", r"\relax",
)  # fmt: skip
_ARGUMENT_AS_IT_IS = (
    r"\mathit", r"\mathnormal", r"\mathup", r"\mathord", r"\mathbin", r"\mathrel", r"\mathop", r"\mathopen",
    r"\mathclose", r"\mathinner", r"\ensuremath", r"\smash", r"\displaylimits",
)  # fmt: skip
_TEXTS = (
    r"\text", r"\textrm", r"\textnormal", r"\textbf", r"\textit", r"\textsf", r"\texttt", r"\textup", r"\mbox",
    r"\emph",
)  # fmt: skip
_OVERLINE = "\u0305"
# The combining character, and the row drawn above several characters: of one character, repeated; of more, the end.
_ACCENTS = {
    r"\overline": (_OVERLINE, ""), r"\underline": ("\u0332", ""), r"\vec": ("\u20d7", "→"),
    r"\overrightarrow": ("\u20d7", "→"), r"\overleftarrow": ("\u20d6", "←"), r"\overleftrightarrow": ("\u20e1", "↔"),
    r"\hat": ("\u0302", "^"), r"\widehat": ("\u0302", "^"), r"\tilde": ("\u0303", "~"), r"\widetilde": ("\u0303", "~"),
    r"\dot": ("\u0307", "."), r"\ddot": ("\u0308", ".."), r"\check": ("\u030c", "ˇ"), r"\breve": ("\u0306", "˘"),
    r"\acute": ("\u0301", "´"), r"\grave": ("\u0300", "`"), r"\mathring": ("\u030a", "°"),
}  # fmt: skip
BRACKETS = frozenset(["", *"()[]{}|‖⟨⟩⌊⌋⌈⌉/\\"])
"""The brackets of \\left and \\right; "" for none."""
_DELIMITERS = {".": "", "<": "⟨", ">": "⟩", "/": "/"}
_SIZES = ("big", "Big", "bigg", "Bigg")
_SIDES: Mapping[str, Kind | None] = {"": None, "l": "open", "r": "close", "m": "rel"}
_STRETCHED_ARROWS = {r"\xrightarrow": "→", r"\xleftarrow": "←", r"\xRightarrow": "⇒", r"\xLeftarrow": "⇐"}

_TEXT_PART = re.compile(
    r"\$(?P<dollars>[^$]*)\$|\\\((?P<brackets>.*?)\\\)|\\(?P<escaped>[%$#&_{} ,\\])|(?P<bad>\\|\$)|[{}]|"
    r"(?P<plain>[^\\${}]+)",
    re.DOTALL,
)


def _space(cells: int, _parser: Parser) -> Node:
    return Space(cells)


def _fraction(parser: Parser) -> Node:
    return Fraction(parser.argument(), parser.argument())


def _binomial(parser: Parser) -> Node:
    return Fraction(parser.argument(), parser.argument(), bar=False)


def _root(parser: Parser) -> Node:
    index = parser.optional()
    return Root(parser.argument(), index)


def _text(parser: Parser) -> Node:
    parts: list[Node] = []
    for match in _TEXT_PART.finditer(parser.tokens.raw_group().replace("~", " ")):
        formula = match["dollars"] if match["dollars"] is not None else match["brackets"]
        if match["bad"]:
            raise UnsupportedError("a command in text")
        if formula is not None:
            parts.append(parser.within(formula))
        else:
            parts.append(Text(re.sub(r"\s+", " ", match["plain"] or match["escaped"] or "")))
    return parts[0] if len(parts) == 1 else Row(parts)


def _upright(parser: Parser) -> Node:
    """Parse letters that are a word, such as a unit."""
    argument = parser.argument()
    letters = [item.text for item in flat(argument) if isinstance(item, Symbol) and item.text.isalpha()]
    if not 1 < len(letters) == len(flat(argument)):
        return argument
    spaces = argument.items[:1] if isinstance(argument, Row) and isinstance(argument.items[0], Space) else []
    return Row([*spaces, Text("".join(letters))])


def _phantom(parser: Parser) -> Node:
    # Text, because spaces at the end of a row are left out.
    return Text(" " * cell_len(inline(parser.argument())))


def _named_operator(parser: Parser) -> Node:
    limits = parser.tokens.skip("*")
    name = parser.tokens.raw_group().strip()
    if not re.fullmatch(r"[A-Za-z]+", name):
        raise UnsupportedError("an operator")
    return Symbol(name, "op", limits)


def _letters(name: str, parser: Parser) -> Node:
    def change(node: Node) -> Node:
        if isinstance(node, Row):
            return Row([change(item) for item in node.items])
        if isinstance(node, Symbol):
            return Symbol(symbols.in_alphabet(node.text, name), node.kind, node.limits)
        raise UnsupportedError("letters")

    return change(parser.argument())


def _negation(parser: Parser) -> Node:
    argument = parser.argument()
    negated = symbols.negated(argument) if isinstance(argument, Symbol) else None
    if negated is None:
        raise UnsupportedError("a negation")
    return negated


def delimiter(parser: Parser) -> str:
    """Parse a bracket after a command such as left."""
    token = parser.tokens.next()
    symbol = Symbol(_DELIMITERS.get(token, token)) if token[0] != "\\" else symbols.named(token[1:])
    if symbol is None or symbol.text not in BRACKETS:
        raise UnsupportedError(token)
    return symbol.text


def _delimited(parser: Parser) -> Node:
    left = delimiter(parser)
    body = parser.row((r"\right",))
    parser.tokens.expect(r"\right")
    return Delimited(left, body, delimiter(parser))


def _sized(kind: Kind | None, parser: Parser) -> Node:
    symbol = symbols.of_character(delimiter(parser) or " ")
    return Symbol(symbol.text.strip(), kind or symbol.kind)


def _accent(mark: str, above: str, parser: Parser) -> Node:
    return Accent(parser.argument(), mark, above)


def _bar(parser: Parser) -> Node:
    body = parser.argument()
    items = flat(body)
    single = len(items) == 1 and isinstance(items[0], Symbol) and len(items[0].text) == 1
    return Accent(body, "\u0304" if single else _OVERLINE)


def _brace(above: bool, parser: Parser) -> Node:
    label = Row(())
    return Stack(parser.argument(), label if above else None, None if above else label, brace=True)


def _over(parser: Parser) -> Node:
    above = parser.argument()
    return Stack(parser.argument(), above)


def _under(parser: Parser) -> Node:
    below = parser.argument()
    return Stack(parser.argument(), None, below)


def _arrow(character: str, parser: Parser) -> Node:
    below = parser.optional()
    return Stack(Symbol(character, "rel"), parser.argument(), below)


def _modulus(parser: Parser) -> Node:
    return Row([Space(1), Text("(mod "), parser.argument(), Text(")")])


def _tag(parser: Parser) -> Node:
    starred = parser.tokens.skip("*")
    text = _text(parser)
    return Row([Space(4), text] if starred else [Space(4), Text("("), text, Text(")")])


def _colored(parser: Parser) -> Node:
    parser.tokens.raw_group()
    return parser.argument()


def _ignored(parser: Parser) -> Node:
    parser.tokens.raw_group()
    return Space(0)


def _substack(parser: Parser) -> Node:
    parser.tokens.expect("{")
    table = lines(parser, "}")
    parser.tokens.expect("}")
    return table


COMMANDS: Mapping[str, Command] = {
    **{name: partial(_space, cells) for name, cells in _SPACES.items()},
    **dict.fromkeys(_WITHOUT_EFFECT, partial(_space, 0)),
    **dict.fromkeys(_ARGUMENT_AS_IT_IS, Parser.argument),
    **dict.fromkeys(_TEXTS, _text),
    **{f"\\{name}": partial(_letters, name) for name in symbols.ALPHABETS},
    **{name: partial(_accent, *accent) for name, accent in _ACCENTS.items()},
    **{name: partial(_arrow, arrow) for name, arrow in _STRETCHED_ARROWS.items()},
    **{rf"\{size}{side}": partial(_sized, kind) for size in _SIZES for side, kind in _SIDES.items()},
    **dict.fromkeys((r"\frac", r"\dfrac", r"\tfrac", r"\cfrac"), _fraction),
    **dict.fromkeys((r"\binom", r"\dbinom", r"\tbinom"), _binomial),
    **dict.fromkeys((r"\boxed", r"\fbox"), lambda parser: Boxed(parser.argument())),
    **dict.fromkeys((r"\pmod", r"\pod"), _modulus),
    **dict.fromkeys((r"\hspace", r"\vspace", r"\label", r"\vphantom", r"\color"), _ignored),
    **dict.fromkeys((r"\phantom", r"\hphantom"), _phantom),
    r"\sqrt": _root,
    r"\bar": _bar,
    r"\mathrm": _upright,
    r"\operatorname": _named_operator,
    r"\not": _negation,
    r"\left": _delimited,
    r"\middle": partial(_sized, "rel"),
    r"\underbrace": partial(_brace, False),
    r"\overbrace": partial(_brace, True),
    r"\overset": _over,
    r"\stackrel": _over,
    r"\underset": _under,
    r"\mod": lambda _: Row([Space(1), Text("mod ")]),
    r"\tag": _tag,
    r"\textcolor": _colored,
    r"\substack": _substack,
    r"\begin": parse_environment,
}
"""The functions that parse commands."""

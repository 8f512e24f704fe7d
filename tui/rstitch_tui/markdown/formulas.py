"""Rules that keep formulas out of Markdown, and put them on the line of the text or into blocks of their own.

An inline formula becomes a token `text` with the source in `meta`, a displayed one a token `formula_block`. A formula
that cannot be shown as Unicode is shown as its source, in the style of code. While a formula is not closed, its source
is text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from rstitch_tui.mathematics.formula import formula
from rstitch_tui.mathematics.scan import Scanner, Span

FORMULA_BLOCK = "formula_block"
"""Type of a block token: `content` is the source, `info` the punctuation after it, `meta["body"]` the TeX; None for a
formula that is shown as its source."""
SOURCE = "source"
"""Key in the `meta` of a text token that shows a formula: the source."""

_FORMULA = "formula"
_SPANS = "formula spans"
_PUNCTUATION = re.compile(r"[ \t]*[.,;:!?)]+(?=\s|$)")


def add_formula_rules(markdown: MarkdownIt, *, as_source: bool) -> None:
    """Add the rules to a parser.

    Args:
        markdown: the parser.
        as_source: whether all formulas are shown as their source.
    """
    markdown.block.ruler.at("paragraph", _paragraph)
    markdown.inline.ruler.before("escape", _FORMULA, _formula)
    markdown.core.ruler.push("formulas", lambda state: _place_formulas(state, as_source=as_source))


def _paragraph(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:  # noqa: ARG001
    """Parse a paragraph as markdown-it does, but let nothing interrupt a formula: its lines may begin with - or =."""
    end_line = state.lineMax
    terminators = state.md.block.ruler.getRules("paragraph")
    parent, state.parentType = state.parentType, "paragraph"
    scanner = Scanner()
    line = start_line
    while True:
        scanner.feed(state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]] + "\n")
        line += 1
        if line >= end_line or state.isEmpty(line):
            break
        is_continuation = scanner.is_open or state.sCount[line] - state.blkIndent > 3 or state.sCount[line] < 0
        if not is_continuation and any(rule(state, line, end_line, True) for rule in terminators):
            break
    state.parentType = parent
    content = state.getLines(start_line, line, state.blkIndent, False).strip()
    state.line = line
    state.push("paragraph_open", "p", 1).map = [start_line, line]
    inline = state.push("inline", "", 0)
    inline.content, inline.map, inline.children = content, [start_line, line], []
    state.push("paragraph_close", "p", -1)
    return True


def _formula(state: StateInline, silent: bool) -> bool:
    """Parse a formula; one that is not closed is text up to the end."""
    if state.src[state.pos] not in "\\$":
        return False
    span = _spans(state).get(state.pos)
    if span is None or span.end > state.posMax:
        return False
    if not silent:
        source = state.src[span.start : span.end]
        if span.closed:
            token = state.push(_FORMULA, "", 0)
            token.content, token.meta = source, {"body": span.body, "display": span.display}
        else:
            for number, line in enumerate(source.split("\n")):
                if number:
                    state.push("hardbreak", "br", 0)
                state.push("text", "", 0).content = line
    state.pos = span.end
    return True


def _spans(state: StateInline) -> dict[int, Span]:
    """Return the formulas of the text that is being parsed by their first characters."""
    parsed: tuple[str, dict[int, Span]] = state.env.get(_SPANS, ("", {}))
    if parsed[0] is not state.src:
        scanner = Scanner()
        scanner.feed(state.src)
        parsed = (state.src, {span.start: span for span in scanner.all_spans()})
        state.env[_SPANS] = parsed
    return parsed[1]


def _place_formulas(state: StateCore, *, as_source: bool) -> None:
    placed: list[Token] = []
    tokens = iter(state.tokens)
    for token in tokens:
        if token.type == "paragraph_open":
            placed += _split_paragraph((token, next(tokens), next(tokens)), as_source=as_source)
        else:
            token.children = token.children and [_on_the_line(child, as_source=as_source) for child in token.children]
            placed.append(token)
    state.tokens = placed


def _split_paragraph(tokens: Sequence[Token], *, as_source: bool) -> Iterator[Token]:
    """Yield a paragraph, or paragraphs and the formulas between them."""
    opening, inline, _ = tokens
    part: list[Token] = []
    depth = 0
    children = list(inline.children or ())
    for index, child in enumerate(children):
        depth += child.nesting
        # A block within bold text would have to end the bold text.
        if child.type == _FORMULA and depth == 0 and _needs_block(child, as_source=as_source):
            yield from _paragraph_of(part, tokens)
            part = []
            block = Token(FORMULA_BLOCK, "", 0, map=opening.map, level=opening.level, content=child.content, block=True)
            block.meta = {"body": None if as_source else child.meta["body"]}
            following = children[index + 1] if index + 1 < len(children) else None
            if following is not None and following.type == "text" and (mark := _PUNCTUATION.match(following.content)):
                block.info = mark[0].strip()
                following.content = following.content[mark.end() :]
            yield block
        else:
            part.append(_on_the_line(child, as_source=as_source))
    yield from _paragraph_of(part, tokens)


def _paragraph_of(children: list[Token], tokens: Sequence[Token]) -> Iterator[Token]:
    """Yield a paragraph of a part of the children, unless it is blank."""
    while children and _is_blank(children[0]):
        del children[0]
    while children and _is_blank(children[-1]):
        del children[-1]
    if children:
        for child, strip in ((children[0], str.lstrip), (children[-1], str.rstrip)):
            child.content = strip(child.content) if child.type == "text" else child.content
        opening, inline, closing = tokens
        yield opening
        yield Token("inline", "", 0, map=inline.map, level=inline.level, children=children, block=True)
        yield closing


def _is_blank(token: Token) -> bool:
    return token.type in ("hardbreak", "softbreak") or (token.type == "text" and not token.content.strip())


def _needs_block(token: Token, *, as_source: bool) -> bool:
    shown = None if as_source else formula(token.meta["body"])
    return bool(token.meta["display"]) or (shown is not None and shown.line is None)


def _on_the_line(token: Token, *, as_source: bool) -> Token:
    """Return a formula as text or, if it cannot be shown so, as its source; other tokens as they are."""
    if token.type != _FORMULA:
        return token
    shown = None if as_source else formula(token.meta["body"])
    if shown is None or shown.line is None:
        return Token("code_inline", "code", 0, markup="`", content=token.content, level=token.level)
    return Token("text", "", 0, content=shown.line, level=token.level, meta={SOURCE: token.content})

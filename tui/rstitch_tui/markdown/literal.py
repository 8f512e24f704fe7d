"""Rules that keep characters which Markdown would take for marks: products, powers, numbers at the start of a line."""

from __future__ import annotations

import re
from collections.abc import Callable

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, blockquote, list_block
from markdown_it.rules_inline import StateInline

_LONGEST_LIST_NUMBER = 3
# A year or a result that ends a sentence, a summand, a comparison.
_NOT_A_MARK = re.compile(rf"\d{{{_LONGEST_LIST_NUMBER + 1},}}[.)]|\+\s*[\d\\$]|>\s*[-+\d.,]+\s*$")
_EMPTY_ITEM = re.compile(r"(?:\d+[.)]|[-+*])\s*$")
_ASTERISK, _UNDERSCORE = "*", "_"
# Letters of Chinese and Japanese, which are not separated by spaces, are no operands.
_FIRST_CJK = "\u2e80"
_WORD_BEFORE = re.compile(r"\w+$")
_WORD_AFTER = re.compile(r"\w+")

BlockRule = Callable[[StateBlock, int, int, bool], bool]


def add_literal_rules(markdown: MarkdownIt) -> None:
    """Add the rules to a parser."""
    markdown.block.ruler.at("list", _unless_text(list_block), {"alt": ["paragraph", "reference", "blockquote"]})
    markdown.block.ruler.at(
        "blockquote", _unless_text(blockquote), {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )
    markdown.inline.ruler.before("emphasis", "operators", _operators)


def _unless_text(rule: BlockRule) -> BlockRule:
    def guarded(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
        begin = state.bMarks[start_line] + state.tShift[start_line]
        text = state.src[begin : state.eMarks[start_line]]
        # Inside a list an empty item is one whose text is still to come.
        is_text = _NOT_A_MARK.match(text) or (state.level == 0 and _EMPTY_ITEM.match(text))
        return not is_text and rule(state, start_line, end_line, silent)

    return guarded


def _operators(state: StateInline, silent: bool) -> bool:
    """Keep asterisks between operands (2*3, a*b, 2**3) and underscores next to each other (__name__, ____)."""
    mark, position = state.src[state.pos], state.pos
    if mark not in (_ASTERISK, _UNDERSCORE):
        return False
    end = position
    while end < state.posMax and state.src[end] == mark:
        end += 1
    length = end - position
    if not (length > 1 if mark == _UNDERSCORE else _is_operator(state, position, end)):
        return False
    if not silent:
        state.pending += mark * length
    state.pos = end
    return True


def _is_operator(state: StateInline, start: int, end: int) -> bool:
    if end - start > 2 or not 0 < start < end < state.posMax:
        return False
    before, after = state.src[start - 1], state.src[end]
    if not (_is_operand(before) or before in ")]}") or not (_is_operand(after) or after in r"([{\-"):
        return False
    opened = bool(state.delimiters) and state.delimiters[-1].open and not state.delimiters[-1].close
    if end - start == 1:
        return not opened and after != "-"
    if opened and not _closes_later(state, end):
        return False
    return _is_short(_WORD_BEFORE.search(state.src[max(0, start - 3) : start])) or _is_short(
        _WORD_AFTER.match(state.src, end, end + 3)
    )


def _is_operand(character: str) -> bool:
    return character.isalnum() and character < _FIRST_CJK


def _is_short(word: re.Match[str] | None) -> bool:
    """Return whether a word next to ** is an operand: a number, a single letter, or a bracket instead of a word."""
    return word is None or len(word[0]) == 1 or word[0].isdigit()


def _closes_later(state: StateInline, start: int) -> bool:
    """Return whether bold text that is open can still be closed after `start`."""
    following = state.src.find("**", start, state.posMax)
    return following > 0 and not state.src[following - 1].isspace()

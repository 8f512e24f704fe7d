"""Two models with different tokenisers: the text goes from one to the other, and each reads it in its own tokens.

Knows vocabularies, texts and ids; nothing of models, caches or files. Models that share their tokens need none of
this (vocabulary.py).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.thinking import ThinkingFormat, format_of
from rstitch_local.decoding.vocabulary import Bridge, Vocabulary, compare

STRADDLING = 3
"""How many tokens at the end of a text just read may turn out to be the beginning of a longer one."""

# Of the longer tokens that many are looked at, and none that is less than a thousandth as likely (e^-7).
_CONSIDERED = 8
_LEAST_LIKELY = 7.0
# Characters of the writer's text that are enough to see where its tokens end.
_TAIL = 32


class ForeignBridge:
    """Has one model read what the other one wrote.

    Args:
        vocabularies: of both models.
        healing: the models whose caches can forget their last tokens; the others read every token as it stands.
    """

    def __init__(self, vocabularies: Mapping[Role, Vocabulary], healing: frozenset[Role] = frozenset(Role)) -> None:
        self.vocabularies = vocabularies
        self.healing = healing
        self.formats = {role: thinking_format(vocabulary) for role, vocabulary in vocabularies.items()}
        self._marks = {role: self._marks_of(role) for role in vocabularies}
        self._pieces: dict[Role, tuple[list[bytes], NDArray[np.int64]]] = {}

    def _marks_of(self, reader: Role) -> tuple[re.Pattern[str], dict[str, tuple[int, ...]]] | None:
        """The writer's marks around reasoning, to be found in a text, and the ids of the reader's own."""
        theirs, own = self.formats[reader.other], self.formats[reader]
        if theirs is None or own is None:
            return None
        vocabulary = self.vocabularies[reader]
        ids = {
            mark: tuple(mark_ids(instead, own, vocabulary))
            for mark, instead in zip(theirs.marks_by_use, own.marks_by_use, strict=True)
            if mark
        }
        return re.compile("(" + "|".join(map(re.escape, theirs.marks)) + ")"), ids

    def read(self, text: str, reader: Role) -> list[int]:
        """A text by the other model in the reader's tokens, the marks around reasoning in the reader's own spelling.

        Takes time in proportion to the text. Special tokens are not recognised in it, but for those marks.
        """
        vocabulary, marks = self.vocabularies[reader], self._marks[reader]
        if marks is None:
            return spelled(text, vocabulary)
        pattern, own = marks
        ids: list[int] = []
        for index, part in enumerate(pattern.split(text)):
            if part:
                ids += own[part] if index % 2 else spelled(part, vocabulary)
        return ids

    def inside_a_mark(self, text: str, writer: Role) -> bool:
        """Whether a text ends in the middle of a mark that its writer makes of several tokens."""
        form = self.formats[writer]
        if form is None or not form.in_pieces:
            return False
        return any(text.endswith(mark[:end]) for mark in form.marks for end in range(1, len(mark)))

    def continuations(self, logits: NDArray[np.float32], read: Sequence[int], tail: str, reader: Role) -> list[int]:
        """The tokens that could stand in the place of the last ones read, for the text may be only their beginning.

        A text that ends in " wor" is two things to a tokeniser that has " world": the token " wor", after which "ld"
        was next to never seen, and the beginning of " world". Which of the two was meant the writer's own tokens
        tell: " world" is possible where the writer, too, would have come to an end after " wor" on its way to it.

        Args:
            logits: the reader's in the place of the first of these tokens, float32, shape (n_vocab,).
            read: the last tokens of the reader, back from the end of the text.
            tail: what the writer wrote last, up to that end.
            reader: whose tokens and logits these are.

        Returns:
            Ids of longer tokens, the likeliest ones, not much less likely than what is there.
        """
        piece = self.vocabularies[reader].piece
        given = b"".join(map(piece, read))
        if not given:
            return []
        pieces, tokens = self._sorted_pieces(reader)
        last = bisect_right(pieces, given, key=lambda text: text[: len(given)])
        longer = tokens[bisect_right(pieces, given) : last]
        longer = longer[logits[longer] > logits[read[0]] - _LEAST_LIKELY]
        longer = longer[np.argsort(-logits[longer], kind="stable")[:_CONSIDERED]]
        return [t for t in longer.tolist() if self._could_follow(tail, piece(t)[len(given) :], reader)]

    def _could_follow(self, tail: str, rest: bytes, reader: Role) -> bool:
        """Whether the writer's tokens would have come to an end after `tail`, had it gone on with `rest`."""
        try:
            following = rest.decode("utf-8")
        except UnicodeDecodeError:
            return False
        if len(tail) > _TAIL:
            # From a space on, where a token is likely to begin.
            tail = tail[-_TAIL:]
            tail = tail[max(0, tail.find(" ")) :]
        writer = self.vocabularies[reader.other]
        ends = accumulate(len(writer.piece(token)) for token in spelled(tail + following, writer))
        return len(tail.encode("utf-8")) in ends

    def _sorted_pieces(self, role: Role) -> tuple[list[bytes], NDArray[np.int64]]:
        """All that a token of this model can add to a text, in order, and the tokens; made once."""
        found = self._pieces.get(role)
        if found is None:
            vocabulary = self.vocabularies[role]
            pairs = sorted(
                (vocabulary.piece(t), t) for t in range(len(vocabulary.texts)) if not vocabulary.is_special(t)
            )
            found = self._pieces[role] = [text for text, _ in pairs], np.array([t for _, t in pairs], np.int64)
        return found


def bridge_between(
    slm: Vocabulary, llm: Vocabulary, healing: frozenset[Role] = frozenset(Role)
) -> Bridge | ForeignBridge:
    """The bridge two models need: of ids where they share a tokeniser, else of text."""
    return compare(slm, llm) or ForeignBridge({Role.SLM: slm, Role.LLM: llm}, healing)


def thinking_format(vocabulary: Vocabulary) -> ThinkingFormat | None:
    """How a model with this vocabulary marks its reasoning; None where it has no tokens for that."""
    return format_of(vocabulary.texts)


def mark_ids(mark: str, form: ThinkingFormat, vocabulary: Vocabulary) -> list[int]:
    """A mark of a model's own format in its tokens."""
    ids: list[int] = []
    for part in re.split("(" + "|".join(map(re.escape, form.tokens)) + ")", mark):
        if part in form.tokens:
            ids.append(vocabulary.texts.index(part.encode()))
        elif part:
            ids += spelled(part, vocabulary)
    return ids


def spelled(text: str, vocabulary: Vocabulary) -> list[int]:
    """A text in a model's tokens as it stands in the middle of another one."""
    data = text.encode("utf-8", "replace")
    ids = vocabulary.spell(text)
    if _text_of(ids, vocabulary) == data:
        return ids
    # Tokenisers of SentencePiece's kind put a space before whatever they are given; behind a line end it is kept apart.
    anchored = vocabulary.spell("\n" + text)
    for start in range(1, 4):
        if _text_of(anchored[start:], vocabulary) == data:
            return anchored[start:]
    # One that changes the text (to lower case, say) reads it changed.
    return ids


def _text_of(ids: Sequence[int], vocabulary: Vocabulary) -> bytes:
    return b"".join(map(vocabulary.piece, ids))

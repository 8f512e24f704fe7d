"""Two models with different tokenizers: text is passed from one to the other, and re-tokenized.

Models that share a tokenizer pass ids instead (vocabulary.py).
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

HEALED_TOKENS = 3
"""How many tokens at the end of a re-tokenized text may be replaced by a longer one (token healing)."""

# Consider this many longer tokens, and none whose probability is below a thousandth (e^-7) of the current one's.
_MAX_CANDIDATES = 8
_MAX_LOGIT_GAP = 7.0
# Characters at the end of the writer's text that suffice to find the borders of its tokens.
_CONTEXT_CHARACTERS = 32


class ForeignBridge:
    """Converts text between two vocabularies of different tokenizers.

    Args:
        vocabularies: of both models.
        healing: the models whose KV caches can be truncated, which token healing requires; the others keep the
            tokens of a re-tokenized text.

    Attributes:
        formats: each model's thinking format; None for a model without tokens for one.
    """

    def __init__(self, vocabularies: Mapping[Role, Vocabulary], healing: frozenset[Role] = frozenset(Role)) -> None:
        self.vocabularies = vocabularies
        self.healing = healing
        self.formats = {role: thinking_format(vocabulary) for role, vocabulary in vocabularies.items()}
        self._tags = {role: self._tags_for(role) for role in vocabularies}
        self._pieces: dict[Role, tuple[list[bytes], NDArray[np.int64]]] = {}

    def _tags_for(self, reader: Role) -> tuple[re.Pattern[str], dict[str, tuple[int, ...]]] | None:
        """Return a pattern of the writer's thinking tags, and the ids of the reader's tag for each."""
        source, target = self.formats[reader.other], self.formats[reader]
        if source is None or target is None:
            return None
        vocabulary = self.vocabularies[reader]
        ids = {
            tag: tuple(tag_ids(counterpart, target, vocabulary))
            for tag, counterpart in zip(source.tags_by_use, target.tags_by_use, strict=True)
            if tag
        }
        return re.compile("(" + "|".join(map(re.escape, source.tags)) + ")"), ids

    def retokenize(self, text: str, reader: Role) -> list[int]:
        """Tokenize a text of the other model, with the reader's thinking tags in place of the writer's.

        Takes time in proportion to the text. No other special tokens are recognized.

        Args:
            text: the text.
            reader: the model that reads it.

        Returns:
            Ids in the reader's vocabulary.
        """
        vocabulary, tags = self.vocabularies[reader], self._tags[reader]
        if tags is None:
            return tokenize_continuation(text, vocabulary)
        pattern, ids_of_tag = tags
        ids: list[int] = []
        for index, part in enumerate(pattern.split(text)):
            if part:
                ids += ids_of_tag[part] if index % 2 else tokenize_continuation(part, vocabulary)
        return ids

    def inside_tag(self, text: str, writer: Role) -> bool:
        """Return whether a text ends in the middle of one of its writer's tags of several tokens."""
        form = self.formats[writer]
        if form is None or not form.has_multi_token_tags:
            return False
        return any(text.endswith(tag[:end]) for tag in form.tags for end in range(1, len(tag)))

    def continuations(self, logits: NDArray[np.float32], read: Sequence[int], tail: str, reader: Role) -> list[int]:
        """Return longer tokens that could replace the last re-tokenized ones (token healing).

        A text that ends in " wor" is ambiguous for a tokenizer that has " world": it is the token " wor", after which
        "ld" was almost never seen in training, or the beginning of " world". The writer's tokens decide: " world" is
        possible if the writer's tokenization of the longer text also has a border after " wor".

        Args:
            logits: the reader's logits for the first of these tokens, float32, shape (n_vocab,).
            read: the last re-tokenized ids, up to the end of the text.
            tail: the last text of the writer, up to the same end.
            reader: the model whose tokens and logits these are.

        Returns:
            Ids of the most likely longer tokens that are not much less likely than the first of `read`.
        """
        piece = self.vocabularies[reader].piece
        prefix = b"".join(map(piece, read))
        if not prefix:
            return []
        pieces, tokens = self._sorted_pieces(reader)
        last = bisect_right(pieces, prefix, key=lambda text: text[: len(prefix)])
        longer = tokens[bisect_right(pieces, prefix) : last]
        longer = longer[logits[longer] > logits[read[0]] - _MAX_LOGIT_GAP]
        longer = longer[np.argsort(-logits[longer], kind="stable")[:_MAX_CANDIDATES]]
        return [t for t in longer.tolist() if self._has_border(tail, piece(t)[len(prefix) :], reader.other)]

    def _has_border(self, tail: str, rest: bytes, writer: Role) -> bool:
        """Return whether the writer's tokenization of `tail + rest` has a token border after `tail`."""
        try:
            following = rest.decode("utf-8")
        except UnicodeDecodeError:
            return False
        if len(tail) > _CONTEXT_CHARACTERS:
            # Start at a space, where a token is likely to begin.
            tail = tail[-_CONTEXT_CHARACTERS:]
            tail = tail[max(0, tail.find(" ")) :]
        vocabulary = self.vocabularies[writer]
        ids = tokenize_continuation(tail + following, vocabulary)
        borders = accumulate(len(vocabulary.piece(token)) for token in ids)
        return len(tail.encode("utf-8")) in borders

    def _sorted_pieces(self, role: Role) -> tuple[list[bytes], NDArray[np.int64]]:
        """Return the pieces of a model's ordinary tokens in order, and the tokens; computed once."""
        pieces = self._pieces.get(role)
        if pieces is None:
            vocabulary = self.vocabularies[role]
            pairs = sorted(
                (vocabulary.piece(t), t) for t in range(len(vocabulary.texts)) if not vocabulary.is_special(t)
            )
            pieces = self._pieces[role] = [text for text, _ in pairs], np.array([t for _, t in pairs], np.int64)
        return pieces


def bridge_between(
    slm: Vocabulary, llm: Vocabulary, healing: frozenset[Role] = frozenset(Role)
) -> Bridge | ForeignBridge:
    """Return the bridge of two models: of ids if they share a tokenizer, else of text.

    Args:
        slm: the vocabulary of the SLM.
        llm: the vocabulary of the LLM.
        healing: as for ForeignBridge.
    """
    return compare(slm, llm) or ForeignBridge({Role.SLM: slm, Role.LLM: llm}, healing)


def thinking_format(vocabulary: Vocabulary) -> ThinkingFormat | None:
    """Return the thinking format of a model with this vocabulary; None if it has no tokens for one."""
    return format_of(vocabulary.texts)


def tag_ids(tag: str, form: ThinkingFormat, vocabulary: Vocabulary) -> list[int]:
    """Return the ids of a tag of a model's own format."""
    ids: list[int] = []
    for part in re.split("(" + "|".join(map(re.escape, form.tokens)) + ")", tag):
        if part in form.tokens:
            ids.append(vocabulary.texts.index(part.encode()))
        elif part:
            ids += tokenize_continuation(part, vocabulary)
    return ids


def tokenize_continuation(text: str, vocabulary: Vocabulary) -> list[int]:
    """Tokenize a text as the continuation of another one: without a space that the tokenizer adds at the start.

    Args:
        text: the text.
        vocabulary: of the model that reads it.

    Returns:
        Ids whose pieces are the text, or the tokenizer's own result if it changes texts (to lower case, for example).
    """
    data = text.encode("utf-8", "replace")
    ids = vocabulary.tokenize(text)
    if _pieces_of(ids, vocabulary) == data:
        return ids
    # SentencePiece tokenizers add a space before the text; after a new line it is a token of its own.
    anchored = vocabulary.tokenize("\n" + text)
    for start in range(1, 4):
        if _pieces_of(anchored[start:], vocabulary) == data:
            return anchored[start:]
    return ids


def _pieces_of(ids: Sequence[int], vocabulary: Vocabulary) -> bytes:
    return b"".join(map(vocabulary.piece, ids))

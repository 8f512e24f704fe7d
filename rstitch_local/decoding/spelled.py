"""Special tokens that are spelled out in a text: finding them, and tokenizing them as letters."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import chain, pairwise

from rstitch_local.decoding.foreign import tokenize_continuation
from rstitch_local.decoding.vocabulary import Vocabulary


class Spellings:
    """Finds several texts in a text, in time that hardly depends on their number: Gemma has 6,000 special tokens."""

    def __init__(self, texts: Collection[str]) -> None:
        self._texts = frozenset(texts) - {""}
        self._lengths = sorted({len(text) for text in self._texts}, reverse=True)
        first = "".join({re.escape(text[0]) for text in self._texts})
        self._first = re.compile(f"[{first}]" if first else "(?!)")

    def find(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield where a text has one of the texts, and the longest one there. They may overlap."""
        for match in self._first.finditer(text):
            start = match.start()
            for length in self._lengths:
                if (found := text[start : start + length]) in self._texts:
                    yield start, found
                    break


def tokenize_letters(text: str, special: Spellings, vocabulary: Vocabulary) -> list[int]:
    """Tokenize a text in which special tokens are letters, also those that the tokenizer always recognizes.

    The text is cut after the first letter of each special token, and the pieces are tokenized apart.

    Args:
        text: the text.
        special: the special tokens that the tokenizer recognizes, of two or more letters.
        vocabulary: of the model that reads the text.
    """
    cuts = [start + 1 for start, _ in special.find(text)]
    first, *others = (text[start:end] for start, end in pairwise([0, *cuts, len(text)]))
    rest = (tokenize_continuation(piece, vocabulary) for piece in others)
    return [*vocabulary.tokenize(first), *chain.from_iterable(rest)]

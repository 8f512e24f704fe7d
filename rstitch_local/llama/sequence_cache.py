"""Which tokens each sequence of a cache holds, and which of them lie in cells that are another sequence's as well.

Plain accounts, kept beside llama.cpp's own; nothing here calls it.
"""

from __future__ import annotations

from collections.abc import Sequence


class SequenceCache:
    """The tokens of every sequence, in order; a beginning that several share is counted as one sequence's.

    Args:
        sequences: how many there are.

    Attributes:
        tokens: of each sequence; whoever evaluates or copies tokens appends them.
    """

    def __init__(self, sequences: int) -> None:
        self.tokens: list[list[int]] = [[] for _ in range(sequences)]
        # Of each sequence, how many of its first cells are counted as another's, and whose.
        self._shared = [(0, 0)] * sequences

    @property
    def used(self) -> int:
        """Cells in use: the tokens of all sequences, a beginning that several share counted once."""
        return sum(map(len, self.tokens)) - sum(count for count, _ in self._shared)

    def forget(self, sequence: int, length: int) -> None:
        """Take note that a sequence holds `length` tokens now; cells that others use as well become one of theirs."""
        del self.tokens[sequence][length:]
        kept = self._shared[sequence]
        heirs = [other for other, (count, owner) in enumerate(self._shared) if owner == sequence and count > length]
        if heirs:
            heir = max(heirs, key=lambda other: self._shared[other][0])
            for other in heirs:
                self._shared[other] = (self._shared[other][0], heir)
            self._shared[heir] = kept if kept[0] > length else (length, sequence)
        self.share(sequence, min(kept[0], length), kept[1])

    def share(self, sequence: int, count: int, owner: int) -> None:
        """Take note that a sequence's first `count` cells are those of `owner`, or of whoever that has them from."""
        while count and self._shared[owner][0] >= count:
            owner = self._shared[owner][1]
        self._shared[sequence] = (count, owner)

    def clear(self) -> None:
        """Take note that nothing is held any more."""
        for sequence, tokens in enumerate(self.tokens):
            tokens.clear()
            self._shared[sequence] = (0, 0)

    def common(self, sequence: int, ids: Sequence[int]) -> int:
        """How many tokens a sequence's beginning has in common with `ids`, all but one at most."""
        return min(common_length(self.tokens[sequence], ids), len(ids) - 1)

    def most_common(self, ids: Sequence[int]) -> tuple[int, int]:
        """The sequence whose beginning has most in common with `ids`, and how many tokens, all but one at most."""
        lengths = [self.common(sequence, ids) for sequence in range(len(self.tokens))]
        best = max(range(len(lengths)), key=lengths.__getitem__)
        return best, lengths[best]


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two conversations have in common at their beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))

"""Which tokens each sequence of a KV cache holds, and how many cells they occupy.

Mirrors llama.cpp's own bookkeeping, which cannot be read back in full; does not call llama.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence


class SequenceCache:
    """The tokens of every sequence; cells that several sequences share are counted once.

    Args:
        sequences: number of sequences.
    """

    def __init__(self, sequences: int) -> None:
        self._tokens: list[list[int]] = [[] for _ in range(sequences)]
        # Per sequence: how many of its first cells are counted as those of another sequence, and which one.
        self._shared = [(0, 0)] * sequences

    @property
    def used_cells(self) -> int:
        """Occupied cells: the tokens of all sequences, shared ones counted once."""
        return sum(map(len, self._tokens)) - sum(count for count, _ in self._shared)

    def tokens(self, sequence: int) -> Sequence[int]:
        """Return the tokens of a sequence, in order: a view that changes with the cache."""
        return self._tokens[sequence]

    def length(self, sequence: int) -> int:
        """Return the number of tokens of a sequence."""
        return len(self._tokens[sequence])

    def append(self, sequence: int, ids: Sequence[int]) -> None:
        """Add tokens that occupy cells of their own."""
        self._tokens[sequence] += ids

    def share(self, source: int, target: int, count: int) -> None:
        """Let an empty sequence hold the first `count` tokens of another one in the same cells."""
        self._tokens[target] += self._tokens[source][:count]
        self._count_as(source, target, count)

    def truncate(self, sequence: int, length: int) -> None:
        """Remove the tokens from position `length` on; cells that other sequences share get a new owner."""
        del self._tokens[sequence][length:]
        shared, owner = self._shared[sequence]
        users = [other for other, (count, of) in enumerate(self._shared) if of == sequence and count > length]
        if users:
            new_owner = max(users, key=lambda other: self._shared[other][0])
            for other in users:
                self._shared[other] = (self._shared[other][0], new_owner)
            # The new owner still shares the cells that remain, or that were shared already.
            self._shared[new_owner] = (shared, owner) if shared > length else (length, sequence)
        self._count_as(owner, sequence, min(shared, length))

    def clear(self) -> None:
        """Remove the tokens of all sequences."""
        for tokens in self._tokens:
            tokens.clear()
        self._shared = [(0, 0)] * len(self._tokens)

    def reusable(self, sequence: int, ids: Sequence[int]) -> int:
        """Return the length of the common prefix of a sequence and `ids`, at most all of `ids` but the last token."""
        return min(common_length(self._tokens[sequence], ids), len(ids) - 1)

    def longest_prefix(self, ids: Sequence[int]) -> tuple[int, int]:
        """Return the sequence with the longest reusable prefix of `ids`, and its length."""
        lengths = [self.reusable(sequence, ids) for sequence in range(len(self._tokens))]
        best = max(range(len(lengths)), key=lengths.__getitem__)
        return best, lengths[best]

    def _count_as(self, owner: int, sequence: int, count: int) -> None:
        # The owner may itself share these cells.
        while count and self._shared[owner][0] >= count:
            owner = self._shared[owner][1]
        self._shared[sequence] = (count, owner)


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Return the length of the common prefix of two token lists."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))

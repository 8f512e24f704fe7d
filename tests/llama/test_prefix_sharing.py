"""Sequences that share a prefix: its cells are counted exactly, and every sequence keeps its own text."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_helpers import N_CTX, TOLERANCE, extend, reference_logits, text

from rstitch_local.errors import CacheFullError
from rstitch_local.llama.batch import BatchSlice
from rstitch_local.llama.context import Context
from rstitch_local.llama.weights import Weights

SEQUENCES = 4


class Cells:
    """The cell of each token of each sequence, derived from the calls of llama.cpp."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, context: Context) -> None:
        self.of: list[list[int]] = [[] for _ in range(context.n_seq_max)]
        self._context = context.handle
        self.copies: list[tuple[int, int, int]] = []
        self._fresh = itertools.count()
        self._decode, self._remove = llama_cpp.llama_decode, llama_cpp.llama_memory_seq_rm
        self._copy = llama_cpp.llama_memory_seq_cp
        for name, replacement in (
            ("decode", self.decode),
            ("memory_seq_rm", self.remove),
            ("memory_seq_cp", self.copy),
        ):
            monkeypatch.setattr(llama_cpp, f"llama_{name}", replacement)

    @property
    def used(self) -> int:
        return len(set(itertools.chain.from_iterable(self.of)))

    def decode(self, context: Any, batch: Any) -> int:
        code = int(self._decode(context, batch))
        if code == 0 and context == self._context:
            for i in range(batch.n_tokens):
                cells = self.of[batch.seq_id[i][0]]
                assert batch.pos[i] == len(cells)
                cells.append(next(self._fresh))
        return code

    def remove(self, memory: Any, sequence: int, first: int, last: int) -> bool:
        assert last == -1
        del self.of[sequence][max(0, first) :]
        return bool(self._remove(memory, sequence, first, last))

    def copy(self, memory: Any, source: int, target: int, first: int, last: int) -> None:
        assert self.of[target] == []
        self.of[target] = self.of[source][first:last]
        self.copies.append((source, target, last))
        self._copy(memory, source, target, first, last)


def check(context: Context, cells: Cells) -> None:
    lengths = [context.length(sequence) for sequence in range(context.n_seq_max)]
    assert lengths == [len(places) for places in cells.of]
    assert context.used_cells == cells.used


Move = tuple[str, int, Sequence[int]]
# Conversations over two words of 8 tokens each, so that many share a prefix and the cache fills up.
conversations = st.lists(st.integers(0, 1), min_size=1, max_size=14).map(
    lambda words: [token for word in words for token in text(8, word)]
)
moves = st.lists(
    st.tuples(st.sampled_from(["reuse", "reuse", "answer", "truncate"]), st.integers(0, SEQUENCES - 1), conversations),
    min_size=1,
    max_size=24,
)


@given(moves=moves)
@settings(max_examples=120, deadline=None)
def test_used_cells_are_counted_exactly(weights: Weights, moves: list[Move]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        # Few cells: where the count reports free cells, llama.cpp must find them.
        context = Context(weights, n_ctx=N_CTX, n_seq_max=SEQUENCES, kv_cells=N_CTX)
        cells = Cells(monkeypatch, context)
        for move, sequence, ids in moves:
            if move == "reuse":
                best, most = context.longest_prefix(ids)
                left = context.reuse_prefix(sequence, ids)
                assert left == most < len(ids)
                assert context.length(best) >= most
                assert context.tokens(sequence) == ids[:left]
            elif move == "truncate":
                context.truncate(sequence, len(ids))
            elif move == "answer":
                ids = [*context.tokens(sequence), *ids]
            check(context, cells)
            missing = ids[context.length(sequence) :]
            if move != "truncate" and missing and context.used_cells + len(missing) <= context.kv_cells:
                extend(context, sequence, ids)
                check(context, cells)
        # Where llama.cpp has no free cells, the count reports none.
        free = context.kv_cells - cells.used
        if free:
            extend(context, 0, [*context.tokens(0), *text(free, 9)])
        with pytest.raises(CacheFullError):
            context.decode([BatchSlice(0, [40])])
        assert context.used_cells >= context.kv_cells
        check(context, cells)
        context.close()


@given(
    common=st.integers(1, 40),
    lengths=st.lists(st.integers(1, 9), min_size=SEQUENCES, max_size=SEQUENCES),
    moves=st.lists(st.tuples(st.integers(0, SEQUENCES - 1), st.integers(0, 40)), max_size=10),
)
@settings(max_examples=60, deadline=None)
def test_shared_prefix_is_counted_once_in_any_order_of_removal(
    weights: Weights, common: int, lengths: list[int], moves: list[tuple[int, int]]
) -> None:
    conversations = [[*text(common), *[128 + i] * count] for i, count in enumerate(lengths)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        context = Context(weights, n_ctx=N_CTX, n_seq_max=SEQUENCES)
        cells = Cells(monkeypatch, context)
        for sequence, ids in enumerate(conversations):
            assert context.reuse_prefix(sequence, ids) == (common if sequence else 0)
            extend(context, sequence, ids)
            check(context, cells)
        assert context.used_cells == common + sum(lengths)
        for sequence, length in moves:
            # Remove a sequence, as at the end of an answer, or add it again.
            if length == 0 or context.length(sequence):
                context.truncate(sequence, 0)
            else:
                context.reuse_prefix(sequence, conversations[sequence])
                extend(context, sequence, conversations[sequence])
            check(context, cells)
        context.close()


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_nested_prefixes_are_counted_once(
    weights: Weights, monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...]
) -> None:
    # System prompt, examples, question: each shared by fewer sequences; then the system prompt again.
    context = Context(weights, n_ctx=N_CTX, n_seq_max=4)
    cells = Cells(monkeypatch, context)
    base = text(50)
    for sequence, length, used in zip(order, (20, 30, 40, 15), (25, 40, 55, 60), strict=True):
        ids = [*base[:length], *[130 + sequence] * 5]
        context.reuse_prefix(sequence, ids)
        extend(context, sequence, ids)
        assert context.used_cells == used
        check(context, cells)
    # Removed in the order of creation, starting with the sequence that evaluated the prefix.
    for sequence in order:
        context.truncate(sequence, 0)
        check(context, cells)
    assert context.used_cells == 0


@given(
    common=st.integers(1, 90),
    suffix=st.integers(1, 20),
    other_suffix=st.integers(0, 20),
    one_by_one=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_reused_prefix_gives_the_logits_of_an_evaluated_one(
    weights: Weights, common: int, suffix: int, other_suffix: int, one_by_one: bool
) -> None:
    first = [*text(common), *text(other_suffix, 1)]
    ids = [*text(common), 20, *text(suffix, 2)]
    context = Context(weights, n_ctx=N_CTX, n_seq_max=2)
    for at in range(len(first)) if one_by_one else [len(first)]:
        extend(context, 0, first[: at + 1])
    assert context.reuse_prefix(1, ids) == common
    assert context.tokens(1) == ids[:common]
    assert context.used_cells == len(first)
    np.testing.assert_allclose(extend(context, 1, ids), reference_logits(weights, ids), atol=TOLERANCE)
    # The source sequence is unchanged.
    np.testing.assert_allclose(
        extend(context, 0, [*first, 50]), reference_logits(weights, [*first, 50]), atol=TOLERANCE
    )
    context.close()


@pytest.mark.parametrize("left", [0, 10, 29])
def test_truncating_the_source_leaves_the_copy_unchanged(weights: Weights, left: int) -> None:
    first, ids = text(40), [*text(30), *text(9, 1)]
    context = Context(weights, n_ctx=N_CTX, n_seq_max=3)
    extend(context, 0, first)
    assert context.reuse_prefix(1, ids) == 30
    context.truncate(0, left)
    assert (context.length(0), context.length(1)) == (left, 30)
    assert context.used_cells == 30
    # Others use the freed cells, but not the shared ones.
    extend(context, 2, text(100, 5))
    extend(context, 0, [*first[:left], *text(60, 6)])
    np.testing.assert_allclose(extend(context, 1, ids), reference_logits(weights, ids), atol=TOLERANCE)
    assert context.used_cells == 30 + 9 + 60 + 100


def test_truncating_the_copy_leaves_the_source_unchanged(weights: Weights) -> None:
    ids = text(40)
    context = Context(weights, n_ctx=N_CTX, n_seq_max=2)
    extend(context, 0, ids)
    context.reuse_prefix(1, [*ids[:30], 20])
    context.truncate(1, 0)
    extend(context, 1, text(90, 4))
    np.testing.assert_allclose(extend(context, 0, [*ids, 50]), reference_logits(weights, [*ids, 50]), atol=TOLERANCE)


def test_last_token_is_never_reused(weights: Weights) -> None:
    # Its logits are needed.
    ids = text(20)
    context = Context(weights, n_ctx=N_CTX, n_seq_max=2)
    extend(context, 0, [*ids, 50])
    for sequence in (1, 0):
        assert context.reuse_prefix(sequence, ids) == 19 == context.length(sequence)
        np.testing.assert_allclose(extend(context, sequence, ids), reference_logits(weights, ids), atol=TOLERANCE)
    assert context.reuse_prefix(1, ids[:1]) == 0


def test_own_cache_is_preferred_to_an_equal_one(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = text(20)
    context = Context(weights, n_ctx=N_CTX, n_seq_max=3)
    cells = Cells(monkeypatch, context)
    extend(context, 0, ids[:15])
    context.reuse_prefix(1, ids)
    extend(context, 1, [*ids[:15], 20, 21])
    assert cells.copies == [(0, 1, 15)]
    assert context.reuse_prefix(1, [*ids[:10], 30]) == 10
    assert cells.copies == [(0, 1, 15)]
    # The longest prefix of any sequence.
    extend(context, 2, ids)
    assert context.longest_prefix(ids) == (2, 19)
    assert context.reuse_prefix(1, [*ids, 40]) == 20
    assert cells.copies[1:] == [(2, 1, 20)]
    check(context, cells)


def test_separate_caches_copy_a_prefix(weights: Weights) -> None:
    context = Context(weights, n_ctx=N_CTX, n_seq_max=SEQUENCES, unified=False)
    assert not context.unified
    ids = text(40)
    extend(context, 0, [*ids, *text(30, 1)])
    extend(context, 1, text(50, 2))
    for sequence, target in ((1, [*ids, 9, 9]), (2, [*ids, 8]), (3, [*ids, 8, 7])):
        left = context.reuse_prefix(sequence, target)
        assert left == (41 if sequence == 3 else 40)
        if sequence == 2:
            # llama.cpp copies lazily: the source changes before the copy is made.
            context.truncate(0, 10)
            extend(context, 0, [*ids[:10], *text(60, 4)])
        np.testing.assert_allclose(extend(context, sequence, target), reference_logits(weights, target), atol=TOLERANCE)
    # No cell is shared.
    assert context.used_cells == sum(context.length(sequence) for sequence in range(SEQUENCES))
    context.truncate(2, 0)
    np.testing.assert_allclose(
        extend(context, 3, [*ids, 8, 7, 6]), reference_logits(weights, [*ids, 8, 7, 6]), atol=TOLERANCE
    )
    context.close()


def test_too_few_cells_for_separate_caches_make_a_unified_one(weights: Weights) -> None:
    context = Context(weights, n_ctx=N_CTX, n_seq_max=SEQUENCES, kv_cells=2 * N_CTX, unified=False)
    assert context.unified
    extend(context, 0, text(2 * N_CTX - 20))
    context.close()


def test_ctrl_c_between_copy_and_bookkeeping_is_repaired(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = llama_cpp.llama_memory_seq_cp
    ids = text(30)
    context = Context(weights, n_ctx=N_CTX, n_seq_max=2)
    extend(context, 0, [*ids, 50])

    def interrupted(*arguments: Any) -> None:
        copy(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(llama_cpp, "llama_memory_seq_cp", interrupted)
        with pytest.raises(KeyboardInterrupt):
            context.reuse_prefix(1, ids)
    other = text(20, 1)
    assert context.reuse_prefix(1, other) == 0
    np.testing.assert_allclose(extend(context, 1, other), reference_logits(weights, other), atol=TOLERANCE)


def test_used_cells_after_a_failed_decode(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = text(30)
    context = Context(weights, n_ctx=N_CTX, n_seq_max=2)
    cells = Cells(monkeypatch, context)
    extend(context, 0, ids)
    context.reuse_prefix(1, [*ids[:20], 20])
    extend(context, 1, [*ids[:20], 20])
    real = llama_cpp.llama_decode
    with monkeypatch.context() as patch:
        patch.setattr(llama_cpp, "llama_decode", lambda *_: 1)
        with pytest.raises(CacheFullError):
            context.decode([BatchSlice(0, [50]), BatchSlice(1, [51, 52])])
    assert llama_cpp.llama_decode == real
    check(context, cells)
    np.testing.assert_allclose(
        extend(context, 1, [*ids[:20], 20, 60]), reference_logits(weights, [*ids[:20], 20, 60]), atol=TOLERANCE
    )

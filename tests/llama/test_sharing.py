"""Context: a beginning that several sequences have in common is kept once, counted once and belongs to each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_pair import MERGES, SPECIALS, TinyPair, body, write_recurrent_model

from rstitch_local.errors import CacheFullError
from rstitch_local.llama.batch import BatchSlice
from rstitch_local.llama.context import Context
from rstitch_local.llama.evaluation import TokenSpan, evaluate
from rstitch_local.llama.weights import Weights

N_CTX = 256
"""llama.cpp's caches come in multiples of 256 tokens: a smaller one would not be full where it says so."""

# Batches of different sizes round differently; another token's logits differ by several whole units.
TOLERANCE = 0.02
SEQUENCES = 4


@pytest.fixture(scope="module")
def weights(tiny_pair: TinyPair) -> Iterator[Weights]:
    loaded = Weights(tiny_pair.llm)
    yield loaded
    loaded.close()


def text(length: int, seed: int = 0) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(32, 127, length)]


def extend(context: Context, sequence: int, ids: Sequence[int]) -> NDArray[np.float32]:
    """Evaluate the tokens of `ids` that a sequence does not hold; return the logits of the last one."""
    assert context.tokens(sequence) == list(ids[: context.length(sequence)])
    for output in evaluate(context, [TokenSpan(sequence, ids[context.length(sequence) :])]):
        logits = output.logits.copy()
    return logits


def alone(weights: Weights, ids: Sequence[int]) -> NDArray[np.float32]:
    context = Context(weights, n_ctx=N_CTX)
    logits = extend(context, 0, ids)
    context.close()
    return logits


class Cells:
    """Which cell each token of each sequence lies in, from the calls that llama.cpp is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, context: Context) -> None:
        self.of: list[list[int]] = [[] for _ in range(context.n_seq_max)]
        self._context = context.handle
        self.copies: list[tuple[int, int, int]] = []
        self._fresh = itertools.count()
        self._decode, self._remove = llama_cpp.llama_decode, llama_cpp.llama_memory_seq_rm
        self._copy = llama_cpp.llama_memory_seq_cp
        for name, own in (("decode", self.decode), ("memory_seq_rm", self.remove), ("memory_seq_cp", self.copy)):
            monkeypatch.setattr(llama_cpp, f"llama_{name}", own)

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
    assert lengths == [len(own) for own in cells.of]
    assert context.used_cells == cells.used


Move = tuple[str, int, Sequence[int]]

# Conversations over two words of 8 tokens each, so that many have a beginning in common, and caches fill up.
conversations = st.lists(st.integers(0, 1), min_size=1, max_size=14).map(
    lambda words: [token for word in words for token in text(8, word)]
)
moves = st.lists(
    st.tuples(st.sampled_from(["begin", "begin", "answer", "truncate"]), st.integers(0, SEQUENCES - 1), conversations),
    min_size=1,
    max_size=24,
)


@given(moves=moves)
@settings(max_examples=120, deadline=None)
def test_cells_in_use_are_counted_exactly(weights: Weights, moves: list[Move]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        # Few cells: where the count says that there is room, llama.cpp must find it.
        context = Context(weights, n_ctx=N_CTX, n_seq_max=SEQUENCES, kv_cells=N_CTX)
        cells = Cells(monkeypatch, context)
        for move, sequence, ids in moves:
            if move == "begin":
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
        # And where llama.cpp has no room any more, nobody says it has.
        room = context.kv_cells - cells.used
        if room:
            extend(context, 0, [*context.tokens(0), *text(room, 9)])
        with pytest.raises(CacheFullError):
            context.decode([BatchSlice(0, [40])])
        assert context.used_cells >= context.kv_cells
        check(context, cells)
        context.close()


@given(
    common=st.integers(1, 40),
    own=st.lists(st.integers(1, 9), min_size=SEQUENCES, max_size=SEQUENCES),
    moves=st.lists(st.tuples(st.integers(0, SEQUENCES - 1), st.integers(0, 40)), max_size=10),
)
@settings(max_examples=60, deadline=None)
def test_one_common_beginning_is_counted_once_whoever_leaves(
    weights: Weights, common: int, own: list[int], moves: list[tuple[int, int]]
) -> None:
    conversations = [[*text(common), *[128 + i] * count] for i, count in enumerate(own)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        context = Context(weights, n_ctx=N_CTX, n_seq_max=SEQUENCES)
        cells = Cells(monkeypatch, context)
        for sequence, ids in enumerate(conversations):
            assert context.reuse_prefix(sequence, ids) == (common if sequence else 0)
            extend(context, sequence, ids)
            check(context, cells)
        assert context.used_cells == common + sum(own)
        for sequence, length in moves:
            # Whole sequences leave, as they do where an answer has ended; or one comes back.
            if length == 0 or context.length(sequence):
                context.truncate(sequence, 0)
            else:
                context.reuse_prefix(sequence, conversations[sequence])
                extend(context, sequence, conversations[sequence])
            check(context, cells)
        context.close()


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_a_chain_of_beginnings_is_counted_once(
    weights: Weights, monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...]
) -> None:
    # The system prompt, the examples, the question, each common to fewer; and the system prompt again.
    context = Context(weights, n_ctx=N_CTX, n_seq_max=4)
    cells = Cells(monkeypatch, context)
    base = text(50)
    for sequence, length, used in zip(order, (20, 30, 40, 15), (25, 40, 55, 60), strict=True):
        ids = [*base[:length], *[130 + sequence] * 5]
        context.reuse_prefix(sequence, ids)
        extend(context, sequence, ids)
        assert context.used_cells == used
        check(context, cells)
    # They leave as they came, the one who evaluated it first.
    for sequence in order:
        context.truncate(sequence, 0)
        check(context, cells)
    assert context.used_cells == 0


@given(
    common=st.integers(1, 90),
    mine=st.integers(1, 20),
    others=st.integers(0, 20),
    one_by_one=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_what_is_taken_over_is_as_good_as_evaluated(
    weights: Weights, common: int, mine: int, others: int, one_by_one: bool
) -> None:
    first = [*text(common), *text(others, 1)]
    ids = [*text(common), 20, *text(mine, 2)]
    context = Context(weights, n_ctx=N_CTX, n_seq_max=2)
    for at in range(len(first)) if one_by_one else [len(first)]:
        extend(context, 0, first[: at + 1])
    assert context.reuse_prefix(1, ids) == common
    assert context.tokens(1) == ids[:common]
    assert context.used_cells == len(first)
    np.testing.assert_allclose(extend(context, 1, ids), alone(weights, ids), atol=TOLERANCE)
    # Nor does the one it was taken from notice.
    np.testing.assert_allclose(extend(context, 0, [*first, 50]), alone(weights, [*first, 50]), atol=TOLERANCE)
    context.close()


@pytest.mark.parametrize("left", [0, 10, 29])
def test_forgetting_at_the_source_leaves_the_taker_intact(weights: Weights, left: int) -> None:
    first, ids = text(40), [*text(30), *text(9, 1)]
    context = Context(weights, n_ctx=N_CTX, n_seq_max=3)
    extend(context, 0, first)
    assert context.reuse_prefix(1, ids) == 30
    context.truncate(0, left)
    assert (context.length(0), context.length(1)) == (left, 30)
    assert context.used_cells == 30
    # What is free now is used by others, and not by mistake what is not.
    extend(context, 2, text(100, 5))
    extend(context, 0, [*first[:left], *text(60, 6)])
    np.testing.assert_allclose(extend(context, 1, ids), alone(weights, ids), atol=TOLERANCE)
    assert context.used_cells == 30 + 9 + 60 + 100


def test_forgetting_at_the_taker_leaves_the_source_intact(weights: Weights) -> None:
    ids = text(40)
    context = Context(weights, n_ctx=N_CTX, n_seq_max=2)
    extend(context, 0, ids)
    context.reuse_prefix(1, [*ids[:30], 20])
    context.truncate(1, 0)
    extend(context, 1, text(90, 4))
    np.testing.assert_allclose(extend(context, 0, [*ids, 50]), alone(weights, [*ids, 50]), atol=TOLERANCE)


def test_the_last_token_is_always_evaluated(weights: Weights) -> None:
    # Its logits are what comes next.
    ids = text(20)
    context = Context(weights, n_ctx=N_CTX, n_seq_max=2)
    extend(context, 0, [*ids, 50])
    for sequence in (1, 0):
        assert context.reuse_prefix(sequence, ids) == 19 == context.length(sequence)
        np.testing.assert_allclose(extend(context, sequence, ids), alone(weights, ids), atol=TOLERANCE)
    assert context.reuse_prefix(1, ids[:1]) == 0


def test_its_own_cache_is_preferred_where_another_holds_no_more(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = text(20)
    context = Context(weights, n_ctx=N_CTX, n_seq_max=3)
    cells = Cells(monkeypatch, context)
    extend(context, 0, ids[:15])
    context.reuse_prefix(1, ids)
    extend(context, 1, [*ids[:15], 20, 21])
    assert cells.copies == [(0, 1, 15)]
    assert context.reuse_prefix(1, [*ids[:10], 30]) == 10
    assert cells.copies == [(0, 1, 15)]
    # The longest one, whoever has it.
    extend(context, 2, ids)
    assert context.longest_prefix(ids) == (2, 19)
    assert context.reuse_prefix(1, [*ids, 40]) == 20
    assert cells.copies[1:] == [(2, 1, 20)]
    check(context, cells)


def write_sliding_model(path: Path) -> Path:
    """A Gemma 2 with random weights, half of whose layers look back 16 tokens only."""
    width, heads, layers = 64, 2, 2
    rng = np.random.default_rng(3)
    texts = body() + list(SPECIALS)
    writer = gguf.GGUFWriter(path, "gemma2")
    writer.add_block_count(layers)
    writer.add_context_length(2048)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_key_length(32)
    writer.add_value_length(32)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_attn_logit_softcapping(50.0)
    writer.add_final_logit_softcapping(30.0)
    writer.add_sliding_window(16)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(texts)
    writer.add_token_types([gguf.TokenType.NORMAL] * len(texts))
    writer.add_token_merges(list(MERGES))
    writer.add_eos_token_id(len(texts) - 1)
    writer.add_tensor("token_embd.weight", rng.normal(size=(len(texts), width)).astype(np.float32))
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    shapes = {
        **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (width, width)),
        **dict.fromkeys(("ffn_gate", "ffn_up"), (2 * width, width)),
        "ffn_down": (width, 2 * width),
    }
    for layer in range(layers):
        for name, shape in shapes.items():
            values = rng.normal(size=shape) * 2 / np.sqrt(width)
            writer.add_tensor(f"blk.{layer}.{name}.weight", values.astype(np.float32))
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_stores_of_their_own_copy_a_beginning(weights: Weights) -> None:
    context = Context(weights, n_ctx=N_CTX, n_seq_max=SEQUENCES, unified=False)
    assert not context.unified
    ids = text(40)
    extend(context, 0, [*ids, *text(30, 1)])
    extend(context, 1, text(50, 2))
    for sequence, wanted in ((1, [*ids, 9, 9]), (2, [*ids, 8]), (3, [*ids, 8, 7])):
        left = context.reuse_prefix(sequence, wanted)
        assert left == (41 if sequence == 3 else 40)
        if sequence == 2:
            # Nothing was copied yet when the one it is copied from goes on.
            context.truncate(0, 10)
            extend(context, 0, [*ids[:10], *text(60, 4)])
        np.testing.assert_allclose(extend(context, sequence, wanted), alone(weights, wanted), atol=TOLERANCE)
    # No cell is anybody else's.
    assert context.used_cells == sum(context.length(sequence) for sequence in range(SEQUENCES))
    context.truncate(2, 0)
    np.testing.assert_allclose(extend(context, 3, [*ids, 8, 7, 6]), alone(weights, [*ids, 8, 7, 6]), atol=TOLERANCE)
    context.close()


def test_too_few_cells_for_stores_of_their_own_are_one_store(weights: Weights) -> None:
    context = Context(weights, n_ctx=N_CTX, n_seq_max=SEQUENCES, kv_cells=2 * N_CTX, unified=False)
    assert context.unified
    extend(context, 0, text(2 * N_CTX - 20))
    context.close()


def test_a_model_with_a_sliding_window_shares_only_what_is_there(tmp_path: Path) -> None:
    weights = Weights(write_sliding_model(tmp_path / "gemma.gguf"))
    assert llama_cpp.llama_model_n_swa(weights.model) == 16
    ids = text(200)
    context = Context(weights, n_ctx=512, n_seq_max=4, kv_cells=1024)
    extend(context, 1, text(100, 1))
    extend(context, 0, ids)
    extend(context, 2, text(50, 2))
    # The new one is given the cells that are free now, and after them those that sequence 0 looks at no more.
    context.truncate(1, 0)
    extend(context, 1, text(150, 3))
    for wanted in ([*ids[:60], 20, 21], [*ids, 20, 21]):
        context.reuse_prefix(3, wanted)
        mine = extend(context, 3, wanted)
        context.truncate(3, 0)
        np.testing.assert_allclose(mine, alone(weights, wanted), atol=TOLERANCE)
    weights.close()


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weights]:
    loaded = Weights(write_recurrent_model(tmp_path_factory.mktemp("recurrent") / "mamba.gguf"))
    yield loaded
    loaded.close()


def test_a_recurrent_model_shares_nothing_and_starts_again(recurrent: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    assert llama_cpp.llama_model_is_recurrent(recurrent.model)
    ids, more = text(30), [*text(30), *text(5, 1)]
    monkeypatch.setattr(llama_cpp, "llama_memory_seq_cp", lambda *_: pytest.fail("a state was copied"))
    context = Context(recurrent, n_ctx=N_CTX, n_seq_max=2)
    extend(context, 0, ids)
    assert context.reuse_prefix(1, more) == 0
    np.testing.assert_allclose(extend(context, 1, more), alone(recurrent, more), atol=TOLERANCE)
    assert context.used_cells == 30 + 35
    # It goes on from its whole text, but not from a part of it.
    assert context.reuse_prefix(0, more) == 30
    np.testing.assert_allclose(extend(context, 0, more), alone(recurrent, more), atol=TOLERANCE)
    assert context.reuse_prefix(0, [*ids, 20]) == 0
    np.testing.assert_allclose(extend(context, 0, [*ids, 20]), alone(recurrent, [*ids, 20]), atol=TOLERANCE)
    assert np.abs(alone(recurrent, more) - alone(recurrent, ids)).max() > 10 * TOLERANCE
    np.testing.assert_allclose(extend(context, 1, [*more, 50]), alone(recurrent, [*more, 50]), atol=TOLERANCE)


def test_a_hybrid_model_shares_nothing_either(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_cpp, "llama_model_is_hybrid", lambda *_: True)
    monkeypatch.setattr(llama_cpp, "llama_memory_seq_cp", lambda *_: pytest.fail("a state was copied"))
    context = Context(weights, n_ctx=N_CTX, n_seq_max=2)
    extend(context, 0, text(30))
    assert context.reuse_prefix(1, text(40)) == 0
    assert context.reuse_prefix(0, text(40)) == 30


def test_ctrl_c_between_the_copy_and_the_note_of_it_is_mended(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    np.testing.assert_allclose(extend(context, 1, other), alone(weights, other), atol=TOLERANCE)


def test_a_failed_call_counts_right(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
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
        extend(context, 1, [*ids[:20], 20, 60]), alone(weights, [*ids[:20], 20, 60]), atol=TOLERANCE
    )

"""Context: what is evaluated stays in the cache, gives the same logits however it is cut, and is counted."""

from __future__ import annotations

import ctypes
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

import llama_cpp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_pair import TinyPair

from rstitch_local.errors import CacheFullError, CancelledError, EngineError, ModelError
from rstitch_local.llama.batch import KINDS, BatchSlice, Usage
from rstitch_local.llama.context import KV_TYPES, Context
from rstitch_local.llama.evaluation import TokenSpan, evaluate
from rstitch_local.llama.weights import Weights

N_CTX = 256
"""llama.cpp's caches come in multiples of 256 tokens: a smaller one would not be full where it says so."""

# Batches of different sizes round differently; another token's logits differ by several whole units.
TOLERANCE = 0.02


@pytest.fixture(scope="module")
def weights(tiny_pair: TinyPair) -> Iterator[Weights]:
    loaded = Weights(tiny_pair.llm)
    yield loaded
    loaded.close()


def text(length: int, seed: int = 0) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(32, 127, length)]


def last_logits(context: Context, pieces: Sequence[TokenSpan]) -> list[NDArray[np.float32]]:
    """The logits of each piece, copied because they only live until the generator goes on."""
    found: dict[int, NDArray[np.float32]] = {}
    for output in evaluate(context, pieces):
        assert output.span not in found
        found[output.span] = output.logits.copy()
    return [found[index] for index in range(len(pieces))]


def alone(weights: Weights, ids: Sequence[int]) -> NDArray[np.float32]:
    context = Context(weights, n_ctx=N_CTX)
    (logits,) = last_logits(context, [TokenSpan(0, ids)])
    context.close()
    return logits


class Decodes:
    """Stands in for `llama_decode`: notes the tokens of each call, and can fail or be interrupted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.fail: dict[int, int] = {}
        self.interrupt_after: int | None = None
        self._decode = llama_cpp.llama_decode
        monkeypatch.setattr(llama_cpp, "llama_decode", self)

    def __call__(self, context: Any, batch: Any) -> int:
        self.sizes.append(batch.n_tokens)
        code = int(self._decode(context, batch))
        if self.interrupt_after == len(self.sizes):
            signal.raise_signal(signal.SIGINT)
        return self.fail.get(len(self.sizes), code)


@pytest.mark.parametrize(("tokens", "sizes"), [(1, [1]), (7, [7]), (8, [8]), (9, [8, 1]), (24, [8, 8, 8])])
def test_no_call_has_more_than_n_batch_tokens(
    weights: Weights, monkeypatch: pytest.MonkeyPatch, tokens: int, sizes: list[int]
) -> None:
    decodes = Decodes(monkeypatch)
    context = Context(weights, n_ctx=N_CTX, n_batch=8)
    last_logits(context, [TokenSpan(0, text(tokens))])
    assert decodes.sizes == sizes
    assert context.length() == tokens


@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.integers(3, 17), st.data())
@settings(max_examples=25, deadline=None)
def test_all_pieces_share_the_calls_and_give_what_each_gives_alone(
    weights: Weights, lengths: list[int], n_batch: int, data: st.DataObject
) -> None:
    hidden = data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)))
    with pytest.MonkeyPatch.context() as monkeypatch:
        decodes = Decodes(monkeypatch)
        context = Context(weights, n_ctx=N_CTX, n_seq_max=len(lengths), n_batch=n_batch)
        n_batch = max(n_batch, 2 * len(lengths))
        texts = [text(length, seed) for seed, length in enumerate(lengths)]
        found = last_logits(
            context, [TokenSpan(i, ids, hidden=h) for i, (ids, h) in enumerate(zip(texts, hidden, strict=True))]
        )
        early = sum(lengths) - sum(hidden)
        assert len(decodes.sizes) == -(-early // n_batch) + (1 if any(hidden) else 0)
        assert sum(decodes.sizes) == sum(lengths)
        assert [context.length(i) for i in range(len(lengths))] == lengths
        context.close()
    for ids, logits in zip(texts, found, strict=True):
        np.testing.assert_allclose(logits, alone(weights, ids), atol=TOLERANCE)


def test_pieces_that_end_in_one_call_all_get_their_logits(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    decodes = Decodes(monkeypatch)
    context = Context(weights, n_ctx=N_CTX, n_seq_max=8, n_batch=64)
    texts = [text(2 + seed % 3, seed) for seed in range(8)]
    found = last_logits(context, [TokenSpan(seed, ids) for seed, ids in enumerate(texts)])
    assert len(decodes.sizes) == 1
    context.close()
    for ids, logits in zip(texts, found, strict=True):
        np.testing.assert_allclose(logits, alone(weights, ids), atol=TOLERANCE)


def test_one_by_one_is_the_same_as_in_a_batch(weights: Weights) -> None:
    ids = text(30)
    context = Context(weights, n_ctx=N_CTX)
    for token in ids:
        (logits,) = last_logits(context, [TokenSpan(0, [token])])
    np.testing.assert_allclose(logits, alone(weights, ids), atol=TOLERANCE)
    # Another text gives other logits: the comparison above can fail.
    assert np.abs(logits - alone(weights, ids[:-1])).max() > 50 * TOLERANCE


def test_sequences_do_not_see_each_other_as_they_grow(weights: Weights) -> None:
    context = Context(weights, n_ctx=N_CTX, n_seq_max=3, n_batch=6)
    texts = [text(9, seed) for seed in range(3)]
    for at in range(0, 9, 3):
        found = last_logits(context, [TokenSpan(i, ids[at : at + 3]) for i, ids in enumerate(texts)])
    last_logits(context, [TokenSpan(1, text(5, 9))])
    assert [context.length(i) for i in range(3)] == [9, 14, 9]
    for ids, logits in zip(texts, found, strict=True):
        np.testing.assert_allclose(logits, alone(weights, ids), atol=TOLERANCE)


def test_logits_are_views_and_kept_by_address(weights: Weights) -> None:
    context = Context(weights, n_ctx=N_CTX)
    views = []
    for token in text(5):
        for output in evaluate(context, [TokenSpan(0, [token], hidden=True)]):
            pointer = llama_cpp.llama_get_logits_ith(context.handle, -1)
            assert output.logits.ctypes.data == ctypes.cast(pointer, ctypes.c_void_p).value
            assert not output.logits.flags.owndata
            assert output.hidden is not None
            pointer = llama_cpp.llama_get_embeddings_ith(context.handle, -1)
            assert output.hidden.ctypes.data == ctypes.cast(pointer, ctypes.c_void_p).value
            assert not output.hidden.flags.owndata
            views.append(output.logits)
    assert len({view.ctypes.data for view in views}) == 1
    assert all(view.base is views[0].base for view in views)
    assert views[0].dtype == np.float32
    assert views[0].shape == (weights.n_vocab,)


def test_a_view_of_one_size_is_made_once(weights: Weights) -> None:
    context = Context(weights, n_ctx=N_CTX, n_seq_max=2)
    made = set()
    for rows in (1, 2) * 10:
        for hidden in (False, True):
            decoded = context.decode([BatchSlice(sequence, [40]) for sequence in range(rows)], hidden=hidden)
            assert decoded.logits is not None
            made.add(id(decoded.logits))
            assert decoded.logits.shape == (rows, weights.n_vocab)
    # llama.cpp moves its buffer once, when hidden states are first asked for.
    assert len(made) <= 4


def test_hidden_states_come_only_when_asked_and_change_no_logits(weights: Weights) -> None:
    ids = text(12)
    for pieces in ([ids], [[token] for token in ids], [ids[:5], ids[5:]]):
        with_hidden, without = Context(weights, n_ctx=N_CTX, n_batch=5), Context(weights, n_ctx=N_CTX, n_batch=5)
        for piece in pieces:
            (output,) = evaluate(without, [TokenSpan(0, piece)])
            assert output.hidden is None
            (asked,) = evaluate(with_hidden, [TokenSpan(0, piece, hidden=True)])
            assert asked.hidden is not None
            assert asked.hidden.shape == (weights.n_embd,)
            assert asked.hidden.dtype == np.float32
            assert np.isfinite(asked.hidden).all()
            assert np.abs(asked.hidden).max() > 0
            np.testing.assert_allclose(asked.logits, output.logits, atol=TOLERANCE)
        # Asking is for one piece, not for good.
        (after,) = evaluate(with_hidden, [TokenSpan(0, [40, 41])])
        assert after.hidden is None


def test_hidden_states_are_switched_on_for_last_tokens_only(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    # While they are on, every token of a call costs an output.
    set_embeddings, decode = llama_cpp.llama_set_embeddings, llama_cpp.llama_decode
    on, calls = False, []

    def note_switch(context: Any, value: bool) -> None:
        nonlocal on
        on = value
        set_embeddings(context, value)

    def note_call(context: Any, batch: Any) -> int:
        calls.append((batch.n_tokens, on))
        return int(decode(context, batch))

    monkeypatch.setattr(llama_cpp, "llama_set_embeddings", note_switch)
    monkeypatch.setattr(llama_cpp, "llama_decode", note_call)
    context = Context(weights, n_ctx=N_CTX)
    for ids, hidden in (([1, 2, 3, 4, 5], True), ([6], False), ([7], True), ([8, 9], False)):
        last_logits(context, [TokenSpan(0, ids, hidden=hidden)])
    assert calls == [(4, False), (1, True), (1, False), (1, True), (2, False)]


def test_hidden_states_in_one_batch_are_each_their_own(weights: Weights) -> None:
    texts = [text(1, 7), text(6, 8), text(3, 9)]
    asked = [True, False, True]
    context = Context(weights, n_ctx=N_CTX, n_seq_max=3, n_batch=4)
    pieces = [TokenSpan(i, ids, hidden=h) for i, (ids, h) in enumerate(zip(texts, asked, strict=True))]
    found: dict[int, NDArray[np.float32] | None] = {}
    for output in evaluate(context, pieces):
        found[output.span] = None if output.hidden is None else output.hidden.copy()
    assert [found[i] is not None for i in range(3)] == asked
    for i in (0, 2):
        single = Context(weights, n_ctx=N_CTX)
        (output,) = evaluate(single, [TokenSpan(0, texts[i], hidden=True)])
        together = found[i]
        assert output.hidden is not None
        assert together is not None
        np.testing.assert_allclose(together, output.hidden, atol=TOLERANCE)
        single.close()


def test_the_stop_flag_is_looked_at_between_calls_and_keeps_what_is_done(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = text(30)
    decodes = Decodes(monkeypatch)
    context = Context(weights, n_ctx=N_CTX, n_batch=8)
    with pytest.raises(CancelledError):
        list(evaluate(context, [TokenSpan(0, ids)], should_stop=lambda: len(decodes.sizes) == 2))
    assert decodes.sizes == [8, 8]
    assert context.length() == 16
    assert context.tokens() == ids[:16]
    (logits,) = last_logits(context, [TokenSpan(0, ids[16:])])
    np.testing.assert_allclose(logits, alone(weights, ids), atol=TOLERANCE)


def test_truncated_and_evaluated_again_is_the_same(weights: Weights) -> None:
    ids = text(20)
    context = Context(weights, n_ctx=N_CTX)
    last_logits(context, [TokenSpan(0, ids[:12] + text(30, 5))])
    assert context.truncate(0, 12) == 12
    assert context.length() == 12
    (logits,) = last_logits(context, [TokenSpan(0, ids[12:])])
    np.testing.assert_allclose(logits, alone(weights, ids), atol=TOLERANCE)
    assert context.truncate(0, 999) == 20
    assert context.truncate(0, 0) == 0
    (logits,) = last_logits(context, [TokenSpan(0, ids)])
    np.testing.assert_allclose(logits, alone(weights, ids), atol=TOLERANCE)


def test_truncating_one_sequence_leaves_the_others(weights: Weights) -> None:
    context = Context(weights, n_ctx=N_CTX, n_seq_max=2)
    last_logits(context, [TokenSpan(0, text(9, 0)), TokenSpan(1, text(9, 1))])
    context.truncate(0, 3)
    assert [context.length(0), context.length(1)] == [3, 9]
    (logits,) = last_logits(context, [TokenSpan(1, [50])])
    np.testing.assert_allclose(logits, alone(weights, [*text(9, 1), 50]), atol=TOLERANCE)


def test_a_model_that_cannot_forget_a_part_forgets_all(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = llama_cpp.llama_memory_seq_rm
    calls: list[tuple[int, int]] = []

    def refuse_once(memory: Any, sequence: int, first: int, last: int) -> bool:
        calls.append((first, last))
        return len(calls) > 1 and bool(remove(memory, sequence, first, last))

    context = Context(weights, n_ctx=N_CTX)
    last_logits(context, [TokenSpan(0, text(10))])
    monkeypatch.setattr(llama_cpp, "llama_memory_seq_rm", refuse_once)
    assert context.truncate(0, 5) == 0
    assert context.length() == 0
    assert calls == [(5, -1), (-1, -1)]
    ids = text(7, 3)
    (logits,) = last_logits(context, [TokenSpan(0, ids)])
    np.testing.assert_allclose(logits, alone(weights, ids), atol=TOLERANCE)


def test_ctrl_c_right_after_a_call_leaves_nothing_that_truncating_does_not_mend(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    decodes = Decodes(monkeypatch)
    decodes.interrupt_after = 1
    context = Context(weights, n_ctx=N_CTX)
    with pytest.raises(KeyboardInterrupt):
        last_logits(context, [TokenSpan(0, text(10))])
    context.truncate(0, 0)
    ids = text(6, 2)
    (logits,) = last_logits(context, [TokenSpan(0, ids)])
    np.testing.assert_allclose(logits, alone(weights, ids), atol=TOLERANCE)


@pytest.mark.parametrize("sequences", [1, 2])
def test_a_full_cache_is_an_error_and_what_was_there_stays(weights: Weights, sequences: int) -> None:
    context = Context(weights, n_ctx=N_CTX, n_seq_max=sequences, kv_cells=N_CTX)
    ids = text(N_CTX - 2)
    last_logits(context, [TokenSpan(0, ids)])
    with pytest.raises(CacheFullError) as caught:
        last_logits(context, [TokenSpan(0, text(5, 1))])
    assert caught.value.title == "KV cache full"
    assert "llm.gguf" in caught.value.message
    assert context.length() == len(ids)
    (logits,) = last_logits(context, [TokenSpan(0, [60])])
    np.testing.assert_allclose(logits, alone(weights, [*ids, 60]), atol=TOLERANCE)
    assert context.length() == len(ids) + 1


def test_a_full_cache_in_a_later_chunk_keeps_the_chunks_before(weights: Weights) -> None:
    context = Context(weights, n_ctx=N_CTX, n_batch=100)
    with pytest.raises(EngineError, match="do not fit"):
        last_logits(context, [TokenSpan(0, text(N_CTX + 44))])
    assert context.length() == context.used_cells == 200


@pytest.mark.parametrize("code", [2, -1, -3])
def test_a_failed_call_trims_the_caches_to_what_was_counted(
    weights: Weights, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    decodes = Decodes(monkeypatch)
    context = Context(weights, n_ctx=N_CTX, n_seq_max=2)
    ids = text(8)
    last_logits(context, [TokenSpan(0, ids), TokenSpan(1, ids)])
    decodes.fail = {2: code}
    with pytest.raises(EngineError, match=f"evaluating 6 tokens returned {code}"):
        last_logits(context, [TokenSpan(0, [1, 2, 3]), TokenSpan(1, [4, 5, 6])])
    assert [context.length(0), context.length(1)] == [8, 8]
    (logits,) = last_logits(context, [TokenSpan(1, [9])])
    np.testing.assert_allclose(logits, alone(weights, [*ids, 9]), atol=TOLERANCE)


def test_an_output_that_is_not_there_is_an_error(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context(weights, n_ctx=N_CTX)
    monkeypatch.setattr(llama_cpp, "llama_get_logits", lambda *_arguments: None)
    with pytest.raises(EngineError, match="no output"):
        last_logits(context, [TokenSpan(0, [1])])


@given(st.integers(1, 50), st.integers(0, 60), st.lists(st.integers(1, 20), min_size=1, max_size=8), st.data())
def test_usage_adds_up_however_a_need_is_cut(length: int, prompt: int, cuts: list[int], data: st.DataObject) -> None:
    prompt = min(prompt, length)
    usage, done, elapsed = Usage(), 0, 0
    while done < length:
        count = min(data.draw(st.sampled_from(cuts)), length - done)
        part = BatchSlice(0, [0] * count, min(count, max(0, prompt - done)), single=length == 1 and not prompt)
        usage.add(part, 1000 + done)
        done, elapsed = done + count, elapsed + 1000 + done
    assert KINDS == ("prompt", "catch_up", "decode")
    assert usage.tokens[0] == prompt
    assert usage.tokens[1 if length > 1 else 2] == length - prompt
    assert sum(usage.tokens) == length
    assert sum(usage.ns) == elapsed
    assert all(ns == 0 for ns, tokens in zip(usage.ns, usage.tokens, strict=True) if tokens == 0)


def test_a_call_is_shared_out_by_tokens(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1000, 1000 + 703])
    context = Context(weights, n_ctx=N_CTX, n_seq_max=3)
    monkeypatch.setattr(time, "perf_counter_ns", lambda: next(clock))
    decoded = context.decode([BatchSlice(0, [1]), BatchSlice(1, [2, 3, 4, 5], outputs=False), BatchSlice(2, [6, 7])])
    assert decoded.ns == [100, 401, 200]


def test_only_the_parts_that_ask_have_logits(weights: Weights) -> None:
    texts = [text(5, seed) for seed in range(4)]
    context = Context(weights, n_ctx=N_CTX, n_seq_max=4)
    decoded = context.decode([BatchSlice(i, ids, outputs=i % 2 == 0) for i, ids in enumerate(texts)])
    assert decoded.hidden is None
    assert decoded.logits is not None
    assert decoded.logits.shape == (2, weights.n_vocab)
    for row, index in enumerate((0, 2)):
        np.testing.assert_allclose(decoded.logits[row], alone(weights, texts[index]), atol=TOLERANCE)
    nothing = context.decode([BatchSlice(i, [50, 51], outputs=False) for i in range(4)])
    assert nothing.logits is None
    assert [context.tokens(i) for i in range(4)] == [[*ids, 50, 51] for ids in texts]
    # Singles take a way of their own; the sequences are in no order, and not all are there.
    decoded = context.decode([BatchSlice(3, [60]), BatchSlice(1, [61])])
    assert decoded.logits is not None
    for row, (index, token) in enumerate(((3, 60), (1, 61))):
        np.testing.assert_allclose(decoded.logits[row], alone(weights, [*texts[index], 50, 51, token]), atol=TOLERANCE)


def test_a_single_token_without_output_is_no_output(weights: Weights) -> None:
    context = Context(weights, n_ctx=N_CTX, n_seq_max=2)
    decoded = context.decode([BatchSlice(0, [1], outputs=False), BatchSlice(1, [2])])
    assert decoded.logits is not None
    np.testing.assert_allclose(decoded.logits, [alone(weights, [2])], atol=TOLERANCE)
    assert context.decode([BatchSlice(0, [1], outputs=False)]).logits is None


def test_hidden_states_of_a_call_are_in_the_order_of_its_parts(weights: Weights) -> None:
    texts = [text(4 + seed, seed) for seed in range(3)]
    context, single = Context(weights, n_ctx=N_CTX, n_seq_max=3), Context(weights, n_ctx=N_CTX)
    context.decode([BatchSlice(i, ids[:-1], outputs=False) for i, ids in enumerate(texts)])
    decoded = context.decode([BatchSlice(i, texts[i][-1:]) for i in (2, 0, 1)], hidden=True)
    assert decoded.hidden is not None
    assert decoded.hidden.shape == (3, weights.n_embd)
    for row, i in enumerate((2, 0, 1)):
        single.truncate(0, 0)
        (output,) = evaluate(single, [TokenSpan(0, texts[i], hidden=True)])
        assert output.hidden is not None
        np.testing.assert_allclose(decoded.hidden[row], output.hidden, atol=TOLERANCE)
        assert np.abs(decoded.hidden[row] - decoded.hidden[row - 1]).max() > 50 * TOLERANCE


@pytest.mark.parametrize(
    ("sequences", "asked", "n_batch"), [(1, 64, 64), (1, 1, 2), (4, 1, 8), (4, 8, 8), (4, 9, 9), (33, 64, 66)]
)
def test_a_batch_has_room_for_a_prompt_beside_all_single_tokens(
    weights: Weights, sequences: int, asked: int, n_batch: int
) -> None:
    context = Context(weights, n_ctx=N_CTX, n_seq_max=sequences, n_batch=asked)
    assert context.n_batch == n_batch
    assert llama_cpp.llama_n_batch(context.handle) == llama_cpp.llama_n_ubatch(context.handle) == n_batch
    # One more than there are sequences, in a single call.
    parts = [BatchSlice(i, [40]) for i in range(sequences - 1)]
    parts.append(BatchSlice(sequences - 1, [40] * (n_batch - sequences + 1)))
    decoded = context.decode(parts)
    assert decoded.logits is not None
    assert decoded.logits.shape == (sequences, weights.n_vocab)
    assert np.isfinite(decoded.logits).all()
    context.close()


def test_no_batch_is_said_to_hold_more_than_llama_cpp_takes(weights: Weights) -> None:
    context = Context(weights, n_ctx=16, n_batch=600)
    assert context.n_batch == llama_cpp.llama_n_batch(context.handle) < 600
    for _ in evaluate(context, [TokenSpan(0, [40] * 16)]):
        pass
    assert context.length() == 16
    context.close()


@pytest.mark.parametrize(
    ("cells", "held"), [(None, 4 * N_CTX), (0, 4 * N_CTX), (300, 300), (7, N_CTX), (9 * N_CTX, 4 * N_CTX)]
)
def test_cells_are_one_whole_sequence_at_least_and_no_more_than_all_can_use(
    weights: Weights, cells: int | None, held: int
) -> None:
    context = Context(weights, n_ctx=N_CTX, n_seq_max=4, kv_cells=cells)
    assert context.kv_cells == held <= llama_cpp.llama_n_ctx(context.handle)
    context.close()


@pytest.mark.parametrize("kv_type", KV_TYPES)
def test_caches_of_every_precision_work(weights: Weights, kv_type: str) -> None:
    ids = text(20)
    context = Context(weights, n_ctx=N_CTX, kv_type=kv_type)
    (logits,) = last_logits(context, [TokenSpan(0, ids)])
    assert np.isfinite(logits).all()
    # Coarser, and still the same model.
    assert np.corrcoef(logits, alone(weights, ids))[0, 1] > 0.9


def test_a_context_that_cannot_be_made_says_so(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_cpp, "llama_init_from_model", lambda *_arguments: None)
    with pytest.raises(ModelError) as caught:
        Context(weights, n_ctx=N_CTX)
    assert caught.value.title == "Cannot create KV cache"
    assert "llm.gguf" in caught.value.message


def test_a_closed_context_refuses_instead_of_crashing(weights: Weights) -> None:
    context = Context(weights, n_ctx=N_CTX)
    last_logits(context, [TokenSpan(0, [1, 2])])
    context.close()
    context.close()
    with pytest.raises(EngineError, match="freed"):
        last_logits(context, [TokenSpan(0, [3])])
    with pytest.raises(EngineError, match="freed"):
        context.decode([BatchSlice(0, [3])])
    with pytest.raises(EngineError, match="freed"):
        context.truncate(0, 0)
    with pytest.raises(EngineError, match="freed"):
        context.reuse_prefix(0, [1, 2])

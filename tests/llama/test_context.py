"""Context: decoding, outputs, truncation, failures and limits."""

from __future__ import annotations

import ctypes
import time
from typing import Any

import llama_cpp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_helpers import N_CTX, TOLERANCE, Decodes, last_logits, reference_logits, text

from rstitch_local.errors import CacheFullError, EngineError, ModelError
from rstitch_local.llama.batch import KINDS, BatchSlice, Usage
from rstitch_local.llama.context import KV_TYPES, Context
from rstitch_local.llama.evaluation import TokenSpan, evaluate
from rstitch_local.llama.weights import Weights


def test_outputs_are_cached_views(weights: Weights) -> None:
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


def test_views_of_one_size_are_reused(weights: Weights) -> None:
    context = Context(weights, n_ctx=N_CTX, n_seq_max=2)
    ids = set()
    for rows in (1, 2) * 10:
        for hidden in (False, True):
            decoded = context.decode([BatchSlice(sequence, [40]) for sequence in range(rows)], hidden=hidden)
            assert decoded.logits is not None
            ids.add(id(decoded.logits))
            assert decoded.logits.shape == (rows, weights.n_vocab)
    # llama.cpp moves its buffer once, when hidden states are first requested.
    assert len(ids) <= 4


def test_evaluation_after_truncation_has_the_same_logits(weights: Weights) -> None:
    ids = text(20)
    context = Context(weights, n_ctx=N_CTX)
    last_logits(context, [TokenSpan(0, ids[:12] + text(30, 5))])
    assert context.truncate(0, 12) == 12
    assert context.length() == 12
    (logits,) = last_logits(context, [TokenSpan(0, ids[12:])])
    np.testing.assert_allclose(logits, reference_logits(weights, ids), atol=TOLERANCE)
    assert context.truncate(0, 999) == 20
    assert context.truncate(0, 0) == 0
    (logits,) = last_logits(context, [TokenSpan(0, ids)])
    np.testing.assert_allclose(logits, reference_logits(weights, ids), atol=TOLERANCE)


def test_truncation_leaves_other_sequences_unchanged(weights: Weights) -> None:
    context = Context(weights, n_ctx=N_CTX, n_seq_max=2)
    last_logits(context, [TokenSpan(0, text(9, 0)), TokenSpan(1, text(9, 1))])
    context.truncate(0, 3)
    assert [context.length(0), context.length(1)] == [3, 9]
    (logits,) = last_logits(context, [TokenSpan(1, [50])])
    np.testing.assert_allclose(logits, reference_logits(weights, [*text(9, 1), 50]), atol=TOLERANCE)


def test_model_that_cannot_truncate_removes_the_sequence(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
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
    np.testing.assert_allclose(logits, reference_logits(weights, ids), atol=TOLERANCE)


def test_truncation_removes_tokens_of_an_interrupted_decode(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    decodes = Decodes(monkeypatch)
    decodes.interrupt_after = 1
    context = Context(weights, n_ctx=N_CTX)
    with pytest.raises(KeyboardInterrupt):
        last_logits(context, [TokenSpan(0, text(10))])
    context.truncate(0, 0)
    ids = text(6, 2)
    (logits,) = last_logits(context, [TokenSpan(0, ids)])
    np.testing.assert_allclose(logits, reference_logits(weights, ids), atol=TOLERANCE)


@pytest.mark.parametrize("sequences", [1, 2])
def test_full_cache_is_an_error_and_keeps_its_tokens(weights: Weights, sequences: int) -> None:
    context = Context(weights, n_ctx=N_CTX, n_seq_max=sequences, kv_cells=N_CTX)
    ids = text(N_CTX - 2)
    last_logits(context, [TokenSpan(0, ids)])
    with pytest.raises(CacheFullError) as caught:
        last_logits(context, [TokenSpan(0, text(5, 1))])
    assert caught.value.title == "KV cache full"
    assert "llm.gguf" in caught.value.message
    assert context.length() == len(ids)
    (logits,) = last_logits(context, [TokenSpan(0, [60])])
    np.testing.assert_allclose(logits, reference_logits(weights, [*ids, 60]), atol=TOLERANCE)
    assert context.length() == len(ids) + 1


@pytest.mark.parametrize("code", [2, -1, -3])
def test_failed_decode_keeps_the_tokens_before(weights: Weights, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    decodes = Decodes(monkeypatch)
    context = Context(weights, n_ctx=N_CTX, n_seq_max=2)
    ids = text(8)
    last_logits(context, [TokenSpan(0, ids), TokenSpan(1, ids)])
    decodes.fail = {2: code}
    with pytest.raises(EngineError, match=f"evaluating 6 tokens returned {code}"):
        last_logits(context, [TokenSpan(0, [1, 2, 3]), TokenSpan(1, [4, 5, 6])])
    assert [context.length(0), context.length(1)] == [8, 8]
    (logits,) = last_logits(context, [TokenSpan(1, [9])])
    np.testing.assert_allclose(logits, reference_logits(weights, [*ids, 9]), atol=TOLERANCE)


def test_missing_output_is_an_error(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context(weights, n_ctx=N_CTX)
    monkeypatch.setattr(llama_cpp, "llama_get_logits", lambda *_arguments: None)
    with pytest.raises(EngineError, match="no output"):
        last_logits(context, [TokenSpan(0, [1])])


@given(st.integers(1, 50), st.integers(0, 60), st.lists(st.integers(1, 20), min_size=1, max_size=8), st.data())
def test_usage_adds_up_for_any_division_into_slices(
    length: int, prompt: int, cuts: list[int], data: st.DataObject
) -> None:
    prompt = min(prompt, length)
    usage, done, elapsed = Usage(), 0, 0
    while done < length:
        count = min(data.draw(st.sampled_from(cuts)), length - done)
        item = BatchSlice(0, [0] * count, min(count, max(0, prompt - done)), single=length == 1 and not prompt)
        usage.add(item, 1000 + done)
        done, elapsed = done + count, elapsed + 1000 + done
    assert KINDS == ("prompt", "catch_up", "decode")
    assert usage.tokens[0] == prompt
    assert usage.tokens[1 if length > 1 else 2] == length - prompt
    assert sum(usage.tokens) == length
    assert sum(usage.ns) == elapsed
    assert all(ns == 0 for ns, tokens in zip(usage.ns, usage.tokens, strict=True) if tokens == 0)


def test_time_of_a_batch_is_divided_by_tokens(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1000, 1000 + 703])
    context = Context(weights, n_ctx=N_CTX, n_seq_max=3)
    monkeypatch.setattr(time, "perf_counter_ns", lambda: next(clock))
    decoded = context.decode([BatchSlice(0, [1]), BatchSlice(1, [2, 3, 4, 5], outputs=False), BatchSlice(2, [6, 7])])
    assert decoded.ns == [100, 401, 200]


def test_only_slices_with_outputs_have_logits(weights: Weights) -> None:
    texts = [text(5, seed) for seed in range(4)]
    context = Context(weights, n_ctx=N_CTX, n_seq_max=4)
    decoded = context.decode([BatchSlice(i, ids, outputs=i % 2 == 0) for i, ids in enumerate(texts)])
    assert decoded.hidden is None
    assert decoded.logits is not None
    assert decoded.logits.shape == (2, weights.n_vocab)
    for row, index in enumerate((0, 2)):
        np.testing.assert_allclose(decoded.logits[row], reference_logits(weights, texts[index]), atol=TOLERANCE)
    without = context.decode([BatchSlice(i, [50, 51], outputs=False) for i in range(4)])
    assert without.logits is None
    assert [context.tokens(i) for i in range(4)] == [[*ids, 50, 51] for ids in texts]
    # Single tokens have their own code path; the sequences are unordered and incomplete.
    decoded = context.decode([BatchSlice(3, [60]), BatchSlice(1, [61])])
    assert decoded.logits is not None
    for row, (index, token) in enumerate(((3, 60), (1, 61))):
        np.testing.assert_allclose(
            decoded.logits[row], reference_logits(weights, [*texts[index], 50, 51, token]), atol=TOLERANCE
        )


def test_single_token_without_output(weights: Weights) -> None:
    context = Context(weights, n_ctx=N_CTX, n_seq_max=2)
    decoded = context.decode([BatchSlice(0, [1], outputs=False), BatchSlice(1, [2])])
    assert decoded.logits is not None
    np.testing.assert_allclose(decoded.logits, [reference_logits(weights, [2])], atol=TOLERANCE)
    assert context.decode([BatchSlice(0, [1], outputs=False)]).logits is None


def test_hidden_states_are_in_the_order_of_the_slices(weights: Weights) -> None:
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
    ("sequences", "requested", "n_batch"), [(1, 64, 64), (1, 1, 2), (4, 1, 8), (4, 8, 8), (4, 9, 9), (33, 64, 66)]
)
def test_batch_holds_a_prompt_and_a_token_of_every_other_sequence(
    weights: Weights, sequences: int, requested: int, n_batch: int
) -> None:
    context = Context(weights, n_ctx=N_CTX, n_seq_max=sequences, n_batch=requested)
    assert context.n_batch == n_batch
    assert llama_cpp.llama_n_batch(context.handle) == llama_cpp.llama_n_ubatch(context.handle) == n_batch
    slices = [BatchSlice(i, [40]) for i in range(sequences - 1)]
    slices.append(BatchSlice(sequences - 1, [40] * (n_batch - sequences + 1)))
    decoded = context.decode(slices)
    assert decoded.logits is not None
    assert decoded.logits.shape == (sequences, weights.n_vocab)
    assert np.isfinite(decoded.logits).all()
    context.close()


def test_n_batch_is_capped_by_llama_cpp(weights: Weights) -> None:
    context = Context(weights, n_ctx=16, n_batch=600)
    assert context.n_batch == llama_cpp.llama_n_batch(context.handle) < 600
    for _ in evaluate(context, [TokenSpan(0, [40] * 16)]):
        pass
    assert context.length() == 16
    context.close()


@pytest.mark.parametrize(
    ("kv_cells", "expected"), [(None, 4 * N_CTX), (0, 4 * N_CTX), (300, 300), (7, N_CTX), (9 * N_CTX, 4 * N_CTX)]
)
def test_kv_cells_hold_one_to_all_full_sequences(weights: Weights, kv_cells: int | None, expected: int) -> None:
    context = Context(weights, n_ctx=N_CTX, n_seq_max=4, kv_cells=kv_cells)
    assert context.kv_cells == expected <= llama_cpp.llama_n_ctx(context.handle)
    context.close()


@pytest.mark.parametrize("kv_type", KV_TYPES)
def test_all_kv_cache_types_work(weights: Weights, kv_type: str) -> None:
    ids = text(20)
    context = Context(weights, n_ctx=N_CTX, kv_type=kv_type)
    (logits,) = last_logits(context, [TokenSpan(0, ids)])
    assert np.isfinite(logits).all()
    # Less precise, but the same model.
    assert np.corrcoef(logits, reference_logits(weights, ids))[0, 1] > 0.9


def test_context_that_cannot_be_created_is_an_error(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_cpp, "llama_init_from_model", lambda *_arguments: None)
    with pytest.raises(ModelError) as caught:
        Context(weights, n_ctx=N_CTX)
    assert caught.value.title == "Cannot create KV cache"
    assert "llm.gguf" in caught.value.message


def test_closed_context_raises_instead_of_crashing(weights: Weights) -> None:
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

"""evaluate: results do not depend on how spans are divided into batches."""

from __future__ import annotations

from typing import Any

import llama_cpp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_helpers import N_CTX, TOLERANCE, Decodes, last_logits, reference_logits, text
from numpy.typing import NDArray

from rstitch_local.errors import EngineError
from rstitch_local.llama.context import Context
from rstitch_local.llama.evaluation import TokenSpan, evaluate
from rstitch_local.llama.weights import Weights


@pytest.mark.parametrize(("tokens", "sizes"), [(1, [1]), (7, [7]), (8, [8]), (9, [8, 1]), (24, [8, 8, 8])])
def test_batches_have_at_most_n_batch_tokens(
    weights: Weights, monkeypatch: pytest.MonkeyPatch, tokens: int, sizes: list[int]
) -> None:
    decodes = Decodes(monkeypatch)
    context = Context(weights, n_ctx=N_CTX, n_batch=8)
    last_logits(context, [TokenSpan(0, text(tokens))])
    assert decodes.sizes == sizes
    assert context.length() == tokens


@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.integers(3, 17), st.data())
@settings(max_examples=25, deadline=None)
def test_spans_share_batches_and_have_the_logits_of_single_evaluation(
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
        np.testing.assert_allclose(logits, reference_logits(weights, ids), atol=TOLERANCE)


def test_all_spans_that_end_in_one_batch_have_logits(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    decodes = Decodes(monkeypatch)
    context = Context(weights, n_ctx=N_CTX, n_seq_max=8, n_batch=64)
    texts = [text(2 + seed % 3, seed) for seed in range(8)]
    found = last_logits(context, [TokenSpan(seed, ids) for seed, ids in enumerate(texts)])
    assert len(decodes.sizes) == 1
    context.close()
    for ids, logits in zip(texts, found, strict=True):
        np.testing.assert_allclose(logits, reference_logits(weights, ids), atol=TOLERANCE)


def test_single_tokens_have_the_logits_of_a_batch(weights: Weights) -> None:
    ids = text(30)
    context = Context(weights, n_ctx=N_CTX)
    for token in ids:
        (logits,) = last_logits(context, [TokenSpan(0, [token])])
    np.testing.assert_allclose(logits, reference_logits(weights, ids), atol=TOLERANCE)
    # Other tokens have other logits, so the comparison above can fail.
    assert np.abs(logits - reference_logits(weights, ids[:-1])).max() > 50 * TOLERANCE


def test_sequences_do_not_influence_each_other(weights: Weights) -> None:
    context = Context(weights, n_ctx=N_CTX, n_seq_max=3, n_batch=6)
    texts = [text(9, seed) for seed in range(3)]
    for at in range(0, 9, 3):
        found = last_logits(context, [TokenSpan(i, ids[at : at + 3]) for i, ids in enumerate(texts)])
    last_logits(context, [TokenSpan(1, text(5, 9))])
    assert [context.length(i) for i in range(3)] == [9, 14, 9]
    for ids, logits in zip(texts, found, strict=True):
        np.testing.assert_allclose(logits, reference_logits(weights, ids), atol=TOLERANCE)


def test_hidden_states_are_optional_and_do_not_change_logits(weights: Weights) -> None:
    ids = text(12)
    for parts in ([ids], [[token] for token in ids], [ids[:5], ids[5:]]):
        with_hidden, without = Context(weights, n_ctx=N_CTX, n_batch=5), Context(weights, n_ctx=N_CTX, n_batch=5)
        for part in parts:
            (output,) = evaluate(without, [TokenSpan(0, part)])
            assert output.hidden is None
            (with_states,) = evaluate(with_hidden, [TokenSpan(0, part, hidden=True)])
            assert with_states.hidden is not None
            assert with_states.hidden.shape == (weights.n_embd,)
            assert with_states.hidden.dtype == np.float32
            assert np.isfinite(with_states.hidden).all()
            assert np.abs(with_states.hidden).max() > 0
            np.testing.assert_allclose(with_states.logits, output.logits, atol=TOLERANCE)
        # The request is for one span only.
        (after,) = evaluate(with_hidden, [TokenSpan(0, [40, 41])])
        assert after.hidden is None


def test_hidden_states_are_enabled_for_last_tokens_only(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    # While they are enabled every token of a batch is an output.
    set_embeddings, decode = llama_cpp.llama_set_embeddings, llama_cpp.llama_decode
    enabled, calls = False, []

    def record_switch(context: Any, value: bool) -> None:
        nonlocal enabled
        enabled = value
        set_embeddings(context, value)

    def record_call(context: Any, batch: Any) -> int:
        calls.append((batch.n_tokens, enabled))
        return int(decode(context, batch))

    monkeypatch.setattr(llama_cpp, "llama_set_embeddings", record_switch)
    monkeypatch.setattr(llama_cpp, "llama_decode", record_call)
    context = Context(weights, n_ctx=N_CTX)
    for ids, hidden in (([1, 2, 3, 4, 5], True), ([6], False), ([7], True), ([8, 9], False)):
        last_logits(context, [TokenSpan(0, ids, hidden=hidden)])
    assert calls == [(4, False), (1, True), (1, False), (1, True), (2, False)]


def test_hidden_states_of_one_batch_belong_to_their_spans(weights: Weights) -> None:
    texts = [text(1, 7), text(6, 8), text(3, 9)]
    requested = [True, False, True]
    context = Context(weights, n_ctx=N_CTX, n_seq_max=3, n_batch=4)
    spans = [TokenSpan(i, ids, hidden=h) for i, (ids, h) in enumerate(zip(texts, requested, strict=True))]
    found: dict[int, NDArray[np.float32] | None] = {}
    for output in evaluate(context, spans):
        found[output.span] = None if output.hidden is None else output.hidden.copy()
    assert [found[i] is not None for i in range(3)] == requested
    for i in (0, 2):
        single = Context(weights, n_ctx=N_CTX)
        (output,) = evaluate(single, [TokenSpan(0, texts[i], hidden=True)])
        together = found[i]
        assert output.hidden is not None
        assert together is not None
        np.testing.assert_allclose(together, output.hidden, atol=TOLERANCE)
        single.close()


def test_full_cache_in_a_later_batch_keeps_the_earlier_ones(weights: Weights) -> None:
    context = Context(weights, n_ctx=N_CTX, n_batch=100)
    with pytest.raises(EngineError, match="do not fit"):
        last_logits(context, [TokenSpan(0, text(N_CTX + 44))])
    assert context.length() == context.used_cells == 200

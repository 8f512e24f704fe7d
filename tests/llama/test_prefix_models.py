"""Prefixes of models whose caches cannot be shared: sliding windows, recurrent and hybrid models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import pytest
from llama_helpers import N_CTX, TOLERANCE, extend, reference_logits, text
from tiny_pair import MERGES, SPECIALS, ordinary_tokens, write_recurrent_model

from rstitch_local.llama.context import Context
from rstitch_local.llama.weights import Weights


def write_sliding_model(path: Path) -> Path:
    """Write a Gemma 2 with random weights and a window of 16 tokens in half of its layers."""
    width, heads, layers = 64, 2, 2
    rng = np.random.default_rng(3)
    texts = ordinary_tokens() + list(SPECIALS)
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


def test_sliding_window_shares_complete_prefixes_only(tmp_path: Path) -> None:
    weights = Weights(write_sliding_model(tmp_path / "gemma.gguf"))
    assert llama_cpp.llama_model_n_swa(weights.model) == 16
    ids = text(200)
    context = Context(weights, n_ctx=512, n_seq_max=4, kv_cells=1024)
    extend(context, 1, text(100, 1))
    extend(context, 0, ids)
    extend(context, 2, text(50, 2))
    # Sequence 1 gets the free cells, then those that have left the window of sequence 0.
    context.truncate(1, 0)
    extend(context, 1, text(150, 3))
    for target in ([*ids[:60], 20, 21], [*ids, 20, 21]):
        context.reuse_prefix(3, target)
        logits = extend(context, 3, target)
        context.truncate(3, 0)
        np.testing.assert_allclose(logits, reference_logits(weights, target), atol=TOLERANCE)
    weights.close()


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weights]:
    loaded = Weights(write_recurrent_model(tmp_path_factory.mktemp("recurrent") / "mamba.gguf"))
    yield loaded
    loaded.close()


def test_recurrent_model_shares_nothing(recurrent: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    assert llama_cpp.llama_model_is_recurrent(recurrent.model)
    ids, more = text(30), [*text(30), *text(5, 1)]
    monkeypatch.setattr(llama_cpp, "llama_memory_seq_cp", lambda *_: pytest.fail("a state was copied"))
    context = Context(recurrent, n_ctx=N_CTX, n_seq_max=2)
    extend(context, 0, ids)
    assert context.reuse_prefix(1, more) == 0
    np.testing.assert_allclose(extend(context, 1, more), reference_logits(recurrent, more), atol=TOLERANCE)
    assert context.used_cells == 30 + 35
    # A sequence can be extended, but not from a part of it.
    assert context.reuse_prefix(0, more) == 30
    np.testing.assert_allclose(extend(context, 0, more), reference_logits(recurrent, more), atol=TOLERANCE)
    assert context.reuse_prefix(0, [*ids, 20]) == 0
    np.testing.assert_allclose(extend(context, 0, [*ids, 20]), reference_logits(recurrent, [*ids, 20]), atol=TOLERANCE)
    assert np.abs(reference_logits(recurrent, more) - reference_logits(recurrent, ids)).max() > 10 * TOLERANCE
    np.testing.assert_allclose(
        extend(context, 1, [*more, 50]), reference_logits(recurrent, [*more, 50]), atol=TOLERANCE
    )


def test_hybrid_model_shares_nothing(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_cpp, "llama_model_is_hybrid", lambda *_: True)
    monkeypatch.setattr(llama_cpp, "llama_memory_seq_cp", lambda *_: pytest.fail("a state was copied"))
    context = Context(weights, n_ctx=N_CTX, n_seq_max=2)
    extend(context, 0, text(30))
    assert context.reuse_prefix(1, text(40)) == 0
    assert context.reuse_prefix(0, text(40)) == 30

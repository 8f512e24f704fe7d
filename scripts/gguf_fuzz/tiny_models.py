"""Tiny models of several architectures with random weights and the vocabulary of the demo pair."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gguf_fuzz.document import ARRAY, STRING, Document, Key, Tensor, text
from rstitch_local import builtin

Value: TypeAlias = bool | int | float | str | Sequence[int] | Sequence[bool]

WIDTH, HEADS, HEAD, INNER, FEED = 64, 2, 32, 128, 128
_TOKENS = 576
_HYBRID: dict[str, Value] = {
    "ssm.conv_kernel": 4, "ssm.inner_size": INNER, "ssm.state_size": 16, "ssm.time_step_rank": 4, "ssm.group_count": 1,
}  # fmt: skip
_ATTENTION: dict[str, Value] = {
    "attention.head_count": HEADS, "attention.head_count_kv": 1, "attention.key_length": HEAD,
    "attention.value_length": HEAD, "rope.dimension_count": HEAD, "rope.freq_base": 10_000.0,
}  # fmt: skip
_EXPERTS: dict[str, Value] = {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32}


class Model:
    """A model under construction.

    Args:
        architecture: llama.cpp's name.
        layers: number of layers.
        keys: keys of the architecture, without its name.
    """

    def __init__(self, architecture: str, layers: int, **keys: Value) -> None:
        self.architecture = architecture
        self.keys: dict[str, Value] = {
            "context_length": 512, "block_count": layers, "embedding_length": WIDTH, "feed_forward_length": FEED,
            "attention.layer_norm_rms_epsilon": 1e-5, "vocab_size": _TOKENS, **keys,
        }  # fmt: skip
        demo = Document.read(builtin.SLM_FILE)
        self.vocabulary = [key for key in demo.keys if key.name.startswith(b"tokenizer.")]
        self.tensors: dict[str, NDArray[np.float32]] = {}
        self._rng = np.random.default_rng(7)
        self.matrices(token_embd=(WIDTH, _TOKENS), output=(WIDTH, _TOKENS))
        self.ones(output_norm=(WIDTH,))

    def matrices(self, prefix: str = "", **shapes: tuple[int, ...]) -> None:
        """Add random weights; the shapes are in the order of GGUF, the input first."""
        for name, shape in shapes.items():
            values = self._rng.normal(size=shape[::-1]) / math.sqrt(shape[0])
            self.tensors[f"{prefix}{name}.weight"] = values.astype(np.float32)

    def ones(self, prefix: str = "", suffix: str = ".weight", **shapes: tuple[int, ...]) -> None:
        """Add tensors of ones."""
        for name, shape in shapes.items():
            self.tensors[f"{prefix}{name}{suffix}"] = np.ones(shape[::-1], np.float32)

    def attention(self, prefix: str, *, norms: bool = True, query: int = 1) -> None:
        """Add the attention of a layer."""
        width, kv = HEADS * HEAD, HEAD
        self.matrices(prefix, attn_q=(WIDTH, width * query), attn_k=(WIDTH, kv), attn_v=(WIDTH, kv))
        self.matrices(prefix, attn_output=(width, WIDTH))
        if norms:
            self.ones(prefix, attn_q_norm=(HEAD,), attn_k_norm=(HEAD,))

    def feed_forward(self, prefix: str) -> None:
        """Add the feed-forward network of a layer."""
        self.matrices(prefix, ffn_gate=(WIDTH, FEED), ffn_up=(WIDTH, FEED), ffn_down=(FEED, WIDTH))

    def experts(self, prefix: str) -> None:
        """Add four experts of a layer."""
        self.matrices(prefix, ffn_gate_inp=(WIDTH, 4), ffn_gate_exps=(WIDTH, 32, 4), ffn_up_exps=(WIDTH, 32, 4))
        self.matrices(prefix, ffn_down_exps=(32, WIDTH, 4))

    def document(self) -> Document:
        """Return the model as a file."""
        keys = [_key("general.architecture", self.architecture)]
        keys += [_key(f"{self.architecture}.{name}", value) for name, value in self.keys.items()]
        keys += self.vocabulary
        tensors, data = [], bytearray()
        for name, values in self.tensors.items():
            tensors.append(Tensor(name.encode(), list(values.shape[::-1]), 0, len(data)))
            data += values.tobytes()
            data += bytes(-len(data) % 32)
        return Document(keys, tensors, data)


def _key(name: str, value: Value) -> Key:
    if isinstance(value, str):
        return Key(name.encode(), STRING, [text(value.encode())])
    if isinstance(value, bool):
        return Key(name.encode(), 7, [bytes([value])])
    if isinstance(value, float):
        return Key(name.encode(), 6, [struct.pack("<f", value)])
    if isinstance(value, int):
        return Key(name.encode(), 4, [struct.pack("<I", value)])
    return Key(name.encode(), ARRAY, [struct.pack("<I", item) for item in value], 4)


def _mamba() -> Model:
    state, rank = 4, 2
    keys: dict[str, Value] = {"ssm.conv_kernel": 4, "ssm.inner_size": INNER, "ssm.state_size": state}
    model = Model("mamba", 2, feed_forward_length=0, **{**keys, "attention.head_count": 0, "ssm.time_step_rank": rank})
    for layer in range(2):
        prefix = f"blk.{layer}."
        model.ones(prefix, attn_norm=(WIDTH,))
        model.ones(prefix, "", ssm_d=(INNER,), ssm_a=(state, INNER))
        model.tensors[f"{prefix}ssm_a"] *= -1
        model.ones(prefix, ".bias", ssm_conv1d=(INNER,), ssm_dt=(INNER,))
        model.matrices(prefix, ssm_in=(WIDTH, 2 * INNER), ssm_conv1d=(4, INNER), ssm_x=(INNER, rank + 2 * state))
        model.matrices(prefix, ssm_dt=(rank, INNER), ssm_out=(INNER, WIDTH))
    return model


def _falcon_h1() -> Model:
    model = Model("falcon-h1", 2, **_ATTENTION, **_HYBRID)
    for layer in range(2):
        prefix = f"blk.{layer}."
        model.ones(prefix, attn_norm=(WIDTH,), ssm_norm=(INNER, 1))
        model.ones(prefix, "", ffn_norm=(WIDTH,), ssm_d=(1, 4), ssm_a=(1, 4))
        model.tensors[f"{prefix}ssm_a"] *= -1
        model.attention(prefix, norms=False)
        model.feed_forward(prefix)
        channels = INNER + 2 * 16
        model.ones(prefix, ".bias", ssm_conv1d=(channels,), ssm_dt=(4,))
        model.matrices(prefix, ssm_in=(WIDTH, 2 * INNER + 2 * 16 + 4), ssm_conv1d=(4, channels), ssm_out=(INNER, WIDTH))
    return model


def _lfm2() -> Model:
    heads = [0, 2, 0, 2]
    keys: dict[str, Value] = {"attention.head_count": 2, "attention.head_count_kv": heads, "shortconv.l_cache": 3}
    model = Model("lfm2", 4, **keys, **{"rope.freq_base": 10_000.0})
    model.tensors["token_embd_norm.weight"] = model.tensors.pop("output_norm.weight")
    for layer, count in enumerate(heads):
        prefix = f"blk.{layer}."
        model.ones(prefix, attn_norm=(WIDTH,), ffn_norm=(WIDTH,))
        model.feed_forward(prefix)
        if count:
            model.attention(prefix)
            model.matrices(prefix, attn_k=(WIDTH, 2 * HEAD), attn_v=(WIDTH, 2 * HEAD))
        else:
            model.matrices(prefix, **{"shortconv.conv": (3, WIDTH), "shortconv.in_proj": (WIDTH, 3 * WIDTH)})
            model.matrices(prefix, **{"shortconv.out_proj": (WIDTH, WIDTH)})
    return model


def _llama() -> Model:
    """A Llama with a vocabulary of SentencePiece."""
    model = Model("llama", 1, **_ATTENTION)
    model.ones("blk.0.", attn_norm=(WIDTH,), ffn_norm=(WIDTH,))
    model.attention("blk.0.", norms=False)
    model.feed_forward("blk.0.")
    letters = [chr(code) for code in range(33, 127)]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *letters]
    tokens += [f"\u2581{first}{second}" for first in letters for second in letters][: _TOKENS - len(tokens)]
    kinds = [2, 3, 3, *[6] * 256, *[1] * (_TOKENS - 259)]
    template = next(key for key in model.vocabulary if key.name == b"tokenizer.chat_template")
    model.vocabulary = [
        _key("tokenizer.ggml.model", "llama"),
        Key(b"tokenizer.ggml.tokens", ARRAY, [text(token.encode()) for token in tokens], STRING),
        Key(b"tokenizer.ggml.scores", ARRAY, [struct.pack("<f", -place) for place in range(_TOKENS)], 6),
        Key(b"tokenizer.ggml.token_type", ARRAY, [struct.pack("<i", kind) for kind in kinds], 5),
        _key("tokenizer.ggml.bos_token_id", 1),
        _key("tokenizer.ggml.eos_token_id", 2),
        template,
    ]
    return model


def _gemma3() -> Model:
    model = Model("gemma3", 6, **_ATTENTION, **{"attention.sliding_window": 24})
    for layer in range(6):
        prefix = f"blk.{layer}."
        model.ones(prefix, attn_norm=(WIDTH,), post_attention_norm=(WIDTH,), ffn_norm=(WIDTH,), post_ffw_norm=(WIDTH,))
        model.attention(prefix)
        model.feed_forward(prefix)
    return model


def _qwen3moe() -> Model:
    model = Model("qwen3moe", 2, **_ATTENTION, **_EXPERTS)
    for layer in range(2):
        prefix = f"blk.{layer}."
        model.ones(prefix, attn_norm=(WIDTH,), ffn_norm=(WIDTH,))
        model.attention(prefix)
        model.experts(prefix)
    return model


def _gpt_oss() -> Model:
    model = Model("gpt-oss", 2, **_ATTENTION, **_EXPERTS, **{"attention.sliding_window": 24})
    for layer in range(2):
        prefix = f"blk.{layer}."
        model.ones(prefix, attn_norm=(WIDTH,), post_attention_norm=(WIDTH,), attn_sinks=(HEADS,))
        model.attention(prefix, norms=False)
        model.experts(prefix)
        model.ones(prefix, ".bias", attn_q=(HEADS * HEAD,), attn_k=(HEAD,), attn_v=(HEAD,), attn_output=(WIDTH,))
        model.ones(prefix, ".bias", ffn_gate_inp=(4,), ffn_gate_exps=(32, 4), ffn_up_exps=(32, 4))
        model.ones(prefix, ".bias", ffn_down_exps=(WIDTH, 4))
    return model


def _qwen35() -> Model:
    """Four layers, of which the last one has attention, and one that predicts the token after the next."""
    state, groups, heads = 16, 2, 4
    keys: dict[str, Value] = {
        **_ATTENTION, "rope.dimension_sections": [4, 2, 2, 0], "rope.dimension_count": 16, "ssm.conv_kernel": 4,
        "ssm.inner_size": state * heads, "ssm.state_size": state, "ssm.time_step_rank": heads,
        "ssm.group_count": groups, "full_attention_interval": 4, "nextn_predict_layers": 1,
    }  # fmt: skip
    model = Model("qwen35", 5, **keys)
    channels = 2 * state * groups + state * heads
    for layer in range(5):
        prefix = f"blk.{layer}."
        model.ones(prefix, attn_norm=(WIDTH,), post_attention_norm=(WIDTH,))
        model.feed_forward(prefix)
        if layer >= 3:
            model.attention(prefix, query=2)
            continue
        model.matrices(prefix, attn_qkv=(WIDTH, channels), attn_gate=(WIDTH, state * heads), ssm_conv1d=(4, channels))
        model.matrices(prefix, ssm_beta=(WIDTH, heads), ssm_alpha=(WIDTH, heads), ssm_out=(state * heads, WIDTH))
        model.ones(prefix, ssm_norm=(state,))
        model.ones(prefix, "", ssm_a=(heads,))
        model.ones(prefix, ".bias", ssm_dt=(heads,))
        model.tensors[f"{prefix}ssm_a"] *= -1
    model.matrices("blk.4.nextn.", eh_proj=(2 * WIDTH, WIDTH))
    model.ones("blk.4.nextn.", enorm=(WIDTH,), hnorm=(WIDTH,), shared_head_norm=(WIDTH,))
    return model


MODELS: dict[str, Callable[[], Model]] = {
    "llama": _llama, "mamba": _mamba, "falcon-h1": _falcon_h1, "lfm2": _lfm2, "gemma3": _gemma3, "qwen3moe": _qwen3moe,
    "gpt-oss": _gpt_oss, "qwen35": _qwen35,
}  # fmt: skip
"""The tiny models by the names of their architectures."""

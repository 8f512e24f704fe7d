"""Real GGUF models of a few thousand weights, written in milliseconds.

`write_model` writes one model, `write_pair` two that share a tokenizer; the fixture `tiny_pair` is one pair for the
session. Their weights are random but determined by the seed, so they generate reproducible noise; a model with
`answer` generates that text instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MERGES = ("t h", "th e", "i n", "e r")
END, START, THINK, UNTHINK = "<|im_end|>", "<|im_start|>", "<think>", "</think>"
SPECIALS = (END, START, THINK, UNTHINK)
HEAD_WIDTH = 32


@dataclass(frozen=True)
class TinyPair:
    """The files of a pair."""

    slm: Path
    llm: Path

    @property
    def options(self) -> list[str]:
        """Command-line options for the two files."""
        return ["--slm", str(self.slm), "--llm", str(self.llm)]


def byte_letters() -> list[str]:
    """The letter for each byte in a byte-level vocabulary such as that of GPT-2."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def ordinary_tokens() -> list[str]:
    """All bytes in order, so that byte b has id b, and the results of the merges."""
    return byte_letters() + [merge.replace(" ", "") for merge in MERGES]


def write_model(
    path: Path,
    *,
    width: int = 32,
    layers: int = 1,
    seed: int = 1,
    template: str | None = CHATML,
    specials: Sequence[str] = SPECIALS,
    swap_tokens: bool = False,
    bos: str | None = None,
    end: str = END,
    context_length: int = 512,
    spread: float = 5.0,
    special_spread: float = 0.0,
    nan_after: str | None = None,
    padding: int = 0,
    tokens: Sequence[str] | None = None,
    merges: Sequence[str] = MERGES,
    answer: str | None = None,
) -> Path:
    """Write one model.

    Args:
        path: the file to write.
        width: length of a hidden state, a multiple of `HEAD_WIDTH`.
        layers: number of layers.
        seed: seed of the weights.
        template: the chat template, or None.
        specials: the special tokens, whose ids follow those of the ordinary ones.
        swap_tokens: swap two ordinary tokens, which makes a different tokenizer.
        end: the special token that ends a turn.
        bos: the special token that every text begins with, or None.
        context_length: context length in the header.
        spread: standard deviation of the logits; a larger one means a lower entropy.
        special_spread: the same for special tokens; at 0 they are practically never generated.
        padding: ids without a token, at the end; the model gives them the highest logits.
        tokens: ordinary tokens instead of `ordinary_tokens`; the first 256 are the bytes.
        merges: merges of the tokenizer.
        nan_after: the character after which every logit is NaN; empty for all characters.
        answer: text the model generates after a prompt that ends with a line end, before it ends its turn. The model
            sees only the last token, so no byte may occur twice, and none may be a line end.
    """
    ordinary = list(tokens or ordinary_tokens())
    texts = ordinary + list(specials)
    if swap_tokens:
        texts[ord("a")], texts[ord("b")] = texts[ord("b")], texts[ord("a")]
    rng = np.random.default_rng(seed)
    embedding = rng.normal(size=(len(texts), width)).astype(np.float32)
    embedding /= np.sqrt(np.mean(embedding**2, axis=1, keepdims=True))
    output = rng.normal(size=(len(texts), width)).astype(np.float32) / np.float32(np.sqrt(width))
    output[: len(ordinary)] *= spread
    output[len(ordinary) :] *= special_spread
    if answer is not None:
        output = _output_for(answer, embedding, texts.index(end))
    if nan_after == "":
        output[:] = np.nan
    elif nan_after is not None:
        embedding[ord(nan_after)] = np.nan
    if padding:
        # From a separate generator, so that the other weights do not depend on the padding.
        extra = np.random.default_rng(seed).normal(size=(padding, width)).astype(np.float32)
        embedding, output = np.vstack([embedding, extra]), np.vstack([output, 100 * extra])

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(path.stem)
    _add_shape(writer, width, layers, context_length)
    _add_vocabulary(writer, texts, len(ordinary), padding, merges)
    writer.add_eos_token_id(texts.index(end))
    if bos is not None:
        writer.add_bos_token_id(texts.index(bos))
    writer.add_add_bos_token(bos is not None)
    if template is not None:
        writer.add_chat_template(template)
    tensors = {"token_embd": embedding, "output_norm": np.ones(width, np.float32)}
    scale = 1 / np.sqrt(width) if answer is None else 0.0
    for layer in range(layers):
        tensors |= _block(rng, f"blk.{layer}.", width, scale)
    tensors["output"] = output
    for name, values in tensors.items():
        writer.add_tensor(f"{name}.weight", values)
    _write(writer)
    return path


def _output_for(answer: str, embedding: NDArray[np.float32], end: int) -> NDArray[np.float32]:
    """Output weights with which each token of the answer, and then `end`, follows the one before."""
    chain = [ord("\n"), *answer.encode("utf-8"), end]
    if len(set(chain)) != len(chain):
        raise ValueError(f"a byte occurs twice in {answer!r}")
    output = np.zeros_like(embedding)
    for last, following in itertools.pairwise(chain):
        output[following] = 2 * embedding[last]
    return output


def _block(rng: np.random.Generator, prefix: str, width: int, scale: float) -> dict[str, NDArray[np.float32]]:
    def random(*shape: int) -> NDArray[np.float32]:
        return np.asarray(rng.normal(size=shape) * scale, np.float32)

    tensors = {prefix + name: random(width, width) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
    tensors[prefix + "ffn_gate"] = random(2 * width, width)
    tensors[prefix + "ffn_up"] = random(2 * width, width)
    tensors[prefix + "ffn_down"] = random(width, 2 * width)
    tensors[prefix + "attn_norm"] = tensors[prefix + "ffn_norm"] = np.ones(width, np.float32)
    return tensors


def _add_shape(writer: Any, width: int, layers: int, context_length: int) -> None:
    writer.add_block_count(layers)
    writer.add_context_length(context_length)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(width // HEAD_WIDTH)
    writer.add_head_count_kv(width // HEAD_WIDTH)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD_WIDTH)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _add_vocabulary(writer: Any, texts: Sequence[str], ordinary: int, padding: int, merges: Sequence[str]) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([*texts, *(f"[PAD{len(texts) + i}]" for i in range(padding))])
    kinds = [gguf.TokenType.NORMAL] * ordinary
    # As in Qwen's files: tags around reasoning are part of the text, turn tags are not.
    kinds += [gguf.TokenType.CONTROL if "|" in text else gguf.TokenType.USER_DEFINED for text in texts[ordinary:]]
    writer.add_token_types([*kinds, *[gguf.TokenType.UNUSED] * padding])
    writer.add_token_merges(list(merges))


def _write(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_recurrent_model(path: Path) -> Path:
    """Write a Mamba of one layer with random weights: its state belongs to the whole text and cannot be truncated."""
    width, inner, state, rank, kernel = 32, 64, 4, 2, 4
    rng = np.random.default_rng(3)
    texts = ordinary_tokens() + list(SPECIALS)
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_block_count(1)
    writer.add_context_length(512)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_ssm_conv_kernel(kernel)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(state)
    writer.add_ssm_time_step_rank(rank)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(texts)
    writer.add_token_types(
        [gguf.TokenType.NORMAL] * len(ordinary_tokens()) + [gguf.TokenType.USER_DEFINED] * len(SPECIALS)
    )
    writer.add_token_merges(list(MERGES))
    writer.add_eos_token_id(texts.index(END))
    writer.add_chat_template(CHATML)
    ones = {"output_norm.weight": (width,), "blk.0.attn_norm.weight": (width,), "blk.0.ssm_d": (inner,)}
    for name, length in ones.items():
        writer.add_tensor(name, np.ones(length, np.float32))
    writer.add_tensor("blk.0.ssm_a", -np.tile(np.arange(1, state + 1, dtype=np.float32), (inner, 1)))
    for name, shape in {
        "token_embd.weight": (len(texts), width),
        "output.weight": (len(texts), width),
        "blk.0.ssm_in.weight": (2 * inner, width),
        "blk.0.ssm_conv1d.weight": (inner, kernel),
        "blk.0.ssm_conv1d.bias": (inner,),
        "blk.0.ssm_x.weight": (rank + 2 * state, inner),
        "blk.0.ssm_dt.weight": (inner, rank),
        "blk.0.ssm_dt.bias": (inner,),
        "blk.0.ssm_out.weight": (width, inner),
    }.items():
        writer.add_tensor(name, rng.normal(size=shape).astype(np.float32))
    _write(writer)
    return path


def write_pair(folder: Path, slm: dict[str, Any] | None = None, llm: dict[str, Any] | None = None) -> TinyPair:
    """Write a pair into a folder; `slm` and `llm` are arguments of `write_model`."""
    folder.mkdir(parents=True, exist_ok=True)
    return TinyPair(
        write_model(folder / "slm.gguf", **{"width": 32, "layers": 1, "seed": 1, **(slm or {})}),
        write_model(folder / "llm.gguf", **{"width": 64, "layers": 2, "seed": 2, **(llm or {})}),
    )

"""GGUF models of a few thousand weights, written in milliseconds: real files for llama.cpp, made for one test.

`write_model` makes one model, `write_pair` two that share a tokeniser; the fixture `tiny_pair` has one pair for
the whole session. Their weights are random, so what they write is noise, but the noise of a given seed is always
the same; a model given `says` writes those words instead.
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
    """Where the two files of a pair lie."""

    slm: Path
    llm: Path

    @property
    def options(self) -> list[str]:
        """The options of a command that name the two files."""
        return ["--slm", str(self.slm), "--llm", str(self.llm)]


def byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary (as GPT-2 has it)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def body() -> list[str]:
    """The ordinary tokens: all bytes, in their order (so byte b has id b), and what the merges make."""
    return byte_letters() + [merge.replace(" ", "") for merge in MERGES]


def write_model(
    path: Path,
    *,
    width: int = 32,
    layers: int = 1,
    seed: int = 1,
    template: str | None = CHATML,
    specials: Sequence[str] = SPECIALS,
    other_body: bool = False,
    bos: str | None = None,
    end: str = END,
    context_length: int = 512,
    spread: float = 5.0,
    special_spread: float = 0.0,
    nan_after: str | None = None,
    padding: int = 0,
    body_of: Sequence[str] | None = None,
    merges: Sequence[str] = MERGES,
    says: str | None = None,
) -> Path:
    """Write one model.

    Args:
        path: the file to write.
        width: of a hidden state, in steps of `HEAD_WIDTH`.
        layers: how many.
        seed: of the weights.
        template: the chat template, None for none.
        specials: the special tokens, in the order of their ids; the first ones come right after the body.
        other_body: swap two ordinary tokens, so that the tokeniser is another one.
        end: the special token that ends a turn.
        bos: the special token every text begins with, None for none.
        context_length: tokens the model claims to have been trained on.
        spread: standard deviation of the logits; the larger, the surer the model is.
        special_spread: the same of the special tokens; at 0 they are practically never written.
        padding: ids without a token, at the end; the model finds them likelier than all others.
        body_of: the ordinary tokens, if not `body`; the first 256 are the bytes.
        merges: how they come about.
        nan_after: the character after which every logit is NaN; '' for all of them.
        says: what the model writes after a prompt that ends with a line end, before it ends its turn. No byte
            may come twice in it, for the model only looks at the last one, and none may be a line end.
    """
    ordinary = list(body_of or body())
    texts = ordinary + list(specials)
    if other_body:
        texts[ord("a")], texts[ord("b")] = texts[ord("b")], texts[ord("a")]
    rng = np.random.default_rng(seed)
    embedding = rng.normal(size=(len(texts), width)).astype(np.float32)
    embedding /= np.sqrt(np.mean(embedding**2, axis=1, keepdims=True))
    output = rng.normal(size=(len(texts), width)).astype(np.float32) / np.float32(np.sqrt(width))
    output[: len(ordinary)] *= spread
    output[len(ordinary) :] *= special_spread
    mix = 1 / np.sqrt(width)
    if says is not None:
        mix = 0.0
        chain = [ord("\n"), *says.encode("utf-8"), texts.index(end)]
        if len(set(chain)) != len(chain):
            raise ValueError(f"a byte comes twice in {says!r}")
        output[:] = 0
        for last, following in itertools.pairwise(chain):
            output[following] = 2 * embedding[last]
    if nan_after == "":
        output[:] = np.nan
    elif nan_after is not None:
        embedding[ord(nan_after)] = np.nan
    if padding:
        # Of a generator of their own, so that the model is the same without them.
        extra = np.random.default_rng(seed).normal(size=(padding, width)).astype(np.float32)
        embedding, output = np.vstack([embedding, extra]), np.vstack([output, 100 * extra])

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(path.stem)
    writer.add_block_count(layers)
    writer.add_context_length(context_length)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(width // HEAD_WIDTH)
    writer.add_head_count_kv(width // HEAD_WIDTH)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD_WIDTH)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([*texts, *(f"[PAD{len(texts) + i}]" for i in range(padding))])
    kinds = [gguf.TokenType.NORMAL] * len(ordinary)
    # As Qwen's own files have it: the marks around reasoning are part of the text, the others are not.
    kinds += [gguf.TokenType.CONTROL if "|" in text else gguf.TokenType.USER_DEFINED for text in specials]
    writer.add_token_types([*kinds, *[gguf.TokenType.UNUSED] * padding])
    writer.add_token_merges(list(merges))
    writer.add_eos_token_id(texts.index(end))
    if bos is not None:
        writer.add_bos_token_id(texts.index(bos))
    writer.add_add_bos_token(bos is not None)
    if template is not None:
        writer.add_chat_template(template)

    def random(*shape: int) -> NDArray[np.float32]:
        return np.asarray(rng.normal(size=shape) * mix, np.float32)

    tensors: dict[str, NDArray[Any]] = {"token_embd": embedding, "output_norm": np.ones(width, np.float32)}
    for layer in range(layers):
        block = f"blk.{layer}."
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[block + name] = random(width, width)
        tensors[block + "ffn_gate"] = random(2 * width, width)
        tensors[block + "ffn_up"] = random(2 * width, width)
        tensors[block + "ffn_down"] = random(width, 2 * width)
        tensors[block + "attn_norm"] = tensors[block + "ffn_norm"] = np.ones(width, np.float32)
    tensors["output"] = output
    for name, values in tensors.items():
        writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_recurrent_model(path: Path) -> Path:
    """A Mamba of one layer with random weights: its state is one for the whole text, and cannot be cut back."""
    width, inner, state, rank, kernel = 32, 64, 4, 2, 4
    rng = np.random.default_rng(3)
    texts = body() + list(SPECIALS)
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
    writer.add_token_types([gguf.TokenType.NORMAL] * len(body()) + [gguf.TokenType.USER_DEFINED] * len(SPECIALS))
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
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_pair(folder: Path, slm: dict[str, Any] | None = None, llm: dict[str, Any] | None = None) -> TinyPair:
    """Write a pair into a folder; the options of `write_model` can differ for the two."""
    folder.mkdir(parents=True, exist_ok=True)
    return TinyPair(
        write_model(folder / "slm.gguf", **{"width": 32, "layers": 1, "seed": 1, **(slm or {})}),
        write_model(folder / "llm.gguf", **{"width": 64, "layers": 2, "seed": 2, **(llm or {})}),
    )

"""Models of random weights whose vocabulary has the special tokens of many chat templates, for tests of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np
from chat_templates import MARKS
from tiny_pair import MERGES, byte_letters, write_model


def write_byte_level(path: Path, *, marks: Sequence[str] = MARKS, bos: str | None = "<|begin_of_text|>") -> Path:
    """Write a model with a byte-level vocabulary; marks without a bar are user-defined tokens."""
    merges = (*MERGES, "< |", "| >", "Ċ Ċ")
    tokens = [*byte_letters(), *(merge.replace(" ", "") for merge in merges)]
    return write_model(path, specials=marks, bos=bos, merges=merges, tokens=tokens)


def write_sentencepiece(path: Path, *, marks: Sequence[str] = MARKS, name: str = "sp", added: bool = False) -> Path:
    """Write the vocabulary of a model in the manner of Llama 2: it adds a space before each text.

    Args:
        path: the file to write.
        marks: special tokens besides `<s>` and `</s>`.
        name: the model's name; in one of Phi-3 special tokens swallow white space.
        added: whether the marks are user-defined tokens instead of control tokens.
    """
    words = ["▁", "▁a", "▁H", "Hi", "▁Hi", "im", "▁<", "<|", "|>", "\n\n"]
    letters = sorted({letter for text in (*words, *marks) for letter in text} - set(words))
    own = [*(mark for mark in marks if mark not in ("<s>", "</s>")), "<|endoftext|>"]
    kinds = gguf.TokenType
    tokens = [
        ("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL),
        *((f"<0x{byte:02X}>", kinds.BYTE) for byte in range(256)),
        *((text, kinds.NORMAL) for text in (*words, *letters)),
        *((mark, kinds.USER_DEFINED if added else kinds.CONTROL) for mark in own),
    ]  # fmt: skip
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_block_count(1)
    writer.add_context_length(512)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([float(len(text)) if kind == kinds.NORMAL else 0.0 for text, kind in tokens])
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_add_bos_token(True)
    writer.add_tensor("token_embd.weight", np.zeros((len(tokens), 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path

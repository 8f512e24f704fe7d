"""The tokenizer of the demo pair: learning merges, writing the vocabulary to GGUF, and tokenization by llama.cpp.

Byte-level BPE with single digits (llama.cpp's "qwen2" pre-tokenizer) and ChatML special tokens. Training data is
tokenized by the same code as prompts at inference.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterable
from pathlib import Path

VOCABULARY_SIZE = 576
"""A multiple of 32 that is large enough for the common words of the problems."""

SPECIALS = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
CONTROL, USER_DEFINED, NORMAL = 3, 4, 1
"""llama.cpp's token types. The think tags are user-defined, so that they appear in the text."""

QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def learn(texts: Iterable[str], path: Path) -> None:
    """Learn the merges from texts and write tokens and merges as JSON."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get) + list(SPECIALS)
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    path.write_text(json.dumps({"tokens": tokens, "merges": merges}, ensure_ascii=True, indent=0))


def write_vocabulary(writer: object, path: Path) -> None:
    """Add the vocabulary in `path` and the chat template to an open `gguf.GGUFWriter`."""
    learned = json.loads(path.read_text())
    tokens, merges = learned["tokens"], learned["merges"]
    types = [NORMAL] * (len(tokens) - len(SPECIALS)) + [CONTROL, CONTROL, USER_DEFINED, USER_DEFINED]
    end = tokens.index("<|im_end|>")
    w: object = writer
    w.add_tokenizer_model("gpt2")  # type: ignore[attr-defined]
    w.add_tokenizer_pre("qwen2")  # type: ignore[attr-defined]
    w.add_token_list(tokens)  # type: ignore[attr-defined]
    w.add_token_types(types)  # type: ignore[attr-defined]
    w.add_token_merges(merges)  # type: ignore[attr-defined]
    w.add_bos_token_id(tokens.index("<|im_start|>"))  # type: ignore[attr-defined]
    w.add_eos_token_id(end)  # type: ignore[attr-defined]
    w.add_eot_token_id(end)  # type: ignore[attr-defined]
    w.add_add_bos_token(False)  # type: ignore[attr-defined]
    w.add_chat_template(CHAT_TEMPLATE)  # type: ignore[attr-defined]


class Vocabulary:
    """The vocabulary of a GGUF file, opened by llama.cpp without weights."""

    def __init__(self, path: Path) -> None:
        import llama_cpp

        self._api = llama_cpp
        self._log = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)
        llama_cpp.llama_log_set(self._log, ctypes.c_void_p(0))
        parameters = llama_cpp.llama_model_default_params()
        parameters.vocab_only = True
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        if not self._model:
            raise SystemExit(f"llama.cpp could not open the vocabulary in {path}")
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._buffer = (ctypes.c_int32 * 8192)()

    def __len__(self) -> int:
        return int(self._api.llama_vocab_n_tokens(self._vocab))

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text; special tokens in it are recognized."""
        data = text.encode()
        count = self._api.llama_tokenize(self._vocab, data, len(data), self._buffer, 8192, False, True)
        if count < 0:
            raise ValueError(f"a text of {len(data)} bytes has {-count} tokens, more than the buffer holds")
        return list(self._buffer[:count])

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids, including special tokens."""
        piece = ctypes.create_string_buffer(256)
        out = b""
        for token in ids:
            length = self._api.llama_token_to_piece(self._vocab, token, piece, 256, 0, True)
            out += piece.raw[:length]
        return out.decode("utf-8", "replace")

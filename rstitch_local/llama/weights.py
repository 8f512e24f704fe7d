"""A GGUF file loaded by llama.cpp: its weights, vocabulary and metadata.

Independent of KV caches (context.py) and of the other model.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple, cast

import llama_cpp

from rstitch_local.errors import CancelledError, ModelError
from rstitch_local.llama import library
from rstitch_local.llama.gguf_check import check_gguf

ALL_LAYERS = 10_000
"""Number of GPU layers that includes all layers of any model."""

_PIECE_BYTES = 64
_NO_DEVICES = (ctypes.c_void_p * 1)(None)
"""llama.cpp's list of GPUs, which ends with a null pointer."""


class SpecialToken(NamedTuple):
    """A token that is recognized in a text by its spelling.

    id: its id.
    text: its spelling.
    is_added: whether it is recognized with `parse_special=False` too (a user-defined token): a run of spaces in
        GPT-NeoX or `<table>` in Gemma, but also `<think>` in Qwen and `<|start|>` in gpt-oss.
    strips_left, strips_right: whether white space before and after it is dropped, as in Phi-3.
    """

    id: int
    text: str
    is_added: bool
    strips_left: bool
    strips_right: bool


class Weights:
    """A model in memory.

    Args:
        path: the GGUF file; the first one of a split model.
        vocab_only: do not load the weights: texts can be tokenized, but not evaluated.
        gpu_layers: layers on the GPU, `ALL_LAYERS` for all; ignored by a build of llama.cpp without GPU support.
        trial: load for a few evaluations: fast to load, slow to evaluate, and without any GPU.
        progress: called with the share loaded, 0 to 1; returning False cancels.

    Attributes:
        n_logits: logits per token, including padding.
        n_vocab: number of tokens; the first `n_vocab` logits belong to them.
        bos, eos, eot: the tokens that begin a text, end a text and end a turn; -1 for none.
        add_bos: whether every text begins with `bos`.

    Raises:
        ModelError: the file is missing, damaged, not a generative language model, or too large for the memory.
        CancelledError: `progress` returned False.
    """

    def __init__(
        self,
        path: Path,
        *,
        gpu_layers: int = 0,
        vocab_only: bool = False,
        trial: bool = False,
        progress: Callable[[float], bool] | None = None,
    ) -> None:
        self.path = path
        self.summary = check_gguf(path)
        library.start()
        library.take_errors()
        params = _parameters(gpu_layers, vocab_only=vocab_only, trial=trial)
        self.model = self._load(params, progress)
        self._finalizer = weakref.finalize(self, llama_cpp.llama_model_free, self.model)
        self._vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.gpu_layers = min(gpu_layers, self.n_layer + 1) if library.build().gpu_offload else 0
        self.n_logits = int(llama_cpp.llama_vocab_n_tokens(self._vocab))
        self.bos = self._named("bos", llama_cpp.llama_vocab_bos(self._vocab))
        self.eos = self._named("eos", llama_cpp.llama_vocab_eos(self._vocab))
        self.add_bos = self.bos >= 0 and bool(llama_cpp.llama_vocab_get_add_bos(self._vocab))
        self.eot = llama_cpp.llama_vocab_eot(self._vocab)
        self.n_vocab = self._without_padding()
        self._pieces: dict[int, bytes] = {}
        self._buffer = ctypes.create_string_buffer(_PIECE_BYTES)

    def _load(
        self, params: llama_cpp.llama_model_params, progress: Callable[[float], bool] | None
    ) -> llama_cpp.llama_model_p:
        interrupted: list[BaseException] = []
        cancelled = False

        def on_progress(share: float, _user_data: object) -> bool:
            nonlocal cancelled
            try:
                cancelled = ctrl_c() or (progress is not None and not progress(share))
            except BaseException as error:
                # ctypes would print the exception and continue, so it is raised after the call.
                interrupted.append(error)
                cancelled = True
            return not cancelled

        callback = llama_cpp.llama_progress_callback(on_progress)
        params.progress_callback = callback
        with library.held_interrupts() as ctrl_c:
            model = llama_cpp.llama_model_load_from_file(str(self.path).encode("utf-8"), params)
        if interrupted:
            raise interrupted[0]
        if cancelled:
            raise CancelledError("Loading cancelled", f"{self.path.name} was not loaded.")
        if not model:
            reason = library.take_errors() or "no reason was given."
            raise ModelError(
                "Cannot load model",
                f"llama.cpp did not load {self.path}: {reason}",
                f"Check that this llama.cpp supports the architecture {self.summary.architecture} and that there is "
                "enough memory (`rstitch doctor`).",
            )
        return cast("llama_cpp.llama_model_p", model)

    def close(self) -> None:
        """Free the weights; close all contexts of this model first."""
        self._finalizer()

    @property
    def size_bytes(self) -> int:
        """Size of all tensors in bytes."""
        return int(llama_cpp.llama_model_size(self.model))

    @property
    def n_layer(self) -> int:
        """Number of layers, without the output layer."""
        return int(llama_cpp.llama_model_n_layer(self.model))

    @property
    def n_embd(self) -> int:
        """Length of a hidden state."""
        return int(llama_cpp.llama_model_n_embd(self.model))

    @property
    def n_ctx_train(self) -> int:
        """Context length the model was trained with, in tokens."""
        return int(llama_cpp.llama_model_n_ctx_train(self.model))

    @property
    def description(self) -> str:
        """llama.cpp's short description, such as `qwen2 1.5B Q4_K - Medium`."""
        buffer = ctypes.create_string_buffer(256)
        llama_cpp.llama_model_desc(self.model, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    @property
    def chat_template(self) -> str | None:
        """The chat template of the file, which is untrusted; None if it has none."""
        template = llama_cpp.llama_model_chat_template(self.model, None)
        return template.decode("utf-8", "replace") if template else None

    @property
    def can_truncate(self) -> bool:
        """Whether its sequences can be truncated; those of recurrent and hybrid models can only be removed."""
        model = self.model
        return not (llama_cpp.llama_model_is_recurrent(model) or llama_cpp.llama_model_is_hybrid(model))

    def _named(self, role: str, token: int) -> int:
        """Return the token of a role as llama.cpp has it; -1 if the file names none and it is an arbitrary one.

        For byte-level BPE llama.cpp takes token 11, which is `<|endoftext|>` in Falcon and a comma in GPT-2.
        """
        if llama_cpp.llama_vocab_type(self._vocab) != llama_cpp.LLAMA_VOCAB_TYPE_BPE:
            return token
        key, buffer = f"tokenizer.ggml.{role}_token_id".encode(), ctypes.create_string_buffer(16)
        return token if llama_cpp.llama_model_meta_val_str(self.model, key, buffer, len(buffer)) >= 0 else -1

    def _without_padding(self) -> int:
        """Return the number of tokens without trailing padding.

        Converters pad a vocabulary to the number of logits: Qwen2.5's 151,665 tokens to 151,936 or 152,064.
        """
        count = self.n_logits
        while count > max(1, self.bos + 1, self.eos + 1, self.eot + 1) and self._is_padding(count - 1):
            count -= 1
        return count

    def _is_padding(self, token: int) -> bool:
        text = llama_cpp.llama_vocab_get_text(self._vocab, token) or b""
        unused = llama_cpp.llama_vocab_get_attr(self._vocab, token) & llama_cpp.LLAMA_TOKEN_ATTR_UNUSED
        return bool(unused) or text in (b"", f"[PAD{token}]".encode())

    def is_eog(self, token: int) -> bool:
        """Return whether a token ends the generation."""
        if self.eos < 0 and token == llama_cpp.llama_vocab_eos(self._vocab) and not self.is_special(token):
            return False
        return bool(llama_cpp.llama_vocab_is_eog(self._vocab, token))

    def is_special(self, token: int) -> bool:
        """Return whether a token is a control, user-defined, unknown or unused token."""
        attributes = llama_cpp.llama_vocab_get_attr(self._vocab, token)
        ordinary = llama_cpp.LLAMA_TOKEN_ATTR_NORMAL | llama_cpp.LLAMA_TOKEN_ATTR_BYTE
        return not attributes & ordinary

    @cached_property
    def special_tokens(self) -> list[SpecialToken]:
        """All tokens that are recognized by their spelling: control, user-defined and unknown tokens."""
        added = llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
        control = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
        left, right = llama_cpp.LLAMA_TOKEN_ATTR_LSTRIP, llama_cpp.LLAMA_TOKEN_ATTR_RSTRIP
        attributes = map(llama_cpp.llama_vocab_get_attr, repeat(self._vocab), range(self.n_logits))
        tokens = []
        for token, bits in enumerate(attributes):
            if bits & (added | control):
                text = (llama_cpp.llama_vocab_get_text(self._vocab, token) or b"").decode("utf-8", "replace")
                # A spelling that is not UTF-8 occurs in no text.
                if text and "\ufffd" not in text:
                    tokens.append(SpecialToken(token, text, not bits & control, bool(bits & left), bool(bits & right)))
        return tokens

    def token_texts(self) -> list[bytes]:
        """Return the vocabulary's spelling of every token, in the order of the ids, for comparing vocabularies."""
        get = llama_cpp.llama_vocab_get_text
        vocab = self._vocab
        return [get(vocab, token) or b"" for token in range(self.n_vocab)]

    def piece(self, token: int) -> bytes:
        """Return the bytes a token adds to a text, which may be part of a character; empty for control tokens."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._to_piece(token, special=False)
        return piece

    def _to_piece(self, token: int, *, special: bool) -> bytes:
        length = llama_cpp.llama_token_to_piece(self._vocab, token, self._buffer, len(self._buffer), 0, special)
        if length < 0:
            self._buffer = ctypes.create_string_buffer(-length)
            length = llama_cpp.llama_token_to_piece(self._vocab, token, self._buffer, len(self._buffer), 0, special)
        return self._buffer.raw[:length]

    def special_text(self, token: int) -> str:
        """Return a token's text, also of a control token, for chat templates; empty for a negative id."""
        return "" if token < 0 else self._to_piece(token, special=True).decode("utf-8", "replace")

    def tokenize(self, text: str, *, parse_special: bool) -> list[int]:
        """Return the token ids of a text, without a beginning-of-text token.

        Args:
            text: any text.
            parse_special: parse special tokens such as `<|im_end|>`; False tokenizes their letters.
        """
        data = text.encode("utf-8", "replace")
        capacity = len(data) + 2
        while True:
            ids = (llama_cpp.llama_token * capacity)()
            count = llama_cpp.llama_tokenize(self._vocab, data, len(data), ids, capacity, False, parse_special)
            if count >= 0:
                return list(ids[:count])
            capacity = -count


def _parameters(gpu_layers: int, *, vocab_only: bool, trial: bool) -> llama_cpp.llama_model_params:
    """Return how llama.cpp loads a model; see `Weights`."""
    params: llama_cpp.llama_model_params = llama_cpp.llama_model_default_params()
    params.vocab_only = vocab_only
    params.n_gpu_layers = gpu_layers
    # AMX is enabled by an extra buffer type; without these types weights stay in their plain layout.
    params.use_extra_bufts = not (trial or library.build().broken_amx)
    if params.use_extra_bufts:
        # Extra buffers hold a rearranged copy of the weights. With a memory-mapped file most of it would be
        # resident twice: 2.6 GB instead of 1.95 GB for a pair of 1.6 GB, for 2 s less of loading.
        if hasattr(llama_cpp, "LLAMA_LOAD_MODE_NONE"):
            params.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE
        else:
            # Bindings before 0.3.35.
            params.use_mmap = False
    if trial:
        # Declared as an array; the field is a pointer.
        cast("Any", params).devices = ctypes.addressof(_NO_DEVICES)
    return params

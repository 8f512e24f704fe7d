"""One GGUF file loaded by llama.cpp: its weights, vocabulary and metadata.

Knows nothing of caches (context.py), of a second model, or of what the text means.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import cast

import llama_cpp

from rstitch_local.errors import CancelledError, ModelError
from rstitch_local.llama import library
from rstitch_local.llama.gguf_check import check_gguf

ALL_LAYERS = 10_000
"""As a number of GPU layers: more than any model has."""

_PIECE_BYTES = 64


class Weights:
    """A model in memory, ready to be given contexts.

    Args:
        path: the GGUF file (the first one of a split model).
        vocab_only: leave the weights on the disk: texts can be tokenised, nothing can be evaluated.
        gpu_layers: how many layers go to the GPU; `ALL_LAYERS` for all, 0 for none. Without effect in a
            build of llama.cpp that cannot offload.
        progress: called with the share loaded, 0 to 1; returning False cancels.

    Raises:
        ModelError: the file is missing, broken, of a kind that cannot write text, or too large for memory.
        CancelledError: `progress` returned False.

    Attributes:
        n_logits: how many logits the model computes for a token.
        n_vocab: how many of them, the first ones, are of tokens; the rest is padding up to a round number.
    """

    def __init__(
        self,
        path: Path,
        *,
        gpu_layers: int = 0,
        vocab_only: bool = False,
        progress: Callable[[float], bool] | None = None,
    ) -> None:
        self.path = path
        self.summary = check_gguf(path)
        library.start()
        library.take_errors()
        self.model = self._load(gpu_layers, vocab_only, progress)
        self._finalizer = weakref.finalize(self, llama_cpp.llama_model_free, self.model)
        self._vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.gpu_layers = min(gpu_layers, self.n_layer + 1) if library.build().gpu_offload else 0
        self.n_logits = int(llama_cpp.llama_vocab_n_tokens(self._vocab))
        self.add_bos = bool(llama_cpp.llama_vocab_get_add_bos(self._vocab))
        self.bos = llama_cpp.llama_vocab_bos(self._vocab)
        self.eos = llama_cpp.llama_vocab_eos(self._vocab)
        self.eot = llama_cpp.llama_vocab_eot(self._vocab)
        self.n_vocab = self._without_padding()
        self._pieces: dict[int, bytes] = {}
        self._buffer = ctypes.create_string_buffer(_PIECE_BYTES)

    def _load(
        self, gpu_layers: int, vocab_only: bool, progress: Callable[[float], bool] | None
    ) -> llama_cpp.llama_model_p:
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = vocab_only
        params.n_gpu_layers = gpu_layers
        # AMX comes in through an extra buffer type; without those, weights stay in their plain layout.
        params.use_extra_bufts = not library.build().broken_amx
        if params.use_extra_bufts:
            # They rearrange the weights into memory of their own. Mapping the file as well would keep most of it
            # resident twice: 2.6 GB instead of 1.95 GB for a pair of 1.6 GB, for 2 s less of loading.
            params.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE
        interrupted: list[BaseException] = []
        cancelled = False

        def on_progress(share: float, _user_data: object) -> bool:
            nonlocal cancelled
            try:
                cancelled = ctrl_c() or (progress is not None and not progress(share))
            except BaseException as error:
                # ctypes would print an exception and carry on; it is kept and raised after the call.
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
            raise CancelledError("Loading stopped", f"{self.path.name} was not loaded.")
        if not model:
            reason = library.take_errors() or "llama.cpp gave no reason."
            raise ModelError(
                "The model does not load",
                f"llama.cpp refused {self.path}: {reason}",
                "Check that this llama.cpp knows the architecture "
                f"({self.summary.architecture}) and that the memory suffices (`rstitch doctor`).",
            )
        return cast("llama_cpp.llama_model_p", model)

    def close(self) -> None:
        """Free the weights; contexts made from them must be closed before."""
        self._finalizer()

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors in memory."""
        return int(llama_cpp.llama_model_size(self.model))

    @property
    def n_layer(self) -> int:
        """Number of layers, without the output layer."""
        return int(llama_cpp.llama_model_n_layer(self.model))

    @property
    def n_embd(self) -> int:
        """Width of a hidden state."""
        return int(llama_cpp.llama_model_n_embd(self.model))

    @property
    def n_ctx_train(self) -> int:
        """The longest context the model was trained on, in tokens."""
        return int(llama_cpp.llama_model_n_ctx_train(self.model))

    @property
    def description(self) -> str:
        """llama.cpp's own short description, such as `qwen2 1.5B Q4_K - Medium`."""
        buffer = ctypes.create_string_buffer(256)
        llama_cpp.llama_model_desc(self.model, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    @property
    def chat_template(self) -> str | None:
        """The chat template stored in the file (untrusted text), or None."""
        template = llama_cpp.llama_model_chat_template(self.model, None)
        return template.decode("utf-8", "replace") if template else None

    @property
    def can_truncate(self) -> bool:
        """Whether a cache of it can forget its last tokens alone; recurrent and hybrid models forget all or nothing."""
        model = self.model
        return not (llama_cpp.llama_model_is_recurrent(model) or llama_cpp.llama_model_is_hybrid(model))

    def _without_padding(self) -> int:
        """The number of tokens up to the last one that means something.

        Converters fill a vocabulary up to the number of logits: Qwen2.5's 151,665 tokens up to 151,936 and 152,064.
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
        """Whether this token ends a generation."""
        return bool(llama_cpp.llama_vocab_is_eog(self._vocab, token))

    def is_special(self, token: int) -> bool:
        """Whether this token lies outside the tokeniser's body: control, user-defined, unknown or unused."""
        attributes = llama_cpp.llama_vocab_get_attr(self._vocab, token)
        body = llama_cpp.LLAMA_TOKEN_ATTR_NORMAL | llama_cpp.LLAMA_TOKEN_ATTR_BYTE
        return not attributes & body

    def token_texts(self) -> list[bytes]:
        """The text of every token as the vocabulary spells it (for comparing), in the order of the ids."""
        get = llama_cpp.llama_vocab_get_text
        vocab = self._vocab
        return [get(vocab, token) or b"" for token in range(self.n_vocab)]

    def piece(self, token: int) -> bytes:
        """The bytes a token adds to an answer; empty for control tokens. May end inside a character."""
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
        """A token's text with control tokens spelled out, as templates want `bos_token`; '' for no token."""
        return "" if token < 0 else self._to_piece(token, special=True).decode("utf-8", "replace")

    def tokenize(self, text: str, *, parse_special: bool, add_special: bool = False) -> list[int]:
        """Token ids of a text.

        Args:
            text: any text.
            parse_special: read `<|im_end|>` and the like as the tokens they name; False takes them as letters.
            add_special: put the beginning-of-text token first where the model asks for one.
        """
        data = text.encode("utf-8", "replace")
        room = len(data) + 2
        while True:
            ids = (llama_cpp.llama_token * room)()
            count = llama_cpp.llama_tokenize(self._vocab, data, len(data), ids, room, add_special, parse_special)
            if count >= 0:
                return list(ids[:count])
            room = -count

"""The logits and hidden states of the last `llama_decode`, as numpy views of llama.cpp's memory."""

from __future__ import annotations

import ctypes

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from rstitch_local.errors import EngineError
from rstitch_local.llama import library
from rstitch_local.llama.weights import Weights


class Outputs:
    """Reads the outputs of one llama.cpp context.

    Views are cached by address: making one takes 10 microseconds.

    Args:
        context: llama.cpp's context.
        weights: the model of the context.
        max_views: views to cache.
    """

    def __init__(self, context: llama_cpp.llama_context_p, weights: Weights, *, max_views: int) -> None:
        self._context = context
        self._weights = weights
        self._max_views = max_views
        self._views: dict[tuple[int, int, int], NDArray[np.float32]] = {}

    def logits(self, rows: int) -> NDArray[np.float32]:
        """Return the logits, float32 of shape (rows, n_vocab), without those of padding tokens.

        Raises:
            EngineError: llama.cpp has none.
        """
        weights = self._weights
        return self._view(llama_cpp.llama_get_logits(self._context), rows, weights.n_logits)[:, : weights.n_vocab]

    def hidden(self, rows: int) -> NDArray[np.float32]:
        """Return the hidden states, float32 of shape (rows, n_embd).

        Raises:
            EngineError: llama.cpp has none.
        """
        return self._view(llama_cpp.llama_get_embeddings(self._context), rows, self._weights.n_embd)

    def _view(self, pointer: object, rows: int, width: int) -> NDArray[np.float32]:
        address = ctypes.cast(pointer, ctypes.c_void_p).value  # type: ignore[arg-type]
        if address is None:
            raise EngineError(
                "llama.cpp failed", f"{self._weights.path.name}: no output was computed. {library.take_errors()}"
            )
        view = self._views.get((address, rows, width))
        if view is None:
            if len(self._views) >= self._max_views:
                self._views.clear()
            flat = np.ctypeslib.as_array((ctypes.c_float * (rows * width)).from_address(address))
            view = self._views[address, rows, width] = flat.reshape(rows, width)
        return view

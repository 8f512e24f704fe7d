"""The KV cache of one model: evaluate batches, truncate sequences, share prefixes.

Independent of the other model, of routing and of text.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from rstitch_local.errors import CacheFullError, EngineError, ModelError
from rstitch_local.llama import library
from rstitch_local.llama.batch import Batch, BatchSlice
from rstitch_local.llama.outputs import Outputs
from rstitch_local.llama.sequence_cache import SequenceCache
from rstitch_local.llama.weights import Weights

KV_TYPES = {"f16": llama_cpp.GGML_TYPE_F16, "q8_0": llama_cpp.GGML_TYPE_Q8_0, "q4_0": llama_cpp.GGML_TYPE_Q4_0}
"""KV cache types by name."""

_EXTRA_OUTPUTS = 3
"""Outputs per batch beyond one per sequence, for a short catch-up with hidden states; each takes memory."""


class Decoded(NamedTuple):
    """The result of a batch: arrays that may be views, valid until the next `decode`.

    logits: float32, shape (number of outputs, n_vocab), in the order of the slices; None without outputs.
    hidden: float32, shape (number of slices, n_embd), of each slice's last token; None if not requested.
    ns: nanoseconds in llama.cpp, divided among the slices by their numbers of tokens.
    """

    logits: NDArray[np.float32] | None
    hidden: NDArray[np.float32] | None
    ns: list[int]


class Context:
    """A KV cache for up to `n_seq_max` sequences of one model.

    Args:
        weights: the model; must outlive the context.
        n_ctx: maximum number of tokens per sequence.
        n_seq_max: maximum number of sequences.
        kv_cells: tokens that all sequences can hold together, at least `n_ctx`; None for `n_ctx` each.
        n_batch: tokens per `llama_decode`; raised to twice `n_seq_max` if it is less.
        threads: CPU threads.
        kv_type: a key of `KV_TYPES`.
        unified: one KV cache for all sequences instead of one per sequence. Batches of sequences with different
            numbers of tokens are not split, and a shared prefix is stored once; but every token attends over the
            cells of all sequences. Always on if `kv_cells` is less than `n_ctx` per sequence.

    Attributes:
        outputs: maximum number of outputs per batch; see `allow_outputs`.

    Raises:
        ModelError: llama.cpp could not create the context, usually for lack of memory.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        n_ctx: int,
        n_seq_max: int = 1,
        kv_cells: int | None = None,
        n_batch: int = 64,
        threads: int = 1,
        kv_type: str = "f16",
        unified: bool = True,
    ) -> None:
        params = llama_cpp.llama_context_default_params()
        kv_cells = min(max(kv_cells or n_ctx * n_seq_max, n_ctx), n_ctx * n_seq_max)
        params.n_ctx = kv_cells
        params.n_seq_max = n_seq_max
        params.kv_unified = unified = unified or kv_cells < n_ctx * n_seq_max
        # Twice the sequences: a prompt fits in beside one token of every other sequence.
        params.n_batch = params.n_ubatch = max(n_batch, 2 * n_seq_max)
        params.n_threads = params.n_threads_batch = threads
        params.type_k = params.type_v = KV_TYPES[kv_type]
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO
        params.no_perf = True
        self.weights = weights
        self.n_ctx = n_ctx
        self.n_seq_max = n_seq_max
        self.kv_cells = kv_cells
        self.threads = threads
        self.kv_type = kv_type
        self.unified = unified
        self._params = params
        self._has_window = llama_cpp.llama_model_n_swa(weights.model) > 0
        self._open(min(params.n_batch, n_seq_max + _EXTRA_OUTPUTS))
        # llama.cpp caps the batch at the number of cells.
        self.n_batch: int = llama_cpp.llama_n_batch(self.handle)
        self._batch = Batch(self.n_batch)

    def _open(self, outputs: int) -> None:
        """Create llama.cpp's context with an empty KV cache."""
        # Otherwise llama.cpp allocates logits for a whole batch: n_batch * n_logits floats.
        self._params.n_outputs_max = outputs
        library.take_errors()
        with library.held_interrupts():
            context = llama_cpp.llama_init_from_model(self.weights.model, self._params)
        if not context:
            raise ModelError(
                "Cannot create KV cache",
                f"llama.cpp could not create a context of {self.kv_cells} tokens for {self.weights.path.name}: "
                f"{library.take_errors() or 'no reason was given.'}",
                "Use a smaller --context, or `--kv-type q8_0`.",
            )
        self._finalizer = weakref.finalize(self, llama_cpp.llama_free, context)
        self.outputs = outputs
        self.handle = context
        self._memory = llama_cpp.llama_get_memory(context)
        self._sequences = SequenceCache(self.n_seq_max)
        self._outputs = Outputs(context, self.weights, max_views=4 * self.n_seq_max)
        self._embeddings = False

    def allow_outputs(self, outputs: int) -> None:
        """Raise the maximum number of outputs per batch, which empties the KV cache.

        llama.cpp fixes the number when it creates a context, so the context is created again. Each output takes
        2 * 4 * n_logits bytes. A number that is already allowed changes nothing.

        Raises:
            EngineError: not enough memory; the KV cache is empty, and the previous number of outputs allowed.
        """
        self._check_open()
        if outputs <= self.outputs:
            return
        before = self.outputs
        # There may be no memory for both contexts at once.
        self._finalizer()
        try:
            self._open(outputs)
        except ModelError as error:
            self._open(before)
            raise EngineError("Not enough memory for drafts", error.message, error.hint) from error

    def close(self) -> None:
        """Free the KV cache."""
        self._finalizer()

    def _check_open(self) -> None:
        # llama.cpp would read freed memory and crash.
        if not self._finalizer.alive:
            raise EngineError("Model closed", f"{self.weights.path.name} was freed.", "Load the pair again.")

    def length(self, sequence: int = 0) -> int:
        """Return the number of tokens in a sequence's cache."""
        return self._sequences.length(sequence)

    def tokens(self, sequence: int = 0) -> Sequence[int]:
        """Return the tokens in a sequence's cache, in order: a view that changes with the cache."""
        return self._sequences.tokens(sequence)

    @property
    def used_cells(self) -> int:
        """Occupied KV cells: the tokens of all sequences, a shared prefix counted once."""
        return self._sequences.used_cells

    def truncate(self, sequence: int, length: int) -> int:
        """Remove the tokens of a sequence from position `length` on.

        Returns:
            The remaining length: `length`, or 0 for a model that cannot remove a part (recurrent and hybrid models).
        """
        self._check_open()
        # llama.cpp is called even where nothing seems left to remove: an exception (Ctrl-C) right after a decode
        # leaves tokens in its cache that were never recorded here.
        length = min(length, self._sequences.length(sequence))
        if not llama_cpp.llama_memory_seq_rm(self._memory, sequence, length, -1):
            llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)
            length = 0
        self._sequences.truncate(sequence, length)
        return length

    def clear(self) -> None:
        """Empty the KV cache and overwrite it: a NaN in an unused cell can reach other sequences."""
        self._check_open()
        llama_cpp.llama_memory_clear(self._memory, True)
        self._sequences.clear()

    def longest_prefix(self, ids: Sequence[int]) -> tuple[int, int]:
        """Return the sequence that holds the longest prefix of `ids`, without its last token, and the length."""
        return self._sequences.longest_prefix(ids)

    def reuse_prefix(self, sequence: int, ids: Sequence[int]) -> int:
        """Make a sequence hold the longest prefix of `ids` that any sequence holds, and nothing else.

        The last token of `ids` is left out: it has to be evaluated for its logits.

        Returns:
            The number of tokens in the sequence's cache.
        """
        own = common = self._sequences.reusable(sequence, ids)
        source = sequence
        if self.weights.can_truncate:
            source, common = self.longest_prefix(ids)
        if own >= common:
            return self._without_gap(sequence, self.truncate(sequence, own))
        self.truncate(sequence, 0)
        if self.unified:
            llama_cpp.llama_memory_seq_cp(self._memory, source, sequence, 0, common)
            self._sequences.share(source, sequence, common)
        else:
            # From one KV cache to another llama.cpp copies whole sequences only.
            llama_cpp.llama_memory_seq_cp(self._memory, source, sequence, -1, -1)
            self._sequences.append(sequence, self.tokens(source))
            common = self.truncate(sequence, common)
        return self._without_gap(sequence, common)

    def _without_gap(self, sequence: int, length: int) -> int:
        """Empty a sequence whose first cells were freed by a sliding window; return the remaining length."""
        if length and self._has_window and llama_cpp.llama_memory_seq_pos_min(self._memory, sequence) != 0:
            return self.truncate(sequence, 0)
        return length

    def decode(self, slices: Sequence[BatchSlice], *, hidden: bool = False) -> Decoded:
        """Evaluate a batch in one `llama_decode`.

        Args:
            slices: of different sequences, at most `n_batch` tokens in total.
            hidden: also return the hidden state of each slice's last token. Every slice must then have outputs, and
                the batch at most `outputs` tokens, because every token of such a batch is an output.

        Raises:
            CacheFullError: not enough free KV cells; the KV cache is unchanged.
            EngineError: llama.cpp failed, and the cache was truncated to what it still holds; or more outputs than
                `allow_outputs` permits.
        """
        self._check_open()
        starts = [self._sequences.length(item.sequence) for item in slices]
        count, outputs, ends = self._batch.fill(slices, starts, hidden=hidden)
        if outputs > self.outputs:
            # llama.cpp would abort the process.
            raise EngineError("Too many outputs", f"The batch has {outputs} outputs; {self.outputs} are allowed.")
        if hidden != self._embeddings:
            llama_cpp.llama_set_embeddings(self.handle, hidden)
            self._embeddings = hidden
        started = time.perf_counter_ns()
        code = llama_cpp.llama_decode(self.handle, self._batch.struct)
        if code != 0:
            self._recover(code, slices, count)
        # A GPU decodes asynchronously: it is done only when the outputs are read.
        logits = self._outputs.logits(outputs) if outputs else None
        elapsed = time.perf_counter_ns() - started
        for item in slices:
            self._sequences.append(item.sequence, item.ids)
        states = self._outputs.hidden(count) if hidden else None
        if states is not None and ends:
            assert logits is not None
            logits, states = logits[ends], states[ends]
        return Decoded(logits, states, [elapsed * len(item.ids) // count for item in slices])

    def _recover(self, code: int, slices: Sequence[BatchSlice], count: int) -> NoReturn:
        # Tokens of a failed batch may stay in the cache; llama.cpp reports what it holds.
        for item in slices:
            sequence, length = item.sequence, self._sequences.length(item.sequence)
            llama_cpp.llama_memory_seq_rm(self._memory, sequence, length, -1)
            cached = llama_cpp.llama_memory_seq_pos_max(self._memory, sequence) + 1
            self._sequences.truncate(sequence, min(length, cached))
        name = self.weights.path.name
        if code == 1:
            raise CacheFullError(
                "KV cache full",
                f"{name}: {count} more tokens do not fit into a KV cache of {self.kv_cells} cells.",
                "Use a larger --context, or a smaller --max-tokens.",
            )
        raise EngineError(
            "llama.cpp failed",
            f"{name}: evaluating {count} tokens returned {code}. {library.take_errors()}".rstrip(),
        )

"""KV caches of one model: evaluate tokens, truncate, look at logits and hidden states, time it.

Knows tokens and sequences of one model; nothing of the other model, of routing or of text.
"""

from __future__ import annotations

import ctypes
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from rstitch_local.errors import CacheFullError, CancelledError, EngineError, ModelError
from rstitch_local.llama import library
from rstitch_local.llama.batch import Batch, BatchSlice, chunks
from rstitch_local.llama.sequence_cache import SequenceCache
from rstitch_local.llama.weights import Weights

KV_TYPES = {"f16": llama_cpp.GGML_TYPE_F16, "q8_0": llama_cpp.GGML_TYPE_Q8_0, "q4_0": llama_cpp.GGML_TYPE_Q4_0}
"""Cache precisions by the name the command line gives them."""

_MORE_OUTPUTS = 3
"""Tokens with output beside one a sequence: 2 * 4 * n_logits bytes each, so few."""


@dataclass(slots=True)
class TokenSpan:
    """Tokens of any number that one sequence wants evaluated after those already in its cache.

    `hidden` asks for the last one's hidden state.
    """

    sequence: int
    ids: Sequence[int]
    hidden: bool = False


class Output(NamedTuple):
    """What evaluating a piece gave: views that hold only until the generator is resumed.

    piece: index of the piece among those given.
    logits: float32, shape (n_vocab,), of the piece's last token.
    hidden: float32, shape (n_embd,), or None where it was not asked for.
    """

    piece: int
    logits: NDArray[np.float32]
    hidden: NDArray[np.float32] | None


class Decoded(NamedTuple):
    """What a `llama_decode` gave: views that hold until the next one (or copies).

    logits: float32, shape (sum of the parts' outputs, n_vocab), in their order; None if there are none.
    hidden: float32, shape (number of parts, n_embd), of their last tokens, or None where it was not asked for.
    ns: each part's share of the time spent in llama.cpp.
    """

    logits: NDArray[np.float32] | None
    hidden: NDArray[np.float32] | None
    ns: list[int]


class Context:
    """The caches of `n_seq_max` sequences over one model, in one store of cells that they share, or in one each.

    Args:
        weights: the model; must outlive the context.
        n_ctx: tokens each sequence can hold.
        n_seq_max: sequences that can be live at once.
        cells: tokens all of them can hold together, `n_ctx` at least; as many as they want if None.
        n_batch: tokens in one `llama_decode`; between two of them the stop flag is looked at.
        threads: CPU threads.
        kv_type: a key of `KV_TYPES`.
        unified: one store of cells for all sequences. A batch in which they have different numbers of tokens stays one
            piece of work, and a common beginning is kept once; but every token looks at everybody's cells. Without it,
            `cells` must not be fewer than all sequences can fill, or there is one store all the same.

    Attributes:
        outputs: tokens whose logits one `decode` can give: one a sequence, unless `allow_outputs` was told of more.

    Raises:
        ModelError: llama.cpp could not make the context (most often: not enough memory).
    """

    def __init__(
        self,
        weights: Weights,
        *,
        n_ctx: int,
        n_seq_max: int = 1,
        cells: int | None = None,
        n_batch: int = 64,
        threads: int = 1,
        kv_type: str = "f16",
        unified: bool = True,
    ) -> None:
        params = llama_cpp.llama_context_default_params()
        cells = min(max(cells or n_ctx * n_seq_max, n_ctx), n_ctx * n_seq_max)
        params.n_ctx = cells
        params.n_seq_max = n_seq_max
        params.kv_unified = unified = unified or cells < n_ctx * n_seq_max
        # Twice as many, so that where all sequences want a token there is room for a prompt beside them.
        params.n_batch = params.n_ubatch = max(n_batch, 2 * n_seq_max)
        params.n_threads = params.n_threads_batch = threads
        params.type_k = params.type_v = KV_TYPES[kv_type]
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO
        params.no_perf = True
        self.weights = weights
        self.n_ctx = n_ctx
        self.n_seq_max = n_seq_max
        self.cells = cells
        self.threads = threads
        self.kv_type = kv_type
        self.unified = unified
        self._params = params
        self._can_share = weights.can_forget_parts
        self._slides = llama_cpp.llama_model_n_swa(weights.model) > 0
        # A few more than one a sequence, for a short catch-up with hidden states.
        self._open(min(params.n_batch, n_seq_max + _MORE_OUTPUTS))
        # Never more than the cells, whatever was asked for.
        self.n_batch: int = llama_cpp.llama_n_batch(self.handle)
        self._batch = Batch(self.n_batch)

    def _open(self, outputs: int) -> None:
        """Have llama.cpp make its context, with empty caches."""
        # Without this llama.cpp reserves logits for a whole batch, n_batch * n_logits floats.
        self._params.n_outputs_max = outputs
        library.take_errors()
        with library.held_interrupts():
            context = llama_cpp.llama_init_from_model(self.weights.model, self._params)
        if not context:
            raise ModelError(
                "No room for the cache",
                f"llama.cpp could not make a context of {self.cells} tokens for {self.weights.path.name}: "
                f"{library.take_errors() or 'it gave no reason.'}",
                "Use a smaller --context, or `--kv-type q8_0`.",
            )
        self._finalizer = weakref.finalize(self, llama_cpp.llama_free, context)
        self.outputs = outputs
        self.handle = context
        self._memory = llama_cpp.llama_get_memory(context)
        self._holdings = SequenceCache(self.n_seq_max)
        self._held = self._holdings.tokens
        self._embeddings = False
        self._views: dict[tuple[int, int, int], NDArray[np.float32]] = {}

    def allow_outputs(self, outputs: int) -> None:
        """Let one `decode` give the logits of that many tokens; the caches are empty afterwards if that is new.

        llama.cpp takes the number when a context is made, so for a larger one it is made anew. Each output takes
        2 * 4 * n_logits bytes: as it is computed, and as it is handed out.

        Raises:
            EngineError: there is no room for it; the caches are empty, and as many outputs allowed as before.
        """
        self._check_open()
        if outputs <= self.outputs:
            return
        before = self.outputs
        # Not two at once: there may be no room for both.
        self._finalizer()
        try:
            self._open(outputs)
        except ModelError as error:
            self._open(before)
            raise EngineError("No room for drafts", error.message, error.hint) from error

    def close(self) -> None:
        """Free the caches."""
        self._finalizer()

    def _check_open(self) -> None:
        # llama.cpp would read freed memory, and end the process.
        if not self._finalizer.alive:
            raise EngineError("The model is closed", f"{self.weights.path.name} was freed; load the pair again.")

    def length(self, sequence: int = 0) -> int:
        """Tokens in a sequence's cache."""
        return len(self._held[sequence])

    def held(self, sequence: int = 0) -> Sequence[int]:
        """The tokens in a sequence's cache, in order; a view that changes with it."""
        return self._held[sequence]

    @property
    def used(self) -> int:
        """Cells in use: the tokens of all sequences, a beginning that several share counted once."""
        return self._holdings.used

    def truncate(self, sequence: int, length: int) -> int:
        """Forget all tokens of a sequence from position `length` on.

        Returns the length left: `length`, or 0 where the model cannot forget a part (recurrent and hybrid
        models), so that everything has to be evaluated again.
        """
        self._check_open()
        # Asked of llama.cpp even where nothing seems to be left to forget: an exception (Ctrl-C) right after a
        # decode leaves tokens in the cache that were never counted.
        length = min(length, len(self._held[sequence]))
        if not llama_cpp.llama_memory_seq_rm(self._memory, sequence, length, -1):
            llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)
            length = 0
        self._holdings.forget(sequence, length)
        return length

    def clear(self) -> None:
        """Forget everything, and overwrite it: a NaN in a cell can reach those who do not look at the cell."""
        self._check_open()
        llama_cpp.llama_memory_clear(self._memory, True)
        self._holdings.clear()

    def begin(self, sequence: int, ids: Sequence[int]) -> int:
        """Make a sequence hold as much of `ids` as any sequence holds already, and nothing else.

        Never all of them: the last one has to be evaluated in any case, its logits are what comes next.

        Args:
            sequence: whose cache.
            ids: what it shall hold in the end.

        Returns:
            The number of tokens it holds.
        """
        source, common = self.common(ids) if self._can_share else (sequence, self._holdings.common(sequence, ids))
        own = self._holdings.common(sequence, ids)
        if source == sequence or own >= common:
            return self._whole(sequence, self.truncate(sequence, own))
        self.truncate(sequence, 0)
        if common and not self.unified:
            # From one store to another llama.cpp copies everything or nothing.
            llama_cpp.llama_memory_seq_cp(self._memory, source, sequence, -1, -1)
            self._held[sequence] += self._held[source]
            common = self.truncate(sequence, common)
        elif common:
            llama_cpp.llama_memory_seq_cp(self._memory, source, sequence, 0, common)
            self._held[sequence] += ids[:common]
            self._holdings.share(sequence, common, source)
        return self._whole(sequence, common)

    def _whole(self, sequence: int, length: int) -> int:
        """What is left of a sequence: nothing where llama.cpp gave cells away that a sliding window had passed."""
        if length and self._slides and llama_cpp.llama_memory_seq_pos_min(self._memory, sequence) != 0:
            return self.truncate(sequence, 0)
        return length

    def common(self, ids: Sequence[int]) -> tuple[int, int]:
        """The sequence whose beginning has most in common with `ids`, and how many tokens, all but one at most."""
        return self._holdings.most_common(ids)

    def evaluate(
        self, pieces: Sequence[TokenSpan], *, should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Output]:
        """Evaluate all pieces in as few calls as `n_batch` allows; one Output a piece, as soon as it is there.

        Use an Output before asking for the next: its arrays are views into llama.cpp's memory.

        Raises:
            CancelledError: `stop` returned True between two calls; the caches keep what was evaluated.
            EngineError: no room in the cache, or llama.cpp failed; the caches are trimmed to what holds.
        """
        # With hidden states on every token is an output, so only the last tokens are evaluated that way.
        early = [(i, 0, len(piece.ids) - piece.hidden) for i, piece in enumerate(pieces)]
        late = [(i, len(piece.ids) - 1, 1) for i, piece in enumerate(pieces) if piece.hidden]
        for hidden, spans in ((False, early), (True, late)):
            for chunk in chunks(spans, self.n_batch):
                if should_stop is not None and should_stop():
                    raise CancelledError("Stopped", "The evaluation was stopped between two batches.")
                ends = [index for index, at, count in chunk if at + count == len(pieces[index].ids)]
                parts = [
                    BatchSlice(pieces[index].sequence, pieces[index].ids[at : at + count], output=index in ends)
                    for index, at, count in chunk
                ]
                decoded = self.decode(parts, hidden=hidden)
                for row, index in enumerate(ends):
                    assert decoded.logits is not None
                    yield Output(index, decoded.logits[row], None if decoded.hidden is None else decoded.hidden[row])

    def decode(self, parts: Sequence[BatchSlice], *, hidden: bool = False) -> Decoded:
        """Evaluate all parts in one call.

        Args:
            parts: of different sequences, `n_batch` tokens together at most.
            hidden: also give hidden states, each part's last token's; all parts must then be with output, and
                `outputs` tokens together at most, for with hidden states on every token of a batch is an output.

        Raises:
            EngineError: no room in the cache, or llama.cpp failed; the caches are trimmed to what holds. Or more
                outputs than `allow_outputs` was told of.
        """
        self._check_open()
        batch, held = self._batch, self._held
        count, outputs, ends = batch.fill(parts, held, hidden=hidden)
        if outputs > self.outputs:
            # llama.cpp would end the process.
            raise EngineError("Too many outputs", f"{outputs} are wanted at once; {self.outputs} are allowed.")
        if hidden != self._embeddings:
            llama_cpp.llama_set_embeddings(self.handle, hidden)
            self._embeddings = hidden
        started = time.perf_counter_ns()
        code = llama_cpp.llama_decode(self.handle, batch.struct)
        if code != 0:
            self._recover(code, parts, count)
        # A GPU's decode is only over when its results are asked for.
        logits = self._logits(outputs) if outputs else None
        elapsed = time.perf_counter_ns() - started
        for part in parts:
            held[part.sequence] += part.ids
        states = None
        if hidden:
            states = self._view(llama_cpp.llama_get_embeddings(self.handle), count, self.weights.n_embd)
            if ends:
                assert logits is not None
                logits, states = logits[ends], states[ends]
        return Decoded(logits, states, [elapsed * len(part.ids) // count for part in parts])

    def _logits(self, rows: int) -> NDArray[np.float32]:
        """The logits of the last evaluation, without those of padding: what is no token is never likely, nor drawn."""
        weights = self.weights
        return self._view(llama_cpp.llama_get_logits(self.handle), rows, weights.n_logits)[:, : weights.n_vocab]

    def _recover(self, code: int, parts: Sequence[BatchSlice], count: int) -> NoReturn:
        # Parts of a failed call may stay in the cache; what the caches hold is asked, not guessed.
        for part in parts:
            sequence = part.sequence
            llama_cpp.llama_memory_seq_rm(self._memory, sequence, len(self._held[sequence]), -1)
            self._holdings.forget(
                sequence,
                min(len(self._held[sequence]), llama_cpp.llama_memory_seq_pos_max(self._memory, sequence) + 1),
            )
        name = self.weights.path.name
        if code == 1:
            raise CacheFullError(
                "The cache is full",
                f"{name}: no room for {count} more tokens in a cache of {self.cells}.",
                "Use a larger --context, or a smaller --max-tokens.",
            )
        raise EngineError(
            "llama.cpp failed",
            f"{name}: evaluating {count} tokens returned {code}. {library.take_errors()}".rstrip(),
        )

    def _view(self, pointer: object, rows: int, width: int) -> NDArray[np.float32]:
        """The float32 array at a pointer. Views are kept by address: making one costs 10 microseconds."""
        address = ctypes.cast(pointer, ctypes.c_void_p).value  # type: ignore[arg-type]
        if address is None:
            raise EngineError(
                "llama.cpp failed", f"{self.weights.path.name}: no output was computed. {library.take_errors()}"
            )
        view = self._views.get((address, rows, width))
        if view is None:
            if len(self._views) > 4 * self.n_seq_max:
                self._views.clear()
            flat = np.ctypeslib.as_array((ctypes.c_float * (rows * width)).from_address(address))
            view = self._views[address, rows, width] = flat.reshape(rows, width)
        return view

"""KV caches of one model: evaluate tokens, truncate, look at logits and hidden states, count what it cost.

Knows tokens and sequences of one model; nothing of the other model, of routing or of text.
"""

from __future__ import annotations

import ctypes
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from rstitch_local.errors import CancelledError, EngineError, ModelError
from rstitch_local.llama import library
from rstitch_local.llama.weights import Weights

KV_TYPES = {"f16": llama_cpp.GGML_TYPE_F16, "q8_0": llama_cpp.GGML_TYPE_Q8_0, "q4_0": llama_cpp.GGML_TYPE_Q4_0}
"""Cache precisions by the name the command line gives them."""

KINDS = ("prompt", "catch_up", "decode")
"""What a token is evaluated as; the order of `Usage`'s lists."""

_PROMPT, _CATCH_UP, _DECODE = range(3)


@dataclass(slots=True)
class Piece:
    """Tokens one sequence wants evaluated after those already in its cache.

    `prompt` of them, the first ones, belong to the prompt; `hidden` asks for the last one's hidden state.
    """

    sequence: int
    ids: Sequence[int]
    prompt: int = 0
    hidden: bool = False


class Output(NamedTuple):
    """What evaluating a piece gave: views that hold only until the generator is resumed.

    piece: index of the piece among those given.
    logits: float32, shape (n_vocab,), of the piece's last token.
    hidden: float32, shape (n_embd,), or None where it was not asked for.
    elapsed_ns: the piece's share of the time spent in llama.cpp.
    """

    piece: int
    logits: NDArray[np.float32]
    hidden: NDArray[np.float32] | None
    elapsed_ns: int


@dataclass(slots=True)
class Usage:
    """Tokens evaluated and nanoseconds spent, by kind in the order of `KINDS`.

    The answer's tokens count as decode when they are evaluated one in a pass, else as catch-up.
    """

    tokens: list[int] = field(default_factory=lambda: [0, 0, 0])
    ns: list[int] = field(default_factory=lambda: [0, 0, 0])

    def add(self, piece: Piece, done: int, count: int, elapsed_ns: int) -> None:
        """Account for `count` of the piece's tokens, evaluated after its first `done`."""
        prompt = max(0, min(piece.prompt - done, count))
        rest = count - prompt
        kind = _DECODE if len(piece.ids) == 1 else _CATCH_UP
        if prompt:
            prompt_ns = elapsed_ns * prompt // count
            self.tokens[_PROMPT] += prompt
            self.ns[_PROMPT] += prompt_ns
            elapsed_ns -= prompt_ns
        self.tokens[kind] += rest
        self.ns[kind] += elapsed_ns


Span = tuple[int, int, int]
"""Part of a piece: (index of the piece, index of its first token, number of tokens)."""


def _chunks(spans: list[Span], n_batch: int) -> Iterator[list[Span]]:
    """Cut spans so that no chunk holds more than n_batch tokens; their order stays."""
    chunk: list[Span] = []
    room = n_batch
    for index, at, count in spans:
        end = at + count
        while at < end:
            tokens = min(room, end - at)
            chunk.append((index, at, tokens))
            at += tokens
            room -= tokens
            if room == 0:
                yield chunk
                chunk, room = [], n_batch
    if chunk:
        yield chunk


class Context:
    """The caches of `n_seq_max` sequences over one model.

    Args:
        weights: the model; must outlive the context.
        n_ctx: tokens each sequence can hold.
        n_seq_max: sequences that can be live at once.
        n_batch: tokens in one `llama_decode`; between two of them the stop flag is looked at.
        threads: CPU threads.
        kv_type: a key of `KV_TYPES`.

    Raises:
        ModelError: llama.cpp could not make the context (most often: not enough memory).
    """

    def __init__(
        self,
        weights: Weights,
        *,
        n_ctx: int,
        n_seq_max: int = 1,
        n_batch: int = 64,
        threads: int = 1,
        kv_type: str = "f16",
    ) -> None:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = n_ctx * n_seq_max
        params.n_seq_max = n_seq_max
        params.n_batch = params.n_ubatch = n_batch = max(n_batch, n_seq_max)
        # One output a sequence: without this llama.cpp reserves logits for a whole batch, n_batch * n_vocab floats.
        params.n_outputs_max = n_seq_max
        params.n_threads = params.n_threads_batch = threads
        params.type_k = params.type_v = KV_TYPES[kv_type]
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO
        params.no_perf = True
        library.take_errors()
        with library.held_interrupts():
            context = llama_cpp.llama_init_from_model(weights.model, params)
        if not context:
            raise ModelError(
                "No room for the cache",
                f"llama.cpp could not make a context of {n_ctx} tokens for {weights.path.name}: "
                f"{library.take_errors() or 'it gave no reason.'}",
                "Try a smaller --context or --kv-type q8_0.",
            )
        self.weights = weights
        self.n_ctx = n_ctx
        self.n_seq_max = n_seq_max
        self.n_batch = n_batch
        self.threads = threads
        self.kv_type = kv_type
        self.usage = [Usage() for _ in range(n_seq_max)]
        self.handle = context
        self._memory = llama_cpp.llama_get_memory(context)
        self._held: list[list[int]] = [[] for _ in range(n_seq_max)]
        self._embeddings = False
        self._views: dict[tuple[int, int], NDArray[np.float32]] = {}
        batch = llama_cpp.llama_batch_init(n_batch, 0, 1)
        self._batch = batch
        self._token = np.ctypeslib.as_array(batch.token, shape=(n_batch,))
        self._pos = np.ctypeslib.as_array(batch.pos, shape=(n_batch,))
        for row in range(n_batch):
            batch.seq_id[row][0] = 0
        self._output = np.ctypeslib.as_array(batch.logits, shape=(n_batch,))
        np.ctypeslib.as_array(batch.n_seq_id, shape=(n_batch,))[:] = 1
        self._output[:] = 0
        self._finalizer = weakref.finalize(self, _free, context, batch)

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
        del self._held[sequence][length:]
        return length

    def keep_common(self, sequence: int, ids: Sequence[int]) -> int:
        """Forget what a sequence holds beyond its common beginning with `ids`; returns how many tokens are left.

        That is never all of them: the last one has to be evaluated in any case, its logits are what comes next.
        """
        held = self._held[sequence]
        room = len(ids) - 1
        common = next((i for i, (a, b) in enumerate(zip(held, ids, strict=False)) if a != b), len(held))
        return self.truncate(sequence, min(common, room))

    def evaluate(self, pieces: Sequence[Piece], *, stop: Callable[[], bool] | None = None) -> Iterator[Output]:
        """Evaluate all pieces in as few calls as `n_batch` allows; one Output a piece, as soon as it is there.

        Use an Output before asking for the next: its arrays are views into llama.cpp's memory.

        Raises:
            CancelledError: `stop` returned True between two calls; the caches keep what was evaluated.
            EngineError: no room in the cache, or llama.cpp failed; the caches are trimmed to what holds.
        """
        self._check_open()
        if len(pieces) == 1 and len(pieces[0].ids) == 1:
            yield self._evaluate_one(pieces[0])
            return
        spent = [0] * len(pieces)
        # With hidden states on every token is an output, so only the last tokens are evaluated that way.
        early = [(i, 0, len(piece.ids) - piece.hidden) for i, piece in enumerate(pieces)]
        late = [(i, len(piece.ids) - 1, 1) for i, piece in enumerate(pieces) if piece.hidden]
        for embeddings, spans in ((False, early), (True, late)):
            for chunk in _chunks(spans, self.n_batch):
                if stop is not None and stop():
                    raise CancelledError("Stopped", "The evaluation was stopped between two batches.")
                self._set_embeddings(embeddings)
                ends = self._evaluate_chunk(pieces, chunk, spent)
                for row, index in ends:
                    hidden = self._hidden(row) if embeddings else None
                    yield Output(index, self._logits(row), hidden, spent[index])

    def _evaluate_one(self, piece: Piece) -> Output:
        """One token of one sequence: the path of nearly every token, without the lists of the general one."""
        sequence = piece.sequence
        held = self._held[sequence]
        self._set_embeddings(piece.hidden)
        self._token[0] = piece.ids[0]
        self._pos[0] = len(held)
        self._batch.seq_id[0][0] = sequence
        self._output[0] = 1
        started = time.perf_counter_ns()
        self._decode(1, (sequence,))
        logits = self._logits(0)
        elapsed = time.perf_counter_ns() - started
        held.append(piece.ids[0])
        self.usage[sequence].add(piece, 0, 1, elapsed)
        return Output(0, logits, self._hidden(0) if piece.hidden else None, elapsed)

    def _evaluate_chunk(self, pieces: Sequence[Piece], chunk: list[Span], spent: list[int]) -> list[tuple[int, int]]:
        """Evaluate spans of pieces in one call; returns (row, piece) where a piece came to its end."""
        count = 0
        ends = []
        self._output[:] = 0
        for index, at, tokens in chunk:
            piece = pieces[index]
            sequence = piece.sequence
            rows = slice(count, count + tokens)
            self._token[rows] = piece.ids[at : at + tokens]
            length = len(self._held[sequence])
            self._pos[rows] = np.arange(length, length + tokens)
            if self.n_seq_max > 1:
                for row in range(count, count + tokens):
                    self._batch.seq_id[row][0] = sequence
            count += tokens
            if at + tokens == len(piece.ids):
                self._output[count - 1] = 1
                ends.append((count - 1, index))
        started = time.perf_counter_ns()
        self._decode(count, [pieces[index].sequence for index, _, _ in chunk])
        if ends:
            # A GPU's decode is only over when its results are asked for.
            llama_cpp.llama_get_logits_ith(self.handle, ends[-1][0])
        elapsed = time.perf_counter_ns() - started
        for index, at, tokens in chunk:
            piece = pieces[index]
            share = elapsed * tokens // count
            self._held[piece.sequence] += piece.ids[at : at + tokens]
            self.usage[piece.sequence].add(piece, at, tokens, share)
            spent[index] += share
        return ends

    def _decode(self, count: int, sequences: Sequence[int]) -> None:
        self._batch.n_tokens = count
        code = llama_cpp.llama_decode(self.handle, self._batch)
        if code == 0:
            return
        # Parts of a failed call may stay in the cache; what the caches hold is asked, not guessed.
        for sequence in sequences:
            llama_cpp.llama_memory_seq_rm(self._memory, sequence, len(self._held[sequence]), -1)
            del self._held[sequence][llama_cpp.llama_memory_seq_pos_max(self._memory, sequence) + 1 :]
        name = self.weights.path.name
        if code == 1:
            raise EngineError(
                "The cache is full",
                f"{name}: no room for {count} more tokens in a context of {self.n_ctx}.",
                "Give a larger --context, or a lower --max-tokens.",
            )
        raise EngineError(
            "llama.cpp failed",
            f"{name}: evaluating {count} tokens returned {code}. {library.take_errors()}".rstrip(),
        )

    def _set_embeddings(self, on: bool) -> None:
        if on != self._embeddings:
            llama_cpp.llama_set_embeddings(self.handle, on)
            self._embeddings = on

    def _logits(self, row: int) -> NDArray[np.float32]:
        return self._view(llama_cpp.llama_get_logits_ith(self.handle, row), self.weights.n_vocab)

    def _hidden(self, row: int) -> NDArray[np.float32]:
        return self._view(llama_cpp.llama_get_embeddings_ith(self.handle, row), self.weights.n_embd)

    def _view(self, pointer: object, width: int) -> NDArray[np.float32]:
        """The float32 array at a pointer. Views are kept by address: making one costs 10 microseconds."""
        address = ctypes.cast(pointer, ctypes.c_void_p).value  # type: ignore[arg-type]
        if address is None:
            raise EngineError(
                "llama.cpp failed", f"{self.weights.path.name}: no output was computed. {library.take_errors()}"
            )
        view = self._views.get((address, width))
        if view is None:
            if len(self._views) > 4 * self.n_seq_max:
                self._views.clear()
            view = np.ctypeslib.as_array((ctypes.c_float * width).from_address(address))
            self._views[address, width] = view
        return view


def _free(context: llama_cpp.llama_context_p, batch: llama_cpp.llama_batch) -> None:
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)

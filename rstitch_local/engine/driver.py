"""The engine's only loop: collect what trajectories request, evaluate it in batches, return the logits.

Depends on trajectories and contexts; nothing of files, screens, or what an answer is used for. A single trajectory
is the case N = 1.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rstitch_local.decoding.entropy import EntropyMeter, Uncertainty
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.engine import scheduling
from rstitch_local.engine.slots import ActiveSequence, Slots
from rstitch_local.errors import CacheFullError, EngineError
from rstitch_local.llama.batch import BatchSlice
from rstitch_local.llama.context import Context, Decoded
from rstitch_local.llama.sequence_cache import common_length

_SHARED_PREFIX_TOKENS = 16
"""A prompt with at least this many tokens in common with one that is being evaluated waits for it."""

SequenceStep = tuple[ActiveSequence, Step | None]
"""A kept token with its trajectory; None for a trajectory that ended without one."""

_Output = tuple[NDArray[np.float32], NDArray[np.float32] | None, Uncertainty]
"""The logits of one token, the hidden state if requested, and the measured entropy."""


@dataclass(frozen=True, slots=True)
class Status:
    """How busy a driver is: live trajectories, slots, how many wait for each model, how many are preempted."""

    active: int
    slots: int
    waiting: Mapping[Role, int]
    preempted: int


class _Batch(NamedTuple):
    """One `llama_decode`: a slice for each of `sequences`, and whether hidden states are computed."""

    sequences: list[ActiveSequence]
    slices: list[BatchSlice]
    hidden: bool


class Driver:
    """Runs trajectories over the contexts of a pair. Not re-entrant: one `steps` at a time.

    Args:
        contexts: the contexts of both models, with at least one sequence each.

    Attributes:
        next_model: chooses the model that is evaluated next; replaceable, to compare policies.
    """

    def __init__(self, contexts: Mapping[Role, Context]) -> None:
        self.contexts = contexts
        self.next_model: Callable[[Mapping[Role, Sequence[ActiveSequence]]], Role] = scheduling.NextModel()
        self._slots = Slots(contexts)
        self._meters = {role: EntropyMeter(context.weights.n_vocab) for role, context in contexts.items()}
        # Held while `steps` runs, which may be started and closed by different threads.
        self._running = threading.Lock()
        self._marked_ns = 0

    def reopen(self, contexts: Mapping[Role, Context]) -> None:
        """Use other contexts of the same models from now on.

        Raises:
            EngineError: `steps` is running.
        """
        self.require_idle()
        self.contexts = contexts
        self._slots = Slots(contexts)

    def require_idle(self) -> None:
        """Raise EngineError while `steps` is running."""
        if self._running.locked():
            raise _busy()

    def status(self) -> Status:
        """Return how busy the driver is. Can be called from another thread."""
        slots = self._slots
        active = list(slots.active)
        waiting = {role: sum(sequence.trajectory.active is role for sequence in active) for role in Role}
        return Status(len(active), slots.count, waiting, len(slots.preempted))

    def steps(
        self, source: Iterable[ActiveSequence], *, should_stop: Callable[[], bool] | None = None
    ) -> Iterator[SequenceStep]:
        """Run trajectories to their ends, as many at the same time as there are slots.

        Args:
            source: the trajectories; the next one is taken when a slot is free.
            should_stop: polled between evaluations; True ends all live trajectories as `interrupted`, as does a
                caller who stops iterating.

        Yields:
            Every kept token with its trajectory, and None for a trajectory that ended without one. A trajectory has
            ended when its trace has a stop reason. One with broken logits ends alone, with its `error` set.

        Raises:
            EngineError: llama.cpp failed (all live trajectories end as `error`), or `steps` is already running.
        """
        if not self._running.acquire(blocking=False):
            raise _busy()
        slots = self._slots
        self._marked_ns = time.perf_counter_ns()
        reason = "interrupted"
        try:
            remaining = iter(source)
            while not (should_stop is not None and should_stop()):
                yield from ((sequence, None) for sequence in slots.fill(remaining))
                if not slots.active:
                    break
                # All tokens of a batch are kept before the first is yielded, so that a caller who uses the contexts
                # between two steps cannot overwrite logits in use.
                kept = self._evaluate()
                for index, (sequence, step) in enumerate(kept):
                    # Of several tokens of one trajectory only the last one can be its end.
                    is_last = index + 1 == len(kept) or kept[index + 1][0] is not sequence
                    if is_last and sequence.trajectory.stop_reason is not None:
                        slots.release(sequence)
                    yield sequence, step
        except EngineError:
            reason = "error"
            raise
        finally:
            slots.close(reason)
            self._running.release()

    def _evaluate(self) -> list[SequenceStep]:
        """Run one `llama_decode` on the model chosen by `next_model`; return the tokens kept."""
        slots = self._slots
        waiting = slots.ready()
        for sequence in slots.active:
            sequence.waited += 1
        role = self.next_model(waiting)
        ready = waiting[role]
        while ready:
            batch = self._compose(role, ready)
            try:
                slots.reserve(role, sum(len(batch_slice.ids) for batch_slice in batch.slices))
                decoded = self.contexts[role].decode(batch.slices, hidden=batch.hidden)
            except CacheFullError:
                if len(slots.active) == 1:
                    raise
                slots.preempt_youngest()
                ready = slots.still_active(ready)
            else:
                return self._distribute(role, batch, decoded)
        return []

    def _compose(self, role: Role, ready: Sequence[ActiveSequence]) -> _Batch:
        """Choose the trajectories of the next batch and their tokens."""
        context = self.contexts[role]
        self._start_caches(role, ready)
        ready = [sequence for sequence in ready if role in sequence.cached_roles]
        requests = [sequence.trajectory.request() for sequence in ready]
        lengths = [len(request.ids) for request in requests]
        waited = [sequence.waited for sequence in ready]
        hidden, chosen = scheduling.split_hidden(
            [request.hidden for request in requests], lengths, waited, context.outputs
        )
        if not hidden:
            # The last token of a request for hidden states is left to a batch with hidden states.
            lengths = [length - request.hidden for length, request in zip(lengths, requests, strict=True)]
        shares = scheduling.fill_batch([lengths[i] for i in chosen], [waited[i] for i in chosen], context.n_batch)
        # With one KV cache per sequence llama.cpp only batches sequences with adjacent ids.
        shares.sort(key=lambda share: ready[chosen[share.index]].sequence)
        batch = _Batch([], [], hidden)
        for share in shares:
            index, count = chosen[share.index], share.count
            sequence, request = ready[index], requests[index]
            missing = len(request.ids)
            batch.sequences.append(sequence)
            batch.slices.append(
                BatchSlice(
                    sequence.sequence,
                    request.ids if count == missing else request.ids[:count],
                    min(request.prompt, count),
                    count == missing == 1 and not request.prompt and not sequence.partial,
                    max(0, count - missing + request.outputs),
                )
            )
        return batch

    def _start_caches(self, role: Role, ready: Sequence[ActiveSequence]) -> None:
        """Set up the KV cache of trajectories that are new to a model, from what it already holds of them.

        A trajectory whose prompt starts like one that is being evaluated is left out for now, to share that prefix.
        """
        if all(role in sequence.cached_roles for sequence in ready):
            return
        context = self.contexts[role]
        prompts: list[Sequence[int]] = []
        for sequence in ready:
            trajectory = sequence.trajectory
            ids = trajectory.ids(role)
            if role not in sequence.cached_roles:
                if sequence.reuse and prompts:
                    shared = max(common_length(ids, other) for other in prompts)
                    if shared >= _SHARED_PREFIX_TOKENS and shared > context.longest_prefix(ids)[1]:
                        continue
                # Tokens whose logits are requested have to be evaluated, even if another sequence holds them.
                reusable = ids[: len(ids) + 1 - trajectory.request().outputs]
                cached = context.reuse_prefix(sequence.sequence, reusable) if sequence.reuse else 0
                trajectory.note_cached(role, cached)
                sequence.cached_roles.add(role)
            if trajectory.request().prompt:
                prompts.append(ids)

    def _distribute(self, role: Role, batch: _Batch, decoded: Decoded) -> list[SequenceStep]:
        """Give each trajectory its logits; return the tokens kept, those of one trajectory in a row."""
        logits, hidden, times = decoded
        measured = self._meters[role].measure_rows(logits) if logits is not None else []
        now = time.perf_counter_ns()
        busy_ms = (now - self._marked_ns) / 1e6 / sum(len(batch_slice.ids) for batch_slice in batch.slices)
        self._marked_ns = now
        if len(self._slots.active) > 1 and any(math.isnan(each.entropy) for each in measured):
            self._isolate_broken(batch, measured)
            return []
        kept: list[SequenceStep] = []
        end = 0
        for sequence, batch_slice, ns in zip(batch.sequences, batch.slices, times, strict=True):
            sequence.add_evaluated(role, batch_slice, ns, busy_ms * len(batch_slice.ids))
            start, end = end, end + batch_slice.outputs
            if logits is not None and start < end:
                outputs = (
                    (logits[row], None if hidden is None else hidden[row], measured[row]) for row in range(start, end)
                )
                kept += self._advance(sequence, role, outputs, now)
        if any(sequence.error is not None for sequence in batch.sequences):
            # The cells of a failed trajectory may hold NaNs, which would reach the others in the same KV cache.
            self._clear()
        return kept

    def _advance(
        self, sequence: ActiveSequence, role: Role, outputs: Iterable[_Output], now_ns: int
    ) -> list[SequenceStep]:
        """Pass outputs to one trajectory until it drops the rest, swaps or ends; return the tokens kept."""
        trajectory = sequence.trajectory
        kept: list[SequenceStep] = []
        step: Step | None = None
        for logits, hidden, measured in outputs:
            try:
                step = trajectory.advance(logits, hidden, measured=measured)
            except EngineError as error:
                step = None
                sequence.fail(error)
            sequence.record(step, now_ns)
            if step is not None:
                kept.append((sequence, step))
            dropped = self._truncate_dropped(sequence, role)
            if dropped or trajectory.active is not role or trajectory.stop_reason is not None:
                break
        if trajectory.stop_reason is not None and step is None:
            kept.append((sequence, None))
        return kept

    def _truncate_dropped(self, sequence: ActiveSequence, role: Role) -> bool:
        """Remove dropped tokens (drafts, or tokens replaced by a longer one) from the KV caches.

        Returns:
            Whether the model just evaluated held some of them, so that its remaining logits are invalid.
        """
        trajectory = sequence.trajectory
        if trajectory.outputs(role) == 1:
            return False
        dropped = trajectory.cached(role) < self.contexts[role].length(sequence.sequence)
        for each in sequence.cached_roles:
            context, cached = self.contexts[each], trajectory.cached(each)
            if cached < context.length(sequence.sequence):
                trajectory.note_cached(each, context.truncate(sequence.sequence, cached))
        return dropped

    def _isolate_broken(self, batch: _Batch, measured: Sequence[Uncertainty]) -> None:
        """Restart all trajectories from empty caches, those with NaN logits one by one."""
        owners = (
            sequence
            for sequence, batch_slice in zip(batch.sequences, batch.slices, strict=True)
            for _ in range(batch_slice.outputs)
        )
        broken = [owner for owner, each in zip(owners, measured, strict=True) if math.isnan(each.entropy)]
        self._clear()
        self._slots.isolate(broken)

    def _clear(self) -> None:
        """Overwrite the KV caches; live trajectories are evaluated again from their beginning."""
        for role, context in self.contexts.items():
            context.clear()
            for sequence in self._slots.active:
                sequence.drop_cache(role)


def _busy() -> EngineError:
    return EngineError(
        "Pair is busy",
        "Another answer is being generated.",
        "Finish it, or end it with `Run.close`. To generate several answers concurrently, use `Pair.generate_many` or "
        "`Pair.run_all`.",
    )

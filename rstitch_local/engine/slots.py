"""Slots for live trajectories: admission, preemption, and their share of the KV caches.

Evaluates nothing and chooses no tokens.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.trajectory import Trajectory
from rstitch_local.errors import CacheFullError, EngineError
from rstitch_local.llama.batch import BatchSlice
from rstitch_local.llama.context import Context
from rstitch_local.trace.record import Trace


@dataclass(slots=True, eq=False)
class ActiveSequence:
    """A trajectory in the engine: its trace, its llama.cpp sequence, and its scheduling state.

    trajectory, trace: the state machine, and the record it fills.
    reuse: start from what the KV caches already hold of this conversation instead of from nothing.
    sequence: llama.cpp sequence id, the same in both contexts; valid while the trajectory has a slot.
    error: the error that ended the trajectory, if one did.
    waited: turns since it last had tokens in a batch.
    started_ns: time of its first admission to a slot; 0 before.
    cached_roles: the models whose KV cache has been set up for it.
    partial: whether its last batch slice left some of the requested tokens out.
    isolated: whether it runs alone, to find out which trajectory the broken logits belong to.
    """

    trajectory: Trajectory
    trace: Trace
    reuse: bool = False
    sequence: int = 0
    error: EngineError | None = None
    waited: int = 0
    started_ns: int = 0
    cached_roles: set[Role] = field(default_factory=set)
    partial: bool = False
    isolated: bool = False

    def __post_init__(self) -> None:
        self._copy_counts(Role)

    def add_evaluated(self, role: Role, batch_slice: BatchSlice, ns: int, busy_ms: float) -> None:
        """Account for tokens that one model has evaluated.

        Args:
            role: the model.
            batch_slice: the tokens.
            ns: time spent in llama.cpp on them.
            busy_ms: their share of the time since the previous evaluation.
        """
        trajectory, count = self.trajectory, len(batch_slice.ids)
        self.trace.usage[role].add(batch_slice, ns)
        self.trace.busy_ms += busy_ms
        self.waited = 0
        trajectory.note_evaluated(count, ns / 1e6)
        self.partial = trajectory.cached(role) < len(trajectory.ids(role))

    def record(self, step: Step | None, now_ns: int) -> None:
        """Update the trace, and append a kept token to it if there is one."""
        trace = self.trace
        trace.wall_ms = (now_ns - self.started_ns) / 1e6 if self.started_ns else 0.0
        if step is not None:
            if trace.ttft_ms is None:
                trace.ttft_ms = trace.wall_ms
            trace.steps.append(step)
        # Only one model's count can have changed, and this runs for every token.
        self._copy_counts(() if step is None else (step.role,))

    def _copy_counts(self, roles: Iterable[Role]) -> None:
        """Copy the trajectory's counts of swaps, and of the tokens of some models, to the trace."""
        trace, trajectory = self.trace, self.trajectory
        trace.swaps_up, trace.swaps_down = trajectory.swaps_up, trajectory.swaps_down
        for role in roles:
            trace.tokens[role] = trajectory.tokens(role)

    def fail(self, error: EngineError) -> None:
        """End this trajectory with an error; the others continue."""
        self.error = error
        self.trace.error = f"{error.title}: {error.message}"
        self.trajectory.stop("error")

    def drop_cache(self, role: Role) -> None:
        """Note that a model's KV cache no longer holds anything of this trajectory."""
        self.trajectory.note_cached(role, 0)
        self.cached_roles.discard(role)

    def close(self, reason: str) -> None:
        """Set the trace's stop reason; `reason` ends a trajectory that has not ended yet."""
        if self.trajectory.stop_reason is None:
            self.trajectory.stop(reason)
            self.record(None, time.perf_counter_ns())
        self.trace.stop = self.trajectory.stop_reason


class Slots:
    """The live trajectories, the preempted ones, and their KV cells.

    Args:
        contexts: the contexts of both models.

    Attributes:
        count: how many trajectories can be live at the same time.
        active: the live trajectories, in order of admission.
        preempted: trajectories without a slot, for lack of KV cells or because another one runs alone; they are
            admitted before new ones.
    """

    def __init__(self, contexts: Mapping[Role, Context]) -> None:
        self.count = min(context.n_seq_max for context in contexts.values())
        self.active: list[ActiveSequence] = []
        self.preempted: deque[ActiveSequence] = deque()
        self._contexts = contexts
        self._longest_answer = 0

    def fill(self, source: Iterator[ActiveSequence]) -> list[ActiveSequence]:
        """Admit trajectories while there are free slots and KV cells.

        Returns:
            Trajectories that had already ended, as one that resumes from a whole answer has; they get no slot.
        """
        ended: list[ActiveSequence] = []
        while len(self.active) < self.count:
            sequence = self.preempted.popleft() if self.preempted else next(source, None)
            if sequence is None:
                break
            if self.active and (sequence.isolated or self.active[0].isolated):
                self.preempted.appendleft(sequence)
                break
            self._allow_outputs(sequence)
            if sequence.trajectory.stop_reason is not None:
                if sequence.trace.stop is None:
                    sequence.record(None, time.perf_counter_ns())
                    sequence.trace.stop = sequence.trajectory.stop_reason
                ended.append(sequence)
            elif self.active and not self._has_capacity_for(sequence):
                self.preempted.appendleft(sequence)
                break
            else:
                self._admit(sequence)
        return ended

    def _admit(self, sequence: ActiveSequence) -> None:
        taken = {other.sequence for other in self.active}
        sequence.sequence = next(free for free in range(self.count) if free not in taken)
        sequence.started_ns = sequence.started_ns or time.perf_counter_ns()
        self.active.append(sequence)
        if not sequence.reuse:
            for context in self._contexts.values():
                context.truncate(sequence.sequence, 0)

    def _allow_outputs(self, sequence: ActiveSequence) -> None:
        """Raise the number of logits per batch to what a trajectory may request, for all slots."""
        for role, context in self._contexts.items():
            outputs = sequence.trajectory.outputs(role)
            requested = min(self.count * outputs, context.n_batch)
            if outputs == 1 or requested <= context.outputs:
                continue
            # llama.cpp makes a new context for it, so the cache is lost.
            for other in self.active:
                other.drop_cache(role)
            try:
                context.allow_outputs(requested)
            except EngineError as error:
                sequence.fail(error)

    def _has_capacity_for(self, sequence: ActiveSequence) -> bool:
        """Whether the KV cells suffice if every trajectory gets as long as the longest one so far."""
        for role, context in self._contexts.items():
            if context.kv_cells < self.count * context.n_ctx:
                needed = sum(self._expected_length(other, role, context) for other in (*self.active, sequence))
                if needed > context.kv_cells:
                    return False
        return True

    def _expected_length(self, sequence: ActiveSequence, role: Role, context: Context) -> int:
        trajectory = sequence.trajectory
        answer = min(trajectory.max_tokens, self._longest_answer or trajectory.max_tokens)
        length = len(trajectory.ids(role))
        return min(max(length - trajectory.position + answer, length + 1), context.n_ctx)

    def release(self, sequence: ActiveSequence) -> None:
        """Free the slot of a trajectory that has ended, and set its trace's stop reason."""
        sequence.trace.stop = sequence.trajectory.stop_reason
        self.active.remove(sequence)
        self._longest_answer = max(self._longest_answer, sequence.trajectory.position)

    def reserve(self, role: Role, tokens: int) -> None:
        """Free cells for the tokens of a batch by evicting what ended trajectories left in the cache.

        Raises:
            CacheFullError: the live trajectories leave too few cells.
        """
        context = self._contexts[role]
        if context.used_cells + tokens <= context.kv_cells:
            return
        in_use = {sequence.sequence for sequence in self.active if role in sequence.cached_roles}
        for sequence in range(context.n_seq_max):
            if sequence not in in_use:
                context.truncate(sequence, 0)
        if context.used_cells + tokens > context.kv_cells:
            raise CacheFullError("KV cache full", f"{context.used_cells} of {context.kv_cells} cells are in use.")

    def preempt_youngest(self) -> None:
        """Free the cells of the trajectory admitted last; it resumes at its position when cells are free again."""
        sequence = self.active.pop()
        for context in self._contexts.values():
            context.truncate(sequence.sequence, 0)
        self._preempt(sequence)

    def _preempt(self, sequence: ActiveSequence) -> None:
        for role in self._contexts:
            sequence.drop_cache(role)
        sequence.partial = False
        self.preempted.appendleft(sequence)

    def isolate(self, suspects: Iterable[ActiveSequence]) -> None:
        """Preempt all live trajectories, and run those with broken logits one by one from now on.

        A NaN in the cells of one trajectory reaches the others, because they share the KV cache. Run alone, the
        trajectory that causes it is identified.
        """
        for sequence in suspects:
            sequence.isolated = True
        # Each is added to the front of the queue, so the order is reversed; isolated ones come after the others.
        for sequence in sorted(self.active, key=lambda sequence: sequence.isolated)[::-1]:
            self._preempt(sequence)
        self.active.clear()

    def close(self, reason: str) -> None:
        """End everything that is live or preempted, and free all slots."""
        for sequence in (*self.active, *self.preempted):
            sequence.close(reason)
        self.active.clear()
        self.preempted.clear()
        self._longest_answer = 0

    def ready(self) -> dict[Role, list[ActiveSequence]]:
        """Return the live trajectories by the model that has to be evaluated next for them."""
        ready: dict[Role, list[ActiveSequence]] = {role: [] for role in Role}
        for sequence in self.active:
            ready[sequence.trajectory.active].append(sequence)
        return ready

    def still_active(self, sequences: Sequence[ActiveSequence]) -> list[ActiveSequence]:
        """Return those of `sequences` that have a slot."""
        return [sequence for sequence in sequences if sequence in self.active]

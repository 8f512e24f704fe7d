"""The one loop of the project: asks trajectories what they need, evaluates it, hands the logits back.

Knows trajectories and caches; nothing of files, screens or what an answer is for. One trajectory is simply
the case N = 1 of many.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rstitch_local.decoding.entropy import EntropyMeter
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.trajectory import Trajectory
from rstitch_local.engine import scheduling
from rstitch_local.errors import CacheFullError, EngineError
from rstitch_local.llama.batch import BatchSlice
from rstitch_local.llama.context import Context, Decoded
from rstitch_local.llama.sequence_cache import common_length
from rstitch_local.trace.record import Trace

_WORTH_WAITING = 16
"""Tokens of a common beginning for which a prompt waits until another one's are in the cache."""


@dataclass(slots=True, eq=False)
class ActiveSequence:
    """A trajectory at work: its record, its sequence in both caches, and the error that ended it, if one did.

    reuse: go on from whatever the caches hold already of this conversation, instead of from nothing.
    waited: turns since it has been ready for the model it waits for.
    """

    trajectory: Trajectory
    trace: Trace
    reuse: bool = False
    sequence: int = 0
    error: EngineError | None = None
    waited: int = 0
    _started_ns: int = 0
    _begun: set[Role] = field(default_factory=set)
    _partly: bool = False
    _alone: bool = False

    def note(self, step: Step | None, now_ns: int) -> None:
        """Bring the record up to date, with a kept token if there is one."""
        trace, trajectory = self.trace, self.trajectory
        trace.wall_ms = (now_ns - self._started_ns) / 1e6 if self._started_ns else 0.0
        trace.swaps_up, trace.swaps_down = trajectory.swaps_up, trajectory.swaps_down
        if step is not None:
            if trace.ttft_ms is None:
                trace.ttft_ms = trace.wall_ms
            trace.steps.append(step)
            trace.tokens[step.role] += 1


@dataclass(frozen=True, slots=True)
class Status:
    """How busy a driver is: trajectories live, of how many slots; how many wait for each model or were put back."""

    live: int
    slots: int
    waiting: Mapping[Role, int]
    put_back: int


class Driver:
    """Runs trajectories over the caches of a pair. Not re-entrant: one `steps` at a time.

    Args:
        contexts: the caches of both models, with as many sequences each as trajectories shall be live.

    Attributes:
        turn: says which model runs next; `scheduling.Turns`, unless somebody compares policies.
    """

    def __init__(self, contexts: Mapping[Role, Context]) -> None:
        self.contexts = contexts
        self.turn: Callable[[Mapping[Role, Sequence[ActiveSequence]]], Role] = scheduling.Turns()
        self._slots = min(context.n_seq_max for context in contexts.values())
        self._meters = {role: EntropyMeter(context.weights.n_vocab) for role, context in contexts.items()}
        self._running = False
        self._lives: list[ActiveSequence] = []
        self._put_back: deque[ActiveSequence] = deque()
        self._longest = 0
        self._marked_ns = 0

    def require_idle(self) -> None:
        """Raise EngineError while a `steps` is not at its end."""
        if self._running:
            raise EngineError("The pair is busy", "Another answer is being written; finish or close it first.")

    def status(self) -> Status:
        """How busy it is at the moment; may be asked from another thread."""
        lives = list(self._lives)
        waiting = {role: sum(live.trajectory.active is role for live in lives) for role in Role}
        return Status(len(lives), self._slots, waiting, len(self._put_back))

    def steps(
        self, source: Iterable[ActiveSequence], *, should_stop: Callable[[], bool] | None = None
    ) -> Iterator[tuple[ActiveSequence, Step | None]]:
        """Run all to their ends, as many at once as there are sequences; the next one is taken when one has ended.

        Yields every kept token, and None for a trajectory that ended without one; a trajectory has ended when its
        trace says why. One with broken logits ends alone, with its `error` set. When `stop` returns True, or
        the caller stops iterating, all that are still open end as `interrupted`.

        Raises:
            EngineError: llama.cpp failed, and all open trajectories end as `error`; or another `steps` of this
                driver is not at its end.
        """
        self.require_idle()
        self._running = True
        self._longest = 0
        self._marked_ns = time.perf_counter_ns()
        ending = "interrupted"
        try:
            coming = iter(source)
            while not (should_stop is not None and should_stop()):
                # A trajectory may be at its end before it begins, when it goes on from a whole answer.
                yield from ((live, None) for live in self._fill(coming))
                if not self._lives:
                    break
                # All at the end, so that a caller who uses the caches between two steps cannot overwrite logits in use.
                kept = self._run_a_model()
                for place, (live, step) in enumerate(kept):
                    # Of several tokens kept at once only the last one comes with the end.
                    if place + 1 == len(kept) or kept[place + 1][0] is not live:
                        self._note_end(live)
                    yield live, step
        except EngineError:
            ending = "error"
            raise
        finally:
            self._running = False
            for live in (*self._lives, *self._put_back):
                if live.trajectory.stop_reason is None:
                    live.trajectory.stop(ending)
                    live.note(None, time.perf_counter_ns())
                live.trace.stop = live.trajectory.stop_reason
            self._lives.clear()
            self._put_back.clear()

    def _fill(self, coming: Iterator[ActiveSequence]) -> list[ActiveSequence]:
        """Give free sequences to trajectories that wait for one; returns those that had ended already."""
        ended: list[ActiveSequence] = []
        while len(self._lives) < self._slots:
            live = self._put_back.popleft() if self._put_back else next(coming, None)
            if live is None:
                break
            if self._lives and (live._alone or self._lives[0]._alone):
                self._put_back.appendleft(live)
                break
            self._allow_outputs(live)
            if live.trajectory.stop_reason is not None:
                if live.trace.stop is None:
                    live.note(None, time.perf_counter_ns())
                    live.trace.stop = live.trajectory.stop_reason
                ended.append(live)
            elif self._lives and not self._has_room_for(live):
                self._put_back.appendleft(live)
                break
            else:
                taken = {other.sequence for other in self._lives}
                live.sequence = next(sequence for sequence in range(self._slots) if sequence not in taken)
                live._started_ns = live._started_ns or time.perf_counter_ns()
                self._lives.append(live)
                if not live.reuse:
                    for context in self.contexts.values():
                        context.truncate(live.sequence, 0)
        return ended

    def _allow_outputs(self, live: ActiveSequence) -> None:
        """Let the contexts give as many logits at once as a trajectory may ask for, in every sequence."""
        for role, context in self.contexts.items():
            outputs = live.trajectory.outputs(role)
            wanted = min(self._slots * outputs, context.n_batch)
            if outputs == 1 or wanted <= context.outputs:
                continue
            # The caches are lost by it.
            for other in self._lives:
                other.trajectory.note_cached(role, 0)
                other._begun.discard(role)
            try:
                context.allow_outputs(wanted)
            except EngineError as error:
                live.error = error
                live.trajectory.stop("error")

    def _note_end(self, live: ActiveSequence) -> None:
        """Make the end of a trajectory known, if it is there."""
        if live.trajectory.stop_reason is not None:
            live.trace.stop = live.trajectory.stop_reason
            self._lives.remove(live)
            self._longest = max(self._longest, live.trajectory.position)

    def _has_room_for(self, live: ActiveSequence) -> bool:
        """Whether the cells suffice for all that are live and this one, if each gets as long as the longest so far."""
        for role, context in self.contexts.items():
            if context.cells < self._slots * context.n_ctx:
                wanted = sum(self._expected(other, role, context) for other in (*self._lives, live))
                if wanted > context.cells:
                    return False
        return True

    def _expected(self, live: ActiveSequence, role: Role, context: Context) -> int:
        trajectory = live.trajectory
        answer = min(trajectory.max_tokens, self._longest or trajectory.max_tokens)
        length = len(trajectory.ids(role))
        return min(max(length - trajectory.position + answer, length + 1), context.n_ctx)

    def _run_a_model(self) -> list[tuple[ActiveSequence, Step | None]]:
        """One `llama_decode` on the model whose turn it is; the tokens kept by it, and who ended without one."""
        ready: dict[Role, list[ActiveSequence]] = {role: [] for role in Role}
        for live in self._lives:
            ready[live.trajectory.active].append(live)
            live.waited += 1
        role = self.turn(ready)
        while True:
            chosen, parts, hidden = self._compose(role, ready[role])
            try:
                self._require_cells(role, parts)
                decoded = self.contexts[role].decode(parts, hidden=hidden)
                break
            except CacheFullError:
                if len(self._lives) == 1:
                    raise
                self._put_youngest_back()
                ready[role] = [live for live in ready[role] if live in self._lives]
                if not ready[role]:
                    return []
        return self._hand_out(role, chosen, parts, decoded)

    def _compose(
        self, role: Role, ready: Sequence[ActiveSequence]
    ) -> tuple[list[ActiveSequence], list[BatchSlice], bool]:
        """The trajectories that get a part of the next batch, their parts, and whether hidden states are wanted."""
        context = self.contexts[role]
        self._begin(role, ready)
        ready = [live for live in ready if role in live._begun]
        needs = [live.trajectory.request() for live in ready]
        lengths = [len(need.ids) for need in needs]
        # With hidden states on every token of a batch is an output, so these have batches of their own, in turns with
        # the others. A short catch-up is cheapest in one piece even so; a longer one comes in up to its last token.
        asking, spare = [], context.outputs - len(needs)
        for i, need in enumerate(needs):
            if need.hidden and lengths[i] - 1 <= spare:
                asking.append(i)
                spare -= lengths[i] - 1
        others = [i for i in range(len(needs)) if i not in asking] if asking else range(len(needs))
        waited = [max((ready[i].waited for i in indices), default=0) for indices in (asking, others)]
        hidden = waited[0] > waited[1]
        usable = asking if hidden else others
        ready = [ready[i] for i in usable]
        lengths = [lengths[i] - (needs[i].hidden and not hidden) for i in usable]
        needs = [needs[i] for i in usable]
        shares = scheduling.compose(lengths, [live.waited for live in ready], context.n_batch)
        # From stores of their own llama.cpp computes only neighbours together.
        shares.sort(key=lambda share: ready[share.index].sequence)
        chosen, parts = [], []
        for share in shares:
            live, need = ready[share.index], needs[share.index]
            count = share.count
            whole = count == len(need.ids)
            chosen.append(live)
            parts.append(
                BatchSlice(
                    live.sequence,
                    need.ids if whole else need.ids[:count],
                    min(need.prompt, count),
                    whole and count == 1 and not need.prompt and not live._partly,
                    max(0, count - len(need.ids) + need.outputs),
                )
            )
        return chosen, parts, hidden

    def _begin(self, role: Role, ready: Sequence[ActiveSequence]) -> None:
        """Start the caches of those that are new to a model from what it holds already of their conversations."""
        context = self.contexts[role]
        on_the_way: list[Sequence[int]] = []
        for live in ready:
            ids = live.trajectory.ids(role)
            if role not in live._begun:
                if live.reuse and on_the_way:
                    # A beginning that another prompt has in common, and is about to evaluate, is worth a turn.
                    most = max(common_length(ids, other) for other in on_the_way)
                    if most >= _WORTH_WAITING and most > context.common(ids)[1]:
                        continue
                # All tokens whose logits are wanted have to be evaluated, even if another sequence holds some already.
                known = ids[: len(ids) + 1 - live.trajectory.request().outputs]
                live.trajectory.note_cached(role, context.begin(live.sequence, known) if live.reuse else 0)
                live._begun.add(role)
            if live.trajectory.request().prompt:
                on_the_way.append(ids)

    def _require_cells(self, role: Role, parts: Sequence[BatchSlice]) -> None:
        """Raise CacheFullError where a batch does not fit beside what the live trajectories hold."""
        context = self.contexts[role]
        wanted = sum(len(part.ids) for part in parts)
        if context.used + wanted > context.cells:
            # What was left for others to go on from goes first.
            begun = {live.sequence for live in self._lives if role in live._begun}
            for sequence in range(context.n_seq_max):
                if sequence not in begun:
                    context.truncate(sequence, 0)
            if context.used + wanted > context.cells:
                raise CacheFullError("The cache is full", f"{context.used} of {context.cells} tokens are in use.")

    def _put_youngest_back(self) -> None:
        """Free the cells of the trajectory that came last; it goes on, from where it is, when there is room again."""
        live = self._lives.pop()
        for context in self.contexts.values():
            context.truncate(live.sequence, 0)
        self._put_one_back(live)

    def _put_one_back(self, live: ActiveSequence) -> None:
        for role in self.contexts:
            live.trajectory.note_cached(role, 0)
        live._begun.clear()
        live._partly = False
        self._put_back.appendleft(live)

    def _part(self, broken: Sequence[ActiveSequence]) -> None:
        """Begin all again from clean caches, those with broken logits one by one.

        What is not a number in the cells of one trajectory reaches the others, for they share a store. Alone it
        shows whose it was.
        """
        for live in broken:
            live._alone = True
        # Each is put back to the front, so the first comes last; those that are to run alone follow the others.
        for live in sorted(self._lives, key=lambda live: live._alone)[::-1]:
            self._put_one_back(live)
        self._lives.clear()
        self._clear()

    def _clear(self) -> None:
        for context in self.contexts.values():
            context.clear()

    def _hand_out(
        self, role: Role, chosen: Sequence[ActiveSequence], parts: Sequence[BatchSlice], decoded: Decoded
    ) -> list[tuple[ActiveSequence, Step | None]]:
        """Give each trajectory its logits; the tokens kept of them, those of one trajectory in a row."""
        logits, hidden, times = decoded
        measured = self._meters[role].measure_rows(logits) if logits is not None else []
        kept: list[tuple[ActiveSequence, Step | None]] = []
        now = time.perf_counter_ns()
        busy_ms = (now - self._marked_ns) / 1e6 / sum(len(part.ids) for part in parts)
        self._marked_ns = now
        end = 0
        owners = [live for live, part in zip(chosen, parts, strict=True) for _ in range(part.output)]
        broken = [live for live, found in zip(owners, measured, strict=True) if math.isnan(found.entropy)]
        if broken and len(self._lives) > 1:
            self._part(broken)
            return []
        for live, part, ns in zip(chosen, parts, times, strict=True):
            trace, trajectory = live.trace, live.trajectory
            trace.usage[role].add(part, ns)
            trace.busy_ms += busy_ms * len(part.ids)
            live.waited = 0
            trajectory.note_evaluated(len(part.ids), ns / 1e6)
            live._partly = trajectory.cached(role) < len(trajectory.ids(role))
            start, end = end, end + part.output
            if logits is None or not part.output:
                continue
            step = None
            for row in range(start, end):
                try:
                    step = trajectory.advance(
                        logits[row], None if hidden is None else hidden[row], measured=measured[row]
                    )
                except EngineError as error:
                    live.error, step = error, None
                    trajectory.stop("error")
                    self._clear()
                live.note(step, now)
                if step is not None:
                    kept.append((live, step))
                dropped = self._cut_back(live, role) or trajectory.active is not role
                if dropped or trajectory.stop_reason is not None:
                    break
            if trajectory.stop_reason is not None and step is None:
                kept.append((live, None))
        return kept

    def _cut_back(self, live: ActiveSequence, role: Role) -> bool:
        """Take tokens that were dropped (drafts, or those a longer one has replaced) out of the caches.

        Returns:
            Whether the model just evaluated had some of them, so that their logits are of no more use.
        """
        trajectory = live.trajectory
        if trajectory.outputs(role) == 1:
            return False
        dropped = trajectory.cached(role) < self.contexts[role].length(live.sequence)
        for each in live._begun:
            context, cached = self.contexts[each], trajectory.cached(each)
            if cached < context.length(live.sequence):
                trajectory.note_cached(each, context.truncate(live.sequence, cached))
        return dropped

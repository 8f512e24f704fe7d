"""The one loop of the project: asks trajectories what they need, evaluates it, hands the logits back.

Knows trajectories and caches; nothing of files, screens or what an answer is for. One trajectory is simply
the case N = 1 of many.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rstitch_local.decoding.routers import Role
from rstitch_local.decoding.trajectory import Step, Trajectory
from rstitch_local.engine.trace import Trace
from rstitch_local.errors import CancelledError, EngineError
from rstitch_local.llama.context import Context, Piece, Usage


@dataclass(slots=True)
class Live:
    """A trajectory at work: its record, its sequence in both caches, and the error that ended it, if one did.

    reuse: go on from what the sequence holds already of this conversation, instead of from nothing.
    """

    trajectory: Trajectory
    trace: Trace
    sequence: int = 0
    reuse: bool = False
    error: EngineError | None = None
    started_ns: int = 0

    def note(self, step: Step | None) -> None:
        """Bring the record up to date, with a kept token if there is one."""
        trace, trajectory = self.trace, self.trajectory
        trace.wall_ms = (time.perf_counter_ns() - self.started_ns) / 1e6
        trace.swaps_up, trace.swaps_down = trajectory.swaps_up, trajectory.swaps_down
        trace.stop = trajectory.stop_reason
        if step is not None:
            if trace.ttft_ms is None:
                trace.ttft_ms = trace.wall_ms
            trace.steps.append(step)
            trace.tokens[step.role] += 1


class Driver:
    """Runs trajectories over the caches of a pair. Not re-entrant: one `steps` at a time.

    Args:
        contexts: the caches of both models, with as many sequences each as trajectories shall be live.
    """

    def __init__(self, contexts: Mapping[Role, Context]) -> None:
        self.contexts = contexts
        self._running = False

    def require_idle(self) -> None:
        """Raise EngineError while a `steps` is not at its end."""
        if self._running:
            raise EngineError("The pair is busy", "Another answer is being written; finish or close it first.")

    def steps(self, lives: Sequence[Live], *, stop: Callable[[], bool] | None = None) -> Iterator[tuple[Live, Step]]:
        """Run all to their ends, in rounds: what the SLM has to evaluate, then what the LLM has.

        Each begins with empty caches, or with what they hold of its own beginning where `reuse` is set.
        A trajectory with broken logits ends alone, with its `error` set. When `stop` returns True, or the
        caller stops iterating, all that are still open end as `interrupted`.

        Raises:
            EngineError: llama.cpp failed, and all open trajectories end as `error`; or another `steps` of this
                driver is not at its end.
        """
        self.require_idle()
        lives = [live for live in lives if live.trajectory.stop_reason is None]
        for live in lives:
            live.started_ns = time.perf_counter_ns()
        ending = "interrupted"
        self._running = True
        try:
            for live in lives:
                for role, context in self.contexts.items():
                    own = live.trajectory.ids(role)
                    left = context.keep_common(live.sequence, own) if live.reuse else context.truncate(live.sequence, 0)
                    live.trajectory.note_cached(role, left)
                    context.usage[live.sequence] = live.trace.usage[role] = Usage()
            while not (stop is not None and stop()):
                busy = False
                for role in Role:
                    ready = [
                        live for live in lives if live.trajectory.stop_reason is None and live.trajectory.active is role
                    ]
                    if ready:
                        busy = True
                        yield from self._round(role, ready, stop)
                if not busy:
                    break
        except EngineError:
            ending = "error"
            raise
        finally:
            self._running = False
            for live in lives:
                if live.trajectory.stop_reason is None:
                    live.trajectory.stop(ending)
                    live.note(None)

    def _round(self, role: Role, ready: Sequence[Live], stop: Callable[[], bool] | None) -> Iterator[tuple[Live, Step]]:
        """Evaluate what these trajectories need on one model."""
        context = self.contexts[role]
        pieces = []
        for live in ready:
            need = live.trajectory.need()
            pieces.append(Piece(live.sequence, need.ids, need.prompt, need.hidden))
        kept = []
        try:
            for output in context.evaluate(pieces, stop=stop):
                live = ready[output.piece]
                try:
                    step = live.trajectory.advance(output.logits, output.hidden, ms=output.elapsed_ns / 1e6)
                except EngineError as error:
                    live.error = error
                    live.trajectory.stop("error")
                    step = None
                live.note(step)
                if step is not None:
                    kept.append((live, step))
        except CancelledError:
            # The caches keep what was evaluated before the stop: the trajectories must know.
            for live in ready:
                live.trajectory.note_cached(role, context.length(live.sequence))
        # Only now, so that a caller who uses the caches between two steps cannot overwrite logits in use.
        yield from kept

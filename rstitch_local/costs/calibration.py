"""Measures what the evaluations of a loaded pair cost on this machine, and fits the cost model to it.

Knows how to time a pair within a given time. Where a result is kept is calibration_store.py's to know.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from rstitch_local.costs.latency import ModelLatency, PairLatency, Sample
from rstitch_local.decoding.roles import Role
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import CancelledError
from rstitch_local.llama.batch import BatchSlice

Progress = Callable[[float], object]
"""Told the share of the time that has gone, 0 to 1."""

SECONDS = 50.0
"""How long measuring may take; where everything is measured earlier, it ends earlier."""

_FILLER = (
    "On Monday the baker sells 24 loaves of bread, on Tuesday half as many and on Wednesday three times as many as on "
    "Tuesday. How many loaves are that in three days, and what do they cost if one costs 3 coins, every tenth none?\n"
)
_QUESTION = "How many legs do three cats and two birds have together? Explain it in a few short sentences."

_DEEP_BATCHES = (1, 8)
_HELD_OUT_BATCHES = (1, 5, 10, 20, 40)
_HELD_OUT_DEPTH = 37
_FIRST_DEPTH = 512
# llama.cpp attends to cells in blocks of this many: going less deep shows nothing.
_LEAST_DEPTH = 256
# Single tokens come in runs, as in an answer.
_DECODES = 4
_OUTSIDE_TOKENS = 24
# How often everything is timed: at least, and at most; and shares of the time after which nothing more is begun.
_LEAST, _MOST = 2, 15
_BASE_SHARE, _DEEP_SHARE, _HELD_OUT_SHARE = 0.35, 0.7, 0.8


class _Clock:
    """How much of the time has gone, and whether somebody wants to stop."""

    def __init__(self, seconds: float, progress: Progress | None, should_stop: Callable[[], bool] | None) -> None:
        self._seconds = seconds
        self._progress = progress
        self.stop = should_stop
        self._begun = time.monotonic()

    def left_ms(self, share: float) -> float:
        """Milliseconds until that share of the time has gone."""
        return (share * self._seconds - (time.monotonic() - self._begun)) * 1e3

    def tick(self) -> None:
        """Look at the stop flag, and tell how far it is."""
        if self.stop is not None and self.stop():
            raise CancelledError("Stopped", "Measuring was stopped before its end.")
        if self._progress is not None:
            self._progress(min(1.0, 1.0 - self.left_ms(1.0) / (self._seconds * 1e3)))


class _Bench:
    """Times the evaluations of one model.

    largest: tokens of the largest batch; room: how many can be cached before it.
    samples: what the model is fitted to; held_out: what it is judged by.
    """

    def __init__(self, pair: Pair, role: Role, clock: _Clock) -> None:
        self.context = pair.contexts[role]
        self.largest = min(self.context.n_batch, self.context.n_ctx)
        self.room = self.context.n_ctx - self.largest
        self.batches = _batches(self.largest)
        self.samples: list[Sample] = []
        self.held_out: list[Sample] = []
        ids = pair.weights[role].tokenize(_FILLER, parse_special=False)
        self._ids = ids * (self.largest // len(ids) + 1)
        self._clock = clock

    def time(self, count: int, depth: int, into: list[Sample]) -> None:
        """Time a batch of that many tokens after `depth` cached ones; of single tokens, several in a row."""
        self._fill(depth)
        times = _DECODES if count == 1 and depth + _DECODES <= self.context.n_ctx else 1
        into += [Sample(count, depth, self._evaluate(count)) for _ in range(times)]

    def token_ms(self) -> float:
        """Milliseconds of a token in the largest batch."""
        return statistics.median(s.ms for s in self.samples if s.n_inf == self.largest) / self.largest

    def _fill(self, depth: int) -> None:
        held = self.context.truncate(0, depth)
        while held < depth:
            count = min(self.largest, depth - held)
            self._evaluate(count)
            held += count

    def _evaluate(self, count: int) -> float:
        self._clock.tick()
        return self.context.decode([BatchSlice(0, self._ids[:count])]).ns[0] / 1e6


def _batches(largest: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, 16, 24, ... and the largest: small ones closely, for they follow no formula on a CPU.

    One less than the largest as well: llama.cpp has faster ways for full blocks, and what is left of a prompt may be
    dearer than a whole batch.
    """
    sizes = {1, max(1, largest - 1), largest}
    step = 2
    while step < largest:
        sizes |= {n for n in (step, step * 3 // 2) if n < largest}
        step *= 2
    return sorted(sizes)


def measure(
    pair: Pair,
    *,
    seconds: float = SECONDS,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> PairLatency:
    """Measure both models of a pair and fit its cost model.

    Every size of batch is timed on an empty cache several times, in random order, the two models in turns. Then
    the caches are filled step by step as far as the time allows, and some sizes timed there; then sizes and depths
    in between, which nothing is fitted to; at last short answers, for what is spent outside llama.cpp.

    Args:
        pair: loaded, and idle. Its caches are empty afterwards.
        seconds: when to stop repeating and going deeper; the least there is to measure is measured in any case.
        progress: told how far it is.
        should_stop: looked at before each evaluation; True ends it.

    Raises:
        CancelledError: `stop` returned True.
        EngineError: the pair is busy or closed, or llama.cpp failed.
        InputError: the context is too small for a short question.
    """
    pair.require_open()
    pair.driver.require_idle()
    clock = _Clock(seconds, progress, should_stop)
    benches = {role: _Bench(pair, role, clock) for role in Role}
    rounds = _Rounds(benches, clock)
    try:
        for bench in benches.values():
            # The first evaluations of a process are slower than all that follow.
            bench.time(bench.largest, 0, [])
            bench.time(1, 0, [])
        rounds.run(0, {role: bench.batches for role, bench in benches.items()}, until=_BASE_SHARE)
        deepest = _go_deeper(benches, rounds, clock)
        sizes = {role: [n for n in _HELD_OUT_BATCHES if n <= bench.largest] for role, bench in benches.items()}
        room = min(bench.room for bench in benches.values())
        for depth in sorted({min(room, deepest // 2 + _HELD_OUT_DEPTH), min(room, _HELD_OUT_DEPTH)}, reverse=True):
            rounds.run(depth, sizes, until=_HELD_OUT_SHARE, held_out=True)
        outside = {role: _outside_ms(pair, role, clock) for role in Role}
    finally:
        for bench in benches.values():
            bench.context.truncate(0, 0)
    slm, llm = (
        ModelLatency.fit(bench.samples, bench.held_out, n_batch=bench.context.n_batch, outside_ms=outside[role])
        for role, bench in benches.items()
    )
    return PairLatency(slm=slm, llm=llm)


class _Rounds:
    """Times sizes again and again, both models in turns and each round in another order, so that a drift hits all."""

    def __init__(self, benches: Mapping[Role, _Bench], clock: _Clock) -> None:
        self._benches = benches
        self._clock = clock
        self._random = random.Random(0)

    def run(self, depth: int, sizes: Mapping[Role, Sequence[int]], *, until: float, held_out: bool = False) -> None:
        """Time these sizes at one depth, until that share of the time has gone; twice in any case."""
        for done in range(_MOST):
            if done >= _LEAST and self._clock.left_ms(until) <= 0:
                break
            turns = [
                (place, role, size)
                for role in Role
                for place, size in enumerate(self._random.sample(sizes[role], len(sizes[role])))
            ]
            for _, role, size in sorted(turns):
                bench = self._benches[role]
                bench.time(size, depth, bench.held_out if held_out else bench.samples)


def _go_deeper(benches: Mapping[Role, _Bench], rounds: _Rounds, clock: _Clock) -> int:
    """Time some sizes at depths of 512, 1024, ... as far as the contexts and the time allow; returns the deepest."""
    room = min(bench.room for bench in benches.values())
    sizes = {
        role: sorted({n for n in (*_DEEP_BATCHES, bench.largest - 1, bench.largest) if 0 < n <= bench.largest})
        for role, bench in benches.items()
    }
    token_ms = sum(bench.token_ms() for bench in benches.values())
    # Timing is dearer a token than filling, for most batches are small.
    timing_ms = 2 * _LEAST * sum(benches[role].token_ms() * sum(counts) for role, counts in sizes.items())
    depth = 0
    while depth < room:
        affordable = depth + int((clock.left_ms(_DEEP_SHARE) - timing_ms) / token_ms)
        target = min(room, max(_FIRST_DEPTH, 2 * depth), affordable)
        if target < min(room, depth + _LEAST_DEPTH):
            if depth:
                break
            target = min(room, _LEAST_DEPTH)
        rounds.run(target, sizes, until=0.0)
        depth = target
    return depth


def _outside_ms(pair: Pair, role: Role, clock: _Clock) -> float:
    """Milliseconds an evaluation of one model costs outside llama.cpp, by short answers; the first is a rehearsal."""
    outside = 0.0
    for _ in range(2):
        clock.tick()
        run = pair.chat(
            [{"role": "user", "content": _QUESTION}],
            router=role.value,
            max_tokens=_OUTSIDE_TOKENS,
            should_stop=clock.stop,
        )
        # Nothing else in this loop: what a caller does between two tokens is part of the wall time.
        for _ in run:
            pass
        outside = (run.trace.wall_ms - run.trace.model_ms) / max(1, len(run.trace.steps))
    clock.tick()
    return max(0.0, outside)

"""Measures the cost of a loaded pair's evaluations on this machine, and fits the cost model.

Measuring takes a limited time. Where a calibration is stored is in `store.py`.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from rstitch_local.costs.fitting import Sample
from rstitch_local.costs.latency import ModelLatency, PairLatency
from rstitch_local.costs.store import Calibration, store_calibration
from rstitch_local.decoding.roles import Role
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import CancelledError
from rstitch_local.llama.batch import BatchSlice

Progress = Callable[[float], object]
"""Called with the elapsed share of the time, 0 to 1."""

SECONDS = 50.0
"""Default time limit of a measurement; it ends earlier if all repetitions are done."""

_FILLER = (
    "On Monday the baker sells 24 loaves of bread, on Tuesday half as many and on Wednesday three times as many as on "
    "Tuesday. How many loaves are that in three days, and what do they cost if one costs 3 coins, every tenth none?\n"
)
_QUESTION = "How many legs do three cats and two birds have together? Explain it in a few short sentences."

_DEEP_BATCHES = (1, 8)
_HELD_OUT_BATCHES = (1, 5, 10, 20, 40)
_HELD_OUT_DEPTH = 37
_FIRST_DEPTH = 512
# llama.cpp attends to the cache in blocks of this size, so a smaller increase of the depth has no effect.
_MIN_DEPTH = 256
# Single tokens are timed several in a row, as in an answer.
_DECODES = 4
_OUTSIDE_TOKENS = 24
# Repetitions of every measurement, and the shares of the time after which no further one is started.
_MIN_REPEATS, _MAX_REPEATS = 2, 15
_BASE_SHARE, _DEEP_SHARE, _HELD_OUT_SHARE = 0.35, 0.7, 0.8


def calibrate(
    pair: Pair,
    *,
    seconds: float = SECONDS,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Calibration:
    """Measure a loaded pair on this machine and store the result, as `rstitch calibrate` does.

    `load_calibration` reads it back, for this pair loaded in the same way on this machine. Other work on the machine
    falsifies the measurement.

        from rstitch_local import break_even_share, calibrate, load_pair

        with load_pair("demo") as pair:
            calibration = calibrate(pair)
            trace = pair.generate("Tom has 12 pens. He buys 30 more. How many pens does Tom have?")
        latency = calibration.latency
        print(trace.wall_ms, latency.predict_ms(trace), latency.llm_alone_ms(trace), break_even_share(latency))

    Args:
        pair: a pair that is not generating. Its KV caches are empty afterwards.
        seconds: time limit, 50 by default; a minimum of measurements is made in any case.
        progress: called with the elapsed share of the time, 0 to 1.
        should_stop: polled before each evaluation; True cancels the measurement, and nothing is stored.

    Raises:
        CancelledError: `should_stop` returned True.
        EngineError: the pair is busy or closed, or llama.cpp failed.
        InputError: the context is too small for a short question.
        StorageError: the calibration cannot be written.
    """
    return store_calibration(pair, measure(pair, seconds=seconds, progress=progress, should_stop=should_stop))


def measure(
    pair: Pair,
    *,
    seconds: float = SECONDS,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> PairLatency:
    """Measure both models of a pair and fit its cost model, without storing it.

    1. Every batch size is timed on an empty cache several times, in random order, alternating between the models.
    2. The caches are filled in steps as far as the time allows, and some sizes are timed at each depth.
    3. Some sizes and depths in between are timed and held out, to compute the errors of the fit.
    4. Short answers are generated, for the time spent outside llama.cpp.

    Args:
        pair: as for `calibrate`.
        seconds: as for `calibrate`.
        progress: as for `calibrate`.
        should_stop: as for `calibrate`.

    Raises:
        CancelledError: `should_stop` returned True.
        EngineError: the pair is busy or closed, or llama.cpp failed.
        InputError: the context is too small for a short question.
    """
    pair.require_open()
    pair.driver.require_idle()
    budget = _TimeBudget(seconds, progress, should_stop)
    timers = {role: _ModelTimer(pair, role, budget) for role in Role}
    rounds = _Rounds(timers, budget)
    try:
        for timer in timers.values():
            # The first evaluations of a process are slower than all later ones.
            timer.time(timer.largest, 0, [])
            timer.time(1, 0, [])
        rounds.run(0, {role: timer.batches for role, timer in timers.items()}, until=_BASE_SHARE)
        deepest = _measure_depths(timers, rounds, budget)
        _measure_held_out(timers, rounds, deepest)
        outside = {role: _outside_ms(pair, role, budget) for role in Role}
    finally:
        for timer in timers.values():
            timer.context.truncate(0, 0)
    slm, llm = (
        ModelLatency.fit(timer.samples, timer.held_out, n_batch=timer.context.n_batch, outside_ms=outside[role])
        for role, timer in timers.items()
    )
    return PairLatency(slm=slm, llm=llm)


class _TimeBudget:
    """The time limit of a measurement, with progress and cancellation."""

    def __init__(self, seconds: float, progress: Progress | None, should_stop: Callable[[], bool] | None) -> None:
        self.should_stop = should_stop
        self._seconds = seconds
        self._progress = progress
        self._started = time.monotonic()

    def left_ms(self, share: float) -> float:
        """Return the milliseconds until that share of the time has elapsed."""
        return (share * self._seconds - (time.monotonic() - self._started)) * 1e3

    def tick(self) -> None:
        """Report progress; raise CancelledError if the measurement should stop."""
        if self.should_stop is not None and self.should_stop():
            raise CancelledError("Measurement stopped", "Nothing was stored.")
        if self._progress is not None:
            self._progress(min(1.0, 1.0 - self.left_ms(1.0) / (self._seconds * 1e3)))


class _ModelTimer:
    """Times the evaluations of one model.

    largest: tokens of the largest batch; max_depth: tokens that can be cached before it.
    samples: measurements to fit; held_out: measurements to compute the errors of the fit.
    """

    def __init__(self, pair: Pair, role: Role, budget: _TimeBudget) -> None:
        self.context = pair.contexts[role]
        self.largest = min(self.context.n_batch, self.context.n_ctx)
        self.max_depth = self.context.n_ctx - self.largest
        self.batches = _batch_sizes(self.largest)
        self.samples: list[Sample] = []
        self.held_out: list[Sample] = []
        ids = pair.weights[role].tokenize(_FILLER, parse_special=False)
        self._ids = ids * (self.largest // len(ids) + 1)
        self._budget = budget

    def time(self, count: int, depth: int, samples: list[Sample]) -> None:
        """Time `count` tokens after `depth` cached ones, single tokens several in a row, and append the samples."""
        self._fill(depth)
        times = _DECODES if count == 1 and depth + _DECODES <= self.context.n_ctx else 1
        samples += [Sample(count, depth, self._evaluate(count)) for _ in range(times)]

    def token_ms(self) -> float:
        """Return the milliseconds per token in the largest batch."""
        return statistics.median(s.ms for s in self.samples if s.n_inf == self.largest) / self.largest

    def _fill(self, depth: int) -> None:
        cached = self.context.truncate(0, depth)
        while cached < depth:
            count = min(self.largest, depth - cached)
            self._evaluate(count)
            cached += count

    def _evaluate(self, count: int) -> float:
        self._budget.tick()
        return self.context.decode([BatchSlice(0, self._ids[:count])]).ns[0] / 1e6


def _batch_sizes(largest: int) -> list[int]:
    """Return 1, 2, 3, 4, 6, 8, 12, 16, 24, ..., largest - 1 and largest.

    Small sizes are dense, because on a CPU their cost follows no formula. `largest - 1` is included because llama.cpp
    is faster on full blocks: the rest of a prompt may cost more than a whole batch.
    """
    sizes = {1, max(1, largest - 1), largest}
    step = 2
    while step < largest:
        sizes |= {n for n in (step, step * 3 // 2) if n < largest}
        step *= 2
    return sorted(sizes)


class _Rounds:
    """Times sizes repeatedly, alternating between the models and in a new order each round, so that drift affects all.

    The order is reproducible.
    """

    def __init__(self, timers: Mapping[Role, _ModelTimer], budget: _TimeBudget) -> None:
        self._timers = timers
        self._budget = budget
        self._random = random.Random(0)

    def run(self, depth: int, sizes: Mapping[Role, Sequence[int]], *, until: float, held_out: bool = False) -> None:
        """Time the sizes at one depth until that share of the time has elapsed, and at least `_MIN_REPEATS` times."""
        for repeat in range(_MAX_REPEATS):
            if repeat >= _MIN_REPEATS and self._budget.left_ms(until) <= 0:
                break
            turns = [
                (order, role, size)
                for role in Role
                for order, size in enumerate(self._random.sample(sizes[role], len(sizes[role])))
            ]
            for _, role, size in sorted(turns):
                timer = self._timers[role]
                timer.time(size, depth, timer.held_out if held_out else timer.samples)


def _measure_depths(timers: Mapping[Role, _ModelTimer], rounds: _Rounds, budget: _TimeBudget) -> int:
    """Time some sizes at depths of 512, 1024, ... as far as contexts and time allow, and return the last depth."""
    max_depth = min(timer.max_depth for timer in timers.values())
    sizes = {
        role: sorted({n for n in (*_DEEP_BATCHES, timer.largest - 1, timer.largest) if 0 < n <= timer.largest})
        for role, timer in timers.items()
    }
    token_ms = sum(timer.token_ms() for timer in timers.values())
    # Timing costs more per token than filling, because most timed batches are small.
    timing_ms = 2 * _MIN_REPEATS * sum(timers[role].token_ms() * sum(counts) for role, counts in sizes.items())
    depth = 0
    while depth < max_depth:
        affordable = depth + int((budget.left_ms(_DEEP_SHARE) - timing_ms) / token_ms)
        target = min(max_depth, max(_FIRST_DEPTH, 2 * depth), affordable)
        if target < min(max_depth, depth + _MIN_DEPTH):
            if depth:
                break
            target = min(max_depth, _MIN_DEPTH)
        rounds.run(target, sizes, until=0.0)
        depth = target
    return depth


def _measure_held_out(timers: Mapping[Role, _ModelTimer], rounds: _Rounds, deepest: int) -> None:
    """Time sizes and depths between those that the model is fitted to."""
    sizes = {role: [n for n in _HELD_OUT_BATCHES if n <= timer.largest] for role, timer in timers.items()}
    max_depth = min(timer.max_depth for timer in timers.values())
    depths = {min(max_depth, deepest // 2 + _HELD_OUT_DEPTH), min(max_depth, _HELD_OUT_DEPTH)}
    for depth in sorted(depths, reverse=True):
        rounds.run(depth, sizes, until=_HELD_OUT_SHARE, held_out=True)


def _outside_ms(pair: Pair, role: Role, budget: _TimeBudget) -> float:
    """Return the milliseconds per token spent outside llama.cpp, from the second of two short answers by one model."""
    outside = 0.0
    for _ in range(2):
        budget.tick()
        run = pair.chat(
            [{"role": "user", "content": _QUESTION}],
            router=role.value,
            max_tokens=_OUTSIDE_TOKENS,
            should_stop=budget.should_stop,
        )
        # Not iterated here: work between two tokens would count as wall time.
        trace = run.finish()
        outside = (trace.wall_ms - trace.model_ms) / max(1, len(trace.steps))
    budget.tick()
    return max(0.0, outside)

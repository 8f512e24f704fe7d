"""The cost model of a pair on one machine: milliseconds of an evaluation, of an answer, of the LLM alone.

Knows sizes and counts: tokens fed in, tokens cached. Knows nothing of loaded models, of files, or of how the points
it is fitted to were measured (calibration.py).
"""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rstitch_local.costs.evaluations import Evaluation, evaluations, evaluations_of_totals
from rstitch_local.decoding.roles import Role
from rstitch_local.trace.record import Trace

Cost = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class Sample(NamedTuple):
    """One measured evaluation: tokens fed in, tokens cached before, milliseconds."""

    n_inf: int
    n_kv: int
    ms: float


def nnls(matrix: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The x >= 0 that minimises |matrix @ x - target|, exactly, for few columns.

    The solution's positive part is the plain least squares solution over its own columns, so the best of all
    subsets of columns whose plain solution is not negative is the answer (2^columns small systems).

    Args:
        matrix: float64, shape (rows, columns), at most 8 columns.
        target: float64, shape (rows,).
    """
    columns = matrix.shape[1]
    if columns > 8:
        raise ValueError(f"{columns} columns: this search is for 8 at most")
    scale = np.linalg.norm(matrix, axis=0)
    scale[scale == 0] = 1.0
    scaled = matrix / scale
    best, best_error = np.zeros(columns), float(target @ target)
    for count in range(1, columns + 1):
        for chosen in combinations(range(columns), count):
            part = scaled[:, chosen]
            x = np.linalg.lstsq(part, target, rcond=None)[0]
            residual = part @ x - target
            error = float(residual @ residual)
            if (x >= 0).all() and error < best_error:
                best, best_error = np.zeros(columns), error
                best[list(chosen)] = x
    return np.asarray(best / scale, np.float64)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Formula(_Part):
    """The paper's latency model (arXiv 2507.17307, section on R-Stitch+), in ms.

    prefill: a, b, c, d of `a*N_inf*N_kv + b*N_inf^2 + c*N_inf + d`, for two tokens and more.
    decode: c, d of `c*N_kv + d`, for a single one.
    """

    prefill: tuple[Cost, Cost, Cost, Cost]
    decode: tuple[Cost, Cost]

    def ms(self, n_inf: float, n_kv: float) -> float:
        """Milliseconds of one `llama_decode` of n_inf tokens after n_kv cached ones.

        Between one token and two it is the mean of such evaluations.
        """
        a, b, c, d = self.prefill
        several = max(2.0, n_inf)
        prefill = a * several * n_kv + b * several * several + c * several + d
        share = min(1.0, max(0.0, n_inf - 1))
        return share * prefill + (1 - share) * (self.decode[0] * n_kv + self.decode[1])

    def ms_per_cached(self, n_inf: float) -> float:
        """What a cached token more adds, in ms."""
        return self.decode[0] if n_inf <= 1 else self.prefill[0] * n_inf

    @classmethod
    def fit(cls, samples: Iterable[Sample]) -> Formula:
        """Least squares with coefficients of 0 or more, weighted so that relative errors count.

        Raises:
            ValueError: no sample of one token, or none of several.
        """
        points = [sample for sample in samples if sample.ms > 0]
        single = [(np.array([s.n_kv, 1.0]), s.ms) for s in points if s.n_inf == 1]
        several = [(np.array([s.n_inf * s.n_kv, s.n_inf**2, s.n_inf, 1.0]), s.ms) for s in points if s.n_inf > 1]
        if not single or not several:
            raise ValueError("both single tokens and batches are needed")
        prefill, decode = (_relative_fit(rows) for rows in (several, single))
        return cls(prefill=(prefill[0], prefill[1], prefill[2], prefill[3]), decode=(decode[0], decode[1]))


def _relative_fit(rows: Sequence[tuple[NDArray[np.float64], float]]) -> list[float]:
    matrix = np.array([row / ms for row, ms in rows], np.float64)
    return [float(value) for value in nnls(matrix, np.ones(len(rows)))]


class Table(_Part):
    """Measured costs on a grid, in ms: `ms[i][j]` is for `batches[i]` tokens after `depths[j]` cached ones."""

    batches: Annotated[tuple[Count, ...], Field(min_length=1)]
    depths: Annotated[tuple[Count, ...], Field(min_length=1)]
    costs: tuple[tuple[Cost, ...], ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, axis in (("batches", self.batches), ("depths", self.depths)):
            if any(a >= b for a, b in pairwise(axis)):
                raise ValueError(f"{name} are not in order")
        if len(self.costs) != len(self.batches) or any(len(row) != len(self.depths) for row in self.costs):
            raise ValueError("the costs do not fit the grid")
        return self

    def ms(self, n_inf: float, n_kv: float) -> float:
        """Piecewise bilinear; beyond the largest batch straight on, beyond the deepest cache as at the deepest."""
        i, share = _place(self.batches, n_inf)
        j, deeper = _place(self.depths, min(n_kv, self.depths[-1]))
        low, high = (row[j] + deeper * (row[min(j + 1, len(row) - 1)] - row[j]) for row in self._around(i))
        return max(0.0, low + share * (high - low))

    def _around(self, i: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.costs[i], self.costs[min(i + 1, len(self.costs) - 1)]

    @classmethod
    def fit(cls, samples: Iterable[Sample]) -> Table:
        """The median of every cell.

        The shallowest depth must have all batches. Where a deeper one lacks a batch, what the deeper cache adds is
        interpolated between the batches it has: that part is smooth in the size of the batch, the rest is not.
        """
        cells = medians(samples)
        depths = sorted({s.n_kv for s in cells})
        at = {depth: {s.n_inf: s.ms for s in cells if s.n_kv == depth} for depth in depths}
        base = at[depths[0]]
        batches = sorted(base)
        columns = []
        for depth in depths:
            here = at[depth]
            sizes = sorted(here.keys() & base.keys())
            added = np.interp(batches, sizes, [here[n] - base[n] for n in sizes])
            columns.append([max(0.0, base[n] + float(more)) for n, more in zip(batches, added, strict=True)])
        costs = tuple(tuple(column[i] for column in columns) for i in range(len(batches)))
        return cls(batches=tuple(batches), depths=tuple(depths), costs=costs)


def _place(axis: Sequence[int], value: float) -> tuple[int, float]:
    """Index of the interval of a sorted axis that a value lies in, and how far along; past its end more than 1."""
    if len(axis) == 1 or value <= axis[0]:
        return 0, 0.0
    i = min(bisect_right(axis, value) - 1, len(axis) - 2)
    return i, (value - axis[i]) / (axis[i + 1] - axis[i])


def medians(samples: Iterable[Sample]) -> list[Sample]:
    """One sample for each (n_inf, n_kv): the median of all that there are."""
    cells: dict[tuple[int, int], list[float]] = {}
    for n_inf, n_kv, ms in samples:
        cells.setdefault((n_inf, n_kv), []).append(ms)
    return [Sample(*cell, statistics.median(times)) for cell, times in cells.items()]


class ModelLatency(_Part):
    """What one model's evaluations cost.

    n_batch: tokens in one `llama_decode`; longer pieces are cut into chunks of that many.
    outside_ms: what an evaluation costs outside `llama_decode`: entropy, routing, sampling, Python.
    table: None where nothing was measured, as for figures somebody published.
    formula_error, table_error: mean relative error on measured points neither was fitted to; None if there are none.
    """

    n_batch: Annotated[int, Field(ge=1)]
    formula: Formula
    outside_ms: Cost = 0.0
    table: Table | None = None
    formula_error: Cost | None = None
    table_error: Cost | None = None

    @property
    def uses_table(self) -> bool:
        """Whether the measured table predicts better than the formula, and so is what `ms` goes by."""
        if self.table is None:
            return False
        return self.formula_error is None or self.table_error is None or self.table_error <= self.formula_error

    @property
    def error(self) -> float | None:
        """The error of the one of the two that `ms` goes by."""
        return self.table_error if self.uses_table else self.formula_error

    def ms(self, n_inf: float, n_kv: float) -> float:
        """Milliseconds of n_inf tokens fed in after n_kv cached ones, in as many chunks as that takes.

        A fraction of a token means an average over evaluations.
        """
        total = 0.0
        while n_inf > self.n_batch:
            total += self._chunk_ms(self.n_batch, n_kv)
            n_inf -= self.n_batch
            n_kv += self.n_batch
        return total + self._chunk_ms(n_inf, n_kv)

    def turn_ms(self, n_inf: float, n_kv: float) -> float:
        """The same with what is spent around it: one step of the engine's loop."""
        return self.ms(n_inf, n_kv) + self.outside_ms

    def decodes_ms(self, count: int, n_kv: int) -> float:
        """Milliseconds of `count` single tokens in a row after n_kv cached ones, with what is spent around them."""
        total, at, end = 0.0, n_kv, n_kv + count
        depths = self.table.depths if self.table is not None and self.uses_table else ()
        while at < end:
            # Straight between two depths of the table, so first and last tell the sum.
            upto = min((depth for depth in depths if at < depth < end), default=end)
            total += (upto - at) * (self.turn_ms(1, at) + self.turn_ms(1, upto - 1)) / 2
            at = upto
        return total

    def _chunk_ms(self, n_inf: float, n_kv: float) -> float:
        if self.table is None or not self.uses_table:
            return self.formula.ms(n_inf, n_kv)
        beyond = max(0.0, n_kv - self.table.depths[-1])
        # The formula's slope cannot be negative; a straight line through the last two depths could.
        return self.table.ms(n_inf, n_kv) + beyond * self.formula.ms_per_cached(n_inf)

    @classmethod
    def fit(
        cls, samples: Sequence[Sample], held_out: Sequence[Sample], *, n_batch: int, outside_ms: float = 0.0
    ) -> ModelLatency:
        """Fit both, and judge both on points that were held out."""
        cells, unseen = medians(samples), medians(held_out)
        formula = Formula.fit(cells)
        own = cls(n_batch=n_batch, formula=formula, outside_ms=outside_ms, table=Table.fit(cells))
        if not unseen:
            return own
        # Through `ms`, so that beyond the deepest cache the table is judged as it is used.
        errors = (
            mean_relative_error((model.ms(s.n_inf, s.n_kv), s.ms) for s in unseen)
            for model in (own.model_copy(update={"table": None}), own)
        )
        return own.model_copy(update=dict(zip(("formula_error", "table_error"), errors, strict=True)))


def mean_relative_error(pairs: Iterable[tuple[float, float]]) -> float:
    """Mean of |predicted - measured| / measured over (predicted, measured)."""
    return statistics.fmean(abs(predicted - measured) / measured for predicted, measured in pairs)


class PairLatency(_Part):
    """What a pair costs on one machine, one answer at a time."""

    slm: ModelLatency
    llm: ModelLatency

    def of(self, role: Role) -> ModelLatency:
        """One of the two."""
        return self.slm if role is Role.SLM else self.llm

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> PairLatency:
        """Read back what `to_dict` wrote; raises ValueError (pydantic's) where it is anything else."""
        return cls.model_validate(record)

    def sum_ms(self, evaluated: Iterable[Evaluation]) -> float:
        """Milliseconds of these evaluations, with what is spent around each."""
        return sum(self.of(e.role).turn_ms(e.n_inf, e.n_kv) for e in evaluated)

    def predict_ms(self, answer: Trace | Mapping[str, Any]) -> float:
        """Wall milliseconds of an answer by its trace, or by a line of answers.jsonl, which has its totals only."""
        return self.sum_ms(evaluations(answer) if isinstance(answer, Trace) else evaluations_of_totals(answer))

    def alone_ms(self, role: Role, prompt: int, written: int, held: int = 0) -> float:
        """Milliseconds one model alone takes: the prompt in chunks, then token by token.

        Args:
            role: which model.
            prompt: tokens evaluated before the first one is written.
            written: tokens written, the one that ends the turn included.
            held: tokens that are in the cache before all that.
        """
        if written < 1:
            return 0.0
        model = self.of(role)
        return model.turn_ms(max(1, prompt), held) + model.decodes_ms(written - 1, held + prompt)

    def llm_alone_ms(self, answer: Trace | Mapping[str, Any]) -> float:
        """The LLM alone for the same prompt and as many tokens; left alone it may write more, or fewer."""
        return self.alone_ms(Role.LLM, *_prompt_and_written(answer))

    def llm_alone_seconds(self, answers: Iterable[Trace | Mapping[str, Any]]) -> float:
        """Seconds the LLM alone takes for all of these, one after the other."""
        return sum(self.llm_alone_ms(answer) for answer in answers) / 1e3

    def slm_alone_ms(self, answer: Trace | Mapping[str, Any]) -> float:
        """The SLM alone for the same prompt and as many tokens."""
        return self.alone_ms(Role.SLM, *_prompt_and_written(answer))


def _prompt_and_written(answer: Trace | Mapping[str, Any]) -> tuple[int, int]:
    totals = answer.totals() if isinstance(answer, Trace) else answer
    kept = totals.get("kept", 0)
    # A model that was never asked, or found its prompt in the cache, has evaluated less of it than the other.
    prompt = max(totals["evaluated"][role.value]["prompt"] for role in Role)
    return prompt + kept, sum(totals["tokens"].values()) - kept

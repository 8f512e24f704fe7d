"""The cost of one model's evaluations, fitted to measured samples: the paper's formula, and a table of medians.

Numbers only: independent of loaded models and of how the samples were measured (`calibration.py`).
"""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise
from typing import Annotated, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

Cost = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""Milliseconds, 0 or more."""
_Count = Annotated[int, Field(ge=0)]


class Sample(NamedTuple):
    """One measured evaluation: tokens evaluated, tokens cached before, milliseconds."""

    n_inf: int
    n_kv: int
    ms: float


def nnls(matrix: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the x >= 0 that minimizes |matrix @ x - target|, exactly, for few columns.

    The positive part of the solution is the unconstrained solution over its own columns, so the best of all subsets of
    columns with a non-negative unconstrained solution is the answer (2^columns small systems). With at most four
    columns that is less code than a dependency on scipy is worth.

    Args:
        matrix: float64, shape (rows, columns), at most 8 columns.
        target: float64, shape (rows,).
    """
    columns = matrix.shape[1]
    if columns > 8:
        raise ValueError(f"{columns} columns: the search over subsets supports at most 8")
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


class FittedModel(BaseModel):
    """Base of the fitted parts: immutable, and unknown JSON keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Formula(FittedModel):
    """The paper's latency model (arXiv 2507.17307, section on R-Stitch+), in ms.

    prefill: a, b, c, d of `a*N_inf*N_kv + b*N_inf^2 + c*N_inf + d`, for two or more tokens.
    decode: c, d of `c*N_kv + d`, for a single token.
    """

    prefill: tuple[Cost, Cost, Cost, Cost]
    decode: tuple[Cost, Cost]

    def ms(self, n_inf: float, n_kv: float) -> float:
        """Return the milliseconds of one `llama_decode` of n_inf tokens after n_kv cached ones.

        A value between 1 and 2 tokens is interpolated: the mean cost of several evaluations.
        """
        a, b, c, d = self.prefill
        several = max(2.0, n_inf)
        prefill = a * several * n_kv + b * several * several + c * several + d
        share = min(1.0, max(0.0, n_inf - 1))
        return share * prefill + (1 - share) * (self.decode[0] * n_kv + self.decode[1])

    def ms_per_cached_token(self, n_inf: float) -> float:
        """Return the milliseconds that one more cached token adds."""
        return self.decode[0] if n_inf <= 1 else self.prefill[0] * n_inf

    @classmethod
    def fit(cls, samples: Iterable[Sample]) -> Formula:
        """Fit by least squares of the relative errors, with coefficients of 0 or more.

        Raises:
            ValueError: there is no sample of one token, or none of several.
        """
        points = [sample for sample in samples if sample.ms > 0]
        single = [(np.array([s.n_kv, 1.0]), s.ms) for s in points if s.n_inf == 1]
        several = [(np.array([s.n_inf * s.n_kv, s.n_inf**2, s.n_inf, 1.0]), s.ms) for s in points if s.n_inf > 1]
        if not single or not several:
            raise ValueError("samples of both single tokens and batches are required")
        prefill, decode = (_fit_relative(rows) for rows in (several, single))
        return cls(prefill=(prefill[0], prefill[1], prefill[2], prefill[3]), decode=(decode[0], decode[1]))


def _fit_relative(rows: Sequence[tuple[NDArray[np.float64], float]]) -> list[float]:
    matrix = np.array([row / ms for row, ms in rows], np.float64)
    return [float(value) for value in nnls(matrix, np.ones(len(rows)))]


class Table(FittedModel):
    """Measured costs on a grid, in ms: `costs[i][j]` is for `batches[i]` tokens after `depths[j]` cached ones."""

    batches: Annotated[tuple[_Count, ...], Field(min_length=1)]
    depths: Annotated[tuple[_Count, ...], Field(min_length=1)]
    costs: tuple[tuple[Cost, ...], ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, axis in (("batches", self.batches), ("depths", self.depths)):
            if any(a >= b for a, b in pairwise(axis)):
                raise ValueError(f"{name} are not in ascending order")
        if len(self.costs) != len(self.batches) or any(len(row) != len(self.depths) for row in self.costs):
            raise ValueError("the shape of costs does not match batches and depths")
        return self

    def ms(self, n_inf: float, n_kv: float) -> float:
        """Return the milliseconds: bilinear, extrapolated beyond the largest batch, constant beyond the last depth."""
        i, between_batches = _interval(self.batches, n_inf)
        j, between_depths = _interval(self.depths, min(n_kv, self.depths[-1]))
        next_i, next_j = min(i + 1, len(self.batches) - 1), min(j + 1, len(self.depths) - 1)
        low, high = (row[j] + between_depths * (row[next_j] - row[j]) for row in (self.costs[i], self.costs[next_i]))
        return max(0.0, low + between_batches * (high - low))

    @classmethod
    def fit(cls, samples: Iterable[Sample]) -> Table:
        """Return the table of medians.

        The smallest depth must have all batch sizes. Where a larger depth lacks a size, the difference to the smallest
        depth is interpolated between the sizes it has: the difference is smooth in the size, the cost is not.
        """
        cells = medians(samples)
        depths = sorted({s.n_kv for s in cells})
        at = {depth: {s.n_inf: s.ms for s in cells if s.n_kv == depth} for depth in depths}
        base = at[depths[0]]
        batches = sorted(base)
        columns = []
        for depth in depths:
            column = at[depth]
            sizes = sorted(column.keys() & base.keys())
            added = np.interp(batches, sizes, [column[n] - base[n] for n in sizes])
            columns.append([max(0.0, base[n] + float(more)) for n, more in zip(batches, added, strict=True)])
        costs = tuple(tuple(column[i] for column in columns) for i in range(len(batches)))
        return cls(batches=tuple(batches), depths=tuple(depths), costs=costs)


def _interval(axis: Sequence[int], value: float) -> tuple[int, float]:
    """Return the index of the interval of a sorted axis that holds a value, and the fraction; more than 1 beyond it."""
    if len(axis) == 1 or value <= axis[0]:
        return 0, 0.0
    i = min(bisect_right(axis, value) - 1, len(axis) - 2)
    return i, (value - axis[i]) / (axis[i + 1] - axis[i])


def medians(samples: Iterable[Sample]) -> list[Sample]:
    """Return one sample per (n_inf, n_kv) with the median of its milliseconds."""
    cells: dict[tuple[int, int], list[float]] = {}
    for n_inf, n_kv, ms in samples:
        cells.setdefault((n_inf, n_kv), []).append(ms)
    return [Sample(*cell, statistics.median(times)) for cell, times in cells.items()]

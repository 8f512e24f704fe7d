"""The cost model of a pair on one machine: milliseconds of an evaluation, of an answer, of one model alone.

Numbers only: independent of loaded models and of files.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from rstitch_local.costs.evaluations import Evaluation, evaluations, evaluations_of_totals
from rstitch_local.costs.fitting import Cost, FittedModel, Formula, Sample, Table, medians
from rstitch_local.decoding.roles import Role
from rstitch_local.trace.record import Trace


class ModelLatency(FittedModel):
    """The cost of one model's evaluations.

    n_batch: tokens in one `llama_decode`; longer evaluations are split into chunks of that size.
    outside_ms: time of an evaluation spent outside `llama_decode`: entropy, routing, sampling, Python.
    table: None if nothing was measured, for example with published coefficients.
    formula_error, table_error: mean relative error on held-out measurements; None without any.
    """

    n_batch: Annotated[int, Field(ge=1)]
    formula: Formula
    outside_ms: Cost = 0.0
    table: Table | None = None
    formula_error: Cost | None = None
    table_error: Cost | None = None

    @property
    def uses_table(self) -> bool:
        """Whether `ms` uses the table: if it predicts better than the formula."""
        if self.table is None:
            return False
        return self.formula_error is None or self.table_error is None or self.table_error <= self.formula_error

    @property
    def error(self) -> float | None:
        """The error of the predictor that `ms` uses."""
        return self.table_error if self.uses_table else self.formula_error

    def ms(self, n_inf: float, n_kv: float) -> float:
        """Return the milliseconds of evaluating n_inf tokens after n_kv cached ones, in chunks of n_batch.

        A fractional n_inf is the mean over several evaluations.
        """
        total = 0.0
        while n_inf > self.n_batch:
            total += self._chunk_ms(self.n_batch, n_kv)
            n_inf -= self.n_batch
            n_kv += self.n_batch
        return total + self._chunk_ms(n_inf, n_kv)

    def turn_ms(self, n_inf: float, n_kv: float) -> float:
        """Return `ms` plus `outside_ms`: one step of the engine."""
        return self.ms(n_inf, n_kv) + self.outside_ms

    def decodes_ms(self, count: int, n_kv: int) -> float:
        """Return the milliseconds of `count` single tokens after n_kv cached ones, `outside_ms` included."""
        total, at, end = 0.0, n_kv, n_kv + count
        depths = self.table.depths if self.table is not None and self.uses_table else ()
        while at < end:
            # The cost is linear between two depths of the table, so the first and the last give the sum.
            until = min((depth for depth in depths if at < depth < end), default=end)
            total += (until - at) * (self.turn_ms(1, at) + self.turn_ms(1, until - 1)) / 2
            at = until
        return total

    def _chunk_ms(self, n_inf: float, n_kv: float) -> float:
        if self.table is None or not self.uses_table:
            return self.formula.ms(n_inf, n_kv)
        beyond = max(0.0, n_kv - self.table.depths[-1])
        # Beyond the table by the formula, whose slope cannot be negative; a line through the last two depths can.
        return self.table.ms(n_inf, n_kv) + beyond * self.formula.ms_per_cached_token(n_inf)

    @classmethod
    def fit(
        cls, samples: Sequence[Sample], held_out: Sequence[Sample], *, n_batch: int, outside_ms: float = 0.0
    ) -> ModelLatency:
        """Fit formula and table to samples, and compute their errors on held-out ones."""
        cells, unseen = medians(samples), medians(held_out)
        with_table = cls(n_batch=n_batch, formula=Formula.fit(cells), outside_ms=outside_ms, table=Table.fit(cells))
        if not unseen:
            return with_table
        # With `ms`, so that the table is tested as it is used, including beyond its last depth.
        errors = (
            mean_relative_error((model.ms(s.n_inf, s.n_kv), s.ms) for s in unseen)
            for model in (with_table.model_copy(update={"table": None}), with_table)
        )
        return with_table.model_copy(update=dict(zip(("formula_error", "table_error"), errors, strict=True)))


def mean_relative_error(pairs: Iterable[tuple[float, float]]) -> float:
    """Return the mean of |predicted - measured| / measured over (predicted, measured)."""
    return statistics.fmean(abs(predicted - measured) / measured for predicted, measured in pairs)


class PairLatency(FittedModel):
    """The cost model of a pair on one machine, for one answer at a time.

    `slm` and `llm` are the cost models of the models; `latency.llm.turn_ms(16, 500)` is the milliseconds of evaluating
    16 tokens after 500 cached ones.
    """

    slm: ModelLatency
    llm: ModelLatency

    def of(self, role: Role) -> ModelLatency:
        """Return the cost model of one role."""
        return self.slm if role is Role.SLM else self.llm

    def to_dict(self) -> dict[str, Any]:
        """Return everything ready for JSON."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> PairLatency:
        """Return the cost model that `to_dict` wrote; raises ValueError (pydantic's) if the record is invalid."""
        return cls.model_validate(record)

    def sum_ms(self, evaluated: Iterable[Evaluation]) -> float:
        """Return the milliseconds of evaluations, `outside_ms` of each included."""
        return sum(self.of(e.role).turn_ms(e.n_inf, e.n_kv) for e in evaluated)

    def predict_ms(self, answer: Trace | Mapping[str, Any]) -> float:
        """Return the predicted wall milliseconds of an answer, from its trace or from a line of answers.jsonl."""
        return self.sum_ms(evaluations(answer) if isinstance(answer, Trace) else evaluations_of_totals(answer))

    def alone_ms(self, role: Role, prompt_tokens: int, generated_tokens: int, cached_tokens: int = 0) -> float:
        """Return the milliseconds of an answer by one model alone: prefill in chunks, then token by token.

        Args:
            role: the model.
            prompt_tokens: tokens evaluated before the first one is generated.
            generated_tokens: tokens generated, including the end-of-generation token.
            cached_tokens: tokens in the KV cache before.
        """
        if generated_tokens < 1:
            return 0.0
        model = self.of(role)
        prefill = model.turn_ms(max(1, prompt_tokens), cached_tokens)
        return prefill + model.decodes_ms(generated_tokens - 1, cached_tokens + prompt_tokens)

    def llm_alone_ms(self, answer: Trace | Mapping[str, Any]) -> float:
        """Return the milliseconds of the LLM alone for the same prompt and the same number of tokens."""
        return self.alone_ms(Role.LLM, *_prompt_and_generated_tokens(answer))

    def llm_alone_seconds(self, answers: Iterable[Trace | Mapping[str, Any]]) -> float:
        """Return the seconds of the LLM alone for several answers in sequence."""
        return sum(self.llm_alone_ms(answer) for answer in answers) / 1e3

    def slm_alone_ms(self, answer: Trace | Mapping[str, Any]) -> float:
        """Return the milliseconds of the SLM alone for the same prompt and the same number of tokens."""
        return self.alone_ms(Role.SLM, *_prompt_and_generated_tokens(answer))


def _prompt_and_generated_tokens(answer: Trace | Mapping[str, Any]) -> tuple[int, int]:
    totals = answer.totals() if isinstance(answer, Trace) else answer
    resumed = totals.get("kept", 0)
    # A model that was never used, or had part of the prompt cached, evaluated less of it than the other.
    prompt = max(totals["evaluated"][role.value]["prompt"] for role in Role)
    return prompt + resumed, sum(totals["tokens"].values()) - resumed

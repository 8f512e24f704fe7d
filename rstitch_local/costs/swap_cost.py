"""The cost of a swap, from a stored calibration of the two files."""

from __future__ import annotations

from collections.abc import Mapping

from rstitch_local.costs.store import calibration_of_files
from rstitch_local.decoding.roles import Role
from rstitch_local.engine.choice import PairChoice
from rstitch_local.engine.pair_check import PairReport

VISITS = {Role.LLM: 20, Role.SLM: 4}
"""Tokens the other model has generated when one takes over: the SLM's stretches are long, the LLM's short."""

CACHED = 500
"""Tokens in the KV caches at such a swap."""


def swap_ms(choice: PairChoice, report: PairReport) -> dict[Role, float] | None:
    """Return the milliseconds of a swap to each model after `VISITS` tokens of the other; None without a calibration.

    With foreign tokenizers the number of tokens is converted by `PairReport.ratio`.
    """
    calibration = calibration_of_files(choice.slm, choice.llm)
    if calibration is None:
        return None
    lengths = {Role.LLM: VISITS[Role.LLM] * report.ratio, Role.SLM: VISITS[Role.SLM] / report.ratio}
    return {role: calibration.latency.of(role).turn_ms(lengths[role], CACHED) for role in Role}


def swap_ms_to_dict(costs: Mapping[Role, float] | None) -> dict[str, float] | None:
    """Return the costs ready for JSON."""
    return None if costs is None else {role.value: round(ms, 3) for role, ms in costs.items()}

"""The expected speed-up over the LLM alone, from the cost model: by LLM share, and the break-even share.

Assumes a simple workload instead of real answers: the LLM alone, the SLM alone and both together generate the same
number of tokens, and all visits to the LLM (from a swap up to the swap down) are equally long and equally spaced. In
the paper most of the gain is length, because the SLM's answers are shorter; that gain is not included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rstitch_local.costs.latency import PairLatency
from rstitch_local.decoding.roles import Role

SHARES = (0.05, 0.1, 0.2, 0.4)
"""LLM shares for which the speed-up is reported."""

CATCH_UPS = (1, 2, 4, 8, 16, 32)
"""Catch-up sizes for which the cost is reported."""


@dataclass(frozen=True, slots=True)
class Workload:
    """An answer for which costs are estimated: tokens of prompt, answer, and one visit to the LLM.

    Measured tokens per visit with the entropy router (docs/performance.md): 1.5 to 2.2 with Qwen2.5-Coder 0.5B + 1.5B
    (2.2 at tau 0.02), 1.1 with the demo pair.
    """

    prompt_tokens: int = 128
    answer_tokens: int = 256
    visit_tokens: float = 2.0

    def to_dict(self) -> dict[str, Any]:
        """Return the workload ready for JSON, under the names that `rstitch calibrate --json` uses."""
        return {"prompt": self.prompt_tokens, "written": self.answer_tokens, "stay": self.visit_tokens}


def stitched_ms(latency: PairLatency, share: float, workload: Workload | None = None) -> float:
    """Return the milliseconds of an answer of which the LLM generates that share, 0 < share < 1.

    In one cycle the SLM catches up with the tokens of the visit, decodes its tokens, and decodes once more before the
    swap; the LLM catches up with the SLM's tokens and its own last one, and decodes the rest of the visit. The first
    catch-up of each model is the prefill of the prompt.
    """
    workload = workload or Workload()
    visit = workload.visit_tokens
    slm_tokens = visit * (1 - share) / share
    visits = workload.answer_tokens * share / visit
    slm, llm, depth = latency.slm, latency.llm, workload.prompt_tokens + workload.answer_tokens / 2
    cycle = (
        slm.turn_ms(visit, depth)
        + slm_tokens * slm.turn_ms(1, depth)
        + llm.turn_ms(slm_tokens + 1, depth)
        + (visit - 1) * llm.turn_ms(1, depth)
    )
    return slm.turn_ms(workload.prompt_tokens, 0) + llm.turn_ms(workload.prompt_tokens, 0) + visits * cycle


def speed_up(latency: PairLatency, share: float, workload: Workload | None = None) -> float:
    """Return the time of the LLM alone divided by the time of both models with that LLM share."""
    workload = workload or Workload()
    alone = latency.alone_ms(Role.LLM, workload.prompt_tokens, workload.answer_tokens)
    return alone / stitched_ms(latency, share, workload)


def break_even_share(latency: PairLatency, workload: Workload | None = None) -> float | None:
    """Return the LLM share above which stitching is slower than the LLM alone; None if it is never faster.

    Rounded to 0.01. Below this share stitching is not always faster.
    """
    shares = [i / 100 for i in range(1, 100)]
    faster = [share for share in shares if speed_up(latency, share, workload) > 1]
    return max(faster, default=None)


def describe(latency: PairLatency, workload: Workload | None = None) -> list[str]:
    """Return costs and expected speed-up as lines of text."""
    workload = workload or Workload()
    depth = workload.prompt_tokens + workload.answer_tokens // 2
    lines = [f"Decoding one token after {depth} cached tokens:"]
    lines += [f"  {role.name}   {_duration(latency.of(role).turn_ms(1, depth))}" for role in Role]
    lines.append("Catch-up at a swap, by number of tokens:")
    lines.append("      " + "".join(f"{count:>10}" for count in CATCH_UPS))
    for role in Role:
        costs = (latency.of(role).turn_ms(count, depth) for count in CATCH_UPS)
        lines.append(f"  {role.name}   " + "".join(f"{_duration(cost):>10}" for cost in costs))
    share = break_even_share(latency, workload)
    if share is None:
        lines.append("For answers of equal length, stitching is slower than the LLM alone on this machine.")
    elif share >= 0.99:
        lines.append("For answers of equal length, stitching is faster than the LLM alone at any LLM share.")
    else:
        lines.append(
            f"For answers of equal length, stitching is slower than the LLM alone above an LLM share of {share:.0%}."
        )
    speed_ups = ", ".join(f"{speed_up(latency, share, workload):.2f}x at {share:.0%}" for share in SHARES)
    lines.append(f"Expected speed-up over the LLM alone, by LLM share: {speed_ups}.")
    lines.append(
        f"(Prompt of {workload.prompt_tokens} tokens, answer of {workload.answer_tokens}, {workload.visit_tokens:g} "
        "tokens per visit to the LLM. Shorter answers of the SLM are an additional gain.)"
    )
    return lines


def _duration(ms: float) -> str:
    """Format milliseconds with three significant digits."""
    if ms <= 0:
        return "0 ms"
    return f"{ms:.{max(0, 2 - math.floor(math.log10(ms)))}f} ms"

"""What stitching can bring on this machine, by the cost model alone: speed-up by LLM share, and where it ends.

Knows the cost model and a simple picture of an answer; nothing of what any pair really writes. The picture: answers
of the LLM alone, of the SLM alone and of both have the same length, and all visits to the LLM are equally long and
equally far apart. In the paper most of the gain is length (the SLM writes shorter), which comes on top of this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rstitch_local.costs.latency import PairLatency
from rstitch_local.decoding.roles import Role

SHARES = (0.05, 0.1, 0.2, 0.4)
"""LLM shares an outlook is given for."""

CATCH_UPS = (1, 2, 4, 8, 16, 32)
"""Sizes of a catch-up its cost is given for."""


@dataclass(frozen=True, slots=True)
class Workload:
    """An answer as the outlook imagines it: tokens of the prompt, tokens written, length of a visit to the LLM.

    Measured stays with the entropy router, LLM tokens over swaps up in docs/performance.md: 1.5 to 2.2 tokens with
    Qwen2.5-Coder 0.5B + 1.5B (2.2 at tau 0.02), 1.1 with the demo pair.
    """

    prompt: int = 128
    written: int = 256
    stay: float = 2.0


def stitched_ms(latency: PairLatency, share: float, picture: Workload | None = None) -> float:
    """Milliseconds of an answer of which the LLM writes that share, 0 < share < 1.

    A visit makes the SLM catch up with what the LLM wrote, decode its run of tokens and once more to be unsure, and
    makes the LLM catch up with that run and its own last token, then decode the rest of its stay. The SLM's first
    catch-up and the LLM's first are the prompt.
    """
    picture = picture or Workload()
    stay, run = picture.stay, picture.stay * (1 - share) / share
    visits = picture.written * share / stay
    slm, llm, depth = latency.slm, latency.llm, picture.prompt + picture.written / 2
    cycle = (
        slm.turn_ms(stay, depth)
        + run * slm.turn_ms(1, depth)
        + llm.turn_ms(run + 1, depth)
        + (stay - 1) * llm.turn_ms(1, depth)
    )
    return slm.turn_ms(picture.prompt, 0) + llm.turn_ms(picture.prompt, 0) + visits * cycle


def speed_up(latency: PairLatency, share: float, picture: Workload | None = None) -> float:
    """Time of the LLM alone over time of stitching with that LLM share, for answers of the same length."""
    picture = picture or Workload()
    return latency.alone_ms(Role.LLM, picture.prompt, picture.written) / stitched_ms(latency, share, picture)


def break_even_share(latency: PairLatency, picture: Workload | None = None) -> float | None:
    """The LLM share above which stitching is slower than the LLM alone; None where it never is faster.

    To a hundredth, as far as the picture holds at all. Below it stitching is not always faster.
    """
    shares = [i / 100 for i in range(1, 100)]
    faster = [share for share in shares if speed_up(latency, share, picture) > 1]
    return max(faster, default=None)


def plain_words(latency: PairLatency, picture: Workload | None = None) -> list[str]:
    """What the cost model says, a sentence or a row each."""
    picture = picture or Workload()
    depth = picture.prompt + picture.written // 2
    lines = [f"A token written after {depth} others costs"]
    for role in Role:
        model = latency.of(role)
        lines.append(f"  {role.name}   {_ms(model.turn_ms(1, depth))}")
    lines.append("Catching up costs, by the number of tokens missed")
    lines.append("      " + "".join(f"{count:>10}" for count in CATCH_UPS))
    for role in Role:
        costs = (latency.of(role).turn_ms(count, depth) for count in CATCH_UPS)
        lines.append(f"  {role.name}   " + "".join(f"{_ms(cost):>10}" for cost in costs))
    share = break_even_share(latency, picture)
    if share is None:
        lines.append("At the same length of answer, stitching cannot beat the LLM alone on this machine.")
    elif share >= 0.99:
        lines.append("At the same length of answer, stitching beats the LLM alone at any LLM share.")
    else:
        lines.append(
            f"At the same length of answer, stitching cannot beat the LLM alone above an LLM share of {share:.0%}."
        )
    ups = ", ".join(f"{speed_up(latency, share, picture):.2f}x at {share:.0%}" for share in SHARES)
    lines.append(f"Speed-up to expect over the LLM alone, by LLM share: {ups}.")
    lines.append(
        f"(For a prompt of {picture.prompt} tokens, {picture.written} written, visits to the LLM of {picture.stay:g} "
        "tokens. An SLM that writes shorter answers gains that on top.)"
    )
    return lines


def _ms(ms: float) -> str:
    """Milliseconds with three figures that mean something."""
    if ms <= 0:
        return "0 ms"
    return f"{ms:.{max(0, 2 - math.floor(math.log10(ms)))}f} ms"

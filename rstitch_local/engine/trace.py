"""What happened in one answer: a record per token, and totals of tokens, swaps, evaluations and time.

Knows no models and drives nothing; the driver fills it in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rstitch_local.decoding.routers import Role
from rstitch_local.decoding.trajectory import Step
from rstitch_local.llama.context import KINDS, Usage


@dataclass(slots=True)
class Trace:
    """One answer's record. It grows while the answer does.

    settings: router, sampling and budget it was made with.
    steps: the kept tokens, in order.
    usage: per model, tokens evaluated and time spent, by kind.
    kept: how many of the steps were taken over from an answer this one goes on from; times are those of the rest.
    taus: (position, tau) of every change of tau while it was written.
    stop: eog (a model ended it), length (budget or context reached), interrupted, error; None while it runs.
    wall_ms: from the first evaluation to the end; ttft_ms: to the first kept token.
    busy_ms: this answer's share of the time that went by while it was written beside others; alone, all of it.
    """

    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    usage: dict[Role, Usage] = field(default_factory=lambda: {role: Usage() for role in Role})
    tokens: dict[Role, int] = field(default_factory=lambda: dict.fromkeys(Role, 0))
    swaps_up: int = 0
    swaps_down: int = 0
    kept: int = 0
    taus: list[tuple[int, float]] = field(default_factory=list)
    stop: str | None = None
    wall_ms: float = 0.0
    busy_ms: float = 0.0
    ttft_ms: float | None = None

    @property
    def text(self) -> str:
        """The answer so far, whole characters only."""
        return "".join(step.text for step in self.steps)

    @property
    def llm_share(self) -> float:
        """Share of the kept tokens that the LLM wrote, 0 to 1."""
        return self.tokens[Role.LLM] / max(1, sum(self.tokens.values()))

    @property
    def catch_up_tokens(self) -> int:
        """Tokens evaluated again by the other model, on both sides."""
        return sum(self.spent(role, "catch_up")[0] for role in Role)

    @property
    def catch_up_ms(self) -> float:
        """Time that took."""
        return sum(self.spent(role, "catch_up")[1] for role in Role)

    def spent(self, role: Role, kind: str) -> tuple[int, float]:
        """Tokens a model evaluated as prompt, catch_up or decode, and the milliseconds that took."""
        usage, index = self.usage[role], KINDS.index(kind)
        return usage.tokens[index], usage.ns[index] / 1e6

    @property
    def model_ms(self) -> float:
        """Time spent inside llama.cpp."""
        return sum(sum(usage.ns) for usage in self.usage.values()) / 1e6

    @property
    def tokens_per_second(self) -> float:
        """Tokens written a second of wall time, prompt included."""
        return (sum(self.tokens.values()) - self.kept) / max(self.wall_ms / 1e3, 1e-9)

    def totals(self) -> dict[str, Any]:
        """The sums, ready for JSON: stop, seed, tokens, swaps, evaluated, ms, wall_ms, busy_ms, ttft_ms."""
        return {
            "stop": self.stop,
            "seed": self.seed,
            "tokens": {role.value: self.tokens[role] for role in Role},
            "swaps": {"up": self.swaps_up, "down": self.swaps_down},
            "evaluated": {r.value: dict(zip(KINDS, self.usage[r].tokens, strict=True)) for r in Role},
            "ms": {
                r.value: {k: round(ns / 1e6, 3) for k, ns in zip(KINDS, self.usage[r].ns, strict=True)} for r in Role
            },
            "wall_ms": round(self.wall_ms, 3),
            "busy_ms": round(self.busy_ms, 3),
            "ttft_ms": None if self.ttft_ms is None else round(self.ttft_ms, 3),
            "kept": self.kept,
            "taus": [list(change) for change in self.taus],
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON: settings, text, totals and the steps."""
        return {
            "settings": dict(self.settings),
            "text": self.text,
            **self.totals(),
            "steps": [asdict(step) for step in self.steps],
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Trace:
        """Read back what `to_dict` wrote (times as they were rounded there)."""
        trace = cls(
            seed=record["seed"],
            settings=record["settings"],
            steps=[Step(**{**step, "role": Role(step["role"])}) for step in record["steps"]],
            tokens={role: record["tokens"][role.value] for role in Role},
            swaps_up=record["swaps"]["up"],
            swaps_down=record["swaps"]["down"],
            stop=record["stop"],
            wall_ms=record["wall_ms"],
            # Where this is missing there was one answer at a time.
            busy_ms=record.get("busy_ms", record["wall_ms"]),
            ttft_ms=record["ttft_ms"],
            # Records of version 0.1 have neither.
            kept=record.get("kept", 0),
            taus=[(position, tau) for position, tau in record.get("taus", ())],
        )
        for role in Role:
            trace.usage[role].tokens = [record["evaluated"][role.value][kind] for kind in KINDS]
            trace.usage[role].ns = [round(record["ms"][role.value][kind] * 1e6) for kind in KINDS]
        return trace

"""What happened in one answer: a record per token, and totals of tokens, swaps, evaluations and time.

Knows no models and drives nothing; the driver fills it in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.llama.batch import KINDS, Usage
from rstitch_local.trace.columns import STORED_NAMES, pack, unpack


@dataclass(slots=True)
class Trace:
    """One answer's record. It grows while the answer does.

    settings: router, sampling and budget it was made with; vocabulary: V by role, which entropies are normalised by.
    steps: the kept tokens, in order.
    usage: per model, tokens evaluated and time spent, by kind.
    resumed_tokens: number of steps taken over from the answer that this one resumes; times exclude them.
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
    resumed_tokens: int = 0
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
        return (sum(self.tokens.values()) - self.resumed_tokens) / max(self.wall_ms / 1e3, 1e-9)

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
            "kept": self.resumed_tokens,
            "taus": [list(change) for change in self.taus],
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON: settings, text, totals and the steps."""
        return {
            "settings": dict(self.settings),
            "text": self.text,
            **self.totals(),
            "steps": [_step_record(step) for step in self.steps],
        }

    def to_columns(self) -> dict[str, Any]:
        """The same in a fifth of the size: the steps by columns, rounded as `columns.pack` does."""
        return {"settings": dict(self.settings), "text": self.text, **self.totals(), "steps": pack(self.steps)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Trace:
        """Read back what `to_dict` or `to_columns` wrote (times as they were rounded there).

        Raises:
            ValueError, TypeError, KeyError, AttributeError, OverflowError: it is nothing of the kind.
        """
        steps = record["steps"]
        # Every number is made one: the record may be a file that somebody has been at.
        trace = cls(
            seed=int(record["seed"]),
            settings=dict(record["settings"]),
            steps=unpack(steps, record["text"]) if isinstance(steps, Mapping) else [_step(step) for step in steps],
            tokens={role: int(record["tokens"][role.value]) for role in Role},
            swaps_up=int(record["swaps"]["up"]),
            swaps_down=int(record["swaps"]["down"]),
            stop=None if record["stop"] is None else str(record["stop"]),
            wall_ms=float(record["wall_ms"]),
            # Where this is missing there was one answer at a time.
            busy_ms=float(record.get("busy_ms", record["wall_ms"])),
            ttft_ms=None if record["ttft_ms"] is None else float(record["ttft_ms"]),
            # Records of version 0.1 have neither.
            resumed_tokens=int(record.get("kept", 0)),
            # An infinite tau is a string where JSON has no word for it.
            taus=[(int(position), float(tau)) for position, tau in record.get("taus", ())],
        )
        for role in Role:
            trace.usage[role].tokens = [int(record["evaluated"][role.value][kind]) for kind in KINDS]
            trace.usage[role].ns = [round(record["ms"][role.value][kind] * 1e6) for kind in KINDS]
        return trace

    def nats(self, role: Role, entropy: float | None) -> float | None:
        """A model's normalised entropy in nats: times ln V; None where V is not recorded or there is no entropy."""
        sizes = self.settings.get("vocabulary")
        size = sizes.get(role.value) if isinstance(sizes, Mapping) else None
        if entropy is None or not isinstance(size, int) or size < 2:
            return None
        return entropy * math.log(size)

    def to_records(self) -> list[dict[str, Any]]:
        """The tokens as plain dicts of one shape, for `pandas.DataFrame(trace.to_records())` and the like.

        Returns:
            One dict per token: position, role ("slm" or "llm"), token, text, entropy, entropy_nats, top1, swap_entropy,
            swap_entropy_nats, margin, evaluated_tokens and ms as in Step, and swap: "up" where control passes to the
            LLM, "down" where it returns to the SLM, else "". Unknown values are None.
        """
        before: Role | None = None
        records = []
        for step in self.steps:
            swap = "up" if step.swap_entropy is not None else ""
            if before is Role.LLM and step.role is Role.SLM:
                swap = "down"
            before = step.role
            records.append(
                {
                    "position": step.position,
                    "role": step.role.value,
                    "token": step.token,
                    "text": step.text,
                    "entropy": step.entropy,
                    "entropy_nats": self.nats(step.role, step.entropy),
                    "top1": step.top1,
                    "swap_entropy": step.swap_entropy,
                    "swap_entropy_nats": self.nats(Role.SLM, step.swap_entropy),
                    "margin": step.margin,
                    "evaluated_tokens": step.evaluated_tokens,
                    "ms": step.ms,
                    "swap": swap,
                }
            )
        return records

    def _repr_html_(self) -> str:
        """What a notebook shows: figures, a chart of the entropy, and the tokens in the colours of their models."""
        # Imported here: whoever does not look needs none of it, and it knows traces itself.
        from rstitch_local.trace.page.document import fragment

        return fragment(self)


def _step_record(step: Step) -> dict[str, Any]:
    """Return a step under the field names that JSON files use."""
    return {STORED_NAMES.get(name, name): value for name, value in asdict(step).items()}


def _step(record: Mapping[str, Any]) -> Step:
    unsure, margin = record.get("unsure"), record.get("margin")
    return Step(
        position=int(record["position"]),
        role=Role(record["role"]),
        token=int(record["token"]),
        text=str(record["text"]),
        entropy=float(record["entropy"]),
        top1=float(record["top1"]),
        evaluated_tokens=int(record["caught_up"]),
        ms=float(record["ms"]),
        swap_entropy=None if unsure is None else float(unsure),
        margin=None if margin is None else float(margin),
    )

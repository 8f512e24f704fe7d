"""The record of one answer: its settings, a Step per token, and totals of tokens, swaps, evaluations and time.

Data only: the engine fills it in. It does not import the HTML page, which registers its renderer here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.llama.batch import KINDS, Usage
from rstitch_local.trace.columns import STORED_NAMES, pack, unpack
from rstitch_local.trace.prediction import Prediction


@dataclass(slots=True, repr=False)
class Trace:
    """The record of one answer. While the answer is being generated, it grows.

    A notebook shows it as HTML: metrics, a chart of the entropies, and the tokens colored by model. As a table:

        import pandas

        tokens = pandas.DataFrame(trace.to_records())
        tokens.groupby("role")["entropy_nats"].describe()

    As a page for a browser, and as a file that can be read back:

        Path("answer.html").write_text(trace.to_html(question), encoding="utf-8")
        Path("answer.json").write_text(json.dumps(trace.to_dict()), encoding="utf-8")
        trace = Trace.from_dict(json.loads(Path("answer.json").read_text(encoding="utf-8")))

    Attributes:
        seed: seed of the sampler.
        settings: pair, router, sampling and limits; `vocabulary` has the number of tokens by role.
        steps: the tokens of the answer, in order.
        usage: tokens evaluated and time spent in llama.cpp, by model and kind.
        tokens: number of tokens each model generated.
        swaps_up: swaps from the SLM to the LLM.
        swaps_down: swaps from the LLM to the SLM.
        resumed_tokens: number of steps taken from the answer that this one resumes; times exclude them.
        taus: (position, tau) of every change of tau during the answer.
        stop: "eog" (a model generated an end-of-generation token), "stop" (a stop string), "length" (max_tokens or
            the context was reached), "interrupted" or "error"; None while the answer is being generated.
        error: title and message of the error that ended the answer, if one did.
        wall_ms: milliseconds from the first evaluation to the end.
        busy_ms: this answer's share of the time when several are generated concurrently; otherwise equal to wall_ms.
        ttft_ms: milliseconds from the first evaluation to the first token; None before it.
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
    error: str | None = None
    wall_ms: float = 0.0
    busy_ms: float = 0.0
    ttft_ms: float | None = None

    def __repr__(self) -> str:
        counts = ", ".join(f"{self.tokens[role]} {role.name}" for role in Role)
        return (
            f"<Trace: {sum(self.tokens.values())} tokens ({counts}), swaps to the LLM: {self.swaps_up}, "
            f"router={self.settings.get('router')!r}, seed={self.seed}, stop={self.stop!r}>"
        )

    @property
    def text(self) -> str:
        """The answer so far, complete characters only."""
        return "".join(step.text for step in self.steps)

    @property
    def llm_share(self) -> float:
        """Share of the tokens that the LLM generated, 0 to 1."""
        return self.tokens[Role.LLM] / max(1, sum(self.tokens.values()))

    @property
    def catch_up_tokens(self) -> int:
        """Tokens of one model that the other model evaluated, both directions added."""
        return sum(self.spent(role, "catch_up")[0] for role in Role)

    @property
    def catch_up_ms(self) -> float:
        """Milliseconds spent on catch-up."""
        return sum(self.spent(role, "catch_up")[1] for role in Role)

    @property
    def acceptance_rate(self) -> float | None:
        """Share of the drafted tokens that the LLM accepted, 0 to 1, for `spec:N`.

        None for other routers, for a resumed answer, and if nothing was drafted. Computed from the evaluated tokens:
        approximate if the KV caches held the prompt before (`reuse`) and for models that cannot truncate their caches.
        """
        if not str(self.settings.get("router", "")).startswith("spec:") or self.resumed_tokens or not self.steps:
            return None
        rounds = self.tokens[Role.LLM] + (self.steps[-1].role is Role.SLM)
        drafted = self.spent(Role.LLM, "catch_up")[0] + self.spent(Role.LLM, "decode")[0] - rounds + 1
        return min(1.0, self.tokens[Role.SLM] / drafted) if drafted > 0 else None

    def spent(self, role: Role, kind: str) -> tuple[int, float]:
        """Return the tokens a model evaluated as "prompt", "catch_up" or "decode", and the milliseconds spent."""
        usage, index = self.usage[role], KINDS.index(kind)
        return usage.tokens[index], usage.ns[index] / 1e6

    @property
    def model_ms(self) -> float:
        """Milliseconds spent inside llama.cpp."""
        return sum(sum(usage.ns) for usage in self.usage.values()) / 1e6

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens per second of wall time, prefill included."""
        return (sum(self.tokens.values()) - self.resumed_tokens) / max(self.wall_ms / 1e3, 1e-9)

    def totals(self) -> dict[str, Any]:
        """Return the totals ready for JSON: stop, seed, tokens, swaps, evaluated, ms, wall_ms, busy_ms, ttft_ms."""
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
            # Files keep the name `kept` for the resumed tokens.
            "kept": self.resumed_tokens,
            "taus": [list(change) for change in self.taus],
        }

    def to_dict(self) -> dict[str, Any]:
        """Return everything ready for JSON: settings, text, totals, and one object per step."""
        return {
            "settings": dict(self.settings),
            "text": self.text,
            **self._error_entry(),
            **self.totals(),
            "steps": [_step_to_dict(step) for step in self.steps],
        }

    def to_columns(self) -> dict[str, Any]:
        """Return the same in a fifth of the size: steps as columns, rounded as in `columns.pack`."""
        return {
            "settings": dict(self.settings),
            "text": self.text,
            **self._error_entry(),
            **self.totals(),
            "steps": pack(self.steps),
        }

    def _error_entry(self) -> dict[str, str]:
        # Only answers that failed have one: all others keep the form they always had.
        return {} if self.error is None else {"error": self.error}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Trace:
        """Return the trace that `to_dict` or `to_columns` wrote, with the numbers as rounded there.

        Raises:
            ValueError: the record is not a trace.
        """
        try:
            return _trace_from_dict(record)
        except KeyError as error:
            raise ValueError(f"not a trace: the key {error} is missing") from error
        except (ValueError, TypeError, AttributeError, IndexError, OverflowError) as error:
            raise ValueError(f"not a trace: {type(error).__name__}: {error}") from error

    def nats(self, role: Role, entropy: float | None) -> float | None:
        """Return a normalized entropy of a model in nats: times ln V.

        None if the entropy is None or the size of the vocabulary is not recorded.
        """
        sizes = self.settings.get("vocabulary")
        size = sizes.get(role.value) if isinstance(sizes, Mapping) else None
        if entropy is None or not isinstance(size, int) or size < 2:
            return None
        return entropy * math.log(size)

    def to_records(self) -> list[dict[str, Any]]:
        """Return the tokens as plain dicts with the same keys, for `pandas.DataFrame(trace.to_records())`.

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

    def to_html(self, question: str = "", *, predictions: Sequence[Mapping[Role, Prediction]] | None = None) -> str:
        """Return a self-contained HTML page, as `rstitch trace --html` writes it.

        Args:
            question: shown above the answer.
            predictions: both models' predictions at each step, `list(inspect_all(pair, question, trace.steps))`; the
                page then shows the alternatives of each token.

        Raises:
            UsageError: `predictions` has another length than `steps`.
        """
        return _html.page(self, question, predictions)

    def _repr_html_(self) -> str:
        """Return the view for a notebook."""
        return _html.fragment(self)


class HtmlRenderers(NamedTuple):
    """How a trace is rendered: as a page, from the trace, the question and the predictions; as a fragment."""

    page: Callable[[Trace, str, Sequence[Mapping[Role, Prediction]] | None], str]
    fragment: Callable[[Trace], str]


_html: HtmlRenderers


def register_html_renderers(renderers: HtmlRenderers) -> None:
    """Set the functions that render traces as HTML."""
    global _html
    _html = renderers


def _step_to_dict(step: Step) -> dict[str, Any]:
    """Return a step under the field names that JSON files use."""
    record = {STORED_NAMES.get(name, name): value for name, value in asdict(step).items()}
    if step.replaced_bytes is None:
        del record["replaced_bytes"]
    return record


def _trace_from_dict(record: Mapping[str, Any]) -> Trace:
    # Every value is converted: the record may come from a file that was edited.
    steps = record["steps"]
    trace = Trace(
        seed=int(record["seed"]),
        settings=dict(record["settings"]),
        steps=(
            unpack(steps, record["text"]) if isinstance(steps, Mapping) else [_step_from_dict(step) for step in steps]
        ),
        tokens={role: int(record["tokens"][role.value]) for role in Role},
        swaps_up=int(record["swaps"]["up"]),
        swaps_down=int(record["swaps"]["down"]),
        stop=None if record["stop"] is None else str(record["stop"]),
        error=None if record.get("error") is None else str(record["error"]),
        wall_ms=float(record["wall_ms"]),
        # Records without it are from versions that generated one answer at a time.
        busy_ms=float(record.get("busy_ms", record["wall_ms"])),
        ttft_ms=None if record["ttft_ms"] is None else float(record["ttft_ms"]),
        # Early records of version 0.1 have neither.
        resumed_tokens=int(record.get("kept", 0)),
        # JSON has no infinity: an infinite tau is a string.
        taus=[(int(position), float(tau)) for position, tau in record.get("taus", ())],
    )
    for role in Role:
        trace.usage[role].tokens = [int(record["evaluated"][role.value][kind]) for kind in KINDS]
        trace.usage[role].ns = [round(record["ms"][role.value][kind] * 1e6) for kind in KINDS]
    return trace


def _step_from_dict(record: Mapping[str, Any]) -> Step:
    swap_entropy, margin = record.get("unsure"), record.get("margin")
    replaced_bytes = record.get("replaced_bytes")
    return Step(
        position=int(record["position"]),
        role=Role(record["role"]),
        token=int(record["token"]),
        text=str(record["text"]),
        entropy=float(record["entropy"]),
        top1=float(record["top1"]),
        evaluated_tokens=int(record["caught_up"]),
        ms=float(record["ms"]),
        swap_entropy=None if swap_entropy is None else float(swap_entropy),
        margin=None if margin is None else float(margin),
        replaced_bytes=None if replaced_bytes is None else int(replaced_bytes),
    )

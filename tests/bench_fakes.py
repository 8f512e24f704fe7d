"""A scripted pair whose routers differ in speed and accuracy, for the tests of bench and tune."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from problem_fakes import FakeStep, right_reply, row, totals

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.driver import Status
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import EngineError, RStitchError
from rstitch_local.problems.grading import Verdict
from rstitch_local.problems.prompts import prompt_of
from rstitch_local.problems.runner import Job
from rstitch_local.problems.tasks import Settings
from rstitch_local.study.router_metrics import BASELINE, RouterMetrics, metrics_of


@dataclass(frozen=True, slots=True)
class RouterBehavior:
    """Behavior of one router: milliseconds per answer, tokens per model, numbers of the problems it gets wrong."""

    ms: float = 100.0
    slm: int = 6
    llm: int = 2
    wrong: Sequence[str] = ()
    error: RStitchError | None = None


class Trace:
    def __init__(self, text: str, behavior: RouterBehavior, seed: int) -> None:
        self.text, self.behavior, self.seed = text, behavior, seed
        self.stop: str | None = None

    def totals(self) -> dict[str, Any]:
        times = {"wall_ms": self.behavior.ms, "busy_ms": self.behavior.ms}
        return {**totals(self.stop or "none", self.seed, self.behavior.slm, self.behavior.llm), **times}

    def to_columns(self) -> dict[str, Any]:
        return {"settings": {}, "text": self.text, **self.totals(), "steps": {}}


class Run:
    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.error: EngineError | None = None

    def generate(self, stopped: bool) -> FakeStep | None:
        error = self.trace.behavior.error
        self.error = error if isinstance(error, EngineError) else None
        self.trace.stop = "interrupted" if stopped else "error" if self.error else "eog"
        return FakeStep("slm", self.trace.text) if self.trace.stop == "eog" else None


@dataclass(slots=True)
class RoutedPair:
    """Answers the problems of `write_problems` by the behavior of the router; records (router, question) in order."""

    behaviors: dict[str, RouterBehavior] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        return {"pair": "routed"}

    def chat(
        self,
        messages: list[dict[str, str]],
        *,
        router: str,
        sampling: Sampling,  # noqa: ARG002
        seed: int,
        max_tokens: int | None,
        reuse: bool,  # noqa: ARG002
        stop: Sequence[str] = (),  # noqa: ARG002
    ) -> Run:
        question = messages[-1]["content"]
        if max_tokens is None:  # the warm-up sets it
            self.asked.append((router, question))
        behavior = self.behaviors.get(router, RouterBehavior())
        if behavior.error is not None and not isinstance(behavior.error, EngineError):
            raise behavior.error
        wrong = any(f"What is {number} " in question for number in behavior.wrong)
        text = "\\boxed{-1}" if wrong else right_reply(question)
        return Run(Trace(text, behavior, seed))

    def run_all(self, runs: Iterable[Run], *, should_stop: Callable[[], bool]) -> Iterator[tuple[Run, FakeStep | None]]:
        for run in runs:
            step = run.generate(should_stop())
            if run.trace.stop == "interrupted":
                return
            yield run, step

    @property
    def status(self) -> Status:
        return Status(1, 1, {Role.SLM: 1, Role.LLM: 0}, 0)

    def load(self) -> nullcontext[Pair]:
        """Return the `load` argument of `run_bench` and `tune`."""
        return nullcontext(cast(Pair, self))


def bench_job(file: Path, out: Path, **changes: Any) -> Job:
    """Return a greedy job for a bench of the problems of `write_problems`."""
    settings = Settings("llm", Sampling(), prompt_of("plain"))
    return Job(source=file, out=out, settings=settings, model_settings={}, pair_name="routed", **changes)


class QuickGrader:
    """Compares the boxed answer without a grading process."""

    def __enter__(self) -> QuickGrader:
        return self

    def __exit__(self, *_exception: object) -> None:
        pass

    def grade(self, gold: str | None, text: str) -> Verdict:
        answer = text.rpartition("{")[2].rstrip("}")
        return Verdict(answer, None if gold is None else answer == gold)


def some_rows(verdicts: str, ms: float = 100.0, **changes: Any) -> list[dict[str, Any]]:
    """Return rows p0, p1, ...: r is right, w is wrong, e ended in an error, any other letter is not graded."""
    rows = []
    for index, verdict in enumerate(verdicts):
        correct = {"r": True, "w": False, "e": False}.get(verdict)
        ends = {"stop": "error", "wall_ms": 0.0, "error": "NaN logits"} if verdict == "e" else {"wall_ms": ms + index}
        rows.append(row(f"p{index}", correct, **{**ends, **changes}))
    return rows


def results_of(**rows: list[dict[str, Any]]) -> tuple[list[RouterMetrics], dict[str, list[dict[str, Any]]]]:
    """Return metrics and rows of routers by name; the first underscore of a name becomes a colon."""
    named = {name.replace("_", ":", 1): router_rows for name, router_rows in rows.items()}
    return [metrics_of(name, router_rows, named[BASELINE]) for name, router_rows in named.items()], named

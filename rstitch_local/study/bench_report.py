"""Report of a bench: report.md for people, figures.csv and figures.json for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstitch_local.files import write_atomic
from rstitch_local.study.bench import BenchOutcome
from rstitch_local.study.bench_findings import PART_NAMES, bench_findings
from rstitch_local.study.formats import MISSING, csv_text, number, p_value, percent, ratio
from rstitch_local.study.markdown import escape, table
from rstitch_local.study.router_metrics import TIME_PARTS, RouterMetrics

REPORT, CSV, JSON = "report.md", "figures.csv", "figures.json"
_SHOWN_FAILURES = 20
_EVALUATIONS = tuple(f"{role} {kind}" for role in ("slm", "llm") for kind in ("prompt", "catch_up", "decode"))

_METRICS_NOTE = (
    "Accuracy: share of right answers with its 95 % Wilson interval. Better, worse: problems with more or fewer right "
    "answers than the LLM alone; p: McNemar's exact test. Speed-up: total time of the LLM alone divided by the "
    "router's, with a 95 % paired bootstrap interval over problems. Tokens, swaps (SLM to LLM) and catch-up tokens: "
    "means over answers. Memory is computed, not measured: weight files of the models used plus the largest KV caches "
    "an answer needed."
)
_TIME_NOTE = (
    "Seconds per problem. Catch-up and prompt are sums over both models. A catch-up evaluation also yields the next "
    "token. Rest: time outside llama.cpp."
)
_TOKEN_COST_NOTE = (
    "Milliseconds per token. If decoding costs clearly different times in rows with many decoded tokens, the machine "
    "changed its speed during the bench."
)

_COLUMNS: dict[str, Callable[[RouterMetrics], str]] = {
    "router": lambda result: f"`{result.router}`",
    "accuracy": lambda result: percent(result.accuracy, result.interval),
    "better / worse": lambda result: MISSING if result.p is None else f"{result.better} / {result.worse}",
    "p": lambda result: MISSING if result.p is None else p_value(result.p).removeprefix("= "),
    "s per problem": lambda result: number(result.seconds),
    "median s": lambda result: number(result.median_seconds),
    "speed-up": lambda result: ratio(result.speed_up, result.speed_up_interval),
    "LLM share": lambda result: MISSING if result.llm_share is None else f"{result.llm_share:.1%}",
    "tokens": lambda result: number(result.tokens),
    "swaps": lambda result: number(result.swaps_up),
    "catch-up tokens": lambda result: number(result.catch_up_tokens),
    "memory, MB": lambda result: MISSING if result.memory_bytes is None else number(result.memory_bytes / 1e6),
    "errors": lambda result: str(len(result.failures)),
}


@dataclass(frozen=True, slots=True)
class BenchReport:
    """The report of a bench.

    results: metrics of all routers.
    findings: see `bench_findings`.
    metadata: see `metadata_of`.
    split_problems: number of problems whose answers come from several sessions.
    """

    results: Sequence[RouterMetrics]
    findings: Sequence[str]
    metadata: Mapping[str, str]
    split_problems: int = 0

    @classmethod
    def of(cls, outcome: BenchOutcome, results: Sequence[RouterMetrics]) -> BenchReport:
        """Return the report of a bench in which at least one problem was answered by all routers."""
        findings = bench_findings(results, outcome.rows, outcome.split)
        return cls(results, findings, metadata_of(outcome), outcome.split)

    def markdown(self, plots: Sequence[str] = ()) -> str:
        """Return the report in Markdown: findings, tables, plots (file names), setup and errors."""
        parts = ["# Bench", *map(escape, self.findings), "## Results", metrics_table(self.results), _METRICS_NOTE]
        parts += ["## Time per problem", time_table(self.results), _TIME_NOTE]
        parts += ["## Time per token", token_cost_table(self.results), _TOKEN_COST_NOTE]
        parts += [f"![{Path(name).stem.replace('-', ' ')}]({name})" for name in plots]
        parts += ["## Setup", metadata_list(self.metadata), *_failures(self.results)]
        return "\n\n".join(parts) + "\n"

    def json(self) -> str:
        """Return the content of figures.json."""
        # The keys are those of the first release.
        record = {
            "plain_words": list(self.findings),
            "measured": dict(self.metadata),
            "split_problems": self.split_problems,
            "routers": [result.to_dict() for result in self.results],
        }
        return json.dumps(record, indent=2, allow_nan=False) + "\n"

    def write(self, out: Path, plots: Sequence[str] = ()) -> None:
        """Write report.md, figures.csv and figures.json into a folder; raises StorageError."""
        contents = {REPORT: self.markdown(plots), CSV: csv_text(map(csv_row, self.results)), JSON: self.json()}
        for name, content in contents.items():
            write_atomic(out / name, content, what="report")


def metadata_of(outcome: BenchOutcome) -> dict[str, str]:
    """Return problems, models, settings, machine and versions of a bench as text, by their names in figures.json."""
    settings, information, loaded = outcome.settings, outcome.information, outcome.loaded
    sampling, problems = settings["sampling"], information["problems"]
    sampling_text = "greedy"
    if sampling["temperature"] > 0:
        sampling_text = ", ".join(f"{name} {value:g}" for name, value in sampling.items())
    max_tokens = f"at most {settings['max_tokens']} tokens" if settings["max_tokens"] else "limited by the context"
    binding = f", {loaded['binding']}, llama.cpp {loaded['llama_cpp']}" if "llama_cpp" in loaded else ""
    models = {role.upper(): _model_text(loaded[role]) for role in ("slm", "llm") if role in loaded}
    return {
        "problems": f"{problems['file']} ({problems['rows']} rows, sha256 {settings['problems_sha256']})",
        "pair": str(information["pair"]),
        **models,
        "sampling": f"{sampling_text}; seed {settings['seed']}; {max_tokens}",
        "prompt": str(settings["prompt"]),
        "grader": ", ".join(f"{name} {value}" for name, value in settings["grader"].items()),
        "machine": f"{information['system']}, Python {information['python']}",
        "rstitch": f"{information['rstitch']}{binding}",
        "begun": str(information["created"]),
    }


def _model_text(model: Mapping[str, Any]) -> str:
    return (
        f"{model['file']} ({model['description']}), context {model['context']}, threads {model['threads']}, "
        f"GPU layers {model['gpu_layers']}, KV cache {model['kv_type']}"
    )


def metadata_list(metadata: Mapping[str, str]) -> str:
    """Return the metadata as a Markdown list."""
    labels = {"begun": "started"}
    return "\n".join(f"- {labels.get(name, name)}: {escape(value)}" for name, value in metadata.items())


def metrics_table(results: Sequence[RouterMetrics]) -> str:
    """Return a Markdown table of the metrics, one row per router."""
    return table(list(_COLUMNS), [[cell(result) for cell in _COLUMNS.values()] for result in results], align_right=True)


def time_table(results: Sequence[RouterMetrics]) -> str:
    """Return a Markdown table of the seconds per problem by part, one row per router."""
    rows = []
    for result in results:
        total = sum(result.parts.values())
        cells = [
            f"{number(result.parts[name])} ({result.parts[name] / total:.0%})" if total > 0 else MISSING
            for name in TIME_PARTS
        ]
        rows.append([f"`{result.router}`", *cells])
    return table(["router", *(PART_NAMES[name] for name in TIME_PARTS)], rows, align_right=True)


def token_cost_table(results: Sequence[RouterMetrics]) -> str:
    """Return a Markdown table of the milliseconds per token by model and kind of evaluation, one row per router."""
    names = [f"{role.upper()} {kind.replace('_', '-')}" for role, kind in (key.split() for key in _EVALUATIONS)]
    rows = [
        [f"`{result.router}`", *(number(result.ms_per_token.get(key)) for key in _EVALUATIONS)] for result in results
    ]
    return table(["ms per token", *names], rows, align_right=True)


def csv_row(result: RouterMetrics) -> dict[str, Any]:
    """Return the metrics of a router as one flat row of figures.csv."""
    bounds: dict[str, Any] = {}
    for name in ("interval", "loss_interval", "speed_up_interval"):
        low, high = getattr(result, name) or (None, None)
        bounds |= {f"{name}_low": low, f"{name}_high": high}
    scalars = {
        name: getattr(result, name)
        for name in (
            "router", "problems", "answers", "graded", "correct", "cut_off", "accuracy", "loss", "better", "worse",
            "p", "seconds", "median_seconds", "speed_up", "llm_share", "tokens", "slm_tokens", "llm_tokens",
            "swaps_up", "swaps_down", "catch_up_tokens", "memory_bytes",
        )
    }  # fmt: skip
    return {
        **scalars,
        "errors": len(result.failures),
        **bounds,
        "slm_cells": result.kv_cells["slm"],
        "llm_cells": result.kv_cells["llm"],
        **{f"{name}_seconds": result.parts.get(name) for name in TIME_PARTS},
        **{f"{key.replace(' ', '_')}_ms_per_token": result.ms_per_token.get(key) for key in _EVALUATIONS},
    }


def _failures(results: Sequence[RouterMetrics]) -> list[str]:
    lines = [
        f"- `{result.router}`, {escape(failure.id, 60)}"
        + (f" sample {failure.sample}" if failure.sample else "")
        + f": {escape(failure.error, 200)}"
        for result in results
        for failure in result.failures
    ]
    if not lines:
        return []
    hidden = len(lines) - _SHOWN_FAILURES
    shown = lines[:_SHOWN_FAILURES] + ([f"- and {hidden} more"] if hidden > 0 else [])
    return ["## Answers that ended in an error", "\n".join(shown)]

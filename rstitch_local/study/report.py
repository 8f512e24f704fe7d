"""The figures of a bench as files: report.md for people, figures.csv and figures.json for programs.

Knows how figures are written down; nothing of how they come about.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rstitch_local.files import write_atomic
from rstitch_local.sanitize import one_line
from rstitch_local.study.bench import BenchOutcome
from rstitch_local.study.figures import PARTS, RouterFigures
from rstitch_local.study.statistics import Interval
from rstitch_local.study.verdict import PART_NAMES, p_text

REPORT, CSV, JSON = "report.md", "figures.csv", "figures.json"
_SHOWN_FAILURES = 20
_COSTS = tuple(f"{role} {kind}" for role in ("slm", "llm") for kind in ("prompt", "catch_up", "decode"))
# A missing figure, in tables for people.
NONE = "--"


def write_report(out: Path, text: str, figures: Sequence[RouterFigures], record: Mapping[str, Any]) -> None:
    """Write the three files into a folder; raises StorageError."""
    for name, content in ((REPORT, text), (CSV, csv_text(figures)), (JSON, json_text(figures, record))):
        write_atomic(out / name, content, what="report")


def markdown(
    title: str,
    words: Sequence[str],
    facts: Mapping[str, str],
    figures: Sequence[RouterFigures],
    plots: Sequence[str] = (),
) -> str:
    """The report: plain words first, then the tables, what was measured on what, errors, and plots by file name."""
    parts = [f"# {title}", *map(escaped, words), "## Figures", figures_table(figures), _KEY]
    parts += ["## Where the time goes", parts_table(figures), _PARTS_KEY]
    parts += ["## What a token costs", cost_table(figures), _COST_KEY]
    parts += [f"![{Path(name).stem.replace('-', ' ')}]({name})" for name in plots]
    parts += ["## What was measured", "\n".join(f"- {name}: {escaped(value)}" for name, value in facts.items())]
    parts += _failures(figures)
    return "\n\n".join(parts) + "\n"


_KEY = (
    "Accuracy: share of right answers with its 95 % Wilson interval. Better, worse: problems on which the router has "
    "more right answers than the LLM alone, or fewer; p by McNemar's exact test. Speed-up: total time of the LLM alone "
    "over that of the router, with a 95 % interval by paired bootstrap over problems. Tokens, swaps (up) and catch-up "
    "tokens are means over answers. Memory is computed, not measured: the weight files of the models that were used "
    "and the largest caches an answer needed."
)

_PARTS_KEY = (
    "Seconds a problem. Catch-up is on both sides, and such a pass yields the token after it as well; the rest is all "
    "that was not spent inside llama.cpp."
)
_COST_KEY = (
    "Milliseconds. A machine that changed its speed shows here: a decoded token should cost the same in all rows that "
    "have many."
)

_COLUMNS: dict[str, Callable[[RouterFigures], str]] = {
    "router": lambda own: f"`{own.router}`",
    "accuracy": lambda own: shares(own.accuracy, own.interval),
    "better / worse": lambda own: NONE if own.p is None else f"{own.better} / {own.worse}",
    "p": lambda own: NONE if own.p is None else p_text(own.p).removeprefix("= "),
    "s a problem": lambda own: number(own.seconds),
    "median": lambda own: number(own.median_seconds),
    "speed-up": lambda own: ratios(own.speed_up, own.speed_up_interval),
    "LLM share": lambda own: NONE if own.llm_share is None else f"{own.llm_share:.1%}",
    "tokens": lambda own: number(own.tokens),
    "swaps": lambda own: number(own.swaps_up),
    "catch-up tokens": lambda own: number(own.catch_up_tokens),
    "memory, MB": lambda own: NONE if own.memory_bytes is None else number(own.memory_bytes / 1e6),
    "errors": lambda own: str(len(own.failures)),
}


def facts_of(outcome: BenchOutcome) -> dict[str, str]:
    """What was measured on what: problems, models, settings, machine and versions."""
    settings, information, loaded = outcome.settings, outcome.information, outcome.loaded
    sampling, problems = settings["sampling"], information["problems"]
    drawn = "greedy"
    if sampling["temperature"] > 0:
        drawn = ", ".join(f"{name} {value:g}" for name, value in sampling.items())
    facts = {
        "problems": f"{problems['file']} ({problems['rows']} rows, sha256 {settings['problems_sha256']})",
        "pair": str(information["pair"]),
    }
    for role in ("slm", "llm"):
        if role in loaded:
            own = loaded[role]
            facts[role.upper()] = (
                f"{own['file']} ({own['description']}), context {own['context']}, {own['threads']} threads, "
                f"{own['gpu_layers']} layers on a GPU, cache {own['kv_type']}"
            )
    budget = settings["max_tokens"]
    return {
        **facts,
        "sampling": f"{drawn}; seed {settings['seed']}; "
        + (f"at most {budget} tokens" if budget else "as many tokens as the context holds"),
        "prompt": str(settings["prompt"]),
        "grader": ", ".join(f"{name} {value}" for name, value in settings["grader"].items()),
        "machine": f"{information['system']}, Python {information['python']}",
        "rstitch": f"{information['rstitch']}"
        + (f", {loaded['binding']}, llama.cpp {loaded['llama_cpp']}" if "llama_cpp" in loaded else ""),
        "begun": str(information["created"]),
    }


def figures_table(figures: Sequence[RouterFigures]) -> str:
    """Markdown: a row a router."""
    return table(list(_COLUMNS), [[cell(own) for cell in _COLUMNS.values()] for own in figures])


def parts_table(figures: Sequence[RouterFigures]) -> str:
    """Markdown: seconds a problem, taken apart."""
    rows = []
    for own in figures:
        whole = sum(own.parts.values())
        cells = [f"{number(own.parts[name])} ({own.parts[name] / whole:.0%})" if whole > 0 else NONE for name in PARTS]
        rows.append([f"`{own.router}`", *cells])
    return table(["router", *(PART_NAMES[name] for name in PARTS)], rows)


def cost_table(figures: Sequence[RouterFigures]) -> str:
    """Markdown: milliseconds a token, by model and by the way it was evaluated."""
    names = [f"{role.upper()} {kind.replace('_', '-')}" for role, kind in (key.split() for key in _COSTS)]
    rows = [[f"`{own.router}`", *(number(own.ms_per_token.get(key)) for key in _COSTS)] for own in figures]
    return table(["ms a token", *names], rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def number(value: float | None) -> str:
    """Three digits, whole numbers above a hundred."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def shares(value: float | None, interval: Interval | None) -> str:
    """A share with its interval, in per cent."""
    if value is None:
        return NONE
    return f"{value:.1%}" + ("" if interval is None else f" ({interval[0] * 100:.0f} to {interval[1] * 100:.0f})")


def ratios(value: float | None, interval: Interval | None) -> str:
    """A ratio with its interval."""
    if value is None:
        return NONE
    return f"{value:.2f}x" + ("" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})")


def escaped(text: str) -> str:
    """Text of strangers as text in Markdown: on one line, and without anything that is markup there."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in one_line(text, 2000))


def csv_text(figures: Sequence[RouterFigures]) -> str:
    """A row a router, every figure with its unit in its name; what is not known is empty."""
    buffer = io.StringIO()
    rows = [_flat(own) for own in figures]
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def json_text(figures: Sequence[RouterFigures], record: Mapping[str, Any]) -> str:
    """One object: `record`, and the figures under `routers`."""
    return json.dumps({**record, "routers": [asdict(own) for own in figures]}, indent=2, allow_nan=False) + "\n"


def _flat(own: RouterFigures) -> dict[str, Any]:
    low_high: dict[str, Any] = {}
    for name in ("interval", "loss_interval", "speed_up_interval"):
        low, high = getattr(own, name) or (None, None)
        low_high |= {f"{name}_low": low, f"{name}_high": high}
    plain = {
        name: getattr(own, name)
        for name in (
            "router", "problems", "answers", "graded", "correct", "cut_off", "accuracy", "loss", "better", "worse",
            "p", "seconds", "median_seconds", "speed_up", "llm_share", "tokens", "slm_tokens", "llm_tokens",
            "swaps_up", "swaps_down", "catch_up_tokens", "memory_bytes",
        )
    }  # fmt: skip
    return {
        **plain,
        "errors": len(own.failures),
        **low_high,
        "slm_cells": own.cells["slm"],
        "llm_cells": own.cells["llm"],
        **{f"{name}_seconds": own.parts.get(name) for name in PARTS},
        **{f"{key.replace(' ', '_')}_ms_per_token": own.ms_per_token.get(key) for key in _COSTS},
    }


def _failures(figures: Sequence[RouterFigures]) -> list[str]:
    lines = [
        f"- `{own.router}`, {escaped(one_line(failure.id, 60))}"
        + (f" sample {failure.sample}" if failure.sample else "")
        + f": {escaped(one_line(failure.error, 200))}"
        for own in figures
        for failure in own.failures
    ]
    if not lines:
        return []
    more = len(lines) - _SHOWN_FAILURES
    shown = lines[:_SHOWN_FAILURES] + ([f"- and {more} more"] if more > 0 else [])
    return ["## Answers that ended in an error", "\n".join(shown)]

"""`rstitch calibrate`: measure a pair on this machine, store the calibration, and report what it means.

The measurement and the cost model are in rstitch_local/costs/.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rstitch_local.commands.console import echo, make_console, progress_bars, safe_json
from rstitch_local.commands.options import JsonOption, ModelOptions
from rstitch_local.commands.signature import Without, with_option_groups

if TYPE_CHECKING:
    from rstitch_local.costs.latency import PairLatency
    from rstitch_local.costs.speedup import Workload
    from rstitch_local.engine.pair import Pair
    from rstitch_local.trace.record import Trace

# For every pair but the demo pair, which solves word problems only.
_QUESTIONS = (
    "A shop sells pens at 3 coins each. Ben buys 14 and pays with a note of 50. How much does he get back?",
    "Which is larger, 7/9 or 10/13? Show how you know.",
    "Write a Python function that says whether a word reads the same backwards.",
    "Explain in three sentences why the sky is blue.",
    "A train leaves at 9:40 and arrives at 13:05. How long is the journey, and what if it is 25 minutes late?",
)
_CHECK_TOKENS = 40
_CHECK_SEED = 11
_HIGH_ERROR = 0.1
_MIN_VISITS = 5
# Redrawing takes time from the measurement; at this interval it is negligible.
_REDRAW_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Check:
    """Predicted and measured wall milliseconds of answers that were not used for fitting."""

    predicted_ms: list[float]
    measured_ms: list[float]

    @property
    def error(self) -> float:
        """Median over the answers of |predicted - measured| / measured."""
        pairs = zip(self.predicted_ms, self.measured_ms, strict=True)
        return statistics.median(abs(predicted / measured - 1) for predicted, measured in pairs)


@with_option_groups
def calibrate(*, models: Annotated[ModelOptions, Without("parallel")], json_output: JsonOption = False) -> None:
    """Measure the token costs of a pair on this machine.

    This takes about a minute; other work on the machine falsifies the result.
    """
    from rstitch_local.costs.store import store_calibration

    choice = models.choose()
    try:
        with models.open_pair(choice) as pair:
            latency = _measure(pair)
            traces = check_answers(pair)
            path = store_calibration(pair, latency).path
    except KeyboardInterrupt:
        make_console(stderr=True).print("Stopped. The stored calibration is unchanged.")
        raise
    check = Check([latency.predict_ms(trace) for trace in traces], [trace.wall_ms for trace in traces])
    if json_output:
        typer.echo(safe_json({"pair": choice.name, "file": str(path), **_record(latency, traces, check)}))
        return
    echo(*_report(latency, traces, check), f"Stored in {path}")


def _measure(pair: Pair) -> PairLatency:
    from rstitch_local.costs.calibration import measure

    with progress_bars(make_console(stderr=True), auto_refresh=False) as bars:
        task = bars.add_task("Measuring", total=1.0)
        return measure(pair, progress=_throttled(lambda share: bars.update(task, completed=share, refresh=True)))


def _throttled(draw: Callable[[float], object]) -> Callable[[float], None]:
    """Return a function that calls `draw` at most once per `_REDRAW_SECONDS`."""
    drawn = 0.0

    def progress(share: float) -> None:
        nonlocal drawn
        now = time.monotonic()
        if now - drawn >= _REDRAW_SECONDS:
            drawn = now
            draw(share)

    return progress


def check_answers(pair: Pair) -> list[Trace]:
    """Generate a few answers to compare with the predictions of the cost model."""
    questions: Iterable[str] = _QUESTIONS
    if pair.name == "demo":
        from rstitch_local.builtin.word_problems import generate

        questions = [generate(_CHECK_SEED, index).question for index in range(len(_QUESTIONS))]
    return [pair.ask(question, seed=seed, max_tokens=_CHECK_TOKENS).finish() for seed, question in enumerate(questions)]


def _report(latency: PairLatency, traces: list[Trace], check: Check) -> list[str]:
    """Return the result as lines of text."""
    from rstitch_local.costs.speedup import describe
    from rstitch_local.decoding.roles import Role

    lines = describe(latency, _workload(traces))
    lines.append("Error of formula and table on held-out measurements:")
    for role in Role:
        model = latency.of(role)
        used = "table" if model.uses_table else "formula"
        lines.append(
            f"  {role.name}   formula {model.formula_error or 0:.1%}, table {model.table_error or 0:.1%}: "
            f"the {used} is used"
        )
    predicted, measured = sum(check.predicted_ms) / 1e3, sum(check.measured_ms) / 1e3
    lines.append(
        f"Checked on {len(traces)} answers: predicted {predicted:.3g} s, measured {measured:.3g} s; "
        f"median error {check.error:.1%}."
    )
    if check.error > _HIGH_ERROR:
        lines.append("The error is high. If the machine was busy, run `rstitch calibrate` again.")
    return lines


def _record(latency: PairLatency, traces: list[Trace], check: Check) -> dict[str, Any]:
    """Return the result ready for JSON."""
    from rstitch_local.costs.speedup import SHARES, break_even_share, speed_up

    workload = _workload(traces)
    return {
        "latency": latency.to_dict(),
        "picture": workload.to_dict(),
        "break_even_share": break_even_share(latency, workload),
        "speed_up": {f"{share:g}": speed_up(latency, share, workload) for share in SHARES},
        "check": {**asdict(check), "error": check.error},
    }


def _workload(traces: list[Trace]) -> Workload:
    """Return the default workload, with the tokens per visit of these answers if they have enough visits."""
    from rstitch_local.costs.speedup import Workload
    from rstitch_local.decoding.roles import Role

    visits = sum(trace.swaps_up for trace in traces)
    if visits < _MIN_VISITS:
        return Workload()
    return Workload(visit_tokens=round(sum(trace.tokens[Role.LLM] for trace in traces) / visits, 2))

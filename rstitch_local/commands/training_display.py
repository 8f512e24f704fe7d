"""Show the progress of a training: a live table on a terminal, one line per step elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


_MAX_ROWS = 12
_COLUMNS = (
    ("reward", "reward", 1, 3),
    ("right %", "accuracy", 100, 1),
    ("LLM %", "llm_share", 100, 1),
    ("ms", "latency_ms", 1, 1),
    ("clipped %", "clipped", 100, 1),
    ("dropped %", "dropped", 100, 0),
    ("entropy", "entropy", 1, 3),
)
"""Name, key in the record, factor, and number of decimals of each metric."""


class TrainingDisplay:
    """Context manager that shows the records of a training."""

    def __init__(self, screen: Console, steps: int) -> None:
        from rich.live import Live

        self._screen = screen
        self._steps = steps
        self._rows: list[Mapping[str, Any]] = []
        self._live = Live(console=screen, transient=True, auto_refresh=False) if screen.is_terminal else None

    def __enter__(self) -> TrainingDisplay:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, record: Mapping[str, Any]) -> None:
        """Show one record of the history: a step, a validation, or the start of the training."""
        if self._live is None:
            self._screen.print(_line(record, self._steps), soft_wrap=True)
            return
        self._rows.append(record)
        self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for name in ("step", *(name for name, *_ in _COLUMNS)):
            table.add_column(name, justify="right", no_wrap=True)
        for record in self._rows[-_MAX_ROWS:]:
            metrics = record.get("validation", record)
            if "reward" in metrics:
                step = f"{record['step']}/{self._steps}" if metrics is record else "validation"
                table.add_row(step, *(text for _, text in _cells(metrics)))
        return table


def _cells(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return name and text of each metric; the text is empty if the record does not have it."""
    return [
        (name, f"{metrics[key] * factor:.{decimals}f}" if key in metrics else "")
        for name, key, factor, decimals in _COLUMNS
    ]


def _line(record: Mapping[str, Any], steps: int) -> str:
    if "price" in record:
        return (
            f"lambda is {record['price']:.3g} per millisecond; "
            f"the warm-started policy agrees with its target in {record['imitated']:.1%} of the positions"
        )
    metrics = record.get("validation", record)
    place = f"step {record['step']}/{steps}" + (" validation" if metrics is not record else "")
    return place + ": " + ", ".join(f"{name} {text}" for name, text in _cells(metrics) if text)

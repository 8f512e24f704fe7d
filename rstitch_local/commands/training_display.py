"""The progress of a training on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


class TrainingDisplay:
    """A table of the last steps on a terminal, a line for each of them anywhere else."""

    _ROWS = 12

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
        """Show one record of the training."""
        if self._live is None:
            self._screen.print(_line(record, self._steps), soft_wrap=True)
            return
        self._rows.append(record)
        self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        names = ("step", "reward", "right, %", "LLM, %", "ms", "clipped, %", "dropped, %", "entropy")
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
        for record in self._rows[-self._ROWS :]:
            figures = record.get("validation", record)
            if "reward" in figures:
                step = f"{record['step']}/{self._steps}" if figures is record else "validation"
                table.add_row(step, *(text for _, text in _cells(figures)))
        return table


def _cells(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures that are shown, by name."""
    shown = (
        ("reward", "reward", 1, 3),
        ("right %", "accuracy", 100, 1),
        ("LLM %", "llm_share", 100, 1),
        ("ms", "latency_ms", 1, 1),
        ("clipped %", "clipped", 100, 1),
        ("dropped %", "dropped", 100, 0),
        ("entropy", "entropy", 1, 3),
    )
    return [(name, f"{figures[key] * unit:.{places}f}" if key in figures else "") for name, key, unit, places in shown]


def _line(record: Mapping[str, Any], steps: int) -> str:
    if "price" in record:
        return f"lambda is {record['price']:.3g} a millisecond; the warm start agrees in {record['imitated']:.1%}"
    figures = record.get("validation", record)
    place = f"step {record['step']}/{steps}" + (" validation" if figures is not record else "")
    return place + ": " + ", ".join(f"{name} {text}" for name, text in _cells(figures) if text)

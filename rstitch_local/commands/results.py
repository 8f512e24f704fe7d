"""The comparison of routers that bench and tune print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rstitch_local.commands.console import make_console

if TYPE_CHECKING:
    from rich.table import Table

    from rstitch_local.study.router_metrics import RouterMetrics


def print_comparison(figures: Sequence[RouterMetrics], words: Sequence[str]) -> None:
    """Print the conclusions in words, then one table row per router."""
    from rstitch_local.sanitize import safe_text

    screen = make_console()
    for paragraph in words:
        screen.print(safe_text(paragraph))
    screen.print()
    screen.print(_table(figures))


def _table(figures: Sequence[RouterMetrics]) -> Table:
    from rich.table import Table

    from rstitch_local.study.formats import MISSING, number

    table = Table("router", box=None, pad_edge=False)
    for name in ("right, %", "vs LLM", "s each", "speed-up", "LLM", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    for own in figures:
        right = MISSING if own.accuracy is None else f"{own.accuracy * 100:.3g}"
        if own.interval is not None:
            right += f" ({own.interval[0] * 100:.0f}-{own.interval[1] * 100:.0f})"
        speed = MISSING if own.speed_up is None else f"{own.speed_up:.3g}x"
        if own.speed_up_interval is not None:
            speed += f" ({own.speed_up_interval[0]:.3g}-{own.speed_up_interval[1]:.3g})"
        table.add_row(
            own.router,
            right,
            MISSING if own.p is None else f"+{own.better} -{own.worse}",
            number(own.seconds),
            speed,
            MISSING if own.llm_share is None else f"{own.llm_share:.0%}",
            number(own.tokens),
        )
    return table

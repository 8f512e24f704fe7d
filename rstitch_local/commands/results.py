"""The comparison of routers that bench and tune print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rstitch_local.commands.console import make_console

if TYPE_CHECKING:
    from rich.table import Table

    from rstitch_local.study.router_metrics import RouterMetrics


def print_comparison(metrics: Sequence[RouterMetrics], findings: Sequence[str]) -> None:
    """Print the findings, then a table with one row per router."""
    from rstitch_local.sanitize import safe_text

    screen = make_console()
    for paragraph in findings:
        screen.print(safe_text(paragraph))
    screen.print()
    screen.print(_table(metrics))


def _table(metrics: Sequence[RouterMetrics]) -> Table:
    from rich.table import Table

    from rstitch_local.study.formats import MISSING, number

    table = Table("router", box=None, pad_edge=False)
    for name in ("right, %", "vs LLM", "s each", "speed-up", "LLM", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    for router in metrics:
        right = MISSING if router.accuracy is None else f"{router.accuracy * 100:.3g}"
        if router.interval is not None:
            right += f" ({router.interval[0] * 100:.0f}-{router.interval[1] * 100:.0f})"
        speed = MISSING if router.speed_up is None else f"{router.speed_up:.3g}x"
        if router.speed_up_interval is not None:
            speed += f" ({router.speed_up_interval[0]:.3g}-{router.speed_up_interval[1]:.3g})"
        table.add_row(
            router.router,
            right,
            MISSING if router.p is None else f"+{router.better} -{router.worse}",
            number(router.seconds),
            speed,
            MISSING if router.llm_share is None else f"{router.llm_share:.0%}",
            number(router.tokens),
        )
    return table

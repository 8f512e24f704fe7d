"""A minimal app with one dialog, for the tests of dialogs."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Awaitable, Callable
from typing import Any

from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Static

# Markup that must not be parsed, an escape sequence and other control characters.
UNTRUSTED = "[red]x[/red] \x1b[31my\x1b[0m [/] \u202ez"
SIZES = [(80, 24), (140, 45), (40, 10)]
_TEXT = re.compile(r'<text[^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>')
_CELL = 12.2


class Shell(App[None]):
    """Opens a dialog and records its result."""

    def __init__(self, dialog: Callable[[], Screen[Any]]) -> None:
        super().__init__()
        self._dialog = dialog
        self.results: list[Any] = []

    def compose(self) -> ComposeResult:
        yield Static("the chat below")

    def on_mount(self) -> None:
        self.push_screen(self._dialog(), self.results.append)


Body = Callable[[Shell, Pilot[None]], Awaitable[None]]


def run(
    dialog: Callable[[], Screen[Any]], body: Body, *, size: tuple[int, int] = (80, 24), app: Shell | None = None
) -> None:
    """Open a dialog and run the steps of a test."""

    async def main() -> None:
        shell = app or Shell(dialog)
        async with shell.run_test(size=size) as pilot:
            await pilot.pause()
            await body(shell, pilot)

    asyncio.run(main())


async def until(pilot: Pilot[None], condition: Callable[[], object], message: str = "") -> None:
    """Poll until a condition is true."""
    for _ in range(300):
        if condition():
            return
        await pilot.pause()
    raise AssertionError(message or "condition never became true")


async def result(shell: Shell, pilot: Pilot[None]) -> Any:
    """Wait for the result of the dialog and return it."""
    await until(pilot, lambda: shell.results, "the dialog was not closed")
    assert len(shell.results) == 1
    return shell.results[0]


def seen(shell: App[Any]) -> str:
    """Return the text on the screen, line by line."""
    lines: dict[float, dict[int, str]] = {}
    for x, y, text in _TEXT.findall(shell.export_screenshot()):
        lines.setdefault(float(y), {})[round(float(x) / _CELL)] = html.unescape(text).replace("\xa0", " ")
    result = []
    for y in sorted(lines):
        line = ""
        for column, text in sorted(lines[y].items()):
            line = line.ljust(column) + text
        result.append(line)
    return "\n".join(result)

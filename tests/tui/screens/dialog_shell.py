"""A bare app under one dialogue, and the few moves its tests need."""

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

# Control characters in words, an escape sequence, and markup that must not be parsed.
STRANGE = "[red]x[/red] \x1b[31my\x1b[0m [/] \u202ez"
SIZES = [(80, 24), (140, 45), (40, 10)]
_TEXT = re.compile(r'<text[^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>')
_CELL = 12.2


class Shell(App[None]):
    """Opens a dialogue and keeps what it gave back."""

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
    """Open a dialogue and do something to it."""

    async def main() -> None:
        shell = app or Shell(dialog)
        async with shell.run_test(size=size) as pilot:
            await pilot.pause()
            await body(shell, pilot)

    asyncio.run(main())


async def until(pilot: Pilot[None], condition: Callable[[], object], what: str = "") -> None:
    """Let the app work until something is so."""
    for _ in range(300):
        if condition():
            return
        await pilot.pause()
    raise AssertionError(what or "it never came to that")


async def result(shell: Shell, pilot: Pilot[None]) -> Any:
    """What the dialogue gave back, once it has."""
    await until(pilot, lambda: shell.results, "the dialogue stays")
    assert len(shell.results) == 1
    return shell.results[0]


def seen(shell: App[Any]) -> str:
    """The characters on the screen, line by line."""
    lines: dict[float, dict[int, str]] = {}
    for x, y, text in _TEXT.findall(shell.export_screenshot()):
        lines.setdefault(float(y), {})[round(float(x) / _CELL)] = html.unescape(text).replace("\xa0", " ")
    found = []
    for y in sorted(lines):
        line = ""
        for column, text in sorted(lines[y].items()):
            line = line.ljust(column) + text
        found.append(line)
    return "\n".join(found)

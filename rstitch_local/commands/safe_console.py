"""A rich console that never prints a control character of a text it is given."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from rstitch_local.sanitize import safe_text


class SafeConsole(Console):
    """Removes control characters from everything it renders; its own colors and cursor movements stay."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of anything that is printed, also of the parts of a table or a progress display."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=safe_text(segment.text))

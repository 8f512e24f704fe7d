"""Styles of tokens: a color per model, and a background that becomes stronger with the entropy."""

from __future__ import annotations

from rich.style import Style
from textual.color import Color
from textual.widget import Widget

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_tui.widgets.contrast import tinted, with_contrast

FULL_ENTROPY = 0.02
"""The entropy from which the tint has its full strength if there is no tau."""

_LEVELS = 8
_GAMMA = 0.5
_MAX_TINT = 0.5


class TokenStyles:
    """Styles made from the component classes of a TokenView, cached by model and level of the tint.

    Args:
        view: the widget with the component classes.
    """

    def __init__(self, view: Widget) -> None:
        self._view = view
        self._cache: dict[tuple[Role, int], Style] = {}
        self._background: Color | None = None

    def clear(self) -> None:
        """Empty the cache."""
        self._cache.clear()

    def follow_background(self) -> bool:
        """Empty the cache if the background of the view has changed; return whether it has."""
        background = self._view.background_colors[1]
        if background == self._background:
            return False
        self._background = background
        self.clear()
        return True

    @property
    def plain(self) -> Style:
        """The style of text without colors."""
        return self._style(Role.SLM, 0)

    @property
    def cursor(self) -> Style:
        """What the cursor adds to a style."""
        return self._view.get_component_rich_style("token-view--cursor", partial=True)

    @property
    def selection(self) -> Style:
        """What a selection adds to a style."""
        return self._view.screen.get_component_rich_style("screen--selection", partial=True)

    def of_step(self, step: Step, tau: float | None, *, tint: bool) -> Style:
        """Return the style of a token; without `tint` only the color of its model."""
        if not tint:
            return self._style(step.role, 0)
        full = max(FULL_ENTROPY if tau is None else tau, 1e-9)
        share = min(1.0, max(0.0, step.entropy) / full)
        return self._style(step.role, round(_LEVELS * share**_GAMMA))

    def _style(self, role: Role, level: int) -> Style:
        style = self._cache.get((role, level))
        if style is None:
            style = self._cache[role, level] = self._make_style(role, level)
        return style

    def _make_style(self, role: Role, level: int) -> Style:
        background = self._view.background_colors[1]
        tint = self._view.get_component_styles(f"token-view--{role.value}-tint").color
        shade = tinted(background, tint, _MAX_TINT * level / _LEVELS)
        visual = self._view.get_visual_style(*(["token-view--llm"] if role is Role.LLM else []))
        color = visual.foreground if visual.foreground is not None else background.get_contrast_text()
        return visual.rich_style + Style(
            color=with_contrast(color, shade).rich_color,
            bgcolor=shade.rich_color,
            # The terminal's own colors cannot be mixed.
            bold=True if background.ansi is not None and level > _LEVELS // 2 else None,
        )

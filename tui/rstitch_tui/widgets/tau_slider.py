"""A slider for tau, the entropy above which the LLM writes.

Knows a number on a logarithmic scale and how it is moved; nothing of routers or answers.
"""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from rstitch_tui.widgets.entropy_scale import place_of, stepped, tau_text, value_at

_COARSE = 5
_LABEL_CELLS = 10
_SHORTEST_TRACK = 5


class TauSlider(Widget, can_focus=True):
    """One line: tau in figures, and a knob on a track from 0.0005 to 1, where the LLM never writes.

    The track has the SLM's colour below tau and the LLM's above it.
    Moved by keys, by dragging and by the wheel, which posts `Changed`; set from outside, it says nothing.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", "Lower tau", show=False),
        Binding("right", "move(1)", "Raise tau", show=False),
        Binding("shift+left,pagedown", f"move({-_COARSE})", "Much lower tau", show=False),
        Binding("shift+right,pageup", f"move({_COARSE})", "Much higher tau", show=False),
        Binding("home", "move_to(0)", "Lowest tau", show=False),
        Binding("end", "move_to(1)", "tau off", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "tau-slider--label",
        "tau-slider--value",
        "tau-slider--below",
        "tau-slider--above",
        "tau-slider--knob",
        "tau-slider--disabled",
    }
    DEFAULT_CSS = """
    TauSlider {
        height: 1;
        width: 1fr;
        min-width: 9;
        pointer: pointer;
        & > .tau-slider--label { color: $text-muted; }
        & > .tau-slider--below { color: $text-primary; }
        & > .tau-slider--above { color: $text-accent; }
        & > .tau-slider--disabled { color: $text-disabled; }
        &:hover > .tau-slider--knob { text-style: bold reverse; }
        &:focus {
            background: $foreground 12%;
            & > .tau-slider--label, & > .tau-slider--value, & > .tau-slider--knob {
                color: $foreground; text-style: bold;
            }
        }
    }
    """

    value: reactive[float | None] = reactive[float | None](None)
    """tau; None where the router has none, and nothing can be moved."""

    class Changed(Message):
        """The user has moved tau."""

        def __init__(self, tau_slider: TauSlider, value: float) -> None:
            super().__init__()
            self.tau_slider = tau_slider
            self.value = value

        @property
        def control(self) -> TauSlider:
            """The slider that was moved."""
            return self.tau_slider

    def __init__(
        self,
        value: float | None = None,
        *,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._dragging = False
        self.set_reactive(TauSlider.value, value)
        self.tooltip = Content("Where the SLM's entropy is above tau, the LLM writes. At 1 the SLM writes everything.")

    def allow_focus(self) -> bool:
        """There is nothing to do here without a tau."""
        return self.value is not None and super().allow_focus()

    def watch_value(self, value: float | None) -> None:
        """Without a tau, let go of the keys and the mouse."""
        if value is None and self.is_mounted:
            self._drop()
            if self.has_focus:
                self.blur()

    # Drawing

    def get_content_width(self, container: Size, viewport: Size) -> int:  # noqa: ARG002
        """As wide as there is room."""
        return container.width

    @property
    def _track_cells(self) -> int:
        """Cells between the two ends of the track; 0 where there is no room for one."""
        cells = self.content_size.width - _LABEL_CELLS - 2
        return cells if cells >= _SHORTEST_TRACK else 0

    def render(self) -> Content:
        """The line."""
        cells = self._track_cells
        value = self.value
        if value is None:
            dim = self.get_visual_style("tau-slider--disabled")
            return Content.assemble((f"{'τ –':<{_LABEL_CELLS}}", dim), (f"├{'─' * cells}┤" if cells else "", dim))
        look = {
            part: self.get_visual_style(f"tau-slider--{part}") for part in ("label", "value", "below", "above", "knob")
        }
        figure = tau_text(value) if value < 1 else f"{tau_text(value)} (off)"
        label = Content.assemble(("τ ", look["label"]), (f"{figure:<{_LABEL_CELLS - 2}}", look["value"]))
        if not cells:
            return label
        knob = self._knob_cell(value)
        return Content.assemble(
            label,
            ("├" + "─" * knob, look["below"]),
            ("●", look["knob"]),
            ("─" * (cells - 1 - knob) + "┤", look["above"]),
        )

    def _knob_cell(self, value: float) -> int:
        return round(place_of(value) * (self._track_cells - 1))

    # Moving

    def action_move(self, steps: int) -> None:
        """Move by so many fine steps."""
        if self.value is not None:
            self._choose(stepped(self.value, steps))

    def action_move_to(self, place: float) -> None:
        """Move to a place on the track, 0 to 1."""
        self._choose(value_at(place))

    def _choose(self, value: float) -> None:
        if self.value is not None and value != self.value:
            self.value = value
            self.post_message(self.Changed(self, value))

    def _choose_cell(self, x: int) -> None:
        """Move the knob to a column of the widget; where it stands there already, tau stays as it is."""
        cells = self._track_cells
        cell = min(max(0, x - self.gutter.left - _LABEL_CELLS - 1), cells - 1)
        if cells and self.value is not None and cell != self._knob_cell(self.value):
            self._choose(value_at(cell / (cells - 1)))

    def _drop(self) -> None:
        if self._dragging:
            self._dragging = False
            self.release_mouse()

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Take hold of the knob, wherever the track was hit."""
        if event.button == 1 and self.value is not None and event.x - self.gutter.left >= _LABEL_CELLS:
            event.stop()
            self._dragging = True
            self.capture_mouse()
            self._choose_cell(event.x)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Drag the knob."""
        if self._dragging:
            event.stop()
            self._choose_cell(event.x)

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """Let go of the knob."""
        if self._dragging:
            event.stop()
            self._drop()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel moves tau instead of what is around."""
        self._scroll(event, 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel moves tau instead of what is around."""
        self._scroll(event, -1)

    def _scroll(self, event: events.MouseEvent, steps: int) -> None:
        if self.value is not None:
            event.stop()
            event.prevent_default()
            self.action_move(steps)

"""The base class of all dialogs: a framed box over the chat."""

from __future__ import annotations

from typing import TypeVar

from textual.screen import ModalScreen

Result = TypeVar("Result")


class Dialog(ModalScreen[Result]):
    """A box over the chat that fills small terminals completely.

    Subclasses put their widgets into one container of class `box`, which may end with a row of class `buttons`.
    """

    # Each dialog sets its own focus: Textual's automatic focus scrolls a form before it has been laid out.
    AUTO_FOCUS = ""
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (60, "-wide")]  # noqa: RUF012  declared as in Textual
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (16, "-short"), (34, "-tall")]  # noqa: RUF012

    DEFAULT_CSS = """
    Dialog {
        align: center middle;
        & > .box {
            width: 100%;
            max-width: 100;
            height: 100%;
            border: round $primary;
            border-title-color: $text-primary;
            border-title-style: bold;
            border-subtitle-color: $text-warning;
            background: $surface;
            padding: 0 1;
        }
        & * { scrollbar-size-vertical: 1; }
        & .buttons { height: 3; align-horizontal: right; }
        & .buttons Button { margin-left: 1; }
        & .buttons .quiet { background: $panel; }
        &.-tall > .box { height: 90%; }
        &.-narrow .buttons Button { min-width: 10; }
        &.-tiny > .box { border: none; border-top: solid $primary; padding: 0; }
    }
    """

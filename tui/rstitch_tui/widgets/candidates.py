"""The likeliest tokens of one model at one place, with their probabilities, to look at and to choose from.

Knows one model's view of one place; nothing of answers, of the engine or of what a choice leads to.
"""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message as Event
from textual.reactive import reactive
from textual.style import Style
from textual.widget import Widget

from rstitch_local.decoding.roles import Role
from rstitch_local.sanitize import visible
from rstitch_local.trace.prediction import Prediction

ROWS = 10
"""Candidates that are shown."""

_PARTS = " ▏▎▍▌▋▊▉█"
_TOKEN_CELLS = 20


def entropy_text(entropy: float) -> str:
    """A normalised entropy in figures."""
    return "<0.0001" if 0 < entropy < 0.00005 else f"{entropy:.4f}"


def bar(share: float, cells: int) -> str:
    """A bar of blocks for a share from 0 to 1, to an eighth of a cell."""
    eighths = round(max(0.0, min(1.0, share)) * cells * 8)
    return "█" * (eighths // 8) + _PARTS[eighths % 8].strip()


class Candidates(Widget, can_focus=True):
    """A heading and ten rows: which token, how likely, and whether it is the one that was taken.

    Args:
        role: whose candidates.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Likelier", show=False, id="inspect_candidate_up"),
        Binding("down,j", "move(1)", "Less likely", show=False, id="inspect_candidate_down"),
        Binding("enter", "choose", "Branch here", id="inspect_branch"),
    ]

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "candidates--heading",
        "candidates--taken",
        "candidates--cursor",
        "candidates--bar",
        "candidates--quiet",
    }
    DEFAULT_CSS = """
    Candidates {
        height: 11;
        & > .candidates--heading { color: $text-primary; text-style: bold; }
        & > .candidates--taken { text-style: bold; }
        & > .candidates--cursor {
            color: $block-cursor-foreground; background: $block-cursor-background; text-style: bold;
        }
        & > .candidates--bar { color: $primary; }
        & > .candidates--quiet { color: $foreground 70%; }
        &.-llm > .candidates--heading { color: $text-accent; text-style: bold underline; }
        &.-llm > .candidates--bar { color: $accent; }
    }
    """

    cursor: reactive[int] = reactive(0)
    """The row that Enter chooses, from 0."""

    class Chosen(Event):
        """The user wants the answer to go on with this token."""

        def __init__(self, role: Role, token: int) -> None:
            super().__init__()
            self.role = role
            self.token = token

    def __init__(self, role: Role, *, id: str | None = None) -> None:
        super().__init__(id=id, classes=f"-{role.value}")
        self.role = role
        self._view: Prediction | None = None
        self._taken: int | None = None
        self._wrote = False
        self._old = False

    @property
    def view(self) -> Prediction | None:
        """What is shown of the place; None while that is not known."""
        return None if self._old else self._view

    def show(self, view: Prediction, taken: int | None, *, wrote: bool) -> None:
        """Show a place.

        Args:
            view: what the model makes of it.
            taken: the row of the token that stands there in the answer, None where it is none of them.
            wrote: this model wrote that token.
        """
        self._view, self._taken, self._wrote, self._old = view, taken, wrote, False
        self.cursor = taken or 0
        self.refresh()

    def wait(self) -> None:
        """What is shown is of another place: it fades until there is better."""
        self._old = True
        self.refresh()

    def clear(self) -> None:
        """Show nothing."""
        self._view = None
        self.refresh()

    def select(self, row: int) -> None:
        """Move to a row, if it is there."""
        if self._view is not None and 0 <= row < len(self._view.candidates[:ROWS]):
            self.cursor = row

    # Drawing

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        """A heading and the rows."""
        return 1 + ROWS

    def render(self) -> Content:
        """The heading and the rows."""
        width = self.content_size.width
        return Content("\n").join([self._heading(width), *(self._row(row, width) for row in range(ROWS))])

    def _heading(self, width: int) -> Content:
        name = self.role.name
        if self._view is None or self._old:
            return self._styled(f"{name} …", "heading")
        head = self._styled(name, "heading") + self._styled(f"  entropy {entropy_text(self._view.entropy)}", "quiet")
        if self._taken is None:
            note = "wrote none of these" if self._wrote else "not in its top ten"
        else:
            note = f"{'wrote its' if self._wrote else 'ranks it'} no. {self._taken + 1}"
        gap = width - head.cell_length - len(note)
        return head if gap < 2 else head + " " * gap + self._styled(note, "quiet")

    def _row(self, row: int, width: int) -> Content:
        if self._view is None or row >= len(self._view.candidates):
            return Content("")
        candidate = self._view.candidates[row]
        taken = row == self._taken
        # Half of what digit and probability leave is the token's, the rest the bar's.
        token_cells = max(1, min(_TOKEN_CELLS, (width - 10) // 2))
        token = Content(visible(candidate.text)).truncate(token_cells, ellipsis=True).truncate(token_cells, pad=True)
        share = "<0.1%" if candidate.probability < 0.0005 else f"{candidate.probability:.1%}".replace("100.0", "100")
        line = Content(f"{'●' if taken else ' '}{(row + 1) % 10} ") + token + f"{share:>6}"
        blocks = bar(candidate.probability, width - line.cell_length - 1)
        if self._old:
            return self._styled(f"{line.plain} {blocks}", "quiet")
        if taken:
            line = line.stylize(self._look("taken"))
        if row == self.cursor and self.has_focus:
            return line.stylize(self._look("cursor")) + " " + self._styled(blocks, "bar")
        return line + " " + self._styled(blocks, "bar")

    def _look(self, part: str) -> Style:
        return self.get_visual_style(f"candidates--{part}")

    def _styled(self, text: str, part: str) -> Content:
        return Content.styled(text, self._look(part))

    def watch_cursor(self) -> None:
        """See that the row is in view."""
        if self.has_focus:
            self.call_after_refresh(self._reveal_cursor)

    def on_focus(self) -> None:
        """See that the row is in view."""
        self.call_after_refresh(self._reveal_cursor)

    def _reveal_cursor(self) -> None:
        place = self.content_region.offset
        for ancestor in self.ancestors:
            if isinstance(ancestor, Widget) and ancestor.max_scroll_y > 0:
                offset = place - ancestor.content_region.offset + ancestor.scroll_offset
                room = ancestor.size.height
                # From the heading on, as long as the row is in view then.
                fits = self.cursor + 2 <= room
                rows = Region(0, 0, 1, min(room, 1 + ROWS)) if fits else Region(0, self.cursor + 1, 1, 1)
                ancestor.scroll_to_region(rows.translate(offset), animate=False, force=True)
                break

    # Choosing

    def action_move(self, by: int) -> None:
        """Go to another row."""
        self.select(self.cursor + by)

    def action_choose(self) -> None:
        """Take the row the cursor is on."""
        if self.view is not None and self.cursor < len(self.view.candidates):
            self.post_message(self.Chosen(self.role, self.view.candidates[self.cursor].token))

    def on_click(self, event: events.Click) -> None:
        """A click goes to a row, a second one on it chooses it."""
        place = event.get_content_offset(self)
        if place is None or not 1 <= place.y <= ROWS:
            return
        if self.cursor == place.y - 1 and event.chain > 1:
            self.action_choose()
        else:
            self.select(place.y - 1)

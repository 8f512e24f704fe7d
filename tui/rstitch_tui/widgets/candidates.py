"""The most likely tokens of one model at one position, with probabilities, to choose from.

Independent of the engine and of the answer.
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
"""Number of candidates that are shown."""

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_MAX_TOKEN_CELLS = 20


def format_entropy(entropy: float) -> str:
    """Return a normalized entropy with four decimals."""
    return "<0.0001" if 0 < entropy < 0.00005 else f"{entropy:.4f}"


def probability_bar(probability: float, cells: int) -> str:
    """Return a bar of block characters, rounded to an eighth of a cell; `cells` is its length at probability 1."""
    eighths = round(max(0.0, min(1.0, probability)) * cells * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


class Candidates(Widget, can_focus=True):
    """A heading and ten rows with a token each, its probability, and a mark on the token of the answer.

    Args:
        role: the model.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Likelier", show=False, id="inspect_candidate_up"),
        Binding("down,j", "move(1)", "Less likely", show=False, id="inspect_candidate_down"),
        Binding("enter", "choose", "Branch here", id="inspect_branch"),
    ]

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "candidates--heading",
        "candidates--in-answer",
        "candidates--cursor",
        "candidates--bar",
        "candidates--quiet",
    }
    DEFAULT_CSS = """
    Candidates {
        height: 11;
        & > .candidates--heading { color: $text-primary; text-style: bold; }
        & > .candidates--in-answer { text-style: bold; }
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
    """Index of the selected row."""

    class Chosen(Event):
        """The user chose a token to branch from."""

        def __init__(self, role: Role, token: int) -> None:
            super().__init__()
            self.role = role
            self.token = token

    def __init__(self, role: Role, *, id: str | None = None) -> None:
        super().__init__(id=id, classes=f"-{role.value}")
        self.role = role
        self._prediction: Prediction | None = None
        self._answer_row: int | None = None
        self._generated = False
        self._outdated = False

    @property
    def prediction(self) -> Prediction | None:
        """The prediction shown; None while it is being evaluated."""
        return None if self._outdated else self._prediction

    def show(self, prediction: Prediction, answer_row: int | None, *, generated: bool) -> None:
        """Show a prediction.

        Args:
            prediction: entropy and candidates of the model.
            answer_row: row of the token in the answer; None if it is not among the candidates.
            generated: whether this model generated that token.
        """
        self._prediction, self._answer_row, self._generated, self._outdated = prediction, answer_row, generated, False
        self.cursor = answer_row or 0
        self.refresh()

    def wait(self) -> None:
        """Dim the prediction, which belongs to another position, until there is a new one."""
        self._outdated = True
        self.refresh()

    def clear(self) -> None:
        """Remove the prediction."""
        self._prediction = None
        self.refresh()

    def select(self, row: int) -> None:
        """Select a row, if it exists."""
        if self._prediction is not None and 0 <= row < len(self._prediction.candidates[:ROWS]):
            self.cursor = row

    # Drawing

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        return 1 + ROWS

    def render(self) -> Content:
        width = self.content_size.width
        return Content("\n").join([self._heading(width), *(self._row(row, width) for row in range(ROWS))])

    def _heading(self, width: int) -> Content:
        name = self.role.name
        if self._prediction is None or self._outdated:
            return self._styled(f"{name} …", "heading")
        entropy = self._styled(f"  entropy {format_entropy(self._prediction.entropy)}", "quiet")
        heading = self._styled(name, "heading") + entropy
        if self._answer_row is None:
            note = "not in its top ten"
        else:
            note = f"{'generated, ' if self._generated else ''}rank {self._answer_row + 1}"
        gap = width - heading.cell_length - len(note)
        return heading if gap < 2 else heading + " " * gap + self._styled(note, "quiet")

    def _row(self, row: int, width: int) -> Content:
        if self._prediction is None or row >= len(self._prediction.candidates):
            return Content("")
        candidate = self._prediction.candidates[row]
        in_answer = row == self._answer_row
        # 10 cells are for the digit and the probability; token and bar share the rest.
        token_cells = max(1, min(_MAX_TOKEN_CELLS, (width - 10) // 2))
        token = Content(visible(candidate.text)).truncate(token_cells, ellipsis=True).truncate(token_cells, pad=True)
        share = "<0.1%" if candidate.probability < 0.0005 else f"{candidate.probability:.1%}".replace("100.0", "100")
        line = Content(f"{'●' if in_answer else ' '}{(row + 1) % 10} ") + token + f"{share:>6}"
        bar = probability_bar(candidate.probability, width - line.cell_length - 1)
        if self._outdated:
            return self._styled(f"{line.plain} {bar}", "quiet")
        if in_answer:
            line = line.stylize(self._style("in-answer"))
        if row == self.cursor and self.has_focus:
            line = line.stylize(self._style("cursor"))
        return line + " " + self._styled(bar, "bar")

    def _style(self, part: str) -> Style:
        return self.get_visual_style(f"candidates--{part}")

    def _styled(self, text: str, part: str) -> Content:
        return Content.styled(text, self._style(part))

    def watch_cursor(self) -> None:
        if self.has_focus:
            self.call_after_refresh(self._reveal_cursor)

    def on_focus(self) -> None:
        self.call_after_refresh(self._reveal_cursor)

    def _reveal_cursor(self) -> None:
        for ancestor in self.ancestors:
            if isinstance(ancestor, Widget) and ancestor.max_scroll_y > 0:
                offset = self.content_region.offset - ancestor.content_region.offset + ancestor.scroll_offset
                visible_rows = ancestor.size.height
                if self.cursor + 2 <= visible_rows:
                    # Heading and cursor fit: scroll to the heading.
                    rows = Region(0, 0, 1, min(visible_rows, 1 + ROWS))
                else:
                    rows = Region(0, self.cursor + 1, 1, 1)
                ancestor.scroll_to_region(rows.translate(offset), animate=False, force=True)
                break

    # Choosing

    def action_move(self, by: int) -> None:
        """Move the cursor by a number of rows."""
        self.select(self.cursor + by)

    def action_choose(self) -> None:
        """Choose the selected row."""
        if self.prediction is not None and self.cursor < len(self.prediction.candidates):
            self.post_message(self.Chosen(self.role, self.prediction.candidates[self.cursor].token))

    def on_click(self, event: events.Click) -> None:
        """Select the row; a double click chooses it."""
        offset = event.get_content_offset(self)
        if offset is None or not 1 <= offset.y <= ROWS:
            return
        if self.cursor == offset.y - 1 and event.chain > 1:
            self.action_choose()
        else:
            self.select(offset.y - 1)

"""A question with two answers; and what this and all larger dialogues are made of: frame, field, list to choose from.

Knows how these look and behave, large or small; nothing of what is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.css.styles import RulesMap
from textual.geometry import Region
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions, Visual
from textual.widgets import Button, Input, OptionList, Static

from rstitch_local.sanitize import one_line, safe_text

Result = TypeVar("Result")


class Dialog(ModalScreen[Result]):
    """A box over the chat; where the terminal is small it takes all of it.

    What is put on it goes into one container of the class `box`, which may end with a row of the class `buttons`.
    """

    # Each says itself where one begins; Textual's own way scrolls a form that is not laid out yet.
    AUTO_FOCUS = ""
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (60, "-wide")]  # noqa: RUF012  as Textual declares it
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


class Line(Input):
    """A field of one line; what commands a terminal does not get in."""

    DEFAULT_CSS = """
    Line {
        background: $panel;
        &.-textual-compact { padding: 0 1; }
        &:focus { background-tint: $foreground 10%; }
    }
    """

    def __init__(self, value: str = "", *, id: str, placeholder: str = "", max_length: int = 0) -> None:
        super().__init__(value, placeholder=placeholder, id=id, max_length=max_length, compact=True)

    def validate_value(self, value: str) -> str:
        """Typed, pasted or set: every change comes through here."""
        return safe_text(value).replace("\n", " ")


class LaidOut(Visual):
    """Text that is laid out for the width it is drawn at, each time it is drawn at another."""

    def content(self, width: int) -> Content:
        """The lines at a width."""
        raise NotImplementedError

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:  # noqa: ARG002
        """All there is."""
        return container_width

    def get_height(self, rules: RulesMap, width: int) -> int:  # noqa: ARG002
        """As many lines as it takes."""
        return self.content(width).plain.count("\n") + 1

    def render_strips(self, width: int, height: int | None, style: Style, options: RenderOptions) -> list[Strip]:
        """Draw them."""
        return self.content(width).render_strips(width, height, style, options)


class DialogOption(LaidOut):
    """One of several things to choose: a title, and under it what it means; `mark` goes before both."""

    def __init__(self, title: str, sentence: str, mark: str = "", *, bold: bool = True) -> None:
        self.title, self.sentence = title, sentence
        self._mark, self._bold = mark, bold

    def content(self, width: int) -> Content:
        """The lines at a width."""
        indent = len(self._mark)
        title = Content.styled(self.title, "bold" if self._bold else "").wrap(max(1, width - indent))
        sentence = Content.styled(self.sentence, "dim").wrap(max(1, width - indent)) if self.sentence else []
        lines = [Content.assemble(" " * indent, line) for line in [*title[1:], *sentence]]
        return Content("\n").join([Content.assemble(self._mark, title[0]), *lines])


class DialogOptions(OptionList):
    """A list of DialogOptions, in a form that scrolls: that follows where the list is taller."""

    DEFAULT_CSS = """
    DialogOptions {
        height: auto; max-height: 1000; overflow: hidden; border: none; padding: 0; background: $surface;
        &:focus { border: none; background-tint: transparent; }
        & > .option-list--option { padding: 0 1; }
    }
    """

    @on(OptionList.OptionHighlighted)
    def _follow(self, event: OptionList.OptionHighlighted) -> None:
        form = self.parent
        if isinstance(form, VerticalScroll) and self.has_focus:
            ways = [option.prompt for option in self.options if isinstance(option.prompt, DialogOption)]
            heights = [way.get_height({}, self.size.width - 2) for way in ways]
            top = self.virtual_region.y + sum(heights[: event.option_index])
            form.scroll_to_region(Region(0, top, self.size.width, heights[event.option_index]), animate=False)


class Choice(DialogOptions):
    """A list in which what is marked is chosen.

    Args:
        ways: title and sentence of each.
        chosen: the place of the one that is chosen at first.
    """

    DEFAULT_CSS = """
    Choice {
        & > .option-list--option-highlighted { background: $boost; }
    }
    """

    def __init__(self, ways: Sequence[tuple[str, str]], chosen: int, *, id: str) -> None:
        super().__init__(*(_marked(title, text, place == chosen) for place, (title, text) in enumerate(ways)), id=id)
        self.chosen = chosen

    def on_mount(self) -> None:
        """Mark what is chosen."""
        self.highlighted = self.chosen

    @on(OptionList.OptionHighlighted)
    def _choose(self, event: OptionList.OptionHighlighted) -> None:
        old, self.chosen = self.chosen, event.option_index
        for place in {old, self.chosen}:
            way = self.get_option_at_index(place).prompt
            assert isinstance(way, DialogOption)
            self.replace_option_prompt_at_index(place, _marked(way.title, way.sentence, place == self.chosen))


def _marked(title: str, sentence: str, chosen: bool) -> DialogOption:
    return DialogOption(title, sentence, "● " if chosen else "○ ", bold=chosen)


class ConfirmScreen(Dialog[bool]):
    """Asks something that is answered with one of two buttons; True is the first of them.

    Args:
        question: what is asked.
        yes: what happens then, in a word or two.
        no: what happens otherwise; Esc means this one.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(False)", "No", show=False, id="confirm_no"),
        Binding("left,up", "app.focus_previous", "Other button", show=False),
        Binding("right,down", "app.focus_next", "Other button", show=False),
    ]

    DEFAULT_CSS = """
    ConfirmScreen {
        & > .box, &.-tiny > .box, &.-tall > .box {
            width: auto; min-width: 40; max-width: 60; height: auto; border: round $primary;
        }
        & .question { width: 100%; padding: 1 1; }
        & .buttons { width: 100%; }
        &.-tiny .question { padding: 0 1; }
    }
    """

    def __init__(self, question: str, yes: str, no: str) -> None:
        super().__init__()
        self._question, self._yes, self._no = question, yes, no

    def compose(self) -> ComposeResult:
        """The question and its two answers."""
        with Vertical(classes="box"):
            yield Static(Content(safe_text(self._question)), classes="question")
            with Horizontal(classes="buttons"):
                yield Button(Content(one_line(self._yes, 30)), id="yes", variant="primary")
                yield Button(Content(one_line(self._no, 30)), id="no", classes="quiet")

    def on_mount(self) -> None:
        """An Enter too many does nothing that cannot be undone."""
        self.query_one("#no", Button).focus()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

"""The help: what the chat is, its keys and its commands, with a search field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Footer, Static

from rstitch_local import paths
from rstitch_local.sanitize import one_line, safe_text
from rstitch_tui.keys import PLACES, key_names, remapped
from rstitch_tui.screens.dialog import Dialog
from rstitch_tui.slash_table import COMMANDS
from rstitch_tui.widgets.line_input import LineInput
from rstitch_tui.widgets.reflowed_text import ReflowedText

_ABOUT = (
    "Two models generate one answer: the small model (SLM) generates, and where it is uncertain the large model (LLM) "
    "takes over.",
    "The color and underline of a token show which model generated it; a stronger color means a higher entropy.",
    "Tau is the entropy above which the LLM takes over. A lower tau means more LLM tokens: slower, and closer to the "
    "answer of the LLM alone.",
    "The answer is not identical to that of the LLM alone: where the SLM is certain, its token is used.",
    "Chats are stored in {data}, settings in {settings}. Nothing leaves this machine.",
)
_TWO_COLUMNS = 56
_KEYS_COLUMN, _COMMANDS_COLUMN = 22, 34


@dataclass(frozen=True)
class Topic:
    """A heading and its rows: a key or command, and what it does. `column` is the width of the first column."""

    heading: str
    rows: Sequence[tuple[str, str]]
    column: int = _KEYS_COLUMN

    def matching(self, words: Sequence[str]) -> Sequence[tuple[str, str]]:
        """Return the rows that contain all words, ignoring case."""
        return [row for row in self.rows if all(word in f"{row[0]} {row[1]}".lower() for word in words)]


def topics(keymap: Mapping[str, str]) -> list[Topic]:
    """Return the whole help, with the keys of the keymap."""
    actions = remapped(keymap)
    keys = [
        Topic(heading, [(key_names(action.keys), action.help) for action in actions if action.where == place])
        for place, heading in PLACES.items()
    ]
    about = [sentence.format(data=paths.data_dir(), settings=paths.settings_file()) for sentence in _ABOUT]
    commands = [(command.usage, f"{command.description}.") for command in COMMANDS.values()]
    return [
        Topic("About", [("", safe_text(sentence)) for sentence in about]),
        *keys,
        Topic("Commands, typed into the prompt", commands, _COMMANDS_COLUMN),
    ]


class TopicRows(ReflowedText):
    """The rows of a topic in two columns, or stacked at narrow widths."""

    def __init__(self, rows: Sequence[tuple[str, str]], column: int) -> None:
        self._rows, self._column = rows, column

    def content(self, width: int) -> Content:
        lines: list[Content] = []
        two = width >= _TWO_COLUMNS
        column = min(self._column, width * 2 // 5) if two else 2
        for name, text in self._rows:
            # A row without a name is a sentence over the whole width.
            indent = column if name else 2
            names = Content.styled(name or "•", "bold $text-primary").wrap(column - 2 if two else width)
            texts = Content(text).wrap(max(1, width - indent))
            if two or not name:
                pairs = zip_longest(names, texts, fillvalue=Content(""))
                lines += [Content.assemble(left.truncate(indent, pad=True), right) for left, right in pairs]
            else:
                lines += [*names, *(Content.assemble(" " * indent, line) for line in texts)]
        return Content("\n").join(lines)


class HelpSearch(LineInput):
    """The search field; keys that it does not use scroll the help."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "screen.scroll(1)", "Scroll", key_display="↑↓", id="help_down"),
        Binding("up", "screen.scroll(-1)", "Up", show=False, id="help_up"),
        Binding("pagedown", "screen.page(1)", "Page", key_display="PgDn", id="help_page_down"),
        Binding("pageup", "screen.page(-1)", "Page up", show=False, id="help_page_up"),
    ]


class HelpScreen(Dialog[None]):
    """Shows the help.

    Args:
        keymap: the user's keys, as `keys.resolve` returns them.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close", id="help_close"),
    ]

    DEFAULT_CSS = """
    HelpScreen {
        & > .box { padding: 0; }
        & #search { margin: 0 1 1 1; }
        & #pages { width: 100%; padding: 0 2; }
        & .heading { height: 1; text-style: bold; color: $foreground; }
        & .topic { height: auto; margin-bottom: 1; }
        &.-tiny #search { margin: 0; }
    }
    """

    def __init__(self, keymap: Mapping[str, str]) -> None:
        super().__init__()
        self._topics = topics(keymap)

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Help"
            yield HelpSearch(id="search", placeholder="Search keys and commands")
            with VerticalScroll(id="pages", can_focus=False):
                for topic in self._topics:
                    with Vertical(classes="topic"):
                        yield Static(topic.heading, classes="heading", markup=False)
                        yield Static(TopicRows(topic.rows, topic.column), classes="rows")
                yield Static(id="nothing", markup=False)
            yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one("#search").focus()
        self.query_one("#nothing").display = False

    @on(HelpSearch.Changed)
    def _search(self, event: HelpSearch.Changed) -> None:
        words = event.value.lower().split()
        count = 0
        for topic, shown in zip(self._topics, self.query(".topic"), strict=True):
            rows = topic.matching(words)
            shown.display = bool(rows)
            shown.query_one(".rows", Static).update(TopicRows(rows, topic.column))
            count += len(rows)
        nothing = self.query_one("#nothing", Static)
        nothing.display = not count
        nothing.update(Content(f"No key or command matches {one_line(event.value, 40)}"))
        self.query_one("#pages").scroll_home(animate=False)

    def action_scroll(self, by: int) -> None:
        """Scroll by a line."""
        self.query_one("#pages").scroll_relative(y=by, animate=False)

    def action_page(self, by: int) -> None:
        """Scroll by a page."""
        pages = self.query_one("#pages")
        pages.scroll_relative(y=by * max(1, pages.size.height - 1), animate=False)

"""What the chat is, all its keys and all its commands, with a field to search in them.

Knows the tables of keys and commands; nothing of what they do.
"""

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
from rstitch_tui.keys import PLACES, in_force
from rstitch_tui.screens.confirm import Dialog, LaidOut, Line
from rstitch_tui.slash import COMMANDS

_ABOUT = (
    "Two models write one answer: the small one (SLM) writes, and where it is unsure the large one (LLM) takes over.",
    "Colour and underline of a token say which of the two wrote it; the stronger the colour, the less sure it was.",
    "Tau is the entropy above which the LLM takes over: lower means more of the LLM, slower and closer to its answer.",
    "The answer is not the LLM's own word for word: where the SLM is sure, its token stands.",
    "Chats are kept in {data}, settings in {settings}; none of it leaves this machine.",
)
_NAMES = {
    "up": "↑", "down": "↓", "left": "←", "right": "→", "escape": "Esc", "pageup": "PgUp", "pagedown": "PgDn",
    "delete": "Del", "slash": "/",
}  # fmt: skip
_TWO_COLUMNS = 56
_KEYS_COLUMN, _COMMANDS_COLUMN = 22, 34


def key_names(keys: str) -> str:
    """Keys by Textual's names, separated by commas, as people write them: Ctrl-N, Shift-Enter, F3."""
    return ", ".join(_key_name(key) for key in keys.split(","))


def _key_name(key: str) -> str:
    # A letter alone is typed as it stands; together with Ctrl it is written large, as on the key.
    return key if len(key) == 1 else "-".join(_NAMES.get(part, part.capitalize()) for part in key.split("+"))


@dataclass(frozen=True)
class Topic:
    """A heading, and under it lines of what is pressed or typed and what it does."""

    heading: str
    rows: Sequence[tuple[str, str]]
    column: int = _KEYS_COLUMN

    def matching(self, words: Sequence[str]) -> Sequence[tuple[str, str]]:
        """The lines that have all the words, in any case."""
        return [row for row in self.rows if all(word in f"{row[0]} {row[1]}".lower() for word in words)]


def topics(keymap: Mapping[str, str]) -> list[Topic]:
    """All there is to say of keys and commands, with the user's own keys."""
    table = in_force(keymap)
    found = [
        Topic(heading, [(key_names(row.keys), row.help) for row in table if row.where == place])
        for place, heading in PLACES.items()
    ]
    about = [sentence.format(data=paths.data_dir(), settings=paths.settings_file()) for sentence in _ABOUT]
    commands = [(command.usage, f"{command.title}.") for command in COMMANDS.values()]
    return [
        Topic("What this is", [("", safe_text(sentence)) for sentence in about]),
        *found,
        Topic("Commands, typed into the prompt", commands, _COMMANDS_COLUMN),
    ]


class Lines(LaidOut):
    """The lines of a topic in two columns, or one below the other where there is no room."""

    def __init__(self, rows: Sequence[tuple[str, str]], column: int) -> None:
        self._rows, self._column = rows, column

    def content(self, width: int) -> Content:
        """The lines at a width."""
        lines: list[Content] = []
        two = width >= _TWO_COLUMNS
        column = min(self._column, width * 2 // 5) if two else 2
        for name, text in self._rows:
            # What has no name is a sentence of its own, over the whole width.
            indent = column if name else 2
            names = Content.styled(name or "•", "bold $text-primary").wrap(column - 2 if two else width)
            texts = Content(text).wrap(max(1, width - indent))
            if two or not name:
                pairs = zip_longest(names, texts, fillvalue=Content(""))
                lines += [Content.assemble(left.truncate(indent, pad=True), right) for left, right in pairs]
            else:
                lines += [*names, *(Content.assemble(" " * indent, line) for line in texts)]
        return Content("\n").join(lines)


class Search(Line):
    """What to search for; keys that it has no use for scroll the pages."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "screen.scroll(1)", "Scroll", key_display="↑↓", id="help_down"),
        Binding("up", "screen.scroll(-1)", "Up", show=False, id="help_up"),
        Binding("pagedown", "screen.page(1)", "Page", key_display="PgDn", id="help_page_down"),
        Binding("pageup", "screen.page(-1)", "Page up", show=False, id="help_page_up"),
    ]


class HelpScreen(Dialog[None]):
    """Shows and searches the help."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close", id="help_close"),
    ]

    DEFAULT_CSS = """
    HelpScreen {
        & > .box { padding: 0; }
        & #search { margin: 0 1 1 1; }
        & #pages { width: 100%; padding: 0 2; }
        & .heading { height: 1; text-style: bold; color: $text-accent; }
        & .topic { height: auto; margin-bottom: 1; }
        &.-tiny #search { margin: 0; }
    }
    """

    def compose(self) -> ComposeResult:
        """A field to search, and the pages."""
        # An app whose keys the user changed says which are in force.
        self._topics = topics(getattr(self.app, "keymap_in_force", {}))
        with Vertical(classes="box") as box:
            box.border_title = "Help"
            yield Search(id="search", placeholder="Search keys and commands")
            with VerticalScroll(id="pages", can_focus=False):
                for topic in self._topics:
                    with Vertical(classes="topic"):
                        yield Static(topic.heading, classes="heading", markup=False)
                        yield Static(Lines(topic.rows, topic.column), classes="rows")
                yield Static(id="nothing", markup=False)
            yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Begin in the field: the other keys scroll."""
        self.query_one("#search").focus()
        self.query_one("#nothing").display = False

    @on(Search.Changed)
    def _search(self, event: Search.Changed) -> None:
        words = event.value.lower().split()
        found = 0
        for topic, shown in zip(self._topics, self.query(".topic"), strict=True):
            rows = topic.matching(words)
            shown.display = bool(rows)
            shown.query_one(".rows", Static).update(Lines(rows, topic.column))
            found += len(rows)
        nothing = self.query_one("#nothing", Static)
        nothing.display = not found
        nothing.update(Content(f"No key and no command has {one_line(event.value, 40)}"))
        self.query_one("#pages").scroll_home(animate=False)

    def action_scroll(self, by: int) -> None:
        """Scroll by a line."""
        self.query_one("#pages").scroll_relative(y=by, animate=False)

    def action_page(self, by: int) -> None:
        """Scroll by a page."""
        pages = self.query_one("#pages")
        pages.scroll_relative(y=by * max(1, pages.size.height - 1), animate=False)

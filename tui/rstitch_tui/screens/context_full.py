"""The dialog shown when the context is full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, Static
from textual.widgets.option_list import Option

from rstitch_local.decoding.roles import Role
from rstitch_tui.model_loader import larger_context
from rstitch_tui.screens.dialog import Dialog
from rstitch_tui.widgets.dialog_options import DialogOption, DialogOptions


class ContextOptions(DialogOptions):
    """What can be done about a full context."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "Select", id="context_select")]


class ContextFullScreen(Dialog[str | None]):
    """Returns "forget" to drop the older half of the chat, "reload" for a larger context, None to cancel.

    Args:
        used: tokens in each model's KV cache, or of the prompt, and its capacity; may be empty.
        limit: the largest context both models can use.
        can_forget: whether there are turns that can be dropped.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel", id="context_cancel"),
    ]

    DEFAULT_CSS = """
    ContextFullScreen {
        & > .box, &.-tall > .box { height: auto; max-width: 76; }
        &.-tiny > .box { height: 100%; }
        & .explanation { padding: 0 1; margin-bottom: 1; }
        & ContextOptions { margin-bottom: 1; }
        &.-tiny .explanation, &.-tiny ContextOptions { margin: 0; }
    }
    """

    def __init__(self, used: Mapping[Role, tuple[int, int]], limit: int, *, can_forget: bool) -> None:
        super().__init__()
        self._used, self._limit, self._can_forget = used, limit, can_forget

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box", can_focus=False) as box:
            box.border_title = "Context full"
            yield Static(self._explanation(), classes="explanation", markup=False)
            yield ContextOptions(
                _option(
                    "forget",
                    "Forget older half",
                    "Those turns stay in the chat but are no longer sent to the models.",
                    "" if self._can_forget else "Not possible: only the last question is left.",
                ),
                self._reload_option(),
                _option("cancel", "Cancel", "Leave the chat and this answer unchanged."),
            )
            yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one(ContextOptions).focus()

    def _explanation(self) -> str:
        used = [(role.name, *self._used[role]) for role in Role if role in self._used]
        if any(tokens > capacity for _, tokens, capacity in used):
            needs = [f"{name} {tokens:,} tokens, its context holds {capacity:,}" for name, tokens, capacity in used]
            return f"The question and the chat before it do not fit into the context: {'; '.join(needs)}."
        fill = [f"{name} {tokens:,} of {capacity:,} tokens" for name, tokens, capacity in used]
        return f"The chat no longer fits into the context{': ' if fill else ''}{', '.join(fill)}."

    def _reload_option(self) -> Option:
        larger = larger_context(self._used, self._limit)
        if self._used and larger is None:
            reason = f"Not possible: the models support at most {self._limit:,} tokens."
            return _option("reload", "Reload with a larger context", "", reason)
        title = f"Reload with {larger:,} tokens" if larger else "Reload with twice the context"
        return _option("reload", title, "Loads the models again; the larger KV caches need more memory.")

    @on(ContextOptions.OptionSelected)
    def _selected(self, event: ContextOptions.OptionSelected) -> None:
        self.dismiss(None if event.option_id == "cancel" else event.option_id)


def _option(name: str, title: str, explanation: str, impossible: str = "") -> Option:
    return Option(DialogOption(title, impossible or explanation), id=name, disabled=bool(impossible))

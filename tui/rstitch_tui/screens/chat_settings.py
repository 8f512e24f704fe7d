"""All settings of one chat in one form.

Knows what each setting means and which values it takes; nothing of the chat, the store or the models.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Footer, OptionList, Static

from rstitch_local.engine.choice import PairDefaults
from rstitch_local.routing.spec import one_spelling
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.screens.confirm import Choice, Dialog, Line
from rstitch_tui.widgets.editor import Editor
from rstitch_tui.widgets.tau_slider import TauSlider

LOSSY = "The answer is not the LLM's own word for word: where the SLM is sure, its token stands."


@dataclass(frozen=True)
class NumberField:
    """A setting that is a number; `hint` says what it does."""

    name: str
    label: str
    kind: Callable[[str], float]
    low: float
    high: float
    hint: str

    def value(self, text: str) -> float:
        """The number that was typed; raises ValueError with the reason where it cannot be one."""
        number = "a whole number" if self.kind is int else "a number"
        try:
            value = self.kind(text)
        except ValueError:
            raise ValueError(f"This is not {number}.") from None
        if not self.low <= value <= self.high:
            if math.isinf(self.high):
                raise ValueError(f"It is {self.low:,} or more.")
            raise ValueError(f"It goes from {self.low:,} to {self.high:,}.")
        return value


NUMBERS = (
    NumberField("temperature", "Temperature", float, 0, 100, "0: always the likeliest token."),
    NumberField("top_p", "Top p", float, 0, 1, "The likeliest that hold this share; 1: all."),
    NumberField("top_k", "Top k", int, 0, 1 << 31, "The k likeliest tokens; 0: all."),
    NumberField("min_p", "Min p", float, 0, 1, "Least share of the likeliest; 0: all."),
    NumberField("max_tokens", "Longest answer", int, 1, math.inf, "In tokens, as far as the context goes."),
    NumberField("seed", "Seed", int, -math.inf, math.inf, "The same seed, the same answer."),
)
SHARE = NumberField("share", "", float, 0, 1, "From 0 to 1.")


@dataclass(frozen=True)
class RouterKind:
    """A way to choose who writes; `asks` is what its number is, and `usual` that number at first."""

    name: str
    title: str
    sentence: str
    asks: str = ""
    usual: float = 0.0


ROUTERS = (
    RouterKind("", "As the pair has it", ""),
    RouterKind("entropy", "Entropy", "The LLM writes where the SLM's entropy is above tau, until it is sure again."),
    RouterKind(
        "confidence",
        "Confidence",
        "The LLM writes where the SLM's likeliest token is less likely than a threshold.",
        "Least probability",
        0.9,
    ),
    RouterKind(
        "random",
        "Random",
        "Each token is the LLM's by a fixed chance, whatever the models think: to compare with.",
        "Chance of the LLM",
        0.5,
    ),
    RouterKind("slm", "SLM only", "The small model writes everything."),
    RouterKind("llm", "LLM only", "The large model writes everything, at its own pace."),
)
THINKING = {None: "As the model has it", True: "On", False: "Off"}
_NO_SWITCH = "The template of the loaded models has no switch for it."


def _own_rule(defaults: PairDefaults) -> str:
    """What the pair's own router is, in a sentence."""
    rule = defaults.router
    return f"Now entropy, with tau {defaults.tau:g}." if rule.startswith("entropy") else f"Now {rule}."


class ChatSettingsScreen(Dialog[dict[str, object] | None]):
    """Shows what a chat is run with, and gives back the fields of ChatSettings that were changed, or None.

    Args:
        settings: the chat's own.
        defaults: what the pair does where the chat says nothing.
        thinking_switch: whether thinking can be switched in the template of the models.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+g,ctrl+enter", "save", "Save", id="settings_save", tooltip="Keep what was changed."),
        Binding("escape", "dismiss(None)", "Discard", id="settings_discard", tooltip="Leave all as it was."),
        Binding("tab", "app.focus_next", "Next", id="settings_next"),
    ]

    DEFAULT_CSS = """
    ChatSettingsScreen {
        & #form { height: 1fr; padding-right: 1; }
        & .heading { height: 1; color: $text-accent; text-style: bold; margin-top: 1; }
        & #system-heading { margin-top: 0; }
        & Editor { height: 4; border: none; padding: 0 1; background: $panel; &:focus { border: none; } }
        & .note { height: auto; padding: 0 1 0 3; color: $text-warning; }
        & .number { height: auto; padding: 0 1 0 3; }
        & .number .label { width: 18; }
        & .number Line { width: 12; }
        & .number Line.-invalid { background: $error 40%; }
        & .number .hint { width: 1fr; height: auto; padding-left: 2; color: $text-muted; }
        & .number .hint.-error { color: $text-error; }
        & TauSlider { margin: 1 1 0 3; max-width: 70; }
        & #number-share { margin-top: 1; }
        &.-narrow .number { layout: grid; grid-size: 2; grid-columns: 18 1fr; grid-rows: auto; }
        &.-narrow .number Line { width: 100%; }
        &.-narrow .number .hint { column-span: 2; padding-left: 0; }
        &.-tall > .box { height: 96%; max-height: 44; }
        &.-tiny .buttons { display: none; }
        &.-tiny .heading { margin-top: 0; }
    }
    """

    def __init__(self, settings: ChatSettings, defaults: PairDefaults, thinking_switch: bool) -> None:
        super().__init__()
        self._settings, self._defaults, self._switch = settings, defaults, thinking_switch
        kind, _, number = ("" if settings.router is None else one_spelling(settings.router)).partition(":")
        self._kinds = {kind.name: kind for kind in ROUTERS}
        if kind not in self._kinds:
            # One that is set in words stays as it is.
            kind, number = f"{kind}:{number}", ""
            self._kinds[kind] = RouterKind(kind, kind, "As set by /router.")
        self._given_kind = kind
        self._given_number = float(number) if number else None
        self._shares = {each.name: f"{each.usual:g}" for each in ROUTERS}
        if number:
            self._shares[kind] = f"{self._given_number:g}"

    def compose(self) -> ComposeResult:
        """One field below the other."""
        with Vertical(classes="box") as box:
            box.border_title = "Settings of this chat"
            with VerticalScroll(id="form", can_focus=False):
                yield Static("System prompt", classes="heading", id="system-heading")
                yield Editor(self._settings.system, placeholder="What the models are told before the chat", id="system")
                yield Static("Who writes", classes="heading")
                ways = [(kind.title, kind.sentence or _own_rule(self._defaults)) for kind in self._kinds.values()]
                yield Choice(ways, list(self._kinds).index(self._given_kind), id="router")
                tau = self._given_number if self._given_kind == "entropy" else self._defaults.tau
                yield TauSlider(tau, id="tau")
                yield from self._number(SHARE, "", "")
                yield Static(LOSSY, classes="note", markup=False)
                yield Static("How tokens are drawn", classes="heading")
                for field in NUMBERS:
                    yield from self._number(field, self._shown(field.name), self._of_pair(field.name))
                yield Static("Whether the models think first", classes="heading")
                reason = "" if self._switch else _NO_SWITCH
                ways = [(title, reason if value is None else "") for value, title in THINKING.items()]
                yield Choice(ways, list(THINKING).index(self._settings.thinking), id="thinking")
            with Horizontal(classes="buttons"):
                yield Button("Save", id="save", variant="primary")
                yield Button("Discard", id="discard", classes="quiet")
            yield Footer(compact=True, show_command_palette=False)

    def _number(self, field: NumberField, value: str, placeholder: str) -> ComposeResult:
        with Horizontal(classes="number", id=f"number-{field.name}"):
            yield Static(field.label, classes="label", markup=False)
            yield Line(value, placeholder=placeholder, id=field.name)
            yield Static(field.hint, classes="hint", markup=False)

    def on_mount(self) -> None:
        """Begin at the top."""
        self.query_one("#thinking", Choice).disabled = not self._switch
        self._show_number()
        self.query_one("#system").focus(scroll_visible=False)

    def _shown(self, name: str) -> str:
        """A setting as it stands in its field: nothing where it is as the pair has it."""
        value = getattr(self._settings, name)
        return (
            ""
            if value is None or (name == "seed" and value == 0)
            else f"{value:.15g}"
            if name != "seed"
            else f"{value}"
        )

    def _of_pair(self, name: str) -> str:
        if name == "max_tokens":
            return "no limit"
        return "0" if name == "seed" else f"{getattr(self._defaults.sampling, name):g}"

    # What is in the fields

    @property
    def _kind(self) -> RouterKind:
        return list(self._kinds.values())[self.query_one("#router", Choice).chosen]

    @on(OptionList.OptionHighlighted, "#router")
    def _show_number(self) -> None:
        """Ask for the number of the router that is chosen."""
        kind = self._kind
        self.query_one(TauSlider).display = kind.name == "entropy"
        row = self.query_one("#number-share")
        row.display = bool(kind.asks)
        row.query_one(".label", Static).update(Content(kind.asks))
        if kind.asks:
            self.query_one("#share", Line).value = self._shares[kind.name]
        self._check()

    @on(Line.Changed)
    def _typed(self, event: Line.Changed) -> None:
        if event.input.id == "share" and self._kind.asks:
            self._shares[self._kind.name] = event.value
        self._check()

    def _check(self) -> list[Line]:
        """Say beside each field what is wrong with it; returns the fields with something wrong."""
        wrong = []
        for field in (SHARE, *NUMBERS):
            row = self.query_one(f"#number-{field.name}")
            line, hint, reason = row.query_one(Line), row.query_one(".hint", Static), self._reason(field)
            line.set_class(bool(reason), "-invalid")
            hint.set_class(bool(reason), "-error")
            hint.update(Content(reason or field.hint))
            if reason:
                wrong.append(line)
        self.query_one("#save", Button).disabled = bool(wrong)
        return wrong

    def _reason(self, field: NumberField) -> str:
        """What is wrong with a field, or nothing."""
        try:
            self._number_in(field)
        except ValueError as error:
            return str(error)
        return ""

    def _number_in(self, field: NumberField) -> float | None:
        """The number in a field, None where there is none; raises ValueError with what is wrong with it."""
        text = self.query_one(f"#{field.name}", Line).value.strip()
        if field is SHARE:
            return field.value(text) if self._kind.asks else None
        return field.value(text) if text else None

    def _router(self) -> str | None:
        kind = self._kind
        number = self.query_one(TauSlider).value if kind.name == "entropy" else self._number_in(SHARE)
        if kind.name == self._given_kind and number == self._given_number:
            return self._settings.router
        return f"{kind.name}:{number:g}" if number is not None else kind.name or None

    @on(Button.Pressed, "#save")
    @on(Line.Submitted)
    def action_save(self) -> None:
        """Give back what was changed; where something is wrong, go there instead."""
        wrong = self._check()
        if wrong:
            wrong[0].focus()
            return
        fields: dict[str, object] = {field.name: self._number_in(field) for field in NUMBERS}
        fields["seed"] = fields["seed"] or 0
        fields["system"] = self.query_one("#system", Editor).result
        fields["router"] = self._router()
        fields["thinking"] = list(THINKING)[self.query_one("#thinking", Choice).chosen]
        self.dismiss({name: value for name, value in fields.items() if value != getattr(self._settings, name)})

    @on(Button.Pressed, "#discard")
    def _discard(self) -> None:
        self.dismiss(None)

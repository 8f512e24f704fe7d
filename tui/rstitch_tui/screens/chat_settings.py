"""All settings of one chat in one form."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Footer, OptionList, Static

from rstitch_local.engine.choice import PairDefaults
from rstitch_local.routing.spec import one_spelling
from rstitch_tui.chat_setting_fields import NUMBERS, PROBABILITY, ROUTERS, THINKING, NumberField, RouterKind
from rstitch_tui.chat_settings import ChatSettings, stop_strings_as_lines, stop_strings_from_lines
from rstitch_tui.screens.dialog import Dialog
from rstitch_tui.widgets.dialog_options import Choice
from rstitch_tui.widgets.editor import Editor
from rstitch_tui.widgets.line_input import LineInput
from rstitch_tui.widgets.tau_slider import TauSlider

_NOT_LOSSLESS = "The answer is not identical to that of the LLM alone: where the SLM is certain, its token is used."
_NO_SWITCH = "The chat template of the loaded models has no switch for it."


def _default_router(defaults: PairDefaults) -> str:
    """Describe the pair's own router."""
    rule = defaults.router
    return f"Currently entropy with tau {defaults.tau:g}." if rule.startswith("entropy") else f"Currently {rule}."


class ChatSettingsScreen(Dialog[dict[str, object] | None]):
    """Returns the changed fields of ChatSettings, or None.

    Args:
        settings: the settings of the chat.
        defaults: the defaults of the pair.
        thinking_switch: whether the chat template can switch thinking on and off.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+g,ctrl+enter", "save", "Save", id="settings_save", tooltip="Save the changes."),
        Binding("escape", "dismiss(None)", "Cancel", id="settings_cancel", tooltip="Discard the changes."),
        Binding("tab", "app.focus_next", "Next", id="settings_next"),
    ]

    DEFAULT_CSS = """
    ChatSettingsScreen {
        & #form { height: 1fr; padding-right: 1; }
        & .heading { height: 1; color: $foreground; text-style: bold; margin-top: 1; }
        & #system-heading { margin-top: 0; }
        & Editor { height: 4; border: none; padding: 0 1; background: $panel; &:focus { border: none; } }
        & #stop { height: 3; }
        & .explanation { height: auto; padding: 0 1; color: $text-muted; }
        & .note { height: auto; padding: 0 1 0 3; color: $text-warning; }
        & .number { height: auto; padding: 0 1 0 3; }
        & .number .label { width: 18; }
        & .number LineInput { width: 12; }
        & .number LineInput.-invalid { background: $error 40%; }
        & .number .hint { width: 1fr; height: auto; padding-left: 2; color: $text-muted; }
        & .number .hint.-error { color: $text-error; }
        & TauSlider { margin: 1 1 0 3; max-width: 70; }
        & #number-probability { margin-top: 1; }
        &.-narrow .number { layout: grid; grid-size: 2; grid-columns: 18 1fr; grid-rows: auto; }
        &.-narrow .number LineInput { width: 100%; }
        &.-narrow .number .hint { column-span: 2; padding-left: 0; }
        &.-tall > .box { height: 96%; max-height: 50; }
        &.-tiny .buttons { display: none; }
        &.-tiny .heading { margin-top: 0; }
    }
    """

    def __init__(self, settings: ChatSettings, defaults: PairDefaults, thinking_switch: bool) -> None:
        super().__init__()
        self._settings, self._defaults, self._thinking_switch = settings, defaults, thinking_switch
        spec = "" if settings.router is None else one_spelling(settings.router)
        kind, _, number = spec.partition(":")
        self._kinds = {kind.name: kind for kind in ROUTERS}
        if kind not in self._kinds:
            # A router the form cannot edit is offered as it is.
            kind, number = spec, ""
            self._kinds[spec] = RouterKind(spec, spec, "Set with /router.")
        self._initial_kind = kind
        self._initial_number = float(number) if number else None
        self._probabilities = {each.name: f"{each.default:g}" for each in ROUTERS}
        if number:
            self._probabilities[kind] = f"{self._initial_number:g}"

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Chat settings"
            with VerticalScroll(id="form", can_focus=False):
                yield Static("System prompt", classes="heading", id="system-heading")
                yield Editor(self._settings.system, placeholder="Instructions for the models", id="system")
                yield from self._router_fields()
                yield Static("Sampling", classes="heading")
                for field in NUMBERS:
                    yield from self._number_field(field, self._value_text(field.name), self._default_text(field.name))
                yield Static("Stop strings, one per line", classes="heading")
                yield Editor(stop_strings_as_lines(self._settings.stop), placeholder="none", id="stop")
                yield Static(r"\n stands for a line break, \\ for a backslash.", classes="explanation", markup=False)
                yield Static("Thinking", classes="heading")
                reason = "" if self._thinking_switch else _NO_SWITCH
                options = [(title, reason if value is None else "") for value, title in THINKING.items()]
                yield Choice(options, list(THINKING).index(self._settings.thinking), id="thinking")
            with Horizontal(classes="buttons"):
                yield Button("Save", id="save", variant="primary")
                yield Button("Cancel", id="cancel", classes="quiet")
            yield Footer(compact=True, show_command_palette=False)

    def _router_fields(self) -> ComposeResult:
        yield Static("Router", classes="heading")
        options = [(kind.title, kind.explanation or _default_router(self._defaults)) for kind in self._kinds.values()]
        yield Choice(options, list(self._kinds).index(self._initial_kind), id="router")
        tau = self._initial_number if self._initial_kind == "entropy" else self._defaults.tau
        yield TauSlider(tau, id="tau")
        yield from self._number_field(PROBABILITY, "", "")
        yield Static(_NOT_LOSSLESS, classes="note", markup=False)

    def _number_field(self, field: NumberField, value: str, placeholder: str) -> ComposeResult:
        with Horizontal(classes="number", id=f"number-{field.name}"):
            yield Static(field.label, classes="label", markup=False)
            yield LineInput(value, placeholder=placeholder, id=field.name)
            yield Static(field.hint, classes="hint", markup=False)

    def on_mount(self) -> None:
        self.query_one("#thinking", Choice).disabled = not self._thinking_switch
        self._show_parameter()
        self.query_one("#system").focus(scroll_visible=False)

    def _value_text(self, name: str) -> str:
        """Return a setting as text; "" if it has its default."""
        value = getattr(self._settings, name)
        if name == "seed":
            return f"{value}" if value else ""
        return "" if value is None else f"{value:.15g}"

    def _default_text(self, name: str) -> str:
        if name == "max_tokens":
            return "no limit"
        return "0" if name == "seed" else f"{getattr(self._defaults.sampling, name):g}"

    # Reading the fields

    @property
    def _kind(self) -> RouterKind:
        return list(self._kinds.values())[self.query_one("#router", Choice).chosen]

    @on(OptionList.OptionHighlighted, "#router")
    def _show_parameter(self) -> None:
        """Show the field for the parameter of the chosen router."""
        kind = self._kind
        self.query_one(TauSlider).display = kind.name == "entropy"
        row = self.query_one("#number-probability")
        row.display = bool(kind.parameter)
        row.query_one(".label", Static).update(Content(kind.parameter))
        if kind.parameter:
            self.query_one("#probability", LineInput).value = self._probabilities[kind.name]
        self._show_errors()

    @on(LineInput.Changed)
    def _typed(self, event: LineInput.Changed) -> None:
        if event.input.id == "probability" and self._kind.parameter:
            self._probabilities[self._kind.name] = event.value
        self._show_errors()

    def _show_errors(self) -> list[LineInput]:
        """Show errors in place of the hints; returns the invalid fields."""
        invalid = []
        for field in (PROBABILITY, *NUMBERS):
            row = self.query_one(f"#number-{field.name}")
            line, hint, error = row.query_one(LineInput), row.query_one(".hint", Static), self._error(field)
            line.set_class(bool(error), "-invalid")
            hint.set_class(bool(error), "-error")
            hint.update(Content(error or field.hint))
            if error:
                invalid.append(line)
        self.query_one("#save", Button).disabled = bool(invalid)
        return invalid

    def _error(self, field: NumberField) -> str:
        try:
            self._number(field)
        except ValueError as error:
            return str(error)
        return ""

    def _number(self, field: NumberField) -> float | None:
        """Return the number in a field, None if it is empty or hidden; raises ValueError if it is invalid."""
        text = self.query_one(f"#{field.name}", LineInput).value.strip()
        if field is PROBABILITY:
            return field.parse(text) if self._kind.parameter else None
        return field.parse(text) if text else None

    def _router(self) -> str | None:
        kind = self._kind
        number = self.query_one(TauSlider).value if kind.name == "entropy" else self._number(PROBABILITY)
        if kind.name == self._initial_kind and number == self._initial_number:
            return self._settings.router
        return f"{kind.name}:{number:g}" if number is not None else kind.name or None

    @on(Button.Pressed, "#save")
    @on(LineInput.Submitted)
    def action_save(self) -> None:
        """Return the changed fields, or focus the first invalid one."""
        invalid = self._show_errors()
        if invalid:
            invalid[0].focus()
            return
        fields: dict[str, object] = {field.name: self._number(field) for field in NUMBERS}
        fields["seed"] = fields["seed"] or 0
        fields["system"] = self.query_one("#system", Editor).result
        stop = self.query_one("#stop", Editor)
        fields["stop"] = stop_strings_from_lines(stop.text) if stop.changed else self._settings.stop
        fields["router"] = self._router()
        fields["thinking"] = list(THINKING)[self.query_one("#thinking", Choice).chosen]
        self.dismiss({name: value for name, value in fields.items() if value != getattr(self._settings, name)})

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)

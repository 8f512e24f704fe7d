from __future__ import annotations

import math
from typing import Any

import pytest
from dialog_shell import SIZES, UNTRUSTED, Shell, result, run, seen, until
from pydantic import ValidationError
from textual import events
from textual.pilot import Pilot
from textual.widgets import Button, Input

from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.choice import PairDefaults
from rstitch_local.routing.spec import router_from_spec
from rstitch_tui.chat_setting_fields import NUMBERS, ROUTERS
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.screens.chat_settings import ChatSettingsScreen
from rstitch_tui.widgets.dialog_options import Choice
from rstitch_tui.widgets.editor import Editor
from rstitch_tui.widgets.tau_slider import TauSlider

PAIR = PairDefaults(tau=0.03, sampling=Sampling(0.6, 20, 0.95, 0.1))
OWN = ChatSettings(
    pair="demo", router="entropy:0.05", system="Be brief.", temperature=0.7, top_k=40, max_tokens=300, seed=7, first=12
)
INDEX = {kind.name: index for index, kind in enumerate(ROUTERS)}


def form(settings: ChatSettings = OWN, *, switch: bool = True) -> ChatSettingsScreen:
    return ChatSettingsScreen(settings, PAIR, switch)


def field(shell: Shell, name: str) -> Input:
    return shell.screen.query_one(f"#{name}", Input)


def error(shell: Shell, name: str) -> str:
    hint = shell.screen.query_one(f"#number-{name} .hint")
    return str(hint.render()) if hint.has_class("-error") else ""


async def write(shell: Shell, pilot: Pilot[None], name: str, text: str) -> None:
    """Replace the text of a field by typing."""
    field(shell, name).focus()
    await pilot.press("end", "ctrl+u", *text)
    await until(pilot, lambda: field(shell, name).value == text)


async def choose(shell: Shell, pilot: Pilot[None], name: str) -> None:
    """Choose a router with the keyboard."""
    choice = shell.screen.query_one("#router", Choice)
    choice.focus()
    await pilot.press("home", *["down"] * INDEX[name])
    await until(pilot, lambda: choice.chosen == INDEX[name])
    await pilot.pause()


@pytest.mark.parametrize(
    "settings",
    [OWN, ChatSettings(), *(ChatSettings(router=spec) for spec in ("entropy", "llm", "window:08:.003"))],
)
@pytest.mark.parametrize("key", ["ctrl+g", "ctrl+enter"])
def test_unchanged_form_returns_no_fields(settings: ChatSettings, key: str) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press(*["tab"] * 12, key)
        assert await result(shell, pilot) == {}

    run(lambda: form(settings), body)


def test_only_changed_fields_are_returned() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press(*" Be kind.")
        await write(shell, pilot, "temperature", "0.25")
        await write(shell, pilot, "top_k", "")
        await write(shell, pilot, "top_p", "0.5")
        await pilot.press("ctrl+g")
        changed = {"system": "Be brief. Be kind.", "temperature": 0.25, "top_k": None, "top_p": 0.5}
        assert await result(shell, pilot) == changed
        ChatSettings.model_validate({**OWN.model_dump(), **changed})

    run(form, body)


def test_empty_field_means_the_pairs_default() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        for name in ("temperature", "top_k", "max_tokens", "seed"):
            await write(shell, pilot, name, "")
        shown = {name: field(shell, name).placeholder for name in ("temperature", "top_p", "top_k", "min_p", "seed")}
        assert shown == {"temperature": "0.6", "top_p": "0.95", "top_k": "20", "min_p": "0.1", "seed": "0"}
        await pilot.press("enter")
        assert await result(shell, pilot) == {"temperature": None, "top_k": None, "max_tokens": None, "seed": 0}

    run(form, body)


def test_escape_and_the_button_cancel() -> None:
    async def escape(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("x", "escape")
        assert await result(shell, pilot) is None

    async def click(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("x")
        await pilot.click("#cancel")
        assert await result(shell, pilot) is None

    run(form, escape)
    run(form, click)


def test_save_button() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.press("x")
        await pilot.click("#save")
        assert await result(shell, pilot) == {"system": "Be brief.x"}

    run(form, body)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("temperature", "hot", "Not a number."),
        ("temperature", "-1", "Must be between 0 and 100."),
        ("temperature", "nan", "Must be between 0 and 100."),
        ("top_p", "1.5", "Must be between 0 and 1."),
        ("top_k", "2.5", "Not a whole number."),
        ("top_k", "-1", "Must be between 0 and 2,147,483,648."),
        ("min_p", "2", "Must be between 0 and 1."),
        ("max_tokens", "0", "Must be 1 or more."),
        ("seed", "x", "Not a whole number."),
    ],
)
def test_invalid_number_is_shown_and_not_saved(name: str, text: str, message: str) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await write(shell, pilot, name, text)
        await until(pilot, lambda: error(shell, name) == message)
        assert message in seen(shell)
        assert field(shell, name).has_class("-invalid")
        assert shell.screen.query_one("#save", Button).disabled
        shell.screen.query_one(Editor).focus()
        await pilot.press("ctrl+g")
        await until(pilot, lambda: field(shell, name).has_focus)
        assert shell.results == []
        await write(shell, pilot, name, "1")
        await until(pilot, lambda: not error(shell, name))
        assert not shell.screen.query_one("#save", Button).disabled
        await pilot.press("ctrl+g")
        assert await result(shell, pilot) == {name: 1}

    run(form, body)


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.name)
def test_number_ranges_match_the_settings(number: Any) -> None:
    edges = [edge for edge in (number.low, number.high) if math.isfinite(edge)]
    for edge in edges:
        assert number.parse(str(edge)) == edge
        ChatSettings.model_validate({number.name: edge})
        if number.name in ("temperature", "top_p", "top_k", "min_p"):
            Sampling(**{number.name: edge})
    if math.isfinite(number.low):
        with pytest.raises(ValidationError):
            ChatSettings.model_validate({number.name: number.low - 1})
    with pytest.raises(ValueError, match="Not a"):
        number.parse("one")


@pytest.mark.parametrize(
    ("name", "typed", "spec"),
    [
        ("", "", None),
        ("confidence", "0.8", "confidence:0.8"),
        ("random", "0.25", "random:0.25"),
        ("slm", "", "slm"),
        ("llm", "", "llm"),
    ],
)
def test_choose_another_router(name: str, typed: str, spec: str | None) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await choose(shell, pilot, name)
        assert shell.screen.query_one(TauSlider).display is False
        assert shell.screen.query_one("#number-probability").display is bool(typed)
        if typed:
            await write(shell, pilot, "probability", typed)
        await pilot.press("ctrl+g")
        assert await result(shell, pilot) == {"router": spec}
        assert spec is None or router_from_spec(spec)

    run(form, body)


def test_router_without_a_form_is_one_of_the_choices() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        shell.screen.query_one("#router").focus()
        await until(pilot, lambda: "● window:8:0.003" in seen(shell))
        assert shell.screen.query_one(TauSlider).display is False
        assert shell.screen.query_one("#number-probability").display is False
        await choose(shell, pilot, "random")
        await pilot.press("ctrl+g")
        assert await result(shell, pilot) == {"router": "random:0.5"}

    run(lambda: form(ChatSettings(router="window:8:0.003")), body)


def test_router_parameter_is_required() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await choose(shell, pilot, "random")
        await write(shell, pilot, "probability", "0.125")
        await choose(shell, pilot, "confidence")
        await choose(shell, pilot, "random")
        assert field(shell, "probability").value == "0.125"
        await write(shell, pilot, "probability", "")
        await until(pilot, lambda: error(shell, "probability"))
        await pilot.press("ctrl+g")
        assert shell.results == []
        # Each router keeps its own number; the number of a hidden field is not required.
        await choose(shell, pilot, "confidence")
        assert field(shell, "probability").value == "0.9"
        await choose(shell, pilot, "slm")
        await pilot.press("ctrl+g")
        assert await result(shell, pilot) == {"router": "slm"}

    run(form, body)


def test_tau_slider() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        slider = shell.screen.query_one(TauSlider)
        assert slider.value == 0.05
        slider.focus()
        await pilot.press("right")
        assert slider.value is not None
        assert slider.value > 0.05
        await pilot.press("ctrl+g")
        assert await result(shell, pilot) == {"router": f"entropy:{slider.value:g}"}

    run(form, body)


def test_bare_entropy_router_has_the_default_tau() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        assert shell.screen.query_one(TauSlider).value == 0.02
        await pilot.press("ctrl+g")
        assert await result(shell, pilot) == {}

    run(lambda: form(ChatSettings(router="entropy")), body)


def test_choosing_entropy_starts_at_the_pairs_tau() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await choose(shell, pilot, "entropy")
        await pilot.press("ctrl+g")
        assert await result(shell, pilot) == {"router": "entropy:0.03"}

    run(lambda: form(ChatSettings()), body)


def test_routers_are_explained() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        words = " ".join(seen(shell).replace("│", " ").split())
        assert all(kind.explanation in words for kind in ROUTERS)
        assert "Currently entropy with tau 0.03." in words
        assert "not identical to that of the LLM alone" in words
        await pilot.press("escape")

    run(form, body, size=(140, 45))


def test_stop_strings_one_per_line() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        editor = shell.screen.query_one("#stop", Editor)
        assert editor.text == "Q:"
        editor.focus()
        await pilot.press("enter", *r"\n\n", "enter", *"two words", "enter", "ctrl+g")
        assert await result(shell, pilot) == {"stop": ("Q:", "\n\n", "two words")}

    run(lambda: form(OWN.model_copy(update={"stop": ("Q:",)})), body)


@pytest.mark.parametrize("spec", ["python:my_routers:make", "learned:demo"])
def test_custom_router_is_kept(spec: str) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        assert f"● {ChatSettings(router=spec).router}" in seen(shell)
        await pilot.press("ctrl+g")
        assert await result(shell, pilot) == {}

    run(lambda: form(ChatSettings(router=spec)), body, size=(140, 45))


@pytest.mark.parametrize(("keys", "value"), [(["down"], True), (["down", "down"], False)])
def test_thinking_switch(keys: list[str], value: bool) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        shell.screen.query_one("#thinking").focus()
        await pilot.press(*keys, "ctrl+g")
        assert await result(shell, pilot) == {"thinking": value}

    run(form, body)


def test_thinking_without_a_switch_cannot_be_changed() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        assert "has no switch for it" in seen(shell)
        await pilot.click("#thinking", offset=(3, 3))
        await pilot.press("ctrl+g")
        assert await result(shell, pilot) == {}

    run(lambda: form(ChatSettings(thinking=True), switch=False), body, size=(140, 55))


def test_click_chooses() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        await pilot.click("#router", offset=(4, 2 * INDEX["llm"]))
        await until(pilot, lambda: shell.screen.query_one("#router", Choice).chosen == INDEX["llm"])
        await pilot.press("ctrl+g")
        assert await result(shell, pilot) == {"router": "llm"}

    run(form, body, size=(140, 45))


@pytest.mark.parametrize("size", SIZES)
def test_all_fields_are_reached_by_keys(size: tuple[int, int]) -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        assert "System prompt" in seen(shell)
        router = shell.screen.query_one("#router", Choice)
        await pilot.press("tab")
        for index in [*range(INDEX["entropy"] + 1, len(ROUTERS)), 0]:
            await pilot.press("down")
            await until(pilot, lambda index=index: router.chosen == index)  # type: ignore[misc]
            await until(pilot, lambda index=index: f"● {ROUTERS[index].title}" in seen(shell))  # type: ignore[misc]
        for name in (number.name for number in NUMBERS):
            await pilot.press("tab")
            assert field(shell, name).has_focus
            number = next(each for each in NUMBERS if each.name == name)
            await until(pilot, lambda number=number: number.label in seen(shell))  # type: ignore[misc]
        await pilot.press("tab")
        assert shell.screen.query_one("#stop").has_focus
        await until(pilot, lambda: "Stop strings, one per line" in seen(shell))
        await pilot.press("tab", "end")
        await until(pilot, lambda: "● Off" in seen(shell))
        assert "^g Save" in seen(shell)
        assert "esc Cancel" in seen(shell)

    run(form, body, size=size)


def test_untrusted_text_is_drawn_as_plain_text() -> None:
    async def body(shell: Shell, pilot: Pilot[None]) -> None:
        assert "[red]x[/red] [31my[0m" in seen(shell)
        field(shell, "seed").focus()
        shell.post_message(events.Paste("\x1b[31m5"))
        await until(pilot, lambda: "[31m5" in field(shell, "seed").value)
        assert "\x1b" not in shell.export_screenshot()
        await write(shell, pilot, "seed", "5")
        await pilot.press("ctrl+g")
        assert await result(shell, pilot) == {"seed": 5}

    run(lambda: form(ChatSettings(system=UNTRUSTED)), body)

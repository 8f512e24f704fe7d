"""Formulas in the chat: keys and a command switch between Unicode and the source; copying gives the source."""

from __future__ import annotations

from pathlib import Path

from chat_pilot import Chat, chatting, run

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.trace.record import Trace
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.store.store import Store

FIRST = r"First $x_1^2$."
LAST = "Last $y_2$ and\n\\[ \\frac{a}{b} \\]"


def fill(folder: Path) -> None:
    """Store a chat with two answers."""
    with Store(folder / "chats.sqlite3") as store:
        chat = store.new_chat(ChatSettings(pair="demo"))
        parent = None
        for text in (FIRST, LAST):
            question = store.add_user(chat.id, parent, "What?")
            answer = store.begin_answer(chat.id, question.id, "", {})
            steps = [Step(0, Role.SLM, 7, text, 0.1, 0.9, 1, 1.0)]
            store.finish_answer(answer.id, Trace(0, steps=steps, stop="eog"))
            parent = answer.id
        store.set_state("chat", str(chat.id))


def shown(chat: Chat) -> dict[str, bool]:
    """Return which answers show Unicode instead of the source."""
    text = chat.screen_text()
    forms = {"first": ("x₁²", "$x_1^2$"), "last": ("y₂", "$y_2$"), "block": ("─\n", r"\[ \frac{a}{b} \]")}
    assert all((unicode in text) != (source in text) for unicode, source in list(forms.values())[:2])
    return {name: source not in text for name, (_, source) in forms.items()}


def test_keys_and_command_switch_to_the_source(tmp_path: Path) -> None:
    async def flow() -> None:
        fill(tmp_path)
        async with chatting(tmp_path, resume=True, loaded=False) as chat:
            both = {"first": True, "last": True, "block": True}
            await chat.until(lambda: "x₁²" in chat.screen_text())
            assert shown(chat) == both
            for keys in (("f12",), ("ctrl+underscore",)):
                await chat.pilot.press(*keys)
                assert shown(chat) == dict.fromkeys(both, False)
                await chat.send("/formulas")
                assert shown(chat) == both
            await chat.pilot.press("escape", "m")
            assert shown(chat) == {"first": True, "last": False, "block": False}
            await chat.pilot.press("c")
            assert chat.app.clipboard == LAST

    run(flow)

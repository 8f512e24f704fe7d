"""The last line of the chat: the right keys for each state, never cut off."""

from __future__ import annotations

import pytest

from rstitch_tui.keys import resolve
from rstitch_tui.widgets.key_hints import ChatState, hints_line


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (ChatState(), "⏎ Send · ^t Tokens · ^p Commands · F1 Help · ^n New · ^o Chats · ^l Models"),
        (ChatState(has_answer=True), "⏎ Send · ^r Regenerate · F5 Compare · ^t Tokens · ^p Commands · F1 Help"),
        (ChatState(writing=True), "Esc Stop · F8/F9 tau · ^t Tokens · ^p Commands · F1 Help · ^n New · ^o Chats"),
        (ChatState(writing=True, has_tau=False), "Esc Stop · ^t Tokens · ^p Commands · F1 Help · ^n New"),
        (ChatState("message"), "⏎ Prompt · ↑/↓ Select · e Edit · r Regenerate · c Copy · i Inspect · t Tokens"),
        (ChatState("message", letters=False), "⏎ Prompt · ↑/↓ Select · F1 Help"),
        (ChatState("slider"), "Esc Prompt · ^t Tokens · ^p Commands"),
    ],
)
def test_hints_say_what_can_be_done_now(state: ChatState, line: str) -> None:
    assert hints_line(state, {}, 78).plain.startswith(line)


@pytest.mark.parametrize("width", [1, 7, 20, 40, 78, 138])
@pytest.mark.parametrize("state", [ChatState(has_answer=True), ChatState("message"), ChatState(writing=True)])
def test_hints_fit_and_end_with_a_whole_hint(state: ChatState, width: int) -> None:
    line, whole = hints_line(state, {}, width), hints_line(state, {}, 1000)
    assert line.cell_length <= width
    assert whole.plain == line.plain or whole.plain.startswith(f"{line.plain} · ") or not line.plain


def test_hints_follow_the_keymap() -> None:
    keymap = resolve({"regenerate": "f6", "send": "ctrl+j", "newline": "enter"})
    assert hints_line(ChatState(has_answer=True), keymap, 30).plain == "^j Send · F6 Regenerate"

"""The whole chat: the real app with the demo pair, one flow per test."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from chat_pilot import Chat, Gate, chatting, multi_turn_pair, question, run
from textual import events
from textual.widgets import TextArea

from rstitch_local import builtin
from rstitch_local.decoding.roles import Role
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_tui.actions import chats, settings
from rstitch_tui.widgets.entropy_strip import EntropyStrip
from rstitch_tui.widgets.message_view import MessageView
from rstitch_tui.widgets.tau_slider import TauSlider


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def last_view(chat: Chat) -> MessageView:
    view = chat.app.chat_screen.log_view.view(chat.app.session.path[-1].id)
    assert view is not None
    return view


def test_answer_equals_the_answer_of_pair_ask(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            assert builtin.GREETING[:40] in chat.screen_text()
            answer = await chat.ask(question())
            with load_pair("demo") as pair:
                alone = pair.ask(question())
                for _ in alone:
                    pass
            assert answer == alone.trace.text
            assert "▐" in chat.screen_text()
            message = chat.app.session.path[-1]
            assert message.stop == "eog"
            assert chat.app.store.trace(message.id) is not None
            assert chat.app.session.title.startswith(question()[:20])

    run(flow)


def test_next_turn_evaluates_only_new_tokens(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, router="entropy:0.02") as chat:
            await chat.ask(question(0))
            first = chat.app.store.trace(chat.app.session.path[-1].id)
            await chat.ask(question(1))
            second = chat.app.store.trace(chat.app.session.path[-1].id)
            assert first is not None
            assert second is not None
            with load_pair("demo") as pair:
                whole = len(pair.render(chat.app.session.request_of(chat.app.session.path[-1]).messages, Role.SLM))
                alone = len(pair.render([{"role": "user", "content": question(1)}], Role.SLM))
            prompt = second.usage[Role.SLM].tokens[0]
            # Everything before the new question is cached, except the few tokens that end a turn.
            assert prompt <= alone + 4 < whole

    run(flow)


def test_metrics_of_a_finished_answer_include_contexts_and_the_llm_alone(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, router="llm", size=(200, 40)) as chat:
            # An answer of the LLM alone is measured, not compared with an estimate of itself.
            await chat.ask(question())
            await chat.until(lambda: "context SLM " in chat.screen_text())
            assert "LLM alone" not in chat.screen_text()
            await chat.send("/router entropy:0.02")
            await chat.ask(question(1))
            await chat.until(lambda: "LLM alone" in chat.screen_text())
            # The state of the models is redrawn without losing them.
            chat.app.chat_screen.controller.show_settings()
            await chat.pilot.pause()
            assert "context SLM " in chat.screen_text()
            assert "LLM alone" in chat.screen_text()

    run(flow)


def test_escape_stops_an_answer_that_continue_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, router="llm") as chat:
            whole = await chat.ask(question(1))
            gate = Gate(monkeypatch, after=20)
            await chat.pilot.press("ctrl+r")
            await chat.until(gate.reached.is_set)
            await chat.pilot.press("escape")
            await chat.quiet()
            stopped = chat.app.session.path[-1]
            assert stopped.stop == "interrupted"
            assert whole.startswith(stopped.text)
            assert 20 < len(stopped.text) < len(whole)
            assert "/continue" in chat.screen_text()
            # The text so far is on the screen before the first new token.
            again = Gate(monkeypatch, after=0)
            await chat.send("/continue")
            await chat.until(again.reached.is_set)
            view = chat.app.chat_screen.log_view.view(chat.app.session.path[-1].id)
            assert view is not None
            assert view.text.startswith(stopped.text)
            again.open()
            gate.open()
            await chat.quiet()
            message = chat.app.session.path[-1]
            assert message.text == whole
            trace = chat.app.store.trace(message.id)
            assert trace is not None
            assert trace.resumed_tokens == 21
            # The resumed steps were cached: no token of the prompt was evaluated again.
            assert trace.usage[Role.LLM].tokens[0] <= 1

    run(flow)


def test_scrolling_up_disables_auto_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, size=(60, 24), router="llm") as chat:
            for index in range(4):
                await chat.ask(question(index))
            log = chat.app.chat_screen.log_view
            assert log.scroll_y == log.max_scroll_y > 0
            gate = Gate(monkeypatch, after=30)
            await chat.send(question(5))
            await chat.until(gate.reached.is_set)
            await chat.until(lambda: log.scroll_y == log.max_scroll_y)
            log.scroll_home(animate=False)
            await chat.until(lambda: log.scroll_y == 0)
            gate.open()
            await chat.quiet()
            assert log.scroll_y == 0
            await chat.send(question(6))
            await chat.quiet()
            await chat.until(lambda: log.scroll_y == log.max_scroll_y, "the new question is not visible")

    run(flow)


def test_up_recalls_earlier_prompts(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            composer = chat.app.chat_screen.composer
            for index in (0, 1):
                await chat.ask(question(index))
            composer.set_text("a draft")
            await chat.pilot.press("up")
            assert composer.text == question(1)
            await chat.pilot.press(*["up"] * 9)
            assert composer.text == question(0)
            await chat.pilot.press(*["down"] * 9)
            assert composer.text == "a draft"

    run(flow)


def test_history_holds_commands_and_a_mistyped_one_is_kept(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            composer = chat.app.chat_screen.composer
            await chat.ask(question(0))
            await chat.send("/tau 0.04")
            await chat.send("/sytem You are terse.")
            await chat.until(lambda: composer.text == "/sytem You are terse.")
            assert any("/system" in notice for notice in chat.notices)
            composer.set_text("")
            await chat.pilot.press("up", "up")
            assert composer.text == "/tau 0.04"
            await chat.pilot.press("up")
            assert composer.text == question(0)

    run(flow)


def test_commands_are_chosen_from_the_list(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, loaded=False) as chat:
            composer = chat.app.chat_screen.composer
            await chat.pilot.press("slash", "t", "e", "tab")
            assert composer.text == "/temperature"
            composer.set_text("/re")
            await chat.pilot.pause()
            await chat.pilot.press("down", "down", "up", "down", "enter")
            # The second match needs an argument.
            assert composer.text == "/rename "
            composer.set_text("/think o")
            await chat.pilot.pause()
            await chat.pilot.press("down", "down", "enter")
            await chat.until(lambda: chat.app.session.settings.thinking is False)
            composer.set_text("/theme nor")
            await chat.pilot.pause()
            await chat.pilot.press("tab", "enter")
            await chat.until(lambda: chat.app.theme == "nord")

    run(flow)


def test_palette_runs_the_command_that_is_named(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            await chat.ask(question(0))
            await chat.pilot.press("ctrl+p", *"retry", "enter")
            await chat.until(lambda: chat.app.session.branch_positions())
            await chat.quiet()
            assert chat.app.models.ready
            await chat.pilot.press("ctrl+p", *"rename", "enter")
            await chat.until(lambda: chat.app.chat_screen.composer.text == "/rename ")
            await chat.pilot.press("ctrl+p", *"xyzzy", "enter", "escape")
            assert len(chat.app.screen_stack) == 2

    run(flow)


def test_pasted_carriage_returns_are_line_ends(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, loaded=False) as chat:
            composer = chat.app.chat_screen.composer
            chat.app.post_message(events.Paste("one\rtwo\r\nthree\n"))
            await chat.until(lambda: composer.text)
            assert composer.text == "one\ntwo\nthree\n"

    run(flow)


def test_multiline_message(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            composer = chat.app.chat_screen.composer
            composer.set_text("Tom has 12 pens.")
            await chat.pilot.press("ctrl+j")
            composer.insert("He buys 30 more pens.\nHow many pens does Tom have?")
            await chat.pilot.press("enter")
            await chat.until(lambda: chat.app.session.path)
            await chat.quiet()
            assert chat.app.session.path[0].text.splitlines()[0] == "Tom has 12 pens."
            assert chat.app.session.path[0].text.count("\n") == 2
            await chat.send("//is no command")
            await chat.quiet()
            assert chat.app.session.path[-2].text == "/is no command"

    run(flow)


def test_regenerate_at_another_tau_side_by_side(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, router="entropy:0") as chat:
            first = await chat.ask(question(1))
            await chat.send("/again 0.4")
            await chat.quiet()
            await chat.until(lambda: "Before" in chat.screen_text() and "faster" in chat.screen_text())
            await chat.pilot.press("escape")
            await chat.until(lambda: chat.app.screen is chat.app.chat_screen)
            assert "2/2" in chat.screen_text()
            assert chat.app.session.path[-1].text != first
            assert chat.app.session.settings.router == "entropy:0"

    run(flow)


def test_another_tau_starts_from_the_tau_of_the_answer(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, router="entropy:0.4") as chat:
            await chat.ask(question(1))
            await chat.send("/again 0.2")
            await chat.quiet()
            await chat.pilot.press("escape")
            await chat.until(lambda: chat.app.screen is chat.app.chat_screen)
            answer = chat.app.store.trace(chat.app.session.path[-1].id)
            assert answer is not None
            expected = "0.8" if answer.llm_share > 0.2 else "0.05"
            await chat.send("/again")
            await chat.quiet()
            await chat.until(lambda: f"Now · tau {expected} " in chat.screen_text())
            assert "Before · tau 0.2 " in chat.screen_text()

    run(flow)


def test_branch_from_the_inspector(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            await chat.ask(question(0))
            before = chat.app.store.trace(chat.app.session.path[-1].id)
            assert before is not None
            await chat.pilot.press("ctrl+g")
            await chat.until(lambda: "entropy" in chat.screen_text())
            await chat.pilot.press("home", *["right"] * 6)
            await chat.until(lambda: " rank " in chat.screen_text())
            await chat.pilot.press("enter", "down", "enter")
            await chat.until(lambda: chat.app.screen is chat.app.chat_screen)
            await chat.quiet()
            after = chat.app.store.trace(chat.app.session.path[-1].id)
            assert after is not None
            assert [s.token for s in after.steps[:6]] == [s.token for s in before.steps[:6]]
            assert after.steps[6].token != before.steps[6].token
            assert after.resumed_tokens == 7
            assert "2/2" in chat.screen_text()

    run(flow)


def test_late_escape_keeps_the_focus_in_the_prompt(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            await chat.ask(question(0))
            await chat.pilot.press("escape")
            assert chat.app.focused is chat.app.chat_screen.composer
            chat.app.chat_screen.controller.ended_at = 0.0
            await chat.pilot.press("escape")
            assert isinstance(chat.app.focused, MessageView)
            await chat.pilot.press("/")
            await chat.until(lambda: chat.app.focused is chat.app.chat_screen.composer)
            await chat.pilot.press("i", "n", "s")
            await chat.until(lambda: "/inspect" in chat.screen_text())
            await chat.pilot.press("tab")
            assert chat.app.chat_screen.composer.text == "/inspect"

    run(flow)


def test_edit_selects_a_stopped_answer_else_the_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, router="llm") as chat:
            gate = Gate(monkeypatch, after=20)
            await chat.send(question(1))
            await chat.until(gate.reached.is_set)
            await chat.pilot.press("escape")
            await chat.quiet()
            stopped = chat.app.session.path[-1].text
            await chat.send("/edit")
            assert chat.app.screen.query_one(TextArea).text == stopped
            await chat.pilot.press("escape")
            gate.open()
            await chat.send("/continue")
            await chat.quiet()
            await chat.send("/edit")
            assert chat.app.screen.query_one(TextArea).text == question(1)

    run(flow)


def test_routing_panel_shows_the_focused_answer(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, router="entropy:0.4") as chat:
            await chat.ask(question(0))
            await chat.send("/tau 0.01")
            strip = chat.app.chat_screen.query_one(EntropyStrip)
            assert strip.tau == 0.4
            await chat.ask(question(1))
            assert strip.tau == 0.01
            log = chat.app.chat_screen.log_view
            log.walk(0)
            await chat.pilot.press("up", "up")
            await chat.until(lambda: strip.tau == 0.4)
            await chat.pilot.press("enter")
            await chat.until(lambda: strip.tau == 0.01)
            await chat.send("/tau 2")
            assert any("between 0" in notice for notice in chat.notices)

    run(flow)


def test_tau_command_keeps_the_routers_rule(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, router="window:4:0.5") as chat:
            assert chat.app.chat_screen.query_one(TauSlider).value == 0.5
            await chat.ask(question(0))
            await chat.send("/tau 0.01")
            assert chat.app.session.settings.router == "window:4:0.01"
            await chat.send("/again 0.001")
            await chat.quiet()
            await chat.until(lambda: "Now · window:4:0.001" in chat.screen_text())
            await chat.pilot.press("escape")
            # For a router without tau, /tau selects the entropy router.
            await chat.send("/router hysteresis:0.5:0.1")
            assert chat.app.chat_screen.query_one(TauSlider).value is None
            await chat.send("/tau 0.02")
            assert chat.app.session.settings.router == "entropy:0.02"

    run(flow)


def test_editing_a_question_creates_a_branch(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            first = await chat.ask(question(0))
            chat.app.chat_screen.log_view.walk(0)
            await chat.pilot.pause()
            assert isinstance(chat.app.focused, MessageView)
            await chat.pilot.press("up", "e")
            await chat.pilot.pause()
            area = chat.app.screen.query_one(TextArea)
            area.load_text(question(2))
            await chat.pilot.click("#continue")
            await chat.quiet()
            assert [m.role for m in chat.app.session.path] == ["user", "assistant"]
            assert chat.app.session.path[0].text == question(2)
            assert "2/2" in chat.screen_text()
            chat.app.chat_screen.log_view.walk(0)
            await chat.pilot.press("up", "left")
            await chat.until(lambda: chat.app.session.path[0].text == question(0))
            assert chat.app.session.path[1].text == first
            await chat.pilot.pause()
            assert "1/2" in chat.screen_text()

    run(flow)


def test_editing_an_answer_continues_from_the_new_text(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            await chat.ask(question(0))
            chat.app.chat_screen.log_view.walk(0)
            await chat.pilot.press("e")
            await chat.pilot.pause()
            area = chat.app.screen.query_one(TextArea)
            area.load_text("Steps:\n101*5=505\n1")
            await chat.pilot.click("#continue")
            await chat.quiet()
            message = chat.app.session.path[-1]
            assert message.prefix == "Steps:\n101*5=505\n1"
            assert message.text.startswith(message.prefix)
            assert message.text.endswith("\\boxed{606}")
            assert "606" in chat.screen_text()

    run(flow)


def test_tau_changes_from_the_next_token_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, router="entropy:0") as chat:
            gate = Gate(monkeypatch, after=10)
            await chat.send(question(1))
            await chat.until(gate.reached.is_set)
            settings.set_tau(chat.app.chat_screen.controller, 0.9)
            gate.open()
            await chat.quiet()
            trace = chat.app.store.trace(chat.app.session.path[-1].id)
            assert trace is not None
            assert trace.taus == [(11, 0.9)]
            # The LLM still generates the current token; control is handed back after it.
            assert all(step.role is Role.LLM for step in trace.steps[:12])
            assert all(step.role is Role.SLM for step in trace.steps[12:])
            assert chat.app.session.settings.router == "entropy:0.9"
            assert chat.app.chat_screen.query_one(TauSlider).value == 0.9

    run(flow)


def test_stop_strings_end_an_answer_that_can_be_continued(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, router="slm") as chat:
            whole = await chat.ask(question(0))
            await chat.send(r'/stop_strings nowhere "\n101+"')
            assert any(r'stop: "nowhere" "\n101+"' in notice for notice in chat.notices)
            await chat.send("/retry")
            await chat.quiet()
            message = chat.app.session.path[-1]
            assert message.stop == "stop"
            assert message.text == whole[: whole.index("\n101+")]
            await chat.send("/stop_strings auto")
            await chat.send("/continue")
            await chat.quiet()
            assert chat.app.session.path[-1].text == whole
        async with chatting(tmp_path, resume=True) as chat:
            assert chat.app.session.settings.stop == ()

    run(flow)


def test_continue_opens_the_chat_that_was_open_last(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            await chat.ask(question(0))
            first = chat.app.session.chat
            await chat.send("/new")
            await chat.ask(question(1))
            assert first is not None
            await chats.open_chat(chat.app.chat_screen.controller, first.id)
        async with chatting(tmp_path, resume=True, loaded=False) as chat:
            assert chat.app.session.path[0].text == question(0)

    run(flow)


def test_search_hit_opens_at_its_message_on_its_branch(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, router="slm") as chat:
            controller = chat.app.chat_screen.controller
            await chat.ask(question(0))
            await chat.send("/retry")
            await chat.quiet()
            first, second = chat.app.store.siblings(chat.app.session.path[-1])
            assert chat.app.session.chat is not None
            await chats.open_chat(controller, chat.app.session.chat.id, first)
            await chat.until(lambda: controller.focused_message() is not None)
            assert controller.focused_message() == chat.app.store.message(first)
            assert second not in [message.id for message in chat.app.session.path]

    run(flow)


def test_tau_and_thinking_are_reset_and_explained(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            own = chat.app.session.tau
            await chat.send("/tau 0.3")
            assert chat.app.session.tau == 0.3
            await chat.send("/tau auto")
            assert chat.app.session.tau == own
            await chat.send("/think on")
            assert any("no switch for thinking" in notice for notice in chat.notices)

    run(flow)


def test_page_keys_scroll_and_f2_edits_the_last_question(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, size=(60, 24), router="llm") as chat:
            for index in range(3):
                await chat.ask(question(index))
            log = chat.app.chat_screen.log_view
            await chat.until(lambda: log.scroll_y == log.max_scroll_y > 0)
            await chat.pilot.press("pageup")
            await chat.until(lambda: log.scroll_y < log.max_scroll_y)
            await chat.pilot.press("pagedown", "pagedown")
            await chat.until(lambda: log.scroll_y == log.max_scroll_y)
            await chat.pilot.press("f2")
            await chat.until(lambda: len(chat.app.screen_stack) == 3)
            assert chat.app.screen.query_one(TextArea).text == question(2)
            await chat.pilot.press("escape")

    run(flow)


def test_letters_act_on_a_message_selected_with_the_keyboard_only(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            await chat.ask(question(0))
            await chat.pilot.click("MessageView.-assistant")
            await chat.pilot.press("d", "e")
            composer = chat.app.chat_screen.composer
            await chat.until(lambda: composer.text == "de")
            assert len(chat.app.screen_stack) == 2
            composer.set_text("")
            chat.app.chat_screen.controller.ended_at = 0.0
            await chat.pilot.press("escape", "d")
            # A file is written only after a question.
            await chat.until(lambda: len(chat.app.screen_stack) == 3)
            await chat.pilot.press("enter")
            await chat.until(lambda: len(chat.app.screen_stack) == 2)
            assert list(tmp_path.glob("*.html")) == []

    run(flow)


def test_router_of_the_users_own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    (tmp_path / "my_chat_routers.py").write_text("def always_llm():\n    return lambda observation: True\n")

    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            await chat.send("/router python:my_chat_routers:always_llm")
            await chat.ask(question(0))
            trace = chat.app.store.trace(chat.app.session.path[-1].id)
            assert trace is not None
            assert trace.llm_share > 0.9
            for spec in ("python:my_chat_routers:nothing", "python:no_such_module:make", "learned:nowhere.npz"):
                await chat.send(f"/router {spec}")
            assert chat.app.session.settings.router == "python:my_chat_routers:always_llm"
            assert len([notice for notice in chat.app._notifications if notice.severity == "error"]) == 3

    run(flow)


def test_toggle_tokens_and_thinking_and_copy(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, router="llm") as chat:
            await chat.ask(question(0))
            assert "Thought:" in chat.screen_text()
            assert "Step 1" not in chat.screen_text()
            await chat.pilot.press("ctrl+f")
            await chat.until(lambda: "Step 1" in chat.screen_text())
            await chat.pilot.press("ctrl+t")
            await chat.until(lambda: "<think>" in chat.screen_text())
            await chat.send("/copy")
            assert chat.app.clipboard.strip().startswith("The answer is")

    run(flow)


def test_invalid_commands_show_errors(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            for text, words in (
                ("/nothing", "There is no command /nothing"),
                ("/tau x", "must be a number"),
                ("/router entropy:x", "needs a number"),
                ("/rename", "needs an argument"),
                ("/export pdf", "is not a format"),
                ("/retry", "no answer yet"),
                ("/temperature -1", "Must be between 0 and 100"),
                ("/top_p 2", "'2' is not a value of /top_p. Must be between 0 and 1. auto resets it."),
                ("/context 5", "must be between"),
                ("/undo", "No chat was deleted"),
                ("/pair nobody", "no pair 'nobody'"),
                ("/theme none", "no theme"),
                ("/think maybe", "on, off or auto"),
            ):
                await chat.send(text)
                assert any(words in notice for notice in chat.notices), (text, chat.notices)
            assert chat.app.session.chat is None

    run(flow)


def test_export_never_overwrites_a_file(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            answer = await chat.ask(question(0))
            for kind in ("md", "json", "html"):
                await chat.send(f"/export {kind} {tmp_path / 'chat'}.{kind}")
                text = (tmp_path / f"chat.{kind}").read_text(encoding="utf-8")
                assert "606" in re.sub("<[^>]*>", "", text)
            record = json.loads((tmp_path / "chat.json").read_text(encoding="utf-8"))
            assert answer in json.dumps(record, ensure_ascii=False).replace("\\n", "\n").replace("\\\\", "\\")
            await chat.send(f"/export md {tmp_path / 'chat.md'}")
            assert any("exists" in notice for notice in chat.notices)
            await chat.send("/export md")
            assert len(list(tmp_path.glob("*.md"))) == 2

    run(flow)


def test_chats_are_stored_and_searchable(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            answer = await chat.ask(question(0))
            await chat.send("/rename Stones and [red]markup[/red]")
            assert "[red]markup[/red]" in chat.screen_text()
            await chat.send("/new")
            assert chat.app.session.path == []
            await chat.ask(question(1))
            await chat.send("/delete")
            assert len(chat.app.store.chats()) == 1
            await chat.send("/undo")
            assert len(chat.app.store.chats()) == 2
            assert chat.app.session.path[0].text == question(1)
        async with chatting(tmp_path, resume=True) as chat:
            assert chat.app.session.path[0].text == question(1)
            (row,) = chat.app.store.chats("stones")
            await chat.send("/search markup")
            await chat.pilot.press("down", "enter")
            await chat.until(lambda: chat.app.session.chat is not None and chat.app.session.chat.id == row.id)
            assert chat.app.session.path[-1].text == answer

    run(flow)


def test_full_context_offers_to_forget_the_older_half(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, options=LoadOptions(context=256, threads=1), router="slm") as chat:
            for index in range(12):
                await chat.send(question(index))
                await chat.until(lambda: chat.app.session.answer is None)
                if chat.app.screen is not chat.app.chat_screen:
                    break
            else:
                raise AssertionError("the context was never full")
            assert "context" in chat.screen_text().lower()
            await chat.pilot.press("enter")
            await chat.until(lambda: chat.app.screen is chat.app.chat_screen)
            await chat.quiet()
            assert chat.app.session.settings.first is not None
            assert chat.app.session.path[-1].stop == "eog"

    run(flow)


def test_full_context_offers_to_reload_with_a_larger_one(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, options=LoadOptions(context=128, threads=1), router="llm") as chat:
            await chat.send(question(1))
            await chat.until(lambda: chat.app.screen is not chat.app.chat_screen, "no dialog was opened")
            await chat.pilot.press("enter")
            await chat.until(lambda: chat.app.models.loaded and chat.app.models.loaded.context[Role.LLM] == 256)
            await chat.quiet()
            assert chat.app.session.path[-1].text

    run(flow)


def test_broken_model_file_keeps_the_chat(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            await chat.ask(question(0))
            broken = tmp_path / "broken.gguf"
            broken.write_bytes(b"GGUF\x03\x00")
            choice = multi_turn_pair()
            chat.app.load(type(choice)("broken", broken, choice.llm, choice.defaults))
            await chat.until(lambda: not chat.app.models.loading)
            assert not chat.app.models.ready
            await chat.send(question(1))
            assert any("No models loaded" in notice for notice in chat.notices)
            assert chat.app.chat_screen.composer.text == question(1)
            await chat.send("/pair demo")
            await chat.until(lambda: chat.app.models.ready)
            await chat.ask(question(1))

    run(flow)


def test_quitting_during_an_answer_keeps_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, router="llm") as chat:
            gate = Gate(monkeypatch, after=20)
            await chat.send(question(1))
            await chat.until(gate.reached.is_set)
            await chat.pilot.press("ctrl+q")
            await chat.until(lambda: chat.app.session.answer is None)
            assert chat.app.ended
        async with chatting(tmp_path, resume=True) as chat:
            assert chat.app.session.path[-1].stop == "interrupted"
            assert len(chat.app.session.path[-1].text) > 20

    run(flow)


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (200, 60)])
def test_terminal_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, size=size) as chat:
            await chat.send(question(1))
            await chat.pilot.resize_terminal(size[0] + 7, size[1] + 3)
            await chat.quiet()
            await chat.pilot.resize_terminal(*size)
            await chat.pilot.pause()
            assert chat.app.chat_screen.composer.region.height >= 1
            assert chat.app.chat_screen.log_view.region.height >= 2

    run(flow)

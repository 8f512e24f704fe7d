from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.pilot import Pilot
from textual.widgets import Markdown, Static

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_tui.widgets.message_view import MessageView
from rstitch_tui.widgets.plain_text import PlainText
from rstitch_tui.widgets.token_view import TokenView


def steps_of(*texts: str) -> list[Step]:
    return [Step(i, Role.SLM, 7, text, 0.01, 0.9, 1, 100.0) for i, text in enumerate(texts)]


class Host(App[None]):
    def __init__(self, view: MessageView) -> None:
        super().__init__()
        self.view = view
        self.links: list[str] = []

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield self.view

    def on_message_view_link_clicked(self, event: MessageView.LinkClicked) -> None:
        self.links.append(event.href)

    def lines(self) -> list[str]:
        strips = self.screen._compositor.render_strips(self.screen.size)
        return [line for strip in strips if (line := strip.text.strip("▌ "))]  # The border of the focused message.


def run(check: Callable[[Host, Pilot[None]], Awaitable[None]], role: str = "assistant", **options: Any) -> None:
    async def main() -> None:
        host = Host(MessageView(1, role, **options))
        async with host.run_test(size=(60, 30)) as pilot:
            await pilot.pause()
            await check(host, pilot)

    asyncio.run(main())


def test_an_answer_is_markdown_and_a_question_is_plain_text() -> None:
    async def markdown(host: Host, pilot: Pilot[None]) -> None:  # noqa: ARG001
        assert host.lines() == ["is bold"]
        assert len(host.view.query(Markdown)) == 1

    async def plain(host: Host, pilot: Pilot[None]) -> None:  # noqa: ARG001
        assert host.lines() == ["is **bold**"]
        assert len(host.view.query(Markdown)) == 0

    run(markdown, text="is **bold**")
    run(plain, "user", text="is **bold**")


def test_an_answer_with_a_very_long_line_is_plain_text() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        await host.view.extend(steps_of("**", "x" * 3000))
        await pilot.pause()
        assert len(host.view.query(Markdown)) == 0
        assert host.view.query_one(PlainText).text == "short **" + "x" * 3000
        await host.view.finish("short", [])
        await pilot.pause()
        assert host.lines() == ["short"]
        assert len(host.view.query(Markdown)) == 1

    run(check, text="short ", finished=False)


def test_growing_text_is_drawn() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        for text in ("One **wo", "rd**\n\n- two", "\n- three\x1b[31m"):
            await host.view.extend(steps_of(text))
            await pilot.pause()
        assert host.lines() == ["One word", "• two", "• three[31m"]

    run(check, finished=False)


def test_tokens_are_shown_while_they_are_generated() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        host.view.as_tokens = True
        await pilot.pause()
        await host.view.extend(steps_of(" **a"))
        await host.view.extend(steps_of("**", " b"))
        await pilot.pause()
        prefix, tokens = host.view.query(TokenView)
        assert (prefix.text, prefix.colored) == ("Well,", False)
        assert [step.text for step in tokens.steps] == [" **a", "**", " b"]
        assert tokens.colored
        host.view.as_tokens = False
        await pilot.pause()
        assert host.lines() == ["Well, a b"]

    run(check, prefix="Well,", text="Well,", finished=False)


def test_thinking_is_folded_into_a_line() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        await host.view.extend(steps_of("let", " me", " see", "</think>", "\n\nFour."))
        await pilot.pause()
        assert host.lines() == ["▸ Thought: 4 tokens, 0.4 s", "Four."]
        await pilot.click(".thinking-summary")
        await pilot.pause()
        assert host.lines() == ["▾ Thought: 4 tokens, 0.4 s", "let me see", "Four."]
        await pilot.click(".thinking-summary")
        await pilot.pause()
        assert host.lines() == ["▸ Thought: 4 tokens, 0.4 s", "Four."]

    run(check, opens_thinking=True, finished=False)


def test_unfolded_thinking_grows() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        host.view.unfolded = True
        for text in ("<think>one", " two", " three"):
            await host.view.extend(steps_of(text))
            await pilot.pause()
        assert host.lines() == ["▾ Thought: 3 tokens, 0.3 s", "one two three"]

    run(check, finished=False)


def test_thinking_without_steps_shows_its_length() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:  # noqa: ARG001
        assert host.lines() == ["▸ Thought: 3 characters", "Four."]

    run(check, text="<think>hmm</think>Four.")


def test_title_and_notice() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        host.view.set_title("Answer")
        host.view.set_notice("Failed [b]here[/b]\x1b.", error=True)
        await pilot.pause()
        assert host.lines() == ["Answer", "text", "Failed [b]here[/b]."]
        host.view.set_notice("")
        await pilot.pause()
        assert host.lines() == ["Answer", "text"]
        assert not host.view.query_one(".notice", Static).has_class("-error")

    run(check, text="text")


def test_a_clicked_link_is_reported_and_not_opened() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        opened: list[str] = []
        host.open_url = lambda url, **_: opened.append(url)  # type: ignore[method-assign]
        host.view.query_one(Markdown).post_message(Markdown.LinkClicked(host.view.query_one(Markdown), "https://x.y"))
        await pilot.pause()
        assert (host.links, opened) == (["https://x.y"], [])

    run(check, text="[a](https://x.y)")


def test_a_removed_message_can_be_finished() -> None:
    async def check(host: Host, pilot: Pilot[None]) -> None:
        await host.view.remove()
        await host.view.extend(steps_of("late"))
        await host.view.finish("late", steps_of("late"))
        await pilot.pause()
        assert host.lines() == []

    run(check, text="text", finished=False)

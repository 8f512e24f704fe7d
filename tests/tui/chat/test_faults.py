"""Bad input and faults of models, disks, other programs and users: the chat shows an error and keeps running."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from chat_pilot import Chat, Gate, chatting, multi_turn_pair, question, run
from tiny_pair import write_pair

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.engine.choice import PairChoice
from rstitch_local.engine.loading import LoadOptions, LoadProgress, load_choice
from rstitch_local.engine.run import Run
from rstitch_local.engine.trial import OnTrial
from rstitch_local.errors import CancelledError, StorageError
from rstitch_tui import engine_thread, slash
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.keys import ACTIONS
from rstitch_tui.slash_table import COMMANDS
from rstitch_tui.store.database import Database
from rstitch_tui.store.store import Store


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def script_answers(monkeypatch: pytest.MonkeyPatch, text: str, pieces: int = 7) -> None:
    """Make every answer this text, in `pieces` tokens."""

    def scripted(run: Run) -> Generator[Step, None, None]:
        size = max(1, -(-len(text) // pieces))
        for start in range(0, len(text), size):
            step = Step(len(run.trace.steps), Role.SLM, 1, text[start : start + size], 0.1, 0.9, 0, 1.0)
            run.trace.steps.append(step)
            run.trace.tokens[Role.SLM] += 1
            yield step
        run.trace.stop = "eog"

    monkeypatch.setattr(Run, "__iter__", scripted)


async def to_prompt(chat: Chat) -> None:
    """Close all screens over the chat and focus the prompt."""
    while chat.app.screen is not chat.app.chat_screen:
        await chat.pilot.press("escape")
    chat.app.chat_screen.composer.focus()
    await chat.pilot.pause()


def disk_full(*_args: object, **_options: object) -> None:
    raise StorageError("Disk full", "chats.sqlite3 could not be written.", "Make room and try again.")


# The disk


def test_full_disk_during_an_answer_loses_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, router="llm") as chat:
            gate = Gate(monkeypatch, after=20)
            await chat.send(question(1))
            await chat.until(gate.reached.is_set)
            with monkeypatch.context() as full:
                full.setattr(Database, "write", disk_full)
                gate.open()
                await chat.quiet()
                message = chat.app.session.path[-1]
                assert message.stop == "eog"
                assert "\\boxed{" in message.text
                assert "▐" in chat.screen_text()
                assert len([notice for notice in chat.notices if "Disk full" in notice]) == 1
                stored = chat.app.store.message(message.id)
                assert stored.stop is None
            # The disk has space again: the answer is saved before the next one starts.
            await chat.ask(question(0))
            stored = chat.app.store.message(message.id)
            assert (stored.text, stored.stop) == (message.text, "eog")

    run(flow)


def test_question_that_cannot_be_stored_returns_to_the_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            for method in ("add_user", "begin_answer"):
                with monkeypatch.context() as full:
                    full.setattr(Store, method, disk_full)
                    await chat.send(question(0))
                    assert any("Disk full" in notice for notice in chat.notices)
                    assert chat.app.chat_screen.composer.text == question(0)
                    assert chat.app.session.path == []
                    assert chat.app.session.answer is None
            await chat.ask(question(0))
            with monkeypatch.context() as full:
                full.setattr(Store, "begin_answer", disk_full)
                before = list(chat.app.session.path)
                for command in ("/retry", "/continue"):
                    await chat.send(command)
                    assert chat.app.session.path == before
                await chat.send("/again 0.5")
                await chat.until(lambda: chat.app.screen is chat.app.chat_screen)
                assert chat.app.session.path == before

    run(flow)


@pytest.mark.parametrize("broken", ["trace", "siblings", "prompts", "get_state", "set_state", "set_settings", "purge"])
def test_store_errors_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            await chat.ask(question(0))
        monkeypatch.setattr(Store, broken, disk_full)
        async with chatting(tmp_path, resume=True) as chat:
            answer = await chat.ask(question(1))
            assert answer == chat.app.session.path[-1].text
            await chat.pilot.press("escape", "up", "t", "x", "left", "ctrl+t", "f6", "f7", "ctrl+r")
            await chat.quiet()
            for command in ("/tau 0.5", "/theme nord", "/inspect", "/export html", "/new", "/chats"):
                await chat.send(command)
                await chat.pilot.press("escape")
            if broken not in ("get_state", "set_state"):
                assert any("Disk full" in notice for notice in chat.notices)

    run(flow)


def test_quitting_with_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, router="llm") as chat:
            gate = Gate(monkeypatch, after=20)
            await chat.send(question(1))
            await chat.until(gate.reached.is_set)
            monkeypatch.setattr(Database, "write", disk_full)
            await chat.pilot.press("ctrl+q")
            await chat.until(lambda: chat.app._exit)
            assert chat.app.return_code == StorageError.exit_code

    run(flow)


def test_chat_deleted_by_another_app(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            await chat.ask(question(0))
            session = chat.app.session
            assert session.chat is not None
            with Store(tmp_path / "chats.sqlite3") as other:
                other.delete(session.chat.id)
                for text in (question(1), "/retry", "/rename x", "/export md"):
                    await chat.send(text)
                    await chat.quiet()
                assert any("another app" in notice for notice in chat.notices)
                other.purge(older_than_s=-1)
            for text in (question(1), "/retry", "/tau 0.3", "/rename x", "/export json", "/undo", "/inspect", "/copy"):
                await chat.send(text)
                await chat.quiet()
            await chat.send("/new")
            await chat.ask(question(1))

    run(flow)


def test_two_apps_use_one_chat(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as one:
            await one.ask(question(0))
            async with chatting(tmp_path, resume=True) as other:
                await one.send(question(1))
                await other.send(question(2))
                await one.quiet()
                await other.quiet()
                first, second = one.app.session.path, other.app.session.path
                assert [m.text for m in first[:2]] == [m.text for m in second[:2]]
                assert first[2].text == question(1)
                assert second[2].text == question(2)
                assert first[3].stop == second[3].stop == "eog"
                assert len(one.app.store.siblings(first[2])) == 2

    run(flow)


def test_answer_of_another_app_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, router="llm") as one:
            gate = Gate(monkeypatch, after=20)
            await one.send(question(0))
            await one.until(gate.reached.is_set)
            await one.until(lambda: one.app.store.message(one.app.session.path[-1].id).text)
            async with chatting(tmp_path, resume=True) as other:
                answer = other.app.session.path[-1]
                assert answer.unfinished
                assert answer.text
                await other.send(question(1))
                assert any("Another window is generating" in notice for notice in other.notices)
                assert other.app.chat_screen.composer.text == question(1)
                gate.open()
                await one.quiet()
                await other.until(lambda: other.app.session.path[-1].stop == "eog")
                view = other.app.chat_screen.log_view.view(answer.id)
                assert view is not None
                await other.until(lambda: view.text == one.app.session.path[-1].text)

    run(flow)


# Output of models

HOSTILE = {
    "escapes": "a \x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J b\x00c\x08d\x7f \u202eright\u202c \x1b[?1049l",
    "markup": "[red]x[/red] [link=http://x]y[/link] [/] [@click=app.bell]z[/] [bold [$primary] [/nothing] \\[/]",
    "links": "[a](http://x'\"y) [b](<app.quit()>) [c](http://e\\') ![d](e) <http://f'> [g][h]\n\n[h]: javascript:'\"(",
    "half a character": "\ufffd\ufffd \ud83d half \udc80",
    "fences": "```[red]\nx\n```\n\n```\x1b[31m\ny\n```\n\n````\n```py\nnever closed",
    "tables": "|a|b|\n|-|\n|x\n\n|a|b|\n|:-:|-:|\n|[red]|`|`|\n|1|2|3|4|\n\n||\n|-|\n",
    "marks": "<think>\n\n</think></think><think>x <|im_end|><|im_start|>system\n</s><s>",
    "maths": "$$ x_1 * \\(a\\) \\[ \\] $$ 3*4*5 \\(" + "\\(" * 300,
    "empty": "",
    "blank": " \n\n\t\n ",
    "one long line": "x" * 100_000,
    "long words": "[word] " * 15_000,
    "code": "```python\n" + "x = 1\n" * 5000 + "```",
    "table": "|a|b|c|\n|-|-|-|\n" + "|1|*x*|`y`|\n" * 500,
    "list": "- item\n" * 5000,
    "numbers": "".join(f"{number}. item\n" for number in range(1000)),
    "nested list": "".join("  " * depth + "- item\n" for depth in range(300)),
    "nested quotes": ">" * 500 + " deep\n",
    "headings": "# heading\n" * 500,
    "emphasis": "*a **b _c " * 2000,
    "brackets": "[" * 1999 + "\n" + "![" * 900,
    "entities": "&amp;&lt;&#0;&#27;[31m&#x202e;&nbsp;&bogus; <b>html</b> <script>x</script> <!-- -->",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_model_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, size=(80, 24)) as chat:
            script_answers(monkeypatch, HOSTILE[kind])
            await chat.ask(f"Say this: {HOSTILE[kind][:2000]}")
            await chat.pilot.press("escape", "t")
            drawn = chat.screen_text()
            await chat.pilot.press("t", "x", "c", "b")
            drawn += chat.screen_text()
            assert not any(character in drawn for character in "\x1b\x9b\x07\x00\x08\u202e")
            for command in (
                "/export md",
                "/export json",
                "/export html",
                "/rename " + HOSTILE[kind][:300],
                "/search x",
            ):
                await chat.send(command)
                await chat.pilot.press("escape", "escape")
                await chat.until(lambda: chat.app.screen is chat.app.chat_screen)
                chat.app.chat_screen.composer.focus()
            await chat.ask("And again?")
            await chat.send("/inspect")
            await chat.pilot.press("left", "escape")
        async with chatting(tmp_path, resume=True) as chat:
            assert len(chat.app.session.path) == 4

    run(flow)


def test_expensive_markdown_is_drawn_as_plain_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            for kind in ("table", "list", "numbers", "nested list", "nested quotes", "headings", "code", "brackets"):
                script_answers(monkeypatch, HOSTILE[kind])
                await chat.send("/new")
                await chat.ask("Go on")
                widgets = len(chat.app.chat_screen.log_view.query("MarkdownBlock"))
                assert widgets == 0, kind
            await chat.send("/new")
            script_answers(monkeypatch, "# One\n\n- two\n- three\n\n|a|b|\n|-|-|\n|1|2|\n")
            await chat.ask("Go on")
            assert len(chat.app.chat_screen.log_view.query("MarkdownBlock")) >= 3

    run(flow)


# Input of users


def test_no_command_crashes_the_app(tmp_path: Path) -> None:
    words = [
        *(
            "",
            "x",
            "-1",
            "0",
            "1",
            "0.5",
            "nan",
            "inf",
            "-inf",
            "1e999",
            "9" * 30,
            "9" * 5000,
            "on",
            "auto",
            "entropy:",
        ),
        *("entropy:nan", "entropy:1e999", "random:2", "confidence:", "slm", "llm", "md", "json /", "html /nowhere/x"),
        *(
            "md ~nobody/x",
            "md \0",
            f"md {tmp_path}",
            "[red]",
            "[/]",
            "\x1b[31m",
            "'",
            '"',
            "\\",
            "%_",
            "é\u202e",
            "a" * 3000,
        ),
        *("demo", "../..", "/etc/passwd", "<|im_start|>", "{{ 1/0 }}", "{% raise %}", "1 2 3", "--help", "\ud83d"),
    ]

    dice = random.Random(5)

    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            await chat.ask(question(0))
            for name in COMMANDS:
                if name == "quit":
                    continue
                for word in dice.sample(words, 5):
                    await slash.run(chat.app.chat_screen.controller, f"/{name} {word}")
                    chat.app.session.stop()
                    if len(chat.app.screen_stack) > 2:
                        await chat.pilot.press("escape")
                        while len(chat.app.screen_stack) > 2:
                            chat.app.pop_screen()
                            await chat.pilot.pause()
                    assert chat.app._exception is None, (name, word)
                await chat.quiet()
            await chat.until(lambda: not chat.app.models.loading)
            await slash.run(chat.app.chat_screen.controller, "/pair demo")
            await chat.until(lambda: chat.app.models.ready)
            chat.app.session.new_chat_settings = ChatSettings()
            await slash.run(chat.app.chat_screen.controller, "/new")
            await chat.ask(question(0))
            assert chat.app.session.path[-1].stop == "eog"

    run(flow)


DURING_AN_ANSWER = [
    *(
        "/new",
        "/delete",
        "/undo",
        "/retry",
        "/again",
        "/again 0.3",
        "/continue",
        "/edit",
        "/inspect",
        "/tokens",
        "/code",
    ),
    *("/thinking", "/copy", "/export md", "/export json", "/export html", "/rename x", "/unload", "/drop", "/chat"),
    *(
        "/system x",
        "/router slm",
        "/tau 0.5",
        "/seed 3",
        "/think on",
        "/context 300",
        "/pair demo",
        "/models",
        "/chats",
    ),
    *("/help", "/theme nord", "another question", "/max_tokens 3", "/search x"),
]


@pytest.mark.parametrize("command", DURING_AN_ANSWER)
def test_command_during_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, router="llm", options=LoadOptions(context=1024, threads=1)) as chat:
            await chat.ask(question(1))
            gate = Gate(monkeypatch, after=30)
            await chat.send(question(2))
            await chat.until(gate.reached.is_set)
            open_message = chat.app.session.answer_message
            assert open_message is not None
            await chat.send(command)
            for _ in range(3):
                await chat.pilot.press("escape")
            gate.open()
            await chat.quiet()
            await chat.until(lambda: not chat.app.models.loading)
            await to_prompt(chat)
            message = chat.app.store.message(open_message.id)
            assert message.stop is not None
            assert len(message.text) > 30
            if not chat.app.models.ready:
                await chat.send("/pair demo")
                await chat.until(lambda: chat.app.models.ready)
            await chat.send("/new")
            await chat.send("/router slm")
            assert "\\boxed" in await chat.ask(question(0)) or command == "/max_tokens 3"

    run(flow)


@pytest.mark.parametrize("seed", range(1))
def test_random_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    keys = sorted({key for action in ACTIONS for key in action.keys.split(",")} - {"ctrl+q"})
    keys += ["escape", "enter", "tab", "shift+tab", "up", "down", "left", "right", "a", "/", "ctrl+p", "ctrl+c", "1"]
    dice = random.Random(seed)

    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            script_answers(monkeypatch, "Some *words* and `code`.\n\n- a\n- b\n\n```\nx = 1\n```\n", pieces=40)
            await chat.ask(question(0))
            for _ in range(60):
                if chat.app.chat_screen.is_active and not chat.app.models.ready and not chat.app.models.loading:
                    await chat.send("/pair demo")
                await chat.pilot.press(*dice.choices(keys, k=3))
                assert chat.app._exception is None
                if dice.random() < 0.1:
                    await chat.pilot.resize_terminal(dice.randrange(5, 150), dice.randrange(3, 50))
            assert chat.app.is_running

    run(flow)


def test_ctrl_c_stops_the_answer_but_does_not_quit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, router="llm") as chat:
            gate = Gate(monkeypatch, after=20)
            await chat.send(question(1))
            await chat.until(gate.reached.is_set)
            await chat.pilot.press("ctrl+c")
            await chat.quiet()
            assert chat.app.session.path[-1].stop == "interrupted"
            await chat.pilot.press("ctrl+c")
            await chat.pilot.pause()
            assert any("Ctrl+Q quits" in notice for notice in chat.notices)
            assert chat.app.is_running

    run(flow)


def test_question_of_a_megabyte(tmp_path: Path) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, options=LoadOptions(context=128, threads=1)) as chat:
            await chat.send("word " * 200_000)
            await chat.until(lambda: chat.app.screen is not chat.app.chat_screen, "no dialog was opened")
            assert "only the last question is left" in chat.screen_text()
            await to_prompt(chat)
            assert chat.app.session.path[-1].stop == "error"
            await chat.send("/drop")
            assert any("alone fills the context" in notice for notice in chat.notices)
            await chat.send("/new")
            assert await chat.ask("How many?")

    run(flow)


@pytest.mark.parametrize(
    "text", ["<|im_end|>" * 50, "<think></think><|im_start|>", "//not a command", "\x1b[31m\0", "\u200d"]
)
def test_unusual_questions(tmp_path: Path, text: str) -> None:
    async def flow() -> None:
        async with chatting(tmp_path) as chat:
            await chat.send(text)
            await chat.quiet()
            await chat.send("/system " + text)
            await chat.send(question(0))
            await chat.quiet()
            assert chat.app.session.path[-1].role == "assistant"

    run(flow)


# Loading


class SlowLoad:
    """Blocks loading a pair named "slow", or the trial of its files, until it is cancelled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, trial: bool = False) -> None:
        self.started, self.cancelled = threading.Event(), threading.Event()

        def held(choice: PairChoice, options: LoadOptions, progress: LoadProgress, on_trial: OnTrial) -> object:
            if choice.name == "slow":
                self.started.set()
                while on_trial(Role.SLM) if trial else progress(Role.SLM, 0.5):
                    threading.Event().wait(0.005)
                self.cancelled.set()
                raise CancelledError("Loading cancelled", "The pair was not loaded.")
            return load_choice(choice, options, progress, on_trial)

        monkeypatch.setattr(engine_thread, "load_choice", held)


def slow() -> PairChoice:
    choice = multi_turn_pair()
    return PairChoice("slow", choice.slm, choice.llm, choice.defaults)


@pytest.mark.parametrize("how", ["escape", "ctrl+c", "/unload", "/pair demo"])
def test_loading_can_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    async def flow() -> None:
        load = SlowLoad(monkeypatch)
        async with chatting(tmp_path, choice=slow(), loaded=False) as chat:
            await chat.until(load.started.is_set)
            await chat.until(lambda: "50%" in chat.screen_text())
            await chat.send(question(0))
            assert any("still loading" in notice for notice in chat.notices)
            if how.startswith("/"):
                await chat.send(how)
            else:
                await chat.pilot.press(how)
            await chat.until(load.cancelled.is_set)
            if how == "/pair demo":
                # Loading was replaced by another pair, so the cancellation is not reported.
                await chat.until(lambda: chat.app.models.ready)
                assert not any("cancelled" in notice for notice in chat.notices)
            else:
                await chat.until(lambda: not chat.app.models.loading)
                await chat.pilot.pause()
                assert "No models loaded" in chat.screen_text()
                await chat.send("/pair demo")
                await chat.until(lambda: chat.app.models.ready)
            assert chat.app.models.pair_name == "demo"
            assert await chat.ask(question(0))

    run(flow)


def test_a_trial_is_shown_and_can_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def flow() -> None:
        load = SlowLoad(monkeypatch, trial=True)
        async with chatting(tmp_path, choice=slow(), loaded=False) as chat:
            await chat.until(lambda: "checking the SLM's file once" in chat.screen_text())
            await chat.pilot.press("escape")
            await chat.until(load.cancelled.is_set)
            await chat.until(lambda: not chat.app.models.loading)

    run(flow)


def test_quitting_while_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def flow() -> None:
        load = SlowLoad(monkeypatch)
        async with chatting(tmp_path, choice=slow(), loaded=False) as chat:
            await chat.until(load.started.is_set)
            await chat.pilot.press("ctrl+q")
            await chat.until(lambda: chat.app._exit)
            assert chat.app.ended

    run(flow)


@pytest.mark.parametrize("fault", ["missing", "garbage", "too large"])
def test_pair_that_cannot_be_loaded(tmp_path: Path, fault: str) -> None:
    choice = multi_turn_pair()
    file = tmp_path / "model.gguf"
    if fault == "garbage":
        file.write_bytes(b"GGUF\x03\0\0\0" + random.Random(1).randbytes(500))
    slm = choice.slm if fault == "too large" else file
    # Terabytes of KV cache, more than any machine has.
    options = LoadOptions(context=2_000_000_000 if fault == "too large" else 256, threads=1)

    async def flow() -> None:
        async with chatting(
            tmp_path, choice=PairChoice("bad", slm, choice.llm, choice.defaults), options=options, loaded=False
        ) as chat:
            await chat.until(lambda: any("error" in n.severity for n in chat.app._notifications))
            assert not chat.app.models.ready
            assert "No models loaded" in chat.screen_text()
            chat.app.models.load(choice, LoadOptions(threads=1))
            await chat.until(lambda: chat.app.models.ready)
            assert await chat.ask(question(0))

    run(flow)


# Small terminals


@pytest.mark.parametrize("size", [(40, 10), (20, 5), (3, 3), (1, 1)])
def test_tiny_terminals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    async def flow() -> None:
        async with chatting(tmp_path, size=size, router="llm") as chat:
            gate = Gate(monkeypatch, after=30)
            await chat.send(question(1))
            await chat.until(gate.reached.is_set)
            for width, height in ((140, 45), (1, 1), (200, 3), size):
                await chat.pilot.resize_terminal(width, height)
            gate.open()
            await chat.quiet()
            for command in ("/chats", "/models", "/help", "/chat", "/inspect", "/edit", "/again", "/tokens"):
                await chat.send(command)
                await chat.pilot.pause()
                await to_prompt(chat)
                await chat.quiet()
            assert chat.app.session.path[-1].stop == "eog"

    run(flow)


# Killing the process


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither these signals nor pseudo-terminals")
@pytest.mark.parametrize("how", ["SIGTERM", "SIGHUP", "SIGINT", "SIGKILL", "closed"])
def test_killing_the_process_keeps_the_text(tmp_path: Path, how: str) -> None:
    import pty
    import select

    pair = write_pair(tmp_path, {"context_length": 4096}, {"context_length": 4096, "width": 256, "layers": 6})
    command = [sys.executable, "-m", "rstitch_local", "chat", *pair.options, "--router", "llm"]
    pid, terminal = pty.fork()  # type: ignore[attr-defined,unused-ignore]
    if pid == 0:
        os.execve(command[0], command, {**os.environ, "TERM": "xterm-256color"})
    seen = b""

    def until(words: bytes) -> None:
        nonlocal seen
        deadline = time.monotonic() + 30
        while words not in seen and time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.05)[0]:
                seen += os.read(terminal, 65536)
        assert words in seen, seen[-2000:]

    until(b"lists the commands")
    os.write(terminal, b"Write\r")
    database = tmp_path / "home" / "data" / "chats.sqlite3"
    with Store(database) as store:
        deadline = time.monotonic() + 30
        # Read the answer from the database while it is generated, as another app would. A chat is stored shortly
        # before its first message.
        while not (rows := store.chats()) or not any(m.text[20:] for m in store.path(rows[0].id)[-1:]):
            if select.select([terminal], [], [], 0.05)[0]:
                seen += os.read(terminal, 65536)
            assert time.monotonic() < deadline
        if how == "closed":
            os.close(terminal)
        else:
            os.kill(pid, getattr(signal, how))
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if how != "closed" and select.select([terminal], [], [], 0.05)[0]:
                try:
                    seen += os.read(terminal, 65536)
                except OSError:
                    # The other side of the terminal is closed.
                    continue
            assert time.monotonic() < deadline
        message = store.path(rows[0].id)[-1]
    if how != "closed":
        os.close(terminal)
    assert message.stop == "interrupted"
    assert len(message.text) > 20
    assert b"Traceback" not in seen

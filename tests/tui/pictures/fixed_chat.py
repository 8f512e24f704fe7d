"""A chat that looks the same on every machine: no models, clock, memory or folders of the machine.

The engine is replaced by fixed results; everything else is the real app.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

import pytest
from textual.pilot import Pilot

from rstitch_local import paths
from rstitch_local.catalog import store as catalog_store
from rstitch_local.catalog.schema import ModelFile, PairEntry
from rstitch_local.catalog.store import FileState, FileStatus, PairState
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.engine.choice import PairChoice, choose_pair
from rstitch_local.engine.loading import LoadOptions
from rstitch_local.errors import RStitchError
from rstitch_local.trace.prediction import Candidate, Prediction
from rstitch_local.trace.record import Trace
from rstitch_tui import machine_fit
from rstitch_tui.answer import Request
from rstitch_tui.app import ChatApp, Start
from rstitch_tui.app_settings import AppSettings
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.engine_events import Loaded, LoadedPair
from rstitch_tui.engine_thread import EngineThread
from rstitch_tui.machine_fit import Memory
from rstitch_tui.store.store import Store

NOW = 1_767_268_800.0
"""Noon of 1 January 2026, UTC."""
TAU = 0.02
QUESTION = "A shirt costs 24 dollars and trousers twice as much. What do three of each cost?"
ANSWER = (
    "<think>\nTrousers are 2 * 24 = 48 dollars. One of each is 72, three are 216.\n</think>\n\n"
    "One of **each** costs:\n\n- shirt: 24 dollars\n- trousers: 48 dollars\n\n"
    "```python\nprint(3 * (24 + 48))\n```\n\nSo three of each cost [not markup] **216 dollars**."
)
OTHER = "They cost 216 dollars."
SECOND = "And four of each?"


def steps_of(text: str) -> list[Step]:
    """Return the words of a text as tokens with varying entropies; above tau they are the LLM's."""
    words = [word + " " for word in text.split(" ")]
    words[-1] = words[-1][:-1]
    steps: list[Step] = []
    for position, word in enumerate(words):
        wave = (math.sin(position * 1.7) + math.sin(position * 0.6)) / 2
        entropy = round(10 ** (2.2 * wave - 3), 6)
        unsure = entropy if entropy > TAU else None
        role = Role.LLM if unsure is not None else Role.SLM
        evaluated_tokens = 3 if position > 0 and steps[-1].role is not role else 1
        own = entropy if unsure is None else round(entropy / 40, 6)
        steps.append(Step(position, role, 100 + position, word, own, round(1 - own, 6), evaluated_tokens, 7.5, unsure))
    return steps


def trace_of(text: str, router: str, stop: str = "eog") -> Trace:
    """Return a record of an answer with round numbers."""
    settings = {"pair": "demo", "router": router, "tau": TAU, "opens_thinking": False}
    trace = Trace(seed=0, settings=settings, steps=steps_of(text), stop=stop, wall_ms=1234.0, ttft_ms=56.0)
    for step in trace.steps:
        trace.tokens[step.role] += 1
    trace.swaps_up = sum(step.swap_entropy is not None for step in trace.steps)
    trace.swaps_down = trace.swaps_up
    trace.usage[Role.SLM].tokens, trace.usage[Role.SLM].ns = [40, 9, 50], [8_000_000, 30_000_000, 250_000_000]
    trace.usage[Role.LLM].tokens, trace.usage[Role.LLM].ns = [40, 30, 12], [40_000_000, 290_000_000, 480_000_000]
    return trace


class Clock:
    """Returns a time that changes only when it is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def fill(store: Store, clock: Clock) -> int:
    """Store three chats; return the last one, with thinking, Markdown, two branches and a stopped answer."""
    for title, days in (("Notes on the mean of two samples", 40), ("Why is the sky blue?", 1)):
        clock.now = NOW - days * 86_400
        _answer(store, store.add_user(store.new_chat(ChatSettings(pair="demo"), title).id, None, title).id, "So.")
    clock.now = NOW - 600
    chat = store.new_chat(ChatSettings(pair="demo", router=f"entropy:{TAU:g}", system="Be brief."))
    question = store.add_user(chat.id, None, QUESTION)
    _answer(store, question.id, OTHER, router="slm")
    first = _answer(store, question.id, ANSWER)
    second = store.add_user(chat.id, first, SECOND)
    _answer(store, second.id, "Four of each cost 288", stop="interrupted")
    clock.now = NOW
    return chat.id


def _answer(store: Store, question: int, text: str, router: str = f"entropy:{TAU:g}", stop: str = "eog") -> int:
    trace = trace_of(text, router, stop)
    message = store.begin_answer(store.message(question).chat_id, question, "", dict(trace.settings))
    store.finish_answer(message.id, trace)
    return message.id


def _views(step: Step) -> dict[Role, Prediction]:
    """Return predictions in which the token is the LLM's first candidate and the SLM's last."""
    words = [step.text, " dollars", " each", "\n", " 48", " 72", "<|im_end|>", " trousers", ",", " of"]
    tokens = [step.token, *range(900, 909)]
    llm = [Candidate(tokens[row], word, 0.97 * 0.02**row) for row, word in enumerate(words)]
    slm = [Candidate(each.token, each.text, 0.5 * 0.5**row) for row, each in enumerate(reversed(llm))]
    return {Role.SLM: Prediction(0.21, slm), Role.LLM: Prediction(0.0012, llm)}


def _state(entry: PairEntry) -> PairState:
    """Return one pair on disk, one half downloaded, the others missing."""

    def file(each: ModelFile, status: FileStatus) -> FileState:
        size = each.size or 1_000_000_000
        here = {FileStatus.ON_DISK: size, FileStatus.PARTIAL: size // 2}.get(status, 0)
        # A path that looks the same on every system; it is never opened.
        path = cast(Path, PurePosixPath("/models") / each.file)
        return FileState(each, path, status, here, each.size)

    if entry.name in ("demo", "qwen3-8b"):
        return PairState(file(entry.slm, FileStatus.ON_DISK), file(entry.llm, FileStatus.ON_DISK))
    if entry.name == "qwen2.5-coder":
        return PairState(file(entry.slm, FileStatus.ON_DISK), file(entry.llm, FileStatus.PARTIAL))
    return PairState(file(entry.slm, FileStatus.MISSING), file(entry.llm, FileStatus.MISSING))


def fix_environment(monkeypatch: pytest.MonkeyPatch, folder: Path) -> PairChoice:
    """Replace everything that depends on the machine and the time; return the pair that seems loaded."""
    choice = choose_pair("demo")

    def load(engine: EngineThread, choice: PairChoice, options: LoadOptions | None = None) -> None:
        context = dict.fromkeys(Role, 1024)
        engine._post(Loaded(LoadedPair(choice, options or LoadOptions(), context, 4096, True, 0.5)))

    def inspect(
        _engine: EngineThread,
        _request: Request,
        steps: Sequence[Step],
        done: Callable[[dict[Role, Prediction] | RStitchError], object],
    ) -> None:
        done(_views(steps_of(ANSWER)[len(steps)]))

    monkeypatch.setenv("RSTITCH_HOME", str(folder))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(EngineThread, "load", load)
    monkeypatch.setattr(EngineThread, "inspect", inspect)
    monkeypatch.setattr(machine_fit, "memory_now", lambda _gpu=0: Memory(9_000_000_000, 16_000_000_000))
    monkeypatch.setattr(catalog_store, "state", _state)
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setattr(time, "localtime", time.gmtime)
    for name, path in (("data_dir", "/data/rstitch"), ("settings_file", "/config/rstitch/settings.toml")):
        monkeypatch.setattr(paths, name, lambda path=path: PurePosixPath(path))
    return choice


@dataclass
class FixedChat:
    """The app with an open chat."""

    app: ChatApp
    pilot: Pilot[None]

    async def until(self, condition: Callable[[], Any]) -> None:
        """Poll until a condition is true."""
        for _ in range(1000):
            if condition():
                await self.pilot.pause()
                return
            await self.pilot.pause(0.005)
        raise AssertionError("condition never became true")


@asynccontextmanager
async def fixed_chat(folder: Path, choice: PairChoice, size: tuple[int, int]) -> AsyncIterator[FixedChat]:
    """Run the app with the chat of `fill`."""
    clock = Clock()
    with Store(folder / "chats.sqlite3", clock=clock) as store:
        store.set_state("chat", str(fill(store, clock)))
        app = ChatApp(store, AppSettings(theme="textual-dark"), Start(choice, resume=True))
        async with app.run_test(size=size) as pilot:
            chat = FixedChat(app, pilot)
            await chat.until(lambda: app.models.ready)
            app.chat_screen.composer.cursor_blink = False
            yield chat
            await app.leave()

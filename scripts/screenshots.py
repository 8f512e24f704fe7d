"""Pictures of the chat for the documentation, made from the real app on the demo pair.

    python scripts/screenshots.py [--out docs/images] [--only NAME]

What is in them was answered while they were made, at the speed of this machine; nothing is retouched. The app runs
in a folder of its own, so that neither settings nor chats of the user come in, and a picture that shows a path or
the name of this machine is refused.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import html
import os
import re
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from textual.pilot import Pilot

from rstitch_local import paths
from rstitch_local.builtin import word_problems
from rstitch_local.engine.choice import choose_pair
from rstitch_tui.app import ChatApp, Start
from rstitch_tui.app_settings import AppSettings
from rstitch_tui.screens.compare import CompareScreen
from rstitch_tui.screens.inspector import InspectorScreen
from rstitch_tui.store.store import Store

ROOT = Path(__file__).resolve().parent.parent
SEED = 5
"""Of the problems: one that neither model was trained on."""
BUTTONS, PENS, APPLES = 5, 34, 58
"""Problems the small model alone gets wrong."""
_POLLS = 4000


class Sitter:
    """The app that is painted, and what its user would do."""

    def __init__(self, app: ChatApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something; ends the program where it never comes."""
        for _ in range(_POLLS):
            if condition():
                await self.pilot.pause()
                return
            await self.pilot.pause(0.005)
        raise SystemExit(f"It never came to this: {what}.")

    async def quiet(self) -> None:
        """Wait for the end of the answer."""
        await self.until(lambda: self.app.session.answer is None, "the answer's end")

    async def ask(self, problem: int) -> None:
        """Ask a problem, and wait for the end of its answer."""
        wanted = len(self.app.session.path) + 2
        self.app.chat_screen.composer.set_text(word_problems.generate(SEED, problem).question)
        await self.pilot.press("enter")
        await self.until(lambda: len(self.app.session.path) == wanted, "an answer")
        await self.quiet()

    async def say(self, command: str) -> None:
        """Give a slash command."""
        await self.app.chat_screen.action_slash(command)
        await self.pilot.pause()
        self.app.clear_notifications()

    async def think_aloud(self, problem: int) -> None:
        """Ask a problem; the answer is edited to begin with `<think>`, and goes on in the large model's manner."""
        await self.ask(problem)
        session = self.app.session
        await self.app.chat_screen.controller.request_answer(lambda: session.edit_answer(session.path[-1], "<think>\n"))
        await self.quiet()


async def chat(sitter: Sitter) -> None:
    """Two answers: the large model's own with its thinking folded, and one both wrote."""
    await sitter.say("router llm")
    await sitter.ask(BUTTONS)
    await sitter.say("router auto")
    await sitter.ask(PENS)


async def chat_light(sitter: Sitter) -> None:
    """The same on a light ground."""
    sitter.app.theme = "textual-light"
    await chat(sitter)


async def tokens(sitter: Sitter) -> None:
    """An answer token by token."""
    await sitter.say("tau 0.05")
    await sitter.think_aloud(APPLES)
    await sitter.pilot.press("ctrl+t")


async def inspector(sitter: Sitter) -> None:
    """A place where control passed and the two models would not have written the same."""
    await sitter.think_aloud(BUTTONS)
    await sitter.pilot.press("ctrl+g")
    screen = sitter.app.screen
    if not isinstance(screen, InspectorScreen):
        raise SystemExit("The inspector did not open.")
    while True:
        await sitter.until(lambda: screen.index in screen._predictions, "what the models make of the place")
        views = list(screen._predictions[screen.index].values())
        first, second = (view.candidates for view in views)
        if first[0].text != second[0].text and first[0].text.strip() and first[0].probability < 0.8:
            return
        before = screen.index
        await sitter.pilot.press("p")
        if screen.index == before:
            raise SystemExit("The two models agree everywhere.")


async def compare(sitter: Sitter) -> None:
    """One question at two taus, and what the larger one costs."""
    await sitter.ask(APPLES)
    await sitter.say("again 0.2")
    screen = sitter.app.screen
    if not isinstance(screen, CompareScreen):
        raise SystemExit("There is nothing to compare.")
    await sitter.until(lambda: screen._finished, "the second answer's end")


async def models(sitter: Sitter) -> None:
    """The pairs: what is here, what fits this machine."""
    await sitter.pilot.press("f3")
    await sitter.pilot.press("down")


PICTURES: dict[str, tuple[Callable[[Sitter], Awaitable[None]], tuple[int, int]]] = {
    "chat": (chat, (104, 35)),
    "chat-light": (chat_light, (104, 35)),
    "tokens": (tokens, (104, 30)),
    "inspector": (inspector, (104, 30)),
    "compare": (compare, (104, 22)),
    "models": (models, (104, 22)),
}
"""How each picture comes about, and its columns and rows."""


@asynccontextmanager
async def _sitting(size: tuple[int, int]) -> AsyncIterator[Sitter]:
    """The app in a folder of its own, with the demo pair loaded."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RSTITCH_HOME"] = folder
        os.environ.pop("NO_COLOR", None)
        with Store(paths.chat_database()) as store:
            app = ChatApp(store, AppSettings(theme="textual-dark"), Start(choose_pair("demo")))
            async with app.run_test(size=size) as pilot:
                sitter = Sitter(app, pilot)
                await sitter.until(lambda: app.models.ready, "a pair")
                # A cursor that blinks would be there or not by chance.
                app.chat_screen.composer.cursor_blink = False
                yield sitter
                await app.leave()


async def _paint(pose: Callable[[Sitter], Awaitable[None]], size: tuple[int, int]) -> str:
    async with _sitting(size) as sitter:
        await pose(sitter)
        await sitter.pilot.pause()
        picture = sitter.app.export_screenshot(title="rstitch")
        refuse_private(picture)
        return picture


def refuse_private(picture: str) -> None:
    """End the program where a picture says on which machine, or where on it, it was made."""
    text = html.unescape(re.sub(r"<style.*?</style>|<[^>]*>", " ", picture, flags=re.DOTALL))
    names = {socket.gethostname(), getpass.getuser(), str(Path.home()), str(ROOT)} - {""}
    found = [name for name in names if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)]
    found += re.findall(r"(?:/|\b[A-Za-z]:\\)[\w.-]+[/\\][\w./\\-]*", text)
    if found:
        raise SystemExit(f"A picture tells of this machine: {', '.join(found)}")


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--only", choices=PICTURES, help="make this one alone")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, (pose, size) in PICTURES.items():
        if options.only in (None, name):
            picture = asyncio.run(_paint(pose, size))
            path = options.out / f"{name}.svg"
            path.write_text(picture, encoding="utf-8", newline="\n")
            print(f"{path}: {len(picture) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()

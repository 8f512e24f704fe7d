"""Create the screenshots of the chat for the documentation, with the real app and the demo pair.

    python scripts/screenshots.py [--out docs/images] [--only NAME]

The answers are generated while the script runs, and the screenshots are not edited. The app uses a temporary folder, so
that no settings or chats of the user appear; a screenshot that shows a path or the name of this machine is refused.
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
"""Seed of the problems, which was not used for training."""
BUTTONS, PENS, APPLES = 5, 34, 58
"""Problems that the small model alone solves incorrectly."""
_POLLS = 4000


class AppDriver:
    """Operates the app as a user would."""

    def __init__(self, app: ChatApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    async def wait_until(self, condition: Callable[[], object], description: str) -> None:
        """Poll a condition; exit with an error after a timeout."""
        for _ in range(_POLLS):
            if condition():
                await self.pilot.pause()
                return
            await self.pilot.pause(0.005)
        raise SystemExit(f"Timeout while waiting for {description}.")

    async def wait_for_answer(self) -> None:
        await self.wait_until(lambda: self.app.session.answer is None, "the end of the answer")

    async def ask(self, problem: int) -> None:
        """Send a problem and wait for the end of the answer."""
        messages = len(self.app.session.path) + 2
        self.app.chat_screen.composer.set_text(word_problems.generate(SEED, problem).question)
        await self.pilot.press("enter")
        await self.wait_until(lambda: len(self.app.session.path) == messages, "an answer")
        await self.wait_for_answer()

    async def run_command(self, command: str) -> None:
        """Run a slash command."""
        await self.app.chat_screen.action_slash(command)
        await self.pilot.pause()
        self.app.clear_notifications()

    async def ask_with_reasoning(self, problem: int) -> None:
        """Send a problem, edit the answer to `<think>`, and let it continue in the style of the large model."""
        await self.ask(problem)
        session = self.app.session
        await self.app.chat_screen.controller.request_answer(lambda: session.edit_answer(session.path[-1], "<think>\n"))
        await self.wait_for_answer()


async def chat(driver: AppDriver) -> None:
    """Two answers: one by the large model with folded reasoning, and one by both models."""
    await driver.run_command("router llm")
    await driver.ask(BUTTONS)
    await driver.run_command("router auto")
    await driver.ask(PENS)


async def chat_light(driver: AppDriver) -> None:
    """The same in a light theme."""
    driver.app.theme = "textual-light"
    await chat(driver)


async def tokens(driver: AppDriver) -> None:
    """The token view of an answer."""
    await driver.run_command("tau 0.05")
    await driver.ask_with_reasoning(APPLES)
    await driver.pilot.press("ctrl+t")


async def inspector(driver: AppDriver) -> None:
    """The inspector at a swap where the two models would have generated different tokens."""
    await driver.ask_with_reasoning(BUTTONS)
    await driver.pilot.press("ctrl+g")
    screen = driver.app.screen
    if not isinstance(screen, InspectorScreen):
        raise SystemExit("The inspector did not open.")
    while True:
        await driver.wait_until(lambda: screen.index in screen._predictions, "the predictions of both models")
        predictions = screen._predictions[screen.index].values()
        first, second = (prediction.candidates for prediction in predictions)
        if first[0].text != second[0].text and first[0].text.strip() and first[0].probability < 0.8:
            return
        before = screen.index
        await driver.pilot.press("p")
        if screen.index == before:
            raise SystemExit("The two models agree at every swap.")


async def compare(driver: AppDriver) -> None:
    """One question at two values of tau."""
    await driver.ask(APPLES)
    await driver.run_command("again 0.2")
    screen = driver.app.screen
    if not isinstance(screen, CompareScreen):
        raise SystemExit("The comparison did not open.")
    await driver.wait_until(lambda: screen._finished, "the end of the second answer")


async def models(driver: AppDriver) -> None:
    """The list of pairs."""
    await driver.pilot.press("f3")
    await driver.pilot.press("down")


SCREENSHOTS: dict[str, tuple[Callable[[AppDriver], Awaitable[None]], tuple[int, int]]] = {
    "chat": (chat, (104, 35)),
    "chat-light": (chat_light, (104, 35)),
    "tokens": (tokens, (104, 30)),
    "inspector": (inspector, (104, 30)),
    "compare": (compare, (104, 22)),
    "models": (models, (104, 22)),
}
"""By name: the function that prepares the screen, and its columns and rows."""


@asynccontextmanager
async def _app(size: tuple[int, int]) -> AsyncIterator[AppDriver]:
    """Run the app in a temporary folder with the demo pair."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RSTITCH_HOME"] = folder
        os.environ.pop("NO_COLOR", None)
        with Store(paths.chat_database()) as store:
            app = ChatApp(store, AppSettings(theme="textual-dark"), Start(choose_pair("demo")))
            async with app.run_test(size=size) as pilot:
                driver = AppDriver(app, pilot)
                await driver.wait_until(lambda: app.models.ready, "the pair")
                # A blinking cursor would be visible or not at random.
                app.chat_screen.composer.cursor_blink = False
                yield driver
                await app.leave()


async def _take(prepare: Callable[[AppDriver], Awaitable[None]], size: tuple[int, int]) -> str:
    async with _app(size) as driver:
        await prepare(driver)
        await driver.pilot.pause()
        svg = driver.app.export_screenshot(title="rstitch")
        require_anonymous(svg)
        return svg


def require_anonymous(svg: str) -> None:
    """Exit with an error if a screenshot shows a path or the name of this machine."""
    text = html.unescape(re.sub(r"<style.*?</style>|<[^>]*>", " ", svg, flags=re.DOTALL))
    names = {socket.gethostname(), getpass.getuser(), str(Path.home()), str(ROOT)} - {""}
    details = [name for name in names if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)]
    details += re.findall(r"(?:/|\b[A-Za-z]:\\)[\w.-]+[/\\][\w./\\-]*", text)
    if details:
        raise SystemExit(f"A screenshot shows details of this machine: {', '.join(details)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--only", choices=SCREENSHOTS, help="create this one only")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, (prepare, size) in SCREENSHOTS.items():
        if options.only in (None, name):
            svg = asyncio.run(_take(prepare, size))
            path = options.out / f"{name}.svg"
            path.write_text(svg, encoding="utf-8", newline="\n")
            print(f"{path}: {len(svg) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()

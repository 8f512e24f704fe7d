"""Measures the chat: how soon it is there, what its drawing costs the models, how long its event loop is ever held up.

    python scripts/bench_chat.py [--pair demo] [--questions 20] [--router llm] [--max-tokens N] [--starts 5]

Start and speed are taken from the real program on a pseudo-terminal, so this needs Linux or macOS. Each start and the
speed have chats of their own, in a folder that is thrown away; models and models.toml are the user's. The speed of each
answer is compared with the same question put to the same pair by the engine alone, as `rstitch ask` does, one after the
other; both write greedily. The event loop is watched inside the app without a terminal: while it answers, and while
answers are turned into tokens and back and other screens are opened. Keep the machine idle while it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import platform
import pty
import re
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from rstitch_local import paths
from rstitch_local.builtin.word_problems import generate
from rstitch_local.engine.choice import choose_pair
from rstitch_local.errors import RStitchError
from rstitch_tui.app import ChatApp, Start
from rstitch_tui.screens.chat import ChatScreen
from rstitch_tui.store.store import Store

BENCH_SEED = 5
PAINTED = b"sk something;"  # the cursor stands on the first letter
READY = b"F1 the keys"
COLUMNS, ROWS = 140, 45
PATIENCE_S = 600.0

ENGINE_ALONE = """
import json, sys
from rstitch_local import load_pair
from rstitch_local.decoding.sampling import Sampling
name, router, budget = sys.argv[1], sys.argv[2], int(sys.argv[3]) or None
with load_pair(name) as pair:
    print("ready", flush=True)
    for line in sys.stdin:
        suffix = pair.defaults.prompt_suffix
        question = json.loads(line) + (f"\\n{suffix}" if suffix else "")
        run = pair.chat([{"role": "user", "content": question}], router=router, sampling=Sampling(),
                         max_tokens=budget, reuse=True)
        for step in run:
            pass
        print(json.dumps(run.trace.totals()), flush=True)
"""


class Terminal:
    """A program on a pseudo-terminal: what it wrote so far, and a way to type."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.begun = time.monotonic()
        self._ended = False
        self.pid, self._file = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, environment)
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def wait_for(self, words: bytes, timeout_s: float = 120.0) -> float:
        """Seconds from the start of the program until it writes these words.

        Raises:
            BenchError: they do not come, or the program ends instead.
        """
        seen = b""
        called = time.monotonic()
        while time.monotonic() - called < timeout_s and not self._ended:
            seen = (seen + self.read(0.5))[-200_000:]
            if words in seen:
                return time.monotonic() - self.begun
        what = "ended" if self._ended else f"was waited for {timeout_s:.0f} s"
        self.end()
        raise BenchError(f"The chat {what} and never wrote {words.decode()!r}. It wrote last:\n{_plain(seen)[-1000:]}")

    def read(self, timeout_s: float) -> bytes:
        """What it writes next."""
        ready, _, _ = select.select([self._file], [], [], timeout_s)
        try:
            text = os.read(self._file, 1 << 16) if ready else None
        except OSError:
            # So Linux says that nobody is at the other end any more; macOS gives nothing to read.
            text = b""
        self._ended = self._ended or text == b""
        return text or b""

    def type(self, text: str) -> None:
        """Type into it, as a paste, and press Enter."""
        os.write(self._file, b"\x1b[200~" + text.encode() + b"\x1b[201~\r")

    def end(self) -> None:
        """Leave by Ctrl-Q; by force where that does not do."""
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            os.write(self._file, b"\x11")
        while time.monotonic() - begun < 5:
            self.read(0.1)
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                break
        else:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._file)


class BenchError(Exception):
    """The chat or the engine did not do what is measured."""


def _plain(screen: bytes) -> str:
    """What a terminal was sent, without what commands it."""
    return re.sub(r"\x1b(\[[0-9;?<>=]*[a-zA-Z]|\][^\x07\x1b]*|.)", "", screen.decode("utf-8", "replace"))


def main() -> None:
    """Run the measurements and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", default="demo")
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--router", default="llm", help="of the answers whose speed is compared")
    parser.add_argument("--max-tokens", type=int, default=0, help="longest answer; 0 for no limit")
    parser.add_argument("--starts", type=int, default=5)
    options = parser.parse_args()
    try:
        choose_pair(options.pair)
        measure(options)
    except RStitchError as error:
        sys.exit(f"{error.title}: {error.message} {error.hint}")
    except BenchError as error:
        sys.exit(str(error))


def measure(options: argparse.Namespace) -> None:
    """Print what is measured, one after the other."""
    print(f"Machine: {platform.system()} {platform.machine()}, {psutil.cpu_count(logical=False)} cores")
    print(f"Pair {options.pair}, {options.questions} questions of seed {BENCH_SEED}, router {options.router}, greedy\n")
    with tempfile.TemporaryDirectory() as folder:
        starts = [start_up(options.pair, Path(folder) / f"start{n}") for n in range(options.starts)]
        for name, seconds in zip(("first paint", "ready"), zip(*starts, strict=True), strict=True):
            middle = statistics.median(seconds)
            print(f"- {name}: {middle:.2f} s (median of {len(seconds)}, {max(seconds):.2f} at most)")
        compare_speed(options, Path(folder) / "speed")
        asyncio.run(longest_blocks(options, Path(folder) / "loop"))


def chat(pair: str, home: Path, *more: str) -> Terminal:
    """The program with chats of its own."""
    (home / "data").mkdir(parents=True)
    for name, place in (("cache", paths.cache_dir()), ("config", paths.config_dir())):
        if place.exists():
            (home / name).symlink_to(place)
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "RSTITCH_HOME": str(home)}
    return Terminal([sys.executable, "-m", "rstitch_local", "chat", "--pair", pair, *more], environment)


def start_up(pair: str, home: Path) -> tuple[float, float]:
    """Seconds to the first paint, and until it takes questions."""
    terminal = chat(pair, home)
    times = terminal.wait_for(PAINTED), terminal.wait_for(READY)
    terminal.end()
    return times


def compare_speed(options: argparse.Namespace, home: Path) -> None:
    """The same questions in the chat and by the engine alone, in turns."""
    engine = subprocess.Popen(
        [sys.executable, "-c", ENGINE_ALONE, options.pair, options.router, str(options.max_tokens)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert engine.stdin is not None
    assert engine.stdout is not None
    if engine.stdout.readline() != "ready\n":
        raise BenchError("The engine alone did not load the pair; what it said stands above.")
    terminal = chat(options.pair, home, "--router", options.router)
    terminal.wait_for(READY)
    ratios, speeds = [], []
    with Store(home / "data" / "chats.sqlite3") as store:
        for index in range(options.questions):
            question = generate(BENCH_SEED, index).question
            engine.stdin.write(json.dumps(question) + "\n")
            engine.stdin.flush()
            alone = speed(json.loads(engine.stdout.readline()))
            # Each is waited for, as a person would: what is typed faster than it is drawn arrives in one piece.
            terminal.type("/new")
            terminal.wait_for(READY)
            for name, value in (("temperature", 0), ("max_tokens", options.max_tokens or "auto")):
                terminal.type(f"/{name} {value}")
                terminal.wait_for(f"{name}: ".encode())
            terminal.type(question)
            shown = speed(wait_for_answer(store, terminal, question))
            ratios.append(shown / alone)
            speeds.append((shown, alone))
    terminal.end()
    engine.stdin.close()
    engine.wait()
    shown, alone = (statistics.fmean(side) for side in zip(*speeds, strict=True))
    print(
        f"- tokens a second after the first: {shown:.1f} in the chat, {alone:.1f} by the engine alone; ratio "
        f"{statistics.median(ratios):.3f} (median of pairs, {min(ratios):.2f} to {max(ratios):.2f})"
    )


def wait_for_answer(store: Store, terminal: Terminal, question: str) -> dict[str, Any]:
    """The sums of the answer to a question, once the chat has kept it."""
    begun = time.monotonic()
    while time.monotonic() - begun < PATIENCE_S:
        terminal.read(0.02)
        for row in store.chats(limit=1):
            path = store.path(row.id)
            if len(path) == 2 and path[0].text == question and path[1].totals is not None:
                return dict(path[1].totals)
    terminal.end()
    raise BenchError("The chat was asked and did not answer within ten minutes.")


def speed(totals: dict[str, Any]) -> float:
    """Tokens a second after the first one."""
    count = sum(totals["tokens"].values()) - 1
    return float(count / max(1e-9, (totals["wall_ms"] - totals["ttft_ms"]) / 1e3))


class Watch:
    """How long the event loop of an app did not come round at most, and what was being done then."""

    def __init__(self) -> None:
        self.doing = ""
        self.longest = (0.0, "")
        self._task = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, (time.monotonic() - before - 0.001, self.doing))

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait, but not as Textual's pilot does: it waits for a process that does nothing, and this one looks."""
        begun = time.monotonic()
        while not condition():
            await asyncio.sleep(0.005)
            if time.monotonic() - begun > PATIENCE_S:
                raise BenchError("The app did not get on within ten minutes.")
        await asyncio.sleep(0.3)


async def longest_blocks(options: argparse.Namespace, folder: Path) -> None:
    """Print the longest block while the app answers, and while somebody looks at the answers in every way."""
    folder.mkdir(parents=True)
    with Store(folder / "chats.sqlite3") as store:
        app = ChatApp(store, start=Start(choose_pair(options.pair), router=options.router))
        async with app.run_test(size=(COLUMNS, ROWS)):
            watch = Watch()
            await watch.until(lambda: app.models.ready)
            app.session.change(max_tokens=options.max_tokens or None, temperature=0.0)
            watch.longest = (0.0, "")
            for index in range(options.questions):
                app.chat_screen.composer.set_text(generate(BENCH_SEED, index).question)
                app.simulate_key("enter")
                await watch.until(lambda: app.session.path and not app.chat_screen.composer.text)
                await watch.until(lambda: app.session.answer is None)
            answering, watch.longest = watch.longest[0], (0.0, "")
            for key in ("ctrl+t", "ctrl+t", "ctrl+f", "ctrl+f", "f1", "f2", "f3", "f4", "ctrl+o", "ctrl+g"):
                watch.doing = key
                app.simulate_key(key)
                if key not in ("ctrl+t", "ctrl+f"):
                    await watch.until(lambda: not isinstance(app.screen, ChatScreen))
                    app.simulate_key("escape")
                await watch.until(lambda: isinstance(app.screen, ChatScreen))
            using, key = watch.longest
            await app.leave()
    print(
        f"- longest block of the event loop: {answering * 1e3:.0f} ms over {options.questions} answers; "
        f"{using * 1e3:.0f} ms while tokens are shown and hidden and screens opened ({key})"
    )


if __name__ == "__main__":
    main()

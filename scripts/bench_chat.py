"""Measure the chat: start-up time, the cost of drawing, and the longest block of the event loop.

    python scripts/bench_chat.py [--pair demo] [--questions 20] [--router llm] [--max-tokens N] [--starts 5]

Start-up time and speed are measured with the real program on a pseudo-terminal, so this needs Linux or macOS. Each
measurement uses a temporary folder for chats, and the user's models and models.toml. The speed of each answer is
compared with the same question answered by the engine without the chat, as in `rstitch ask`, in turns; both are greedy.
The event loop is measured inside the app without a terminal: while it answers, and while token views and other screens
are opened and closed. Keep the machine idle while it runs.
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
PAINTED = b"sk something;"  # the cursor covers the first letter
READY = b"F1 the keys"
COLUMNS, ROWS = 140, 45
TIMEOUT_S = 600.0

ENGINE_ALONE = """
import json, sys
from rstitch_local import load_pair
from rstitch_local.decoding.sampling import Sampling
name, router, max_tokens = sys.argv[1], sys.argv[2], int(sys.argv[3]) or None
with load_pair(name) as pair:
    print("ready", flush=True)
    for line in sys.stdin:
        suffix = pair.defaults.prompt_suffix
        question = json.loads(line) + (f"\\n{suffix}" if suffix else "")
        run = pair.chat([{"role": "user", "content": question}], router=router, sampling=Sampling(),
                         max_tokens=max_tokens, reuse=True)
        print(json.dumps(run.finish().totals()), flush=True)
"""


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.started = time.monotonic()
        self._ended = False
        self.pid, self._file = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, environment)
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def wait_for(self, words: bytes, timeout_s: float = 120.0) -> float:
        """Wait until the program prints these words; return the seconds since its start.

        Raises:
            BenchError: a timeout, or the program ended.
        """
        output = b""
        called = time.monotonic()
        while time.monotonic() - called < timeout_s and not self._ended:
            output = (output + self.read(0.5))[-200_000:]
            if words in output:
                return time.monotonic() - self.started
        reason = "The chat ended" if self._ended else f"The chat ran for {timeout_s:.0f} s"
        self.end()
        raise BenchError(f"{reason} without printing {words.decode()!r}. Its last output:\n{_plain(output)[-1000:]}")

    def read(self, timeout_s: float) -> bytes:
        ready, _, _ = select.select([self._file], [], [], timeout_s)
        try:
            text = os.read(self._file, 1 << 16) if ready else None
        except OSError:
            # Linux reports a closed terminal by an error, macOS by an empty read.
            text = b""
        self._ended = self._ended or text == b""
        return text or b""

    def type(self, text: str) -> None:
        """Paste a text and press Enter."""
        os.write(self._file, b"\x1b[200~" + text.encode() + b"\x1b[201~\r")

    def end(self) -> None:
        """Press Ctrl-Q; kill the program if it does not end."""
        started = time.monotonic()
        with contextlib.suppress(OSError):
            os.write(self._file, b"\x11")
        while time.monotonic() - started < 5:
            self.read(0.1)
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                break
        else:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._file)


class BenchError(Exception):
    """The chat or the engine did not behave as expected."""


def _plain(screen: bytes) -> str:
    """Return the output without escape sequences."""
    return re.sub(r"\x1b(\[[0-9;?<>=]*[a-zA-Z]|\][^\x07\x1b]*|.)", "", screen.decode("utf-8", "replace"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", default="demo")
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--router", default="llm", help="router of the answers whose speed is compared")
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
    print(f"Machine: {platform.system()} {platform.machine()}, {psutil.cpu_count(logical=False)} cores")
    print(f"Pair {options.pair}, {options.questions} questions of seed {BENCH_SEED}, router {options.router}, greedy\n")
    with tempfile.TemporaryDirectory() as folder:
        starts = [start_up(options.pair, Path(folder) / f"start{n}") for n in range(options.starts)]
        for name, seconds in zip(("first paint", "ready"), zip(*starts, strict=True), strict=True):
            median = statistics.median(seconds)
            print(f"- {name}: {median:.2f} s (median of {len(seconds)}, maximum {max(seconds):.2f})")
        compare_speed(options, Path(folder) / "speed")
        asyncio.run(longest_blocks(options, Path(folder) / "loop"))


def start_chat(pair: str, home: Path, *arguments: str) -> Terminal:
    """Start the chat with an empty data folder."""
    (home / "data").mkdir(parents=True)
    for name, folder in (("cache", paths.cache_dir()), ("config", paths.config_dir())):
        if folder.exists():
            (home / name).symlink_to(folder)
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "RSTITCH_HOME": str(home)}
    return Terminal([sys.executable, "-m", "rstitch_local", "chat", "--pair", pair, *arguments], environment)


def start_up(pair: str, home: Path) -> tuple[float, float]:
    """Return the seconds until the first paint, and until the chat accepts questions."""
    terminal = start_chat(pair, home)
    times = terminal.wait_for(PAINTED), terminal.wait_for(READY)
    terminal.end()
    return times


def compare_speed(options: argparse.Namespace, home: Path) -> None:
    """Compare the speed of the same questions in the chat and in the engine alone, in turns."""
    engine = subprocess.Popen(
        [sys.executable, "-c", ENGINE_ALONE, options.pair, options.router, str(options.max_tokens)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert engine.stdin is not None
    assert engine.stdout is not None
    if engine.stdout.readline() != "ready\n":
        raise BenchError("The engine alone did not load the pair; its output is above.")
    terminal = start_chat(options.pair, home, "--router", options.router)
    terminal.wait_for(READY)
    ratios, speeds = [], []
    with Store(home / "data" / "chats.sqlite3") as store:
        for index in range(options.questions):
            question = generate(BENCH_SEED, index).question
            engine.stdin.write(json.dumps(question) + "\n")
            engine.stdin.flush()
            alone = speed(json.loads(engine.stdout.readline()))
            # Wait for each command: text that is typed faster than it is drawn arrives as one paste.
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
        f"- tokens per second after the first: {shown:.1f} in the chat, {alone:.1f} in the engine alone; ratio "
        f"{statistics.median(ratios):.3f} (median of pairs, {min(ratios):.2f} to {max(ratios):.2f})"
    )


def wait_for_answer(store: Store, terminal: Terminal, question: str) -> dict[str, Any]:
    """Wait until the chat has stored the answer; return its totals."""
    started = time.monotonic()
    while time.monotonic() - started < TIMEOUT_S:
        terminal.read(0.02)
        for row in store.chats(limit=1):
            path = store.path(row.id)
            if len(path) == 2 and path[0].text == question and path[1].totals is not None:
                return dict(path[1].totals)
    terminal.end()
    raise BenchError("The chat did not answer within ten minutes.")


def speed(totals: dict[str, Any]) -> float:
    """Return tokens per second after the first token."""
    count = sum(totals["tokens"].values()) - 1
    return float(count / max(1e-9, (totals["wall_ms"] - totals["ttft_ms"]) / 1e3))


class BlockTimer:
    """Measures the longest block of the event loop.

    Attributes:
        activity: name of what the app is doing.
        longest: seconds of the longest block, and the activity during it.
    """

    def __init__(self) -> None:
        self.activity = ""
        self.longest = (0.0, "")
        self._task = asyncio.create_task(self._measure())

    async def _measure(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, (time.monotonic() - before - 0.001, self.activity))

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition. Textual's pilot waits for an idle app, which this app is not while it is measured."""
        started = time.monotonic()
        while not condition():
            await asyncio.sleep(0.005)
            if time.monotonic() - started > TIMEOUT_S:
                raise BenchError("The app did not make progress within ten minutes.")
        await asyncio.sleep(0.3)


async def longest_blocks(options: argparse.Namespace, folder: Path) -> None:
    """Print the longest block while the app answers, and while views and screens are opened and closed."""
    folder.mkdir(parents=True)
    with Store(folder / "chats.sqlite3") as store:
        app = ChatApp(store, start=Start(choose_pair(options.pair), router=options.router))
        async with app.run_test(size=(COLUMNS, ROWS)):
            timer = BlockTimer()
            await timer.until(lambda: app.models.ready)
            app.session.change(max_tokens=options.max_tokens or None, temperature=0.0)
            timer.longest = (0.0, "")
            for index in range(options.questions):
                app.chat_screen.composer.set_text(generate(BENCH_SEED, index).question)
                app.simulate_key("enter")
                await timer.until(lambda: app.session.path and not app.chat_screen.composer.text)
                await timer.until(lambda: app.session.answer is None)
            answering, timer.longest = timer.longest[0], (0.0, "")
            for key in ("ctrl+t", "ctrl+t", "ctrl+f", "ctrl+f", "f1", "f2", "f3", "f4", "ctrl+o", "ctrl+g"):
                timer.activity = key
                app.simulate_key(key)
                if key not in ("ctrl+t", "ctrl+f"):
                    await timer.until(lambda: not isinstance(app.screen, ChatScreen))
                    app.simulate_key("escape")
                await timer.until(lambda: isinstance(app.screen, ChatScreen))
            viewing, key = timer.longest
            await app.leave()
    print(
        f"- longest block of the event loop: {answering * 1e3:.0f} ms over {options.questions} answers; "
        f"{viewing * 1e3:.0f} ms while token views and screens are opened and closed ({key})"
    )


if __name__ == "__main__":
    main()

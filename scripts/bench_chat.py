"""Measures the chat: how soon it is there, what its drawing costs the models, how long its event loop is ever held up.

    python scripts/bench_chat.py [--pair demo] [--questions 20] [--router llm] [--max-tokens N]

Start and speed are taken from the real program on a pseudo-terminal, so this needs Linux or macOS. The speed of each
answer is compared with the same question put to the same pair by the engine alone, one after the other; both write
greedily. The event loop is watched inside the app, while it answers. Keep the machine idle while it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import platform
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import Any

import psutil

from rstitch_local.builtin.word_problems import generate
from rstitch_local.engine.choice import choose_pair
from rstitch_local.tui.app import ChatApp, Start
from rstitch_local.tui.store.store import Store

BENCH_SEED = 5
PAINTED = b"sk something;"  # the cursor stands on the first letter
READY = b"F1 the keys"
COLUMNS, ROWS = 140, 45

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
        run = pair.start([{"role": "user", "content": question}], router=router, sampling=Sampling(),
                         max_tokens=budget, reuse=True)
        for step in run:
            pass
        print(json.dumps(run.trace.totals()), flush=True)
"""


class Terminal:
    """A program on a pseudo-terminal: what it wrote so far, and a way to type."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.begun = time.monotonic()
        self.pid, self._file = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, environment)
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def wait_for(self, words: bytes, timeout_s: float = 60.0) -> float:
        """Seconds from the start of the program until it writes these words."""
        seen = b""
        called = time.monotonic()
        while time.monotonic() - called < timeout_s:
            seen = (seen + self.read(0.5))[-200_000:]
            if words in seen:
                return time.monotonic() - self.begun
        raise TimeoutError(f"{words!r} never came")

    def read(self, timeout_s: float) -> bytes:
        """What it writes next."""
        ready, _, _ = select.select([self._file], [], [], timeout_s)
        try:
            return os.read(self._file, 1 << 16) if ready else b""
        except OSError:
            return b""

    def type(self, text: str) -> None:
        """Type into it, as a paste, and press Enter."""
        os.write(self._file, b"\x1b[200~" + text.encode() + b"\x1b[201~\r")

    def end(self) -> None:
        """Leave by Ctrl-Q."""
        os.write(self._file, b"\x11")
        begun = time.monotonic()
        while time.monotonic() - begun < 5:
            self.read(0.1)
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                return
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def main() -> None:
    """Run the three measurements and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", default="demo")
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--router", default="llm", help="of the answers whose speed is compared")
    parser.add_argument("--max-tokens", type=int, default=0, help="longest answer; 0 for no limit")
    parser.add_argument("--starts", type=int, default=5)
    options = parser.parse_args()
    choose_pair(options.pair)
    print(f"Machine: {platform.system()} {platform.machine()}, {psutil.cpu_count(logical=False)} cores")
    print(f"Pair {options.pair}, {options.questions} questions of seed {BENCH_SEED}, router {options.router}, greedy\n")
    with tempfile.TemporaryDirectory() as folder:
        starts = [start_up(options.pair, Path(folder) / f"start{n}") for n in range(options.starts)]
        for name, seconds in zip(("first paint", "ready"), zip(*starts, strict=True), strict=True):
            print(
                f"- {name}: {statistics.median(seconds):.2f} s (median of {len(seconds)}, {max(seconds):.2f} at most)"
            )
        compare_speed(options, Path(folder) / "speed")
        block, answers = asyncio.run(longest_block(options, Path(folder) / "loop"))
        print(f"- longest block of the event loop over {answers} answers: {block * 1e3:.0f} ms")


def chat(pair: str, home: Path, *more: str) -> Terminal:
    """The program with a home of its own; model files are found where they lie."""
    home.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "RSTITCH_HOME": str(home)}
    choice = choose_pair(pair)
    files = ["--slm", str(choice.slm), "--llm", str(choice.llm)] if pair != "demo" else ["--pair", "demo"]
    return Terminal([sys.executable, "-m", "rstitch_local", "chat", *files, *more], environment)


def start_up(pair: str, home: Path) -> tuple[float, float]:
    """Seconds to the first paint, and until it takes questions."""
    terminal = chat(pair, home)
    times = terminal.wait_for(PAINTED), terminal.wait_for(READY)
    terminal.end()
    return times


def compare_speed(options: argparse.Namespace, home: Path) -> None:
    """The same questions in the chat and by the engine alone, in turns."""
    environment = dict(os.environ)
    engine = subprocess.Popen(
        [sys.executable, "-c", ENGINE_ALONE, options.pair, options.router, str(options.max_tokens)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert engine.stdin is not None
    assert engine.stdout is not None
    assert engine.stdout.readline() == "ready\n"
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
    middle = statistics.median(ratios)
    low, high = min(ratios), max(ratios)
    print(
        f"- tokens a second after the first: {statistics.fmean(s for s, _ in speeds):.1f} in the chat, "
        f"{statistics.fmean(a for _, a in speeds):.1f} by the engine alone; "
        f"ratio {middle:.3f} (median of pairs, {low:.2f} to {high:.2f})"
    )


def wait_for_answer(store: Store, terminal: Terminal, question: str) -> dict[str, Any]:
    """The sums of the answer to a question, once the chat has kept it."""
    begun = time.monotonic()
    while time.monotonic() - begun < 600:
        terminal.read(0.02)
        for row in store.chats(limit=1):
            path = store.path(row.id)
            if len(path) == 2 and path[0].text == question and path[1].totals is not None:
                return dict(path[1].totals)
    raise TimeoutError("the chat never answered")


def speed(totals: dict[str, Any]) -> float:
    """Tokens a second after the first one."""
    count = sum(totals["tokens"].values()) - 1
    return float(count / max(1e-9, (totals["wall_ms"] - totals["ttft_ms"]) / 1e3))


async def longest_block(options: argparse.Namespace, folder: Path) -> tuple[float, int]:
    """The longest time the app's event loop did not come round, while it streams Markdown and tokens."""
    folder.mkdir(parents=True)
    worst = 0.0
    with Store(folder / "chats.sqlite3") as store:
        app = ChatApp(store, start=Start(choose_pair(options.pair), router=options.router))
        async with app.run_test(size=(COLUMNS, ROWS)) as pilot:
            while not app.ready:
                await pilot.pause(0.01)
            app.session.change(max_tokens=options.max_tokens or None, temperature=0.0)

            async def watch() -> None:
                nonlocal worst
                while True:
                    before = time.monotonic()
                    await asyncio.sleep(0.001)
                    worst = max(worst, time.monotonic() - before - 0.001)

            watching = asyncio.create_task(watch())
            for index in range(options.questions):
                app.chat_screen.composer.set_text(generate(BENCH_SEED, index).question)
                await pilot.press("enter")
                while app.session.answer is not None or not app.session.path:
                    await asyncio.sleep(0.01)
                if index == options.questions // 2:
                    await pilot.press("ctrl+t")
            watching.cancel()
            await app.leave()
    return worst, options.questions


if __name__ == "__main__":
    main()

"""`rstitch chat`: errors before the screen is drawn."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def rstitch(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rstitch_local", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "RSTITCH_HOME": str(home)},
    )


def test_a_missing_terminal_is_reported(tmp_path: Path) -> None:
    done = rstitch("chat", home=tmp_path)
    assert done.returncode == 2
    assert "requires a terminal" in done.stderr
    assert "rstitch ask" in done.stderr
    assert not list(tmp_path.iterdir())


def test_without_command_and_terminal_the_help_is_printed(tmp_path: Path) -> None:
    done = rstitch(home=tmp_path)
    assert done.returncode == 0
    assert "chat" in done.stdout
    assert "solve" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
class TestOnATerminal:
    """On a pseudo-terminal, until the program exits."""

    @staticmethod
    def output_of(*arguments: str, home: Path) -> tuple[int, str]:
        import pty

        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "rstitch_local", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "RSTITCH_HOME": str(home), "TERM": "xterm-256color"},
        )
        os.close(theirs)
        seen = b""
        while True:
            try:
                block = os.read(ours, 4096)
            except OSError:  # on Linux: the other end was closed
                break
            if not block:
                break
            seen += block
        os.close(ours)
        return process.wait(timeout=60), seen.decode("utf-8", "replace")

    def test_an_invalid_router(self, tmp_path: Path) -> None:
        code, text = self.output_of("chat", "--router", "entropy:x", home=tmp_path)
        assert code == 2
        assert "needs a number" in text

    def test_an_unknown_pair(self, tmp_path: Path) -> None:
        code, text = self.output_of("chat", "--pair", "nobody", home=tmp_path)
        assert code == 3
        assert "nobody" in text

    def test_broken_settings(self, tmp_path: Path) -> None:
        (tmp_path / "config").mkdir()
        (tmp_path / "config" / "settings.toml").write_text('them = "nord"\n', encoding="utf-8")
        code, text = self.output_of("chat", home=tmp_path)
        assert code == 2
        assert "theme" in text

    def test_an_invalid_database(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "chats.sqlite3").write_bytes(b"no database at all, but long enough to look at" * 50)
        code, text = self.output_of("chat", home=tmp_path)
        assert code == 6
        assert "Traceback" not in text

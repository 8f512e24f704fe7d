"""Nothing that is printed commands the terminal: every command with escape sequences in every input."""

from __future__ import annotations

import contextlib
import json
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_pair import write_model

from rstitch_local.commands import main
from rstitch_local.commands.console import echo, print_error
from rstitch_local.commands.safe_console import SafeConsole
from rstitch_local.errors import RStitchError
from rstitch_local.sanitize import safe_text, single_line

# CSI, OSC, C1, DCS, bidirectional and zero-width marks, line ends of all kinds, and rich's markup.
HOSTILE = "\x1b[31337mA\x1b]0;T\x07\x9b9mB\x1bPq\x1b\\\u202eC\u2066\u200bD\r\nE\x85F\u2028[red]x[link=y]z[bold]\x7f"
# A file name on Windows may not hold most of them.
posix = pytest.mark.skipif(sys.platform == "win32", reason="such file names need POSIX")
Run = Callable[..., str]


def commands(text: str) -> list[str]:
    """Return the characters of a text that a terminal must not receive."""
    found = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    return sorted(found - set("\n\t\u200c\u200d"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the program with arguments; return what it printed."""
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(main, "count_as_ctrl_c", lambda: None)
    monkeypatch.setattr(main, "_prepare_streams", lambda: None)

    def called(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["rstitch", *map(str, arguments)])
        with contextlib.suppress(SystemExit):
            main.main()
        return "".join(capsys.readouterr())

    return called


@pytest.mark.parametrize(
    "arguments",
    [
        [HOSTILE], [f"--{HOSTILE}"], ["ask", "x", f"--{HOSTILE}"], ["ask", "x", "--seed", HOSTILE],
        ["ask", "x", "--pair", HOSTILE], ["ask", "x", "--router", HOSTILE], ["ask", "x", "--kv-type", HOSTILE],
        ["ask", "x", "--gpu-layers", HOSTILE], ["ask", "x", "--slm", HOSTILE, "--llm", HOSTILE],
        ["solve", HOSTILE, "--out", "o"], ["grade", HOSTILE], ["trace", HOSTILE], ["trace", "x", "--html", HOSTILE],
        ["pull", HOSTILE], ["calibrate", "--pair", HOSTILE], ["pairs", "check", HOSTILE],
        ["bench", HOSTILE, "--out", "o"], ["tune", HOSTILE, "--out", "o", "--router", HOSTILE], ["study", HOSTILE],
    ],
)  # fmt: skip
def test_hostile_arguments_are_printed_safely(run: Run, arguments: list[str]) -> None:
    shown = run(*arguments)
    assert shown
    assert commands(shown) == []


@posix
def test_hostile_names_ids_questions_and_answers_are_printed_safely(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / HOSTILE
    folder.mkdir()
    files = [write_model(folder / f"{size}.gguf", width=size, answer="\x1b[9mq\x9b") for size in (32, 64)]
    rows = [{"id": f"{HOSTILE}{n}", "question": HOSTILE, "answer": HOSTILE} for n in range(2)]
    problems = folder / "problems.jsonl"
    problems.write_text("".join(json.dumps(entry) + "\n" for entry in [*rows, {HOSTILE: 1}]), encoding="utf-8")
    models = ["--slm", files[0], "--llm", files[1], "--max-tokens", 3]
    out = folder / "run"
    for arguments in (
        ["ask", HOSTILE, *models],
        ["ask", HOSTILE, *models, "--json"],
        ["solve", problems, "--out", out, *models],
        ["solve", problems, "--out", out, *models, "--prompt", HOSTILE],
        ["grade", out],
        ["trace", out, rows[0]["id"]],
        ["trace", out, HOSTILE],
        ["trace", out, rows[0]["id"], "--html", folder / "page.html"],
        ["bench", problems, "--out", folder / "bench", *models, "--router", "entropy:0.1"],
    ):
        shown = run(*arguments)
        assert shown
        assert commands(shown) == [], arguments[0]
        # A line end in a name must not start a line of its own.
        if arguments[0] not in ("ask", "trace"):
            assert not [line for line in shown.splitlines() if line.startswith("E")], arguments[0]


@given(st.text())
def test_no_text_commands_the_terminal(text: str) -> None:
    assert commands(safe_text(text)) == []
    assert commands(single_line(text)) == []
    assert not {"\n", "\t"} & set(single_line(text))
    error = RStitchError(text, text, text)
    assert commands(str(error)) == []
    console = SafeConsole(markup=False, highlight=False, emoji=False, width=200, color_system=None)
    with console.capture() as captured:
        console.print(text)
    assert commands(captured.get()) == []


def test_lines_and_errors_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    echo(HOSTILE)
    print_error(RStitchError(HOSTILE, HOSTILE))
    out, err = capsys.readouterr()
    assert commands(out + err) == []
    assert (out.count("\n"), err.count("\n")) == (1, 1)

"""The program itself: exit codes and error output."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from typer.testing import CliRunner

from rstitch_local import __version__, errors
from rstitch_local.commands import console, main
from rstitch_local.commands.console import make_console, print_error, safe_json
from rstitch_local.errors import RStitchError
from rstitch_local.sanitize import safe_text

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RStitchError)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rstitch_local", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60, check=False)


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"rstitch {__version__}\n", "")


def test_help_wraps_the_paragraphs_of_a_docstring() -> None:
    help_text = CliRunner().invoke(main.app, ["tune", "--help"], env={"COLUMNS": "200"}).stdout
    assert "run the same command again to resume." in help_text


def test_help_lists_commands_and_exit_codes() -> None:
    done = run("-h")
    assert done.returncode == 0
    for word in ("ask", "solve", "grade", "pairs", "pull", "doctor", "130"):
        assert word in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["ask"], ["ask", "Hi", "--nonsense"], ["ask", "Hi", "--seed", "x"]]
)
def test_errors_of_typer_are_usage_errors(arguments: list[str]) -> None:
    done = CliRunner().invoke(main.app, arguments)
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)
    assert done.stdout == ""


@pytest.mark.parametrize(
    "command",
    ["solve", "grade", "trace", "bench", "tune", "train-router", "pull", "pairs check", "study entropy",
     "study agreement"],
)  # fmt: skip
def test_arguments_that_begin_with_a_dash_are_explained(command: str) -> None:
    done = CliRunner().invoke(main.app, [*command.split(), "-my file.x"])
    assert isinstance(done.exception, errors.UsageError)
    assert f'rstitch {command} -- "-my file.x"' in done.exception.hint.replace("root ", "rstitch ")
    assert ("./-my file.x" in done.exception.hint) == (command != "pull")


@pytest.mark.parametrize("kind", KINDS)
def test_each_error_class_has_its_exit_code(
    kind: type[RStitchError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> NoReturn:
        raise kind("What is wrong", "Where and why \x1b[31m.", "What to do.")

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == kind.exit_code
    assert capsys.readouterr() == ("", "What is wrong: Where and why [31m.\nWhat to do.\n")


def test_a_file_that_fails_unexpectedly_is_a_storage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "app", lambda: Path("x" * 5000).stat())
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 6
    message = capsys.readouterr().err
    assert message.startswith("Cannot use file: xxx")
    assert len(message) < 700


def test_exit_codes() -> None:
    codes = {kind.__name__: kind.exit_code for kind in KINDS}
    assert codes == {
        "RStitchError": 1,
        "UsageError": 2,
        "ModelError": 3,
        "InputError": 4,
        "PromptTooLongError": 4,
        "DownloadError": 5,
        "StorageError": 6,
        "EngineError": 7,
        "CacheFullError": 7,
        "CancelledError": 130,
    }


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "app", interrupted)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "")


def test_errors_are_panels_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    print_error(RStitchError("Bad [red]pair[/red]", "It \x1b[31mfailed [bold]here[/bold]\u202e.", "Try again."))
    text = screen.getvalue()
    assert "Bad [red]pair[/red]" in text
    assert "It [31mfailed [bold]here[/bold]." in text
    assert "Try again." in text
    assert "╭" in text
    assert "\x1b[31mfailed" not in text


def test_no_color_is_plain_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for value, plain in (("1", True), ("", False)):
        screen = Terminal()
        monkeypatch.setattr(sys, "stdout", screen)
        monkeypatch.setenv("NO_COLOR", value)
        make_console().print("word", style="cyan underline")
        assert (screen.getvalue() == "word\n") is plain
        assert ("\x1b[" in screen.getvalue()) is not plain


def test_safe_json_is_valid_and_has_no_control_characters() -> None:
    value = {"text": "a\x1b\x9b\u202e\U000e0001\u200d漢字🙂\n\x7f", "n": [1.5, None]}
    line = safe_json(value)
    assert json.loads(line) == value
    assert "漢字🙂" in line
    assert safe_text(line) == line
    assert "\n" not in line


def test_output_is_utf_8_in_every_locale() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-m", "rstitch_local", "ask", "Hi", "--slm", "näher.gguf", "--llm", "näher.gguf"],
        capture_output=True, env=environment, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert b"does not exist" in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_console_prints_markup_literally(capsys: pytest.CaptureFixture[str]) -> None:
    console.make_console().print("[bold]a[/bold] :smile: 17")
    assert capsys.readouterr().out == "[bold]a[/bold] :smile: 17\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_unwritable_output_ends_with_6() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rstitch_local", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 6
    assert done.stderr == "Cannot write output: Writing to stdout failed: No space left on device.\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams_are_accepted(closed: str) -> None:
    for command, code in (("--version", 0), ("ask x --router none", 2)):
        line = f'"{sys.executable}" -m rstitch_local {command} {closed}'
        done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr

"""The Markdown page of the command line: complete, well-formed, and independent of the terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rstitch_local.commands.main import app
from rstitch_local.commands.reference import cli_reference

COMMANDS = re.findall(r"^## rstitch (.*)$", cli_reference(), re.MULTILINE)


def section(command: str) -> str:
    return cli_reference().split(f"## rstitch {command}\n")[1].split("\n## ")[0]


def test_all_commands_are_listed() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    names = re.findall(r"^│ ([a-z-]+) ", shown.partition("Commands")[2], re.MULTILINE)
    assert len(names) > 10
    assert [command for command in COMMANDS if " " not in command] == names
    assert {"pairs check", "study entropy", "study agreement"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_all_options_and_descriptions_are_those_of_help(command: str) -> None:
    shown = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "400"}).output
    options = set(re.findall(r"│[ *]+(--[a-z-]+)", shown)) - {"--help"}
    assert set(re.findall(r"^\| `(--[a-z-]+)`", section(command), re.MULTILINE)) == options
    description = section(command).partition("\n```text")[0].split()
    assert len(description) > 4
    assert " ".join(description) in " ".join(shown.split())
    for row in re.findall(r"^\| `.*", section(command), re.MULTILINE):
        assert row.strip("| ").split(" | ")[-1].replace("&#124;", "|") in shown


def test_rows_have_as_many_cells_as_their_header() -> None:
    for table in re.findall(r"(?:^\|.*\n)+", cli_reference(), re.MULTILINE):
        assert len({row.count("|") for row in table.splitlines()}) == 1, table


def test_values_defaults_and_limits() -> None:
    solve = section("solve")
    assert "```text\nrstitch solve FILE --out DIR [OPTIONS]\n```" in solve
    assert "| `--samples` | integer, 1 to 10000 | 1 | Answers per problem. |" in solve
    assert "| `--out` | DIR | required |" in solve
    assert "| `--strict` |  |  | Stop" in solve
    assert "rstitch pull NAME... [OPTIONS]" in section("pull")
    assert "rstitch trace FILE [ID] [OPTIONS]" in section("trace")
    order = [solve.index(f"**{panel}**") for panel in ("Options", "Models", "Problems", "Sampling")]
    assert order == sorted(order)


def test_the_module_writes_the_same_page_for_every_terminal(tmp_path: Path) -> None:
    page = tmp_path / "cli.md"
    command = [sys.executable, "-m", "rstitch_local.commands.reference"]
    environment = {**os.environ, "COLUMNS": "40"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=True)
    subprocess.run([*command, str(page)], check=True)
    assert done.stdout == page.read_text(encoding="utf-8") == cli_reference()

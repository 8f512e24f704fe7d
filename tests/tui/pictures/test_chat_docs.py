"""The tables of docs/chat.md match the program, and its screenshots exist.

After a change of keys, commands or settings, set RSTITCH_RENEW=1 to rewrite the tables.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import screenshots
from test_snapshots import RENEW
from textual.theme import BUILTIN_THEMES

from rstitch_tui.app_settings import AppSettings, load
from rstitch_tui.keys import ACTIONS, PLACES, key_names
from rstitch_tui.slash_table import COMMANDS

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs" / "chat.md"


def table(*rows: tuple[str, ...]) -> str:
    lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
    return "\n".join([lines[0], f"|{'---|' * len(rows[0])}", *lines[1:]])


def keys() -> str:
    parts = []
    for place, heading in PLACES.items():
        rows = [(f"`{key_names(row.keys)}`", row.help, f"`{row.id}`") for row in ACTIONS if row.where == place]
        parts.append(f"{heading}:\n\n{table(('key', 'what it does', 'name in the settings'), *rows)}")
    return "\n\n".join(parts)


def commands() -> str:
    rows = [(f"`{command.usage}`", command.description) for command in COMMANDS.values()]
    return table(("command", "what it does"), *rows)


def settings() -> str:
    rows = []
    # The list of themes depends on the installed version of Textual.
    themes = ", ".join(BUILTIN_THEMES)
    for name, field in AppSettings.model_fields.items():
        default = "not set" if field.default is None else f"`{json.dumps(field.default)}`"
        description = (field.description or "").replace(themes, "one of Textual's themes, which `/theme` lists")
        rows.append((f"`{name}`", default, description))
    return table(("field", "default", "meaning"), *rows)


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL))
def test_settings_example_is_valid(example: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(example, encoding="utf-8")
    assert load(path).keymap


TABLES = {"keys": keys, "commands": commands, "settings": settings}


@pytest.mark.parametrize("name", TABLES)
def test_table_matches_the_program(name: str) -> None:
    text = DOCS.read_text(encoding="utf-8")
    section = re.compile(rf"(<!-- {name}: [^\n]* -->\n)(.*?)(<!-- /{name} -->)", re.DOTALL)
    assert len(section.findall(text)) == 1
    expected = section.sub(lambda match: f"{match[1]}\n{TABLES[name]()}\n\n{match[3]}", text)
    if os.environ.get(RENEW):
        DOCS.write_text(expected, encoding="utf-8", newline="\n")
    assert DOCS.read_text(encoding="utf-8") == expected, f"set {RENEW}=1 to rewrite the table"


@pytest.mark.parametrize("page", [DOCS, ROOT / "README.md"], ids=lambda page: page.name)
def test_links_and_images_exist(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    here = [target for target in targets if "://" not in target]
    assert [target for target in here if not (page.parent / target).exists()] == []
    assert any(target.endswith(".svg") for target in here)


def test_every_screenshot_exists_and_reveals_no_paths() -> None:
    for name in screenshots.SCREENSHOTS:
        screenshots.require_anonymous((ROOT / "docs" / "images" / f"{name}.svg").read_text(encoding="utf-8"))


@pytest.mark.parametrize("words", [str(ROOT), "/srv/models/small.gguf", r"C:\Users\somebody\x", str(Path.home())])
def test_screenshot_that_reveals_paths_is_refused(words: str) -> None:
    with pytest.raises(SystemExit, match="shows details of this machine"):
        screenshots.require_anonymous(f"<svg><style>a/b/c</style><text>in&#160;{words}</text></svg>")


def test_screenshot_without_paths_is_accepted() -> None:
    screenshots.require_anonymous("<svg><text>740/5=148 · 8.1 tok/s · SLM 192/1024</text></svg>")

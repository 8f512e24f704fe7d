"""settings.toml: errors name file and field; the template matches the model."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from textual.theme import BUILTIN_THEMES

from rstitch_local import paths
from rstitch_local.errors import StorageError, UsageError
from rstitch_tui.app_settings import AppSettings, load, template, write_template
from rstitch_tui.keys import ACTIONS


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path))
    path = paths.settings_file()
    path.parent.mkdir()
    return path


def uncommented() -> str:
    return re.sub(r"^#(?=\w)", "", template(), flags=re.MULTILINE)


def test_defaults_without_a_file(file: Path) -> None:
    assert not file.exists()
    assert load() == AppSettings()


def test_values_from_the_file(file: Path) -> None:
    file.write_text('theme = "nord"\nmouse = false\nrouter = "confidence:0.9"\n[keys]\nnew_chat = "F12"\n')
    settings = load()
    assert (settings.theme, settings.mouse, settings.router) == ("nord", False, "confidence:0.9")
    assert settings.keymap["new_chat"] == "f12"
    assert settings.fold_thinking is True


def test_byte_order_mark_is_accepted(file: Path) -> None:
    file.write_bytes(b'\xef\xbb\xbftheme = "nord"\r\n')
    assert load().theme == "nord"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('theme = "nrod"', ("theme", "did you mean nord?")),
        ('theme = "colours of my own"', ("theme", "textual-dark")),
        ('thmee = "nord"', ("unknown field thmee", "did you mean theme?")),
        ("zzz = 1", ("unknown field zzz", "fold_thinking")),
        ('show_strip = "yes"', ("show_strip", "'yes'", "true or false")),
        ("show_strip = 1", ("show_strip", "true or false")),
        ("pair = 3", ("pair = 3", "text in quotes")),
        ('router = "entropie:1"', ("router", "entropie:1", "Did you mean entropy:1?")),
        ('router = "confidence:2"', ("router", "from 0 to 1")),
        ("keys = 3", ("keys", "table")),
        ("[keys]\nhelp = 3", ("keys.help", "text in quotes")),
        ('[keys]\nhlp = "f1"', ("keys.hlp", "Did you mean help?")),
        ('[keys]\nhelp = "ctrl+foo"', ("keys.help", "ctrl+foo")),
        ('[keys]\nhelp = "ctrl+o"', ("help", "chats", "ctrl+o")),
        ('[keys]\nhelp = "f12"\ntheme = "nord"', ("theme", "above [keys]")),
        ("mouse = true\ntheme = nord", ("line 2",)),
        ("a = " + "[" * 5000, ()),
    ],
)
def test_errors_name_file_and_field(file: Path, text: str, words: tuple[str, ...]) -> None:
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load()
    for word in (str(file), *words):
        assert word in caught.value.message


def test_all_errors_are_reported_together(file: Path) -> None:
    file.write_text('mouse = 1\ntheme = "nrod"\nother = 1\n')
    with pytest.raises(UsageError) as caught:
        load()
    assert len(caught.value.message.splitlines()) == 3


def test_unreadable_file(file: Path) -> None:
    file.write_bytes(b"theme = '\xff'")
    with pytest.raises(UsageError, match="not UTF-8"):
        load()
    file.unlink()
    file.mkdir()
    with pytest.raises(UsageError, match=re.escape(str(file))):
        load()


def test_errors_contain_no_control_characters(file: Path) -> None:
    file.write_text(
        '"\\u001b[31m" = 1\ntheme = "\\u001b]0;x\\u0007"\nrouter = "\\u001b[2J"\n[keys]\n"\\u001b[0m" = "f1"\n'
    )
    with pytest.raises(UsageError) as caught:
        load()
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", str(caught.value))


def test_every_field_is_documented() -> None:
    for name, field in AppSettings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        assert field.default is not None or field.examples, name


def test_template_has_no_effect(file: Path) -> None:
    file.write_text(template())
    assert load() == AppSettings()
    assert "\n#mouse = true\n" in template()


def test_template_lists_every_field_and_key_with_its_default() -> None:
    table = tomllib.loads(uncommented())
    assert list(table) == list(AppSettings.model_fields)
    assert table["keys"] == {action.id: action.keys for action in ACTIONS}
    for name, field in AppSettings.model_fields.items():
        if field.default is not None and name != "keys":
            assert table[name] == field.default
    assert all(theme in template() for theme in BUILTIN_THEMES)


def test_uncommented_template_is_valid(file: Path) -> None:
    file.write_text(uncommented())
    assert load().keymap == {action.id: action.keys for action in ACTIONS}


def test_template_is_written_once(file: Path) -> None:
    file.parent.rmdir()
    assert write_template()
    assert file.read_text() == template()
    file.write_text("mouse = false\n")
    assert not write_template()
    assert file.read_text() == "mouse = false\n"


def test_unwritable_folder(file: Path) -> None:
    file.parent.rmdir()
    file.parent.write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=re.escape(str(file))):
        write_template()


@pytest.mark.parametrize(
    "text",
    [
        "x" * 100_000 + " = 1",
        "[keys]\n" + "x" * 100_000 + ' = "f1"',
        f'theme = "{"x" * 100_000}"',
        f'router = "learned:{"x" * 100_000}"',
        f'[keys]\nhelp = "{"x" * 100_000}"',
        "mouse = 0x" + "f" * 100_000,
        "[keys]\n" + "".join(f'k{number} = "f1"\n' for number in range(10_000)),
    ],
)
def test_long_values_are_shortened(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load()
    assert len(str(caught.value)) < 1300


@pytest.mark.parametrize("router", ["learned:a\\u0000b", "learned:~no_such_user/x"])
def test_the_path_of_a_learned_router(file: Path, router: str) -> None:
    file.write_text(f'router = "{router}"')
    if "u0000" in router:
        with pytest.raises(UsageError, match="contains a NUL character"):
            load()
    else:
        assert load().router == router

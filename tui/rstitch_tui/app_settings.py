"""The user's settings file `settings.toml`: its fields, reading it with clear errors, and its template.

The settings of a single chat are in `chat_settings`.
"""

from __future__ import annotations

import difflib
import json
import textwrap
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from textual.theme import BUILTIN_THEMES

from rstitch_local import paths
from rstitch_local.errors import StorageError, UsageError
from rstitch_local.routing.spec import one_spelling
from rstitch_local.sanitize import one_line, safe_text
from rstitch_local.toml_files import read_toml
from rstitch_tui.keys import ACTIONS, PLACES, resolve

_WIDTH = 100
_MAX_REPORTED = 6
_HEAD = """\
Settings of `rstitch chat`.
Lines like #name = value show the default, or an example if nothing is set by default.
Remove the # and change the value.
"""
_EXPECTED = {
    "bool_type": "must be true or false",
    "string_type": "must be text in quotes",
    "dict_type": "must be a table, as in [keys]",
}


class AppSettings(BaseModel):
    """The user's settings; fields missing in the file have their defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    theme: str | None = Field(
        default=None,
        examples=["nord"],
        description=f"Color theme: {', '.join(BUILTIN_THEMES)}. Not set: the theme chosen last in the chat.",
    )
    pair: str | None = Field(
        default=None,
        examples=["qwen2.5-coder"],
        description="Catalog pair for new chats. Not set: the pair used last.",
    )
    router: str | None = Field(
        default=None,
        examples=["entropy:0.02"],
        description="Router for new chats: slm, llm or a rule such as entropy:0.02 (docs/routers.md lists all). "
        "Not set: entropy with the pair's own tau.",
    )
    show_strip: bool = Field(
        default=True, description="Show the strip below the chat: the entropy of the latest tokens, tau and the swaps."
    )
    coloured_tokens: bool = Field(
        default=True,
        description="Color and underline each token by the model that generated it when answers are shown as tokens.",
    )
    fold_thinking: bool = Field(default=True, description="Fold finished thinking into one line; a key unfolds it.")
    mouse: bool = Field(
        default=True,
        description="Use the mouse. Set to false to select text with the terminal instead.",
    )
    trust_models: bool = Field(
        default=False,
        description="Load model files that this machine has never loaded without trying them in another process first, "
        "where a file that crashes llama.cpp does no harm.",
    )
    keys: dict[str, str] = Field(
        default={},
        description="Keys by action. Separate several keys of an action by commas. Key names look like ctrl+n, f5, "
        "pageup, question_mark. Two actions cannot share a key in the same place. To insert a new line with Enter and "
        'send with Ctrl-J: send = "ctrl+j" and newline = "enter".',
    )

    @property
    def keymap(self) -> dict[str, str]:
        """The keymap for `App.set_keymap`."""
        return resolve(self.keys)

    @field_validator("theme")
    @classmethod
    def _check_theme(cls, name: str | None) -> str | None:
        if name is not None and name not in BUILTIN_THEMES:
            near = difflib.get_close_matches(name, BUILTIN_THEMES, n=1, cutoff=0.5)
            raise ValueError(f"unknown theme; did you mean {near[0]}?" if near else f"use {', '.join(BUILTIN_THEMES)}")
        return name

    @field_validator("router")
    @classmethod
    def _check_router(cls, spec: str | None) -> str | None:
        if spec is not None:
            try:
                one_spelling(spec)
            except UsageError as error:
                raise ValueError(f"{error.message} {error.hint}") from None
        return spec

    @field_validator("keys")
    @classmethod
    def _check_keys(cls, keys: dict[str, str]) -> dict[str, str]:
        # A field written below [keys] belongs to that table.
        misplaced = next((name for name in keys if name in cls.model_fields), None)
        if misplaced is not None:
            raise ValueError(f"{misplaced} is not an action; move the field above [keys]")
        try:
            resolve(keys)
        except UsageError as error:
            raise ValueError(f"{error.message} {error.hint}".rstrip()) from None
        return keys


def load(path: Path | None = None) -> AppSettings:
    """Read the settings file; return the defaults if there is none.

    Args:
        path: the file, by default `paths.settings_file()`.

    Raises:
        UsageError: invalid TOML, unknown fields or invalid values.
    """
    path = path or paths.settings_file()
    file = read_toml(path, "Cannot read settings")
    if file is None:
        return AppSettings()
    try:
        return AppSettings.model_validate(file.tables)
    except ValidationError as error:
        found = error.errors()
    problems = [f"{path}: {_explain(item)}" for item in found[:_MAX_REPORTED]]
    if len(found) > _MAX_REPORTED:
        problems.append(f"... and {len(found) - _MAX_REPORTED} more.")
    raise UsageError("Invalid settings", "\n".join(problems), "Remove a field to use its default.")


def template() -> str:
    """Return a settings file with every field explained and commented out at its default."""
    parts = [_commented(_HEAD)]
    for name, field in AppSettings.model_fields.items():
        text = _commented(field.description or "")
        if name == "keys":
            parts.append(f"{text}[keys]\n{_key_lines()}")
            continue
        value = field.default if field.default is not None else (field.examples or [""])[0]
        parts.append(f"{text}#{name} = {json.dumps(value)}\n")
    return "\n".join(parts)


def write_template(path: Path | None = None) -> bool:
    """Write the template unless the settings file exists; returns whether it was written.

    Raises:
        StorageError: the file cannot be written.
    """
    path = path or paths.settings_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(template())
    except OSError as error:
        if isinstance(error, FileExistsError) and path.exists():
            return False
        raise StorageError("Cannot write settings", f"{path}: {error.strerror or error}.") from None
    return True


def _explain(item: Any) -> str:
    name = one_line(".".join(str(part) for part in item["loc"]), 60)
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, AppSettings.model_fields, n=1, cutoff=0.5)
        known = ", ".join(AppSettings.model_fields)
        return (
            f"unknown field {name}; did you mean {near[0]}?" if near else f"unknown field {name}; use one of {known}."
        )
    words = _EXPECTED.get(item["type"]) or item["msg"].removeprefix("Value error, ").removeprefix("Input ").rstrip(".")
    words = safe_text(words)
    if name == "keys" and item["type"] == "value_error":
        return f"{words}{'' if words.endswith('?') else '.'}"  # the message names the key already
    return f"{name} = {one_line(repr(item['input']), 60)}: {words}{'' if words.endswith('?') else '.'}"


def _commented(text: str) -> str:
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, _WIDTH - 2, break_on_hyphens=False)]
    return "".join(f"# {line}\n" for line in lines)


def _key_lines() -> str:
    lines = []
    for place, heading in PLACES.items():
        lines.append(f"# {heading}:")
        rows = ((f"#{row.id} = {json.dumps(row.keys)}", row.help) for row in ACTIONS if row.where == place)
        lines.extend(f"{line:<46} # {words}" for line, words in rows)
    return "\n".join(lines) + "\n"

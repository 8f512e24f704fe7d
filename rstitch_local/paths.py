"""The folders and files of the program: settings, caches and data.

`RSTITCH_HOME` moves all three folders into one.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

APP_NAME = "rstitch"


def expanded(path: str | Path) -> Path:
    """Return a path with ~ expanded, or unchanged if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def reason_against(path: str | Path) -> str | None:
    """Return why no file can have this path, to complete a sentence; None for a path that is possible."""
    try:
        # What the operating system gets; a path from a command line may have bytes that are no UTF-8.
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        return "contains half of a surrogate pair"
    return "contains a NUL character" if b"\0" in encoded else None


def _home() -> Path | None:
    value = os.environ.get("RSTITCH_HOME")
    return expanded(value).absolute() if value else None


def config_dir() -> Path:
    """Folder of the user's `models.toml` and `settings.toml`, and of `tuned.toml`."""
    home = _home()
    return home / "config" if home else platformdirs.user_config_path(APP_NAME, appauthor=False)


def cache_dir() -> Path:
    """Folder of files that can be downloaded or measured again: models, calibrations, checksums."""
    home = _home()
    return home / "cache" if home else platformdirs.user_cache_path(APP_NAME, appauthor=False)


def data_dir() -> Path:
    """Folder of the chats."""
    home = _home()
    return home / "data" if home else platformdirs.user_data_path(APP_NAME, appauthor=False)


def models_dir() -> Path:
    """Folder of downloaded GGUF files."""
    return cache_dir() / "models"


def calibrations_dir() -> Path:
    """Folder of calibrations: one file per pair, machine and load options."""
    return cache_dir() / "calibrations"


def user_catalog() -> Path:
    """The user's `models.toml`, merged into the shipped one."""
    return config_dir() / "models.toml"


def tuned_file() -> Path:
    """The routers that `rstitch tune --save` chose on this machine."""
    return config_dir() / "tuned.toml"


def settings_file() -> Path:
    """The settings of the chat."""
    return config_dir() / "settings.toml"


def chat_database() -> Path:
    """The SQLite file of all chats."""
    return data_dir() / "chats.sqlite3"

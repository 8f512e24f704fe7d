"""Every folder and file the program uses on its own account, in one place.

Knows nothing of what is kept there. `RSTITCH_HOME` moves all three folders under one.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

APP_NAME = "rstitch"


def expanded(path: str) -> Path:
    """A path a user wrote, with ~ read as the home folder; left as it is where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _home() -> Path | None:
    value = os.environ.get("RSTITCH_HOME")
    return expanded(value).absolute() if value else None


def config_dir() -> Path:
    """Settings a user writes, `models.toml` and `settings.toml`, and what `rstitch tune --save` found, `tuned.toml`."""
    home = _home()
    return home / "config" if home else platformdirs.user_config_path(APP_NAME, appauthor=False)


def cache_dir() -> Path:
    """What can be fetched or measured again: model files, calibrations."""
    home = _home()
    return home / "cache" if home else platformdirs.user_cache_path(APP_NAME, appauthor=False)


def data_dir() -> Path:
    """What cannot be made again: chats, runs."""
    home = _home()
    return home / "data" if home else platformdirs.user_data_path(APP_NAME, appauthor=False)


def models_dir() -> Path:
    """The GGUF files that `rstitch pull` brought."""
    return cache_dir() / "models"


def calibrations_dir() -> Path:
    """What `rstitch calibrate` measured, a file for each pair, machine and way of loading."""
    return cache_dir() / "calibrations"


def user_catalog() -> Path:
    """The user's own `models.toml`, laid over the one that ships."""
    return config_dir() / "models.toml"


def tuned_file() -> Path:
    """The routers that `rstitch tune --save` found for pairs of the catalogue on this machine."""
    return config_dir() / "tuned.toml"


def settings_file() -> Path:
    """The user's settings of the chat."""
    return config_dir() / "settings.toml"


def chat_database() -> Path:
    """All chats, in one SQLite file."""
    return data_dir() / "chats.sqlite3"

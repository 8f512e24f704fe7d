"""Small values kept between two starts of the chat: the theme, the last pair, the last open chat."""

from __future__ import annotations

from contextlib import suppress

from rstitch_local.errors import StorageError
from rstitch_tui.store.store import Store


class AppState:
    """Reads and writes the values; storage errors are ignored because no chat depends on them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, key: str) -> str | None:
        with suppress(StorageError):
            return self._store.get_state(key)
        return None

    def set(self, key: str, value: str) -> None:
        with suppress(StorageError):
            self._store.set_state(key, value)

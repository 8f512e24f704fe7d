"""Errors as notifications."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from textual.app import App

from rstitch_local.errors import RStitchError
from rstitch_local.sanitize import one_line

_ERROR_SECONDS = 10


def show_error(app: App[Any], error: Exception) -> None:
    """Show an error as a notification."""
    message, title = str(error), ""
    if isinstance(error, RStitchError):
        message, title = f"{error.message} {error.hint}".strip(), error.title
    app.notify(one_line(message, 1000), title=title, severity="error", markup=False, timeout=_ERROR_SECONDS)


@contextmanager
def errors_shown(app: App[Any]) -> Iterator[None]:
    """Show an RStitchError or ValueError that leaves the block instead of raising it."""
    try:
        yield
    except (RStitchError, ValueError) as error:
        show_error(app, error)

"""`rstitch chat`: open the Textual chat, which is the package rstitch_tui."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from rstitch_local.commands.options import ModelOptions, RouterOption
from rstitch_local.commands.signature import Without, with_option_groups
from rstitch_local.errors import UsageError


@with_option_groups
def chat(
    *,
    models: Annotated[ModelOptions, Without("parallel")],
    router: RouterOption = None,
    resume: Annotated[bool, typer.Option("--continue", "-c", help="Open the most recent chat.")] = False,
) -> None:
    """Open the chat. `rstitch` without a command does the same."""
    if not on_terminal():
        raise UsageError(
            "No terminal",
            "The chat requires a terminal as stdin, stdout and stderr.",
            "Use `rstitch ask` in a pipe.",
        )
    from rstitch_local import paths
    from rstitch_local.routing.spec import usable_spec
    from rstitch_tui import app_settings
    from rstitch_tui.app import ChatApp, Start
    from rstitch_tui.store.store import Store

    if router is not None:
        usable_spec(router)
    settings = app_settings.load()
    choice = models.choose() if models.pair or models.slm or models.llm else None
    start = Start(choice, models.load_options(), router, resume)
    with Store(paths.chat_database()) as store:
        app = ChatApp(store, settings, start)
        app.run(mouse=settings.mouse)
    if not app.ended:
        # llama.cpp is still computing in its thread and would crash if its memory were freed.
        sys.stdout.flush()
        os._exit(app.return_code or 0)
    if app.return_code:
        raise typer.Exit(app.return_code)


def on_terminal() -> bool:
    """Return whether all three standard streams are terminals; Textual draws on stderr."""
    return all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))

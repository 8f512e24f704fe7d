"""Actions on chats: open, rename, delete, restore, export."""

from __future__ import annotations

import re
import time
from pathlib import Path

from rstitch_local import paths
from rstitch_local.errors import InputError, RStitchError, StorageError, UsageError
from rstitch_local.sanitize import one_line
from rstitch_tui.actions.answers import recorded_trace, require_answer
from rstitch_tui.actions.models import load_pair
from rstitch_tui.chat_host import ChatHost, FoundChat
from rstitch_tui.store import export as exports

FORMATS = ("md", "json", "html")


async def new_chat(host: ChatHost) -> None:
    """Open an empty chat with the loaded models."""
    host.session.new_chat()
    await host.show_chat()
    host.focus_prompt()


def list_chats(host: ChatHost, words: str = "") -> None:
    """Show the list of chats and open the chosen one."""

    async def done(found: FoundChat | None) -> None:
        session = host.session
        with host.errors_shown():
            if found is not None:
                await open_chat(host, found.chat_id, found.message_id)
            elif session.chat is not None:
                # It may have been renamed or deleted in the list.
                try:
                    session.chat = session.store.chat(session.chat.id)
                except RStitchError:
                    session.new_chat()
                await host.show_chat()

    host.dialogs.open_chats(words, done)


async def open_chat(host: ChatHost, chat_id: int, message_id: int | None = None) -> None:
    """Open a stored chat, at a message if one is given, and load its pair if it is on this disk."""
    if message_id is not None:
        host.session.store.select(message_id)
    host.session.open(chat_id)
    await host.show_chat()
    host.scroll_to_end()
    host.focus_prompt()
    if message_id is not None:
        await host.focus_message(message_id)
    pair = host.session.settings.pair
    if pair is not None and pair != host.models.pair_name:
        try:
            load_pair(host, pair)
        except RStitchError:
            host.notice(f"This chat used {one_line(pair)}, which is not on this disk.")


def rename(host: ChatHost, title: str) -> None:
    chat = _chat_id(host)
    host.session.store.rename(chat, one_line(title, 200))
    host.session.chat = host.session.store.chat(chat)
    host.show_settings()


async def delete(host: ChatHost) -> None:
    """Delete the chat; `restore` undoes it."""
    chat = _chat_id(host)
    title = one_line(host.session.title, 40)
    host.session.store.delete(chat)
    host.session.deleted.append(chat)
    await new_chat(host)
    host.notice(f"Deleted: {title}. /undo restores it.")


async def restore(host: ChatHost) -> None:
    """Restore the chat deleted last."""
    if not host.session.deleted:
        raise InputError("Nothing to undo", "No chat was deleted since the start.")
    chat = host.session.deleted.pop()
    host.session.store.restore(chat)
    await open_chat(host, chat)


def export(host: ChatHost, arguments: str) -> None:
    """Export the chat (Markdown, JSON) or an answer (HTML); existing files are never overwritten.

    Args:
        host: the chat.
        arguments: format and path, both optional.
    """
    kind, _, destination = arguments.partition(" ")
    kind = kind.lower() or "md"
    if kind not in FORMATS:
        raise UsageError("Unknown export format", f"{one_line(kind, 20)!r} is not a format.", "Use md, json or html.")
    session = host.session
    chat = session.store.chat(_chat_id(host))
    if kind == "md":
        text = exports.to_markdown(chat, session.path)
    elif kind == "json":
        text = exports.to_json(chat, session.store)
    else:
        answer = require_answer(host)
        question = next(message for message in session.path if message.id == answer.parent)
        trace = recorded_trace(host, answer)
        text = exports.to_html(chat, question, answer, trace)
    host.notice(f"Written to {_write_new(destination, session.title, kind, text)}")


def _write_new(destination: str, title: str, kind: str, text: str) -> Path:
    if destination.strip():
        path = paths.expanded(destination.strip()).absolute()
    else:
        stem = re.sub(r"[^\w-]+", "-", title.lower()).strip("-")[:40] or "chat"
        path = Path.cwd() / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}.{kind}"
    try:
        with path.open("x", encoding="utf-8", newline="\n", errors="replace") as file:
            file.write(text)
    except FileExistsError:
        raise StorageError("File exists", f"{path} exists already.", "Choose another name.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StorageError("Cannot write file", f"{path}: {reason}.", "Add a path after the format.") from None
    return path


def _chat_id(host: ChatHost) -> int:
    if host.session.chat is None:
        raise InputError("Empty chat", "This chat has no messages yet.")
    return host.session.chat.id

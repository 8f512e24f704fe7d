"""A chat as Markdown for people and as JSON for programs; one answer as a page of its own (`to_html`).

Knows what is in a chat and how these formats are written; nothing of where the text goes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rstitch_local.decoding.thinking import split_thinking
from rstitch_local.sanitize import one_line, safe_text
from rstitch_local.trace.labels import STOP_REASONS, metrics, settings_of
from rstitch_local.trace.record import Trace
from rstitch_tui.store.messages import Messages
from rstitch_tui.store.page import to_html
from rstitch_tui.store.records import Chat, Message

__all__ = ["JSON_FORMAT", "JSON_VERSION", "to_html", "to_json", "to_markdown"]

JSON_FORMAT = "rstitch-chat"
JSON_VERSION = 1

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


def to_markdown(chat: Chat, messages: Sequence[Message]) -> str:
    """A branch of a chat to read: settings in a table, turns with their figures, thinking folded.

    What was said stands there as the Markdown it is; only what would reach beyond its own turn is tied down.

    Args:
        chat: the chat.
        messages: the branch, as `Store.path` gives it.
    """
    blocks = [f"# {_literal(chat.title or 'Untitled chat')}", _table(chat)]
    if chat.settings.system:
        blocks += ["## System prompt", _closed(chat.settings.system)]
    for message in messages:
        blocks += ["## You", _closed(message.text)] if message.role == "user" else ["## Answer", *_answer(message)]
    return "\n\n".join(blocks) + "\n"


def to_json(chat: Chat, messages: Messages) -> str:
    """Everything there is of a chat, all branches and traces included.

    The object has: `format` ("rstitch-chat"), `version` (1; raised when a field changes its meaning), `chat` (id,
    title, created and updated as seconds since 1970, settings), `branch` (ids of the messages that are shown, first
    to last), and `messages`: those of all branches, oldest first, each with id, parent (null for a first one), role
    (user or assistant), created, prefix (the text an answer was made to begin with), text (prefix included), stop,
    error, and trace (null for the user's): `Trace.to_dict`, whose `steps` are the tokens. A number that JSON cannot
    write, such as an infinite tau, becomes a string.

    Args:
        chat: the chat.
        messages: the store it is in.
    """
    content = {
        "format": JSON_FORMAT,
        "version": JSON_VERSION,
        "chat": {
            "id": chat.id,
            "title": chat.title,
            "created": chat.created,
            "updated": chat.updated,
            "settings": chat.settings.model_dump(mode="json"),
        },
        "branch": [message.id for message in messages.path(chat.id)],
        "messages": [_record(message, messages) for message in messages.messages(chat.id)],
    }
    try:
        return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    except ValueError:
        return json.dumps(_finite(content), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _record(message: Message, messages: Messages) -> dict[str, Any]:
    trace = messages.trace(message.id)
    return {
        "id": message.id,
        "parent": message.parent,
        "role": message.role,
        "created": message.created,
        "prefix": message.prefix,
        "text": message.text,
        "stop": message.stop,
        "error": message.error,
        "trace": None if trace is None else trace.to_dict(),
    }


def _finite(value: Any) -> Any:
    """The value with numbers that JSON has no word for as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _sums_of(message: Message) -> Trace | None:
    """A finished answer's trace without its steps; None where there are no sums, or they are damaged."""
    if message.totals is None:
        return None
    try:
        return Trace.from_dict({**message.totals, "settings": message.settings, "steps": []})
    except ValueError:
        return None


def _table(chat: Chat) -> str:
    settings = chat.settings.model_dump(mode="json", exclude={"system", "first"}, exclude_none=True)
    rows = {"begun": f"{datetime.fromtimestamp(chat.created).astimezone():%Y-%m-%d %H:%M}", **settings}
    lines = [f"| {name.replace('_', ' ')} | {_literal(str(value))} |" for name, value in rows.items()]
    return "\n".join(["| setting | value |", "|---|---|", *lines])


def _answer(message: Message) -> list[str]:
    thinking, said = split_thinking(message.text, message.opens_thinking, finished=not message.unfinished)
    blocks = []
    if thinking:
        inside = _closed(thinking).replace("</details", "&lt;/details")
        blocks.append(f"<details>\n<summary>Thinking</summary>\n\n{inside}\n\n</details>")
    if said.strip():
        blocks.append(_closed(said.strip("\n")))
    if message.error:
        blocks.append(f"> **Error:** {_literal(one_line(message.error, 1000))}")
    sums = _sums_of(message)
    if sums is not None:
        shown = [f"{name} {value}" for name, value in {**metrics(sums), **settings_of(sums)}.items()]
        blocks.append(f"> {_literal(', '.join(shown))}; {STOP_REASONS.get(message.stop or '', message.stop)}.")
    elif message.unfinished:
        blocks.append("> Still being written.")
    return blocks


def _literal(text: str) -> str:
    """A line in which Markdown finds nothing to do."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", one_line(text, 2000))


def _closed(text: str) -> str:
    """The text, fit for a terminal, with the code fence closed that an interrupted answer left open."""
    text = safe_text(text)
    fence = ""
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if match is None:
            continue
        mark, rest = match.groups()
        if not fence:
            # A backtick in what follows makes it a piece of code in a line.
            fence = "" if mark[0] == "`" and "`" in rest else mark
        elif mark.startswith(fence) and not rest.strip():
            fence = ""
    return f"{text}\n{fence}" if fence else text

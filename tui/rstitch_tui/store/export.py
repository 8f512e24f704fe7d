"""A chat as Markdown and as JSON, and one answer as an HTML page (`to_html`).

Returns text; does not write files.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from rstitch_local.decoding.thinking import split_thinking
from rstitch_local.errors import StorageError
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
    """Return a branch of a chat as Markdown: a table of settings, the messages with metrics, the thinking folded.

    Messages are inserted as Markdown; only what would affect the following messages is escaped or closed.

    Args:
        chat: the chat.
        messages: the branch, from `Store.path`.
    """
    blocks = [f"# {_escape(chat.title or 'Untitled chat')}", _settings_table(chat)]
    if chat.settings.system:
        blocks += ["## System prompt", _close_fence(chat.settings.system)]
    for message in messages:
        blocks += ["## You", _close_fence(message.text)] if message.role == "user" else ["## Answer", *_answer(message)]
    return "\n\n".join(blocks) + "\n"


def to_json(chat: Chat, messages: Messages) -> str:
    """Return a chat with all branches and traces as JSON.

    The object has: `format` ("rstitch-chat"), `version` (1; increased when the meaning of a field changes), `chat`
    (id, title, created and updated in seconds since 1970, settings), `branch` (ids of the messages that are shown,
    first to last), and `messages`, those of all branches, oldest first: id, parent (null for a first one), role
    (user or assistant), created, prefix (text the answer was made to start with), text (with the prefix), stop,
    error, and trace (null for a user's message and for damaged tokens), which is `Trace.to_dict()` with the tokens in
    `steps`. A number that JSON cannot express, such as an infinite tau, becomes a string.

    Args:
        chat: the chat.
        messages: the store of the chat.
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
        return json.dumps(_without_infinities(content), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _record(message: Message, messages: Messages) -> dict[str, Any]:
    trace: Trace | None = None
    # The text of an answer whose tokens are damaged is exported without them.
    with suppress(StorageError):
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


def _without_infinities(value: Any) -> Any:
    """Return the value with infinities and NaNs as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _without_infinities(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinities(item) for item in value]
    return value


def _trace_without_steps(message: Message) -> Trace | None:
    """Return the totals of a finished answer as a trace; None if there are none or they are damaged."""
    if message.totals is None:
        return None
    try:
        return Trace.from_dict({**message.totals, "settings": message.settings, "steps": []})
    except ValueError:
        return None


def _settings_table(chat: Chat) -> str:
    settings = chat.settings.model_dump(mode="json", exclude={"system", "first"}, exclude_none=True)
    rows = {"started": f"{datetime.fromtimestamp(chat.created).astimezone():%Y-%m-%d %H:%M}", **settings}
    lines = [f"| {name.replace('_', ' ')} | {_escape(str(value))} |" for name, value in rows.items()]
    return "\n".join(["| setting | value |", "|---|---|", *lines])


def _answer(message: Message) -> list[str]:
    thinking, answer = split_thinking(message.text, message.opens_thinking, finished=not message.unfinished)
    blocks = []
    if thinking:
        inside = _close_fence(thinking).replace("</details", "&lt;/details")
        blocks.append(f"<details>\n<summary>Thinking</summary>\n\n{inside}\n\n</details>")
    if answer.strip():
        blocks.append(_close_fence(answer.strip("\n")))
    if message.error:
        blocks.append(f"> **Error:** {_escape(one_line(message.error, 1000))}")
    trace = _trace_without_steps(message)
    if trace is not None:
        labels = [f"{name} {value}" for name, value in {**metrics(trace), **settings_of(trace)}.items()]
        blocks.append(f"> {_escape(', '.join(labels))}; {STOP_REASONS.get(message.stop or '', message.stop)}.")
    elif message.unfinished:
        blocks.append("> Still being generated.")
    return blocks


def _escape(text: str) -> str:
    """Return the text as one line with Markdown escaped."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", one_line(text, 2000))


def _close_fence(text: str) -> str:
    """Return the text without control characters, with the code fence closed that a truncated answer left open."""
    text = safe_text(text)
    fence = ""
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if match is None:
            continue
        mark, rest = match.groups()
        if not fence:
            # With a backtick in the rest of the line it is inline code.
            fence = "" if mark[0] == "`" and "`" in rest else mark
        elif mark.startswith(fence) and not rest.strip():
            fence = ""
    return f"{text}\n{fence}" if fence else text

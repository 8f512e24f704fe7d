"""Actions on the loaded models and their context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from rstitch_local.catalog.catalog import load_catalog
from rstitch_local.decoding.roles import Role
from rstitch_local.errors import UsageError
from rstitch_local.sanitize import one_line
from rstitch_tui.chat_host import ChatHost
from rstitch_tui.model_loader import larger_context
from rstitch_tui.store.records import Message


def pair_names() -> Sequence[str]:
    """Return the names of the pairs of the catalog."""
    return load_catalog().names


def load_pair(host: ChatHost, name: str) -> None:
    """Load a pair of the catalog; raises RStitchError if it is not on this disk."""
    host.models.load_by_name(name)
    host.show_settings()


def unload(host: ChatHost) -> None:
    host.models.unload()


def reload(host: ChatHost, context: int) -> None:
    """Load the pair again with another context size; raises InputError if that is not possible."""
    host.models.reload(context)
    host.show_settings()


def set_context(host: ChatHost, text: str) -> None:
    """Load the pair again with another context size."""
    try:
        tokens = int(text.replace(",", "").replace("_", ""))
    except ValueError:
        raise UsageError("Not a number", f"context must be a number of tokens, not {one_line(text, 30)!r}.") from None
    reload(host, tokens)


def forget_older_half(host: ChatHost) -> None:
    """Stop sending the older half of the turns to the models."""
    turns = host.session.forget_older_half()
    host.notice(f"The first {turns} turns are no longer sent to the models; they stay in the chat.")


def offer_more_context(host: ChatHost, message: Message, used: Mapping[Role, tuple[int, int]]) -> None:
    """Let the user choose what to do about a full context, then resume the answer that was cut off.

    Args:
        host: the chat.
        message: the answer.
        used: tokens in each model's KV cache, or of a prompt that was too long, and its capacity; may be empty.
    """
    pair = host.models.loaded
    if pair is None:
        return
    used = used or {role: (capacity, capacity) for role, capacity in pair.context.items()}

    async def done(choice: str | None) -> None:
        with host.errors_shown():
            if choice == "forget":
                turns = host.session.forget_older_half()
                host.notice(f"The first {turns} turns are no longer sent to the models.")
            elif choice == "reload":
                reload(host, larger_context(used, pair.context_limit) or pair.context_limit)
            else:
                return
            retry = host.session.retry_question if message.error else partial(host.session.continue_answer, message)
            await host.request_answer(retry)

    host.dialogs.open_context_full(used, done=done)

"""From a chat's messages to the turns the models read, and to the request of an answer.

Knows what goes back to the models and what does not (thinking, turns dropped from a full context); nothing of
widgets, databases or llama.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.thinking import split_thinking
from rstitch_local.engine.choice import PairDefaults
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.engine_thread import Request, Turn
from rstitch_tui.store.records import Message


def turns(path: Sequence[Message], settings: ChatSettings, defaults: PairDefaults) -> list[Turn]:
    """What the models read of a chat.

    Args:
        path: its messages up to and including the user's turn that is to be answered.
        settings: with the system prompt and the oldest message that is still sent.
        defaults: with what the pair wants after every question, and whether it knows more than one turn.
    """
    suffix = defaults.prompt_suffix
    if defaults.single_turn:
        path = path[-1:]
    found: list[Turn] = []
    if settings.system.strip():
        found.append({"role": "system", "content": settings.system})
    for message in path:
        if settings.first is not None and message.id < settings.first:
            continue
        if message.role == "user":
            found.append({"role": "user", "content": f"{message.text}\n{suffix}" if suffix else message.text})
        else:
            # What a model thought is not sent back: it was trained without, and it fills the context.
            _, said = split_thinking(message.text, message.opens_thinking)
            found.append({"role": "assistant", "content": said.strip()})
    return found


def request(
    path: Sequence[Message],
    settings: ChatSettings,
    defaults: PairDefaults,
    *,
    prefix: str = "",
    resume_steps: Sequence[Step] = (),
    seed: int | None = None,
    router: str | None = None,
) -> Request:
    """The answer a chat wants to the last message of `path`; `seed` and `router` go before the chat's own."""
    return Request(
        messages=turns(path, settings, defaults),
        router=router or settings.router,
        sampling=settings.sampling(defaults.sampling),
        seed=settings.seed if seed is None else seed,
        # What it goes on from was paid for already.
        max_tokens=None if settings.max_tokens is None else settings.max_tokens + len(resume_steps),
        thinking=settings.thinking,
        prefix=prefix,
        resume_steps=resume_steps,
    )


def branched(steps: Sequence[Step], index: int, role: Role, token: int) -> list[Step]:
    """The steps before `index`, and in its place another token of one of the models."""
    old = steps[index]
    # Its text is read from the token when the answer goes on; of how it came about only the position is known.
    other = replace(old, role=role, token=token, text="", evaluated_tokens=0, ms=0.0)
    if role is Role.SLM:
        other.swap_entropy = None
    return [*steps[:index], other]

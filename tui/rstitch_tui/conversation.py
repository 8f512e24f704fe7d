"""Turns the messages of a chat into the prompt of the models and the request of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.thinking import split_thinking
from rstitch_local.engine.choice import PairDefaults
from rstitch_tui.answer import Request, Turn
from rstitch_tui.chat_settings import ChatSettings
from rstitch_tui.store.records import Message


def turns(path: Sequence[Message], settings: ChatSettings, defaults: PairDefaults) -> list[Turn]:
    """Return the messages to send to the models, without thinking and without dropped turns.

    Args:
        path: the messages of the branch up to and including the question to answer.
        settings: the settings of the chat.
        defaults: the defaults of the pair: prompt suffix and whether it supports several turns.
    """
    suffix = defaults.prompt_suffix
    if defaults.single_turn:
        path = path[-1:]
    result: list[Turn] = []
    if settings.system.strip():
        result.append({"role": "system", "content": settings.system})
    for message in path:
        if settings.first is not None and message.id < settings.first:
            continue
        if message.role == "user":
            result.append({"role": "user", "content": f"{message.text}\n{suffix}" if suffix else message.text})
        else:
            # Thinking is not sent back: the models were trained without it, and it fills the context.
            _, answer = split_thinking(message.text, message.opens_thinking)
            result.append({"role": "assistant", "content": answer.strip()})
    return result


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
    """Return the request of an answer to the last message of `path`; `seed` and `router` override the chat's."""
    return Request(
        messages=turns(path, settings, defaults),
        router=router or settings.router,
        sampling=settings.sampling(defaults.sampling),
        seed=settings.seed if seed is None else seed,
        # The limit of the chat applies to new tokens; max_tokens of a request counts resumed steps as well.
        max_tokens=None if settings.max_tokens is None else settings.max_tokens + len(resume_steps),
        stop=settings.stop,
        thinking=settings.thinking,
        prefix=prefix,
        resume_steps=resume_steps,
    )


def branched(steps: Sequence[Step], index: int, role: Role, token: int) -> list[Step]:
    """Return the steps before `index`, followed by another token of one of the models."""
    old = steps[index]
    # The text is decoded from the token when the answer is resumed; the measurements of the old token do not apply.
    other = replace(old, role=role, token=token, text="", evaluated_tokens=0, ms=0.0)
    if role is Role.SLM:
        other.swap_entropy = None
    return [*steps[:index], other]

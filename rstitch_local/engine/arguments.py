"""Checks of what is passed to `Pair`: questions, messages, steps and numbers, with errors that name the argument.

Independent of loaded models.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence

from rstitch_local.decoding.step import Step
from rstitch_local.errors import UsageError


def require_question(question: object) -> None:
    """Raise UsageError if a question is not a string."""
    if not isinstance(question, str):
        raise UsageError(
            "Invalid question",
            f"question is of type {type(question).__name__}, must be a string.",
            "Pass messages to `chat`.",
        )


def are_messages(question: object) -> bool:
    """Return whether an argument that takes a question or messages is a sequence of messages."""
    return isinstance(question, Sequence) and not isinstance(question, str | bytes)


def require_questions(questions: object) -> None:
    """Raise UsageError if a single question is passed where many are expected."""
    if isinstance(questions, str | bytes | Mapping):
        raise UsageError(
            "Invalid questions", f"questions is of type {type(questions).__name__}, must be a list of questions."
        )


def require_messages(messages: object) -> None:
    """Raise UsageError unless these are the messages before an assistant's answer."""
    if not are_messages(messages) or not messages:
        raise UsageError("Invalid messages", "messages must be a list of mappings, and not empty.")
    assert isinstance(messages, Sequence)
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
            raise UsageError("Invalid messages", f"messages[{index}] must be a mapping with `role` and `content`.")
    if messages[-1]["role"] == "assistant":
        raise UsageError(
            "Invalid messages",
            "The last message is the assistant's.",
            "End with the user's message; to begin the answer with a text, pass that as `prefix`.",
        )


def require_steps(name: str, steps: object) -> None:
    """Raise UsageError if an argument is not a sequence of Steps."""
    if not isinstance(steps, Sequence) or not all(isinstance(step, Step) for step in steps):
        raise UsageError(
            "Invalid steps",
            f"{name} is of type {type(steps).__name__}, must be a list of Steps.",
            "Pass `trace.steps`.",
        )


def integer(name: str, value: object, *, at_least: int | None = None) -> int:
    """Return an argument as an int; raise UsageError if it is no integer, or too small."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or (at_least is not None and number < at_least):
        bound = "" if at_least is None else f" of at least {at_least}"
        raise UsageError(f"Invalid {name}", f"{name} is {value!r}, must be an integer{bound}.")
    return number


def stop_strings(stop: object) -> tuple[str, ...]:
    """Return the `stop` argument, a string or several, as a tuple; None is the same as no string.

    Raises:
        UsageError: it is neither. Whether each string can end an answer is checked by the trajectory.
    """
    if stop is None or isinstance(stop, str):
        return () if stop is None else (stop,)
    try:
        return tuple(stop)  # type: ignore[arg-type]
    except TypeError as error:
        raise UsageError("Invalid stop", f"stop is {stop!r}, must be a string or a list of strings.") from error

"""Render a conversation with any chat template: arranged as the template needs it, and without losing a text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from rstitch_local.errors import InputError, ModelError
from rstitch_local.llama.chat_template import ChatTemplate, EmptyPromptError
from rstitch_local.llama.template_environment import to_json

Messages: TypeAlias = Sequence[Mapping[str, Any]]


def render_conversation(template: ChatTemplate, messages: Messages, **options: object) -> str:
    """Return the prompt for the assistant's next answer. Depends on nothing but the arguments and the date.

    A template that leaves out a message or rejects the conversation gets it arranged in other ways: texts as lists of
    parts, and system messages at the beginning of the next user message.

    Args:
        template: the template of a model.
        messages: the conversation so far.
        options: variables for the template, such as `enable_thinking=False`.

    Raises:
        InputError: the template rejects the conversation, or leaves out the text of a message. It may leave out the
            reasoning of an earlier answer.
        ModelError: the template takes too much time or memory, or its text is empty.
    """
    arrange = _arrangement(template, messages, options)
    prompt = template.render(arrange(messages), **options)
    for message in messages:
        # Templates rewrite earlier answers, and results of tools.
        if message["role"] not in ("assistant", "tool") and not _has_text(prompt, text_of(message), template):
            raise _left_out(template, message)
    return prompt


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message whose content is a text or a list of parts; "" for any other content."""
    content = message["content"]
    if _has_parts(message):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""


def _arrangement(template: ChatTemplate, messages: Messages, options: Mapping[str, object]) -> _Arrangement:
    """Return the first arrangement in which the template writes all messages.

    It is tried on messages whose texts are numbers. Those of a conversation prove nothing, as "user" occurs in most
    prompts, and templates look for words in them.
    """
    samples = [_with_text(message, f"90817{index:04}26354") for index, message in enumerate(messages)]
    failure: InputError | ModelError | None = None
    for arrange in _ARRANGEMENTS:
        arranged = arrange(samples)
        try:
            prompt = template.render(arranged, **options)
        except (InputError, EmptyPromptError) as error:
            failure = failure or error
            continue
        left_out = [message for message in samples if text_of(message) not in prompt]
        # Parts that are printed as Python prints a list are not read as parts.
        left_out += [message for message in arranged if _has_parts(message) and str(message["content"]) in prompt]
        if not left_out:
            return arrange
        failure = failure or _left_out(template, left_out[0])
    assert failure is not None
    raise failure


def _has_text(prompt: str, text: str, template: ChatTemplate) -> bool:
    """Return whether a prompt has the text of a message.

    White space may differ, and the text may be JSON. Strings that the template looks for may be missing: some take out
    a switch such as `/no_think`.
    """
    if text.strip() in prompt:
        return True
    switches = sorted((each for each in template.strings if each and each in text), key=len, reverse=True)
    words = re.split("|".join([r"\s+", *map(re.escape, switches)]), text)
    return all(
        word in prompt or to_json(word)[1:-1] in prompt or to_json(word, ensure_ascii=True)[1:-1] in prompt
        for word in words
    )


def _left_out(template: ChatTemplate, message: Mapping[str, Any]) -> InputError:
    return InputError(
        "Rejected by chat template",
        f"{template.name}: the template leaves out the text of the {message['role']} message.",
        "Set `chat_template` in models.toml to another template file.",
    )


_Arrangement: TypeAlias = Callable[[Messages], Messages]


def _in_parts(messages: Messages) -> Messages:
    """Return the messages with each text as a list of one part, as for models that also take images."""
    return [
        {**message, "content": [{"type": "text", "text": message["content"]}]}
        if isinstance(message["content"], str)
        else message
        for message in messages
    ]


def _in_parts_but_system(messages: Messages) -> Messages:
    return [message if message["role"] == "system" else _in_parts([message])[0] for message in messages]


def _without_system(messages: Messages) -> Messages:
    """Return the messages with the text of each system message before that of the next user message."""
    result: list[Mapping[str, Any]] = []
    system: list[str] = []
    for message in messages:
        if message["role"] == "system":
            system.append(text_of(message))
        elif message["role"] == "user" and system:
            text = "\n\n".join([*system, text_of(message)])
            result.append({**message, "content": text})
            system = []
        else:
            result.append(message)
    return result


_ARRANGEMENTS: tuple[_Arrangement, ...] = (
    lambda messages: messages,
    _in_parts_but_system,
    _in_parts,
    _without_system,
    lambda messages: _in_parts(_without_system(messages)),
)


def _with_text(message: Mapping[str, Any], text: str) -> Mapping[str, Any]:
    """Return a message with another text; unchanged if it has none."""
    if not text_of(message):
        return message
    return {**message, "content": [{"type": "text", "text": text}] if _has_parts(message) else text}


def _has_parts(message: Mapping[str, Any]) -> bool:
    return isinstance(message["content"], list | tuple)

"""Render messages into a prompt with the chat template of a model file.

Independent of tokens. A template comes from an untrusted file, so it runs in jinja2's immutable sandbox.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import jinja2

from rstitch_local.errors import InputError, ModelError
from rstitch_local.llama.template_limits import LimitedEnvironment, TemplateLimitError, template_limits

Message = Mapping[str, str]
"""One message: `role` (system, user or assistant) and `content`."""


_LONGEST_REASON = 500
_OTHER = "Use another file of this model, or set `chat_template` in models.toml to a template file."


class ChatTemplate:
    """A compiled chat template.

    Args:
        source: the template; None if the file has none.
        name: the model's file name, for errors.
        bos, eos: texts of the beginning-of-text and end-of-text tokens, for templates that print them.

    Attributes:
        has_thinking_switch: whether the template reads `enable_thinking`.

    Raises:
        ModelError: there is no template, or it is not valid jinja.
    """

    def __init__(self, source: str | None, *, name: str, bos: str = "", eos: str = "") -> None:
        if source is None:
            raise ModelError(
                "No chat template",
                f"{name} has no chat template, so the prompt format it was trained on is unknown.",
                "Use an instruction-tuned model, or set `chat_template` in models.toml to a template file.",
            )
        environment = LimitedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        try:
            self._template = environment.from_string(source)
        except Exception as error:
            # jinja raises errors of Python's parser and compiler as well as its own.
            raise ModelError("Invalid chat template", f"The chat template of {name} is not valid: {error}.") from error
        self._name = name
        self._bos = bos
        self._eos = eos
        self.has_thinking_switch = "enable_thinking" in source

    def render(self, messages: Sequence[Message], **options: object) -> str:
        """Return the prompt for the assistant's next answer.

        Args:
            messages: the conversation so far.
            options: variables for the template, such as `enable_thinking=False`.

        Raises:
            InputError: the template rejects the conversation, for example a system prompt.
            ModelError: the template takes too much time or memory, or its text is empty.
        """
        try:
            with template_limits(messages):
                prompt = self._template.render(
                    messages=[dict(message) for message in messages],
                    add_generation_prompt=True,
                    bos_token=self._bos,
                    eos_token=self._eos,
                    **options,
                )
        except (TemplateLimitError, MemoryError) as error:
            reason = str(error) or "needs too much memory"
            raise ModelError("Chat template exceeds limits", f"{self._name}: the template {reason}.", _OTHER) from error
        except Exception as error:
            # A template is a program: it can fail with any exception.
            reason = str(error)[:_LONGEST_REASON] or type(error).__name__
            raise InputError("Rejected by chat template", f"{self._name}: {reason}") from error
        if not prompt:
            raise ModelError("Empty prompt", f"{self._name}: the text of the chat template is empty.", _OTHER)
        return prompt


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Like transformers: without the HTML escapes of jinja's own filter, which models have not seen in training.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)

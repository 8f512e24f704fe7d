"""From messages to the text a model was trained to read, by the chat template of its file.

Knows nothing of tokens. A template comes with an untrusted file, so it runs in jinja2's immutable sandbox.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rstitch_local.errors import InputError, ModelError

Message = Mapping[str, str]
"""One turn: `role` (system, user, assistant) and `content`."""


class ChatTemplate:
    """A compiled chat template.

    Args:
        source: the template's text, or None where the file has none.
        name: the model's file name, for errors.
        bos, eos: texts of the beginning and end tokens, which templates may print.

    Raises:
        ModelError: there is no template, or it is not valid jinja.
    """

    def __init__(self, source: str | None, *, name: str, bos: str = "", eos: str = "") -> None:
        if source is None:
            raise ModelError(
                "No chat template",
                f"{name} has no chat template, so a question cannot be put to it the way it was trained.",
                "Use an instruction-tuned GGUF, or name a template file with `chat_template` in models.toml.",
            )
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        try:
            self._template = environment.from_string(source)
        except Exception as error:
            # Besides its own errors jinja lets through those of the parser and the compiler it feeds.
            raise ModelError("Broken chat template", f"The template of {name} is not valid: {error}.") from error
        self._name = name
        self._bos = bos
        self._eos = eos
        self.has_thinking_switch = "enable_thinking" in source

    def render(self, messages: Sequence[Message], **options: object) -> str:
        """The conversation as text that ends where the assistant's answer begins.

        Args:
            messages: the turns so far.
            options: passed on to the template, such as `enable_thinking=False`.

        Raises:
            InputError: the template refuses this conversation (a system prompt it does not know, say).
        """
        try:
            return self._template.render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=True,
                bos_token=self._bos,
                eos_token=self._eos,
                **options,
            )
        except Exception as error:
            # A template is somebody's program: there is no telling what it fails with.
            raise InputError(
                "The chat template refuses this", f"{self._name}: {str(error) or type(error).__name__}"
            ) from error


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # As transformers has it, and unlike jinja's own filter: no HTML escapes, which a model never saw in training.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)

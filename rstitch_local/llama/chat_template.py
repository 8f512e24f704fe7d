"""Render messages into a prompt with the chat template of a model file.

Independent of tokens. A template comes from an untrusted file, so it runs in a sandbox (template_environment.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import nodes

from rstitch_local.errors import InputError, ModelError
from rstitch_local.llama.template_environment import GivenList, template_environment
from rstitch_local.llama.template_limits import TemplateLimitError, template_limits

Message = Mapping[str, str]
"""One message: `role` (system, user or assistant) and `content`."""


_LONGEST_REASON = 500
_OTHER = "Use another file of this model, or set `chat_template` in models.toml to a template file."


class EmptyPromptError(ModelError):
    """The text of a chat template is empty."""


class ChatTemplate:
    """A compiled chat template.

    Args:
        source: the template; None if the file has none.
        name: the model's file name, for errors.
        bos, eos: texts of the beginning-of-text and end-of-text tokens, for templates that print them.

    Attributes:
        source: the template.
        strings: the strings that it compares and replaces, among others.
        name: the model's file name.
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
        environment = template_environment()
        try:
            tree = environment.parse(source)
            constants = [constant.value for constant in tree.find_all(nodes.Const)]
            self._template = environment.from_string(tree)
        except Exception as error:
            # jinja raises errors of Python's parser and compiler as well as its own.
            raise ModelError("Invalid chat template", f"The chat template of {name} is not valid: {error}.") from error
        self.source = source
        self.strings = frozenset(value for value in constants if isinstance(value, str))
        self.name = name
        self._bos = bos
        self._eos = eos
        self.has_thinking_switch = "enable_thinking" in source

    def render(self, messages: Sequence[Mapping[str, Any]], **options: object) -> str:
        """Return the prompt for the assistant's next answer, by one rendering of the messages as they are.

        Depends on nothing but the arguments and the date. `render_conversation` (conversation.py) also arranges the
        messages as the template needs them.

        Args:
            messages: the conversation so far.
            options: variables for the template, such as `enable_thinking=False`.

        Raises:
            InputError: the template rejects the conversation, for example a system prompt.
            ModelError: the template takes too much time or memory, or its text is empty (EmptyPromptError).
        """
        try:
            with template_limits(messages):
                prompt = self._template.render(
                    messages=_given(messages),
                    add_generation_prompt=True,
                    bos_token=self._bos,
                    eos_token=self._eos,
                    **options,
                )
        except (TemplateLimitError, MemoryError) as error:
            reason = str(error) or "needs too much memory"
            raise ModelError("Chat template exceeds limits", f"{self.name}: the template {reason}.", _OTHER) from error
        except Exception as error:
            # A template is a program: it can fail with any exception.
            reason = str(error)[:_LONGEST_REASON] or type(error).__name__
            raise InputError("Rejected by chat template", f"{self.name}: {reason}") from error
        if not prompt:
            raise EmptyPromptError("Empty prompt", f"{self.name}: the text of the chat template is empty.", _OTHER)
        return prompt


def _given(value: Any) -> Any:
    """Return a copy of the messages whose lists the template cannot change."""
    if isinstance(value, Mapping):
        return {key: _given(item) for key, item in value.items()}
    return GivenList(map(_given, value)) if isinstance(value, list | tuple) else value

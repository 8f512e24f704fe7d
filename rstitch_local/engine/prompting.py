"""Prompt rendering: conversations as text and as token ids, by the chat template of each model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from rstitch_local.decoding.foreign import thinking_format
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.thinking import closed_format, convert_tags, opened_format
from rstitch_local.decoding.vocabulary import Vocabulary
from rstitch_local.engine.prompt_tokens import PromptTokenizer
from rstitch_local.errors import InputError
from rstitch_local.llama.chat_template import ChatTemplate, Message
from rstitch_local.llama.conversation import render_conversation, text_of
from rstitch_local.llama.weights import Weights


class PromptRenderer:
    """Renders conversations for both models of a pair.

    Args:
        weights: the models, whose tokenizers are used.
        templates: their chat templates.
        vocabularies: their vocabularies, which contain the tags around reasoning.

    Attributes:
        templates: the chat templates.
        formats: the tags around the reasoning of each model; None for a model without them.
        has_thinking_switch: whether a template takes `thinking`.
    """

    def __init__(
        self,
        weights: Mapping[Role, Weights],
        templates: Mapping[Role, ChatTemplate],
        vocabularies: Mapping[Role, Vocabulary],
    ) -> None:
        self.formats = {role: thinking_format(vocabulary) for role, vocabulary in vocabularies.items()}
        self.has_thinking_switch = any(template.has_thinking_switch for template in templates.values())
        self._weights = weights
        self._tokenizers = {
            role: PromptTokenizer(weights[role], vocabularies[role], templates[role].source, self.formats[role])
            for role in vocabularies
        }
        self.templates = templates

    def text(self, messages: Sequence[Message], role: Role, *, thinking: bool | None = None) -> str:
        """Render a conversation by one model's chat template.

        If the other model's template opens the reasoning and this one's does not, the opening tag is appended, so that
        the answer starts inside the reasoning for both models and neither has to generate the tag.

        Args:
            messages: the turns so far.
            role: the model.
            thinking: the switch of templates that have one; None for the template's default.

        Raises:
            InputError: the template rejects the conversation, or leaves out the text of a message.
        """
        return self._tokenizers[role].text(self._prompt(messages, role, thinking))

    def _prompt(self, messages: Sequence[Message], role: Role, thinking: bool | None) -> str:
        """Return the text of a conversation with the stand-ins of one model (prompt_tokens.py)."""
        text, others = (self._by_template(messages, each, thinking) for each in (role, role.other))
        format_, opened = self.formats[role], opened_format(others)
        if opened_format(text) is not None or closed_format(text) is not None:
            return text
        if opened is not None:
            return text + (format_ or opened).open + others[len(others.rstrip()) :]
        # A model with channels has to name one before the answer; the other model, without reasoning, answers directly.
        return text + format_.no_thinking if format_ is not None and self.formats[role.other] is None else text

    def _by_template(self, messages: Sequence[Message], role: Role, thinking: bool | None) -> str:
        template, tokenizer = self.templates[role], self._tokenizers[role]
        switch = {} if thinking is None or not template.has_thinking_switch else {"enable_thinking": thinking}
        prompt = render_conversation(template, [_literal(message, tokenizer) for message in messages], **switch)
        answers = [text_of(message) for message in messages if message["role"] == "assistant"]
        if not any(map(tokenizer.has_tags, answers)):
            return prompt
        # Many templates look for the tags in earlier answers, to leave out the reasoning. If this one does not, or
        # refuses them, they are letters as well.
        with_tags = [_literal(message, tokenizer, tags=message["role"] == "assistant") for message in messages]
        try:
            parsed = render_conversation(template, with_tags, **switch)
        except InputError:
            return prompt
        return prompt if tokenizer.text(prompt) == tokenizer.text(parsed) else parsed

    def tokens(
        self, messages: Sequence[Message], role: Role, *, thinking: bool | None = None, prefix: str = ""
    ) -> list[int]:
        """Render a conversation as one model's token ids.

        Special tokens are those that the template writes; in the texts of the messages and in the prefix they are
        letters.

        Args:
            messages: the turns so far.
            role: the model.
            thinking: the switch of templates that have one; None for the template's default.
            prefix: the beginning of the answer; tags around reasoning are replaced by the model's own.

        Raises:
            InputError: the template rejects the conversation, or leaves out the text of a message.
        """
        weights, tokenizer = self._weights[role], self._tokenizers[role]
        prompt = self._prompt(messages, role, thinking)
        prompt += tokenizer.literal(convert_tags(prefix, self.formats[role]), tags=True)
        if weights.add_bos and prompt.lstrip().startswith(weights.special_text(weights.bos)):
            prompt = prompt.lstrip()
        ids = tokenizer.tokenize(prompt)
        if weights.add_bos:
            ids.insert(0, weights.bos)
        # Many templates write it as well.
        while ids[:2] == [weights.bos, weights.bos]:
            del ids[0]
        return ids

    def opens_thinking(self, messages: Sequence[Message], *, thinking: bool | None = None) -> bool:
        """Return whether the prompt ends inside the reasoning, so that the answer has no opening tag."""
        return opened_format(self._prompt(messages, Role.SLM, thinking)) is not None


def _literal(message: Message, tokenizer: PromptTokenizer, *, tags: bool = False) -> dict[str, Any]:
    """Return a message for the template, all of whose texts are letters."""
    convert = partial(tokenizer.literal, tags=tags)
    return {
        key: value if key == "role" and value.isidentifier() else _converted(value, convert)
        for key, value in message.items()
    }


def _converted(value: Any, convert: Callable[[str], str]) -> Any:
    """Return a copy of a value of JSON with other texts."""
    if isinstance(value, Mapping):
        return {key: _converted(item, convert) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_converted(item, convert) for item in value]
    return convert(value) if isinstance(value, str) else value

"""Prompt rendering: conversations as text and as token ids, by the chat template of each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rstitch_local.decoding.foreign import thinking_format
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.thinking import closed_format, convert_tags, opened_format
from rstitch_local.decoding.vocabulary import Vocabulary
from rstitch_local.llama.chat_template import ChatTemplate, Message
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
            InputError: the template rejects the conversation.
        """
        text, others = (self._by_template(messages, each, thinking) for each in (role, role.other))
        format_, opened = self.formats[role], opened_format(others)
        if opened_format(text) is not None or closed_format(text) is not None:
            return text
        if opened is not None:
            return text + (format_ or opened).open + others[len(others.rstrip()) :]
        # A model with channels has to name one before the answer; the other model, without reasoning, answers directly.
        return text + format_.no_thinking if format_ is not None and self.formats[role.other] is None else text

    def _by_template(self, messages: Sequence[Message], role: Role, thinking: bool | None) -> str:
        template = self.templates[role]
        if thinking is None or not template.has_thinking_switch:
            return template.render(messages)
        return template.render(messages, enable_thinking=thinking)

    def tokens(
        self, messages: Sequence[Message], role: Role, *, thinking: bool | None = None, prefix: str = ""
    ) -> list[int]:
        """Render a conversation as one model's token ids.

        Args:
            messages: the turns so far.
            role: the model.
            thinking: the switch of templates that have one; None for the template's default.
            prefix: the beginning of the answer; tags around reasoning are replaced by the model's own.

        Raises:
            InputError: the template rejects the conversation.
        """
        weights = self._weights[role]
        text = self.text(messages, role, thinking=thinking) + convert_tags(prefix, self.formats[role])
        ids = weights.tokenize(text, parse_special=True)
        if weights.add_bos and weights.bos >= 0 and ids[:1] != [weights.bos]:
            ids.insert(0, weights.bos)
        return ids

    def opens_thinking(self, messages: Sequence[Message], *, thinking: bool | None = None) -> bool:
        """Return whether the prompt ends inside the reasoning, so that the answer has no opening tag."""
        return opened_format(self.text(messages, Role.SLM, thinking=thinking)) is not None

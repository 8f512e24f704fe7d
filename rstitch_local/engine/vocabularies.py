"""Vocabularies, chat templates and bridges of loaded models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rstitch_local.decoding.foreign import ForeignBridge, bridge_between
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.spelled import Spellings, tokenize_letters
from rstitch_local.decoding.thinking import format_of
from rstitch_local.decoding.vocabulary import Bridge, Vocabulary
from rstitch_local.engine.prompt_tokens import has_bar
from rstitch_local.errors import ModelError
from rstitch_local.files import read_regular
from rstitch_local.llama.chat_template import ChatTemplate
from rstitch_local.llama.weights import Weights

_MAX_TEMPLATE_BYTES = 1 << 20


def vocabulary_of(weights: Weights) -> Vocabulary:
    """Return a model's vocabulary; tags around reasoning are part of the text it generates."""
    texts = weights.token_texts()
    form = format_of(texts)
    shown = set() if form is None else {token.encode() for token in form.tokens}
    tags = {token: text for token, text in enumerate(texts) if text in shown and not weights.is_eog(token)}

    def piece(token: int) -> bytes:
        return weights.piece(token) or tags.get(token, b"")

    vocabulary = Vocabulary(
        texts=texts,
        end_of_turn=weights.eot if weights.eot >= 0 else weights.eos,
        is_special=weights.is_special,
        is_eog=weights.is_eog,
        piece=piece if tags else weights.piece,
        tokenize=lambda text: weights.tokenize(text, parse_special=False),
    )
    added = Spellings([token.text for token in weights.special_tokens if token.is_added and has_bar(token)])
    return replace(vocabulary, tokenize=lambda text: tokenize_letters(text, added, vocabulary))


def template_of(weights: Weights, path: Path | None = None) -> ChatTemplate:
    """Return a model's chat template.

    Args:
        weights: the model.
        path: a file that replaces the template of the GGUF file.

    Raises:
        ModelError: there is no template, it is not valid jinja, or the file cannot be read.
    """
    source, name = weights.chat_template, weights.path.name
    if path is not None:
        name = path.name
        try:
            source = read_regular(path, _MAX_TEMPLATE_BYTES).decode("utf-8-sig")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ModelError("Cannot read chat template", f"{path}: {reason}.") from error
    return ChatTemplate(source, name=name, bos=weights.special_text(weights.bos), eos=weights.special_text(weights.eos))


def no_tokens(weights: Weights) -> ModelError:
    """Return the error for a model whose vocabulary has no tokens for a prompt."""
    message = f"The vocabulary of {weights.path.name} has no tokens for the prompt."
    return ModelError("Empty prompt", message, "Use another file of this model.")


def bridge_of(weights: Mapping[Role, Weights]) -> Bridge | ForeignBridge:
    """Return the bridge between two models: of token ids if they share a tokenizer, else of text."""
    healing = frozenset(role for role in Role if weights[role].can_truncate)
    return bridge_between(vocabulary_of(weights[Role.SLM]), vocabulary_of(weights[Role.LLM]), healing)


def notice_of(bridge: Bridge | ForeignBridge, weights: Mapping[Role, Weights]) -> str | None:
    """Return a warning about a combination of models, in one line; None for two that share all tokens."""
    notices = []
    if isinstance(bridge, ForeignBridge):
        notices.append("The models have different tokenizers: each re-tokenizes the other's text after a swap.")
    elif bridge.matches:
        counts = [sum(match.writer is role for match in bridge.matches) for role in Role]
        notices.append(
            f"The models share their tokens except for special ones, which are converted by a table ({counts[0]} of "
            f"the SLM's, {counts[1]} of the LLM's)."
        )
    not_truncatable = [role.name for role in Role if not weights[role].can_truncate]
    if not_truncatable:
        notices.append(
            f"The KV cache of the {' and of the '.join(not_truncatable)} cannot be truncated: after "
            "dropped tokens the conversation is evaluated from its beginning."
        )
    return " ".join([*notices, "See `rstitch pairs check`."]) if notices else None

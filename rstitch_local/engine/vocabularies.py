"""What two loaded models' vocabularies have in common, and what that means for the pair, in words.

Knows weights and how they are compared; nothing of caches or answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rstitch_local.decoding.foreign import ForeignBridge, bridge_between
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.thinking import format_of
from rstitch_local.decoding.vocabulary import Bridge, Vocabulary
from rstitch_local.errors import ModelError
from rstitch_local.llama.chat_template import ChatTemplate
from rstitch_local.llama.weights import Weights


def vocabulary_of(weights: Weights) -> Vocabulary:
    """A model's tokens for comparing, carrying and showing; marks around reasoning are part of what it says."""
    texts = weights.token_texts()
    form = format_of(texts)
    shown = set() if form is None else {token.encode() for token in form.tokens}
    marks = {token: text for token, text in enumerate(texts) if text in shown and not weights.is_eog(token)}

    def piece(token: int) -> bytes:
        return weights.piece(token) or marks.get(token, b"")

    return Vocabulary(
        texts=texts,
        end_of_turn=weights.eot if weights.eot >= 0 else weights.eos,
        is_special=weights.is_special,
        is_eog=weights.is_eog,
        piece=piece if marks else weights.piece,
        tokenize=lambda text: weights.tokenize(text, parse_special=False),
    )


def template_of(weights: Weights, path: Path | None = None) -> ChatTemplate:
    """A model's chat template: that of its file, or the one in the file at `path`.

    Raises:
        ModelError: there is none, it is not valid jinja, or the file cannot be read.
    """
    source, name = weights.chat_template, weights.path.name
    if path is not None:
        name = path.name
        try:
            source = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ModelError("No chat template", f"{path} cannot be read: {reason}.") from error
    return ChatTemplate(source, name=name, bos=weights.special_text(weights.bos), eos=weights.special_text(weights.eos))


def bridge_of(weights: Mapping[Role, Weights]) -> Bridge | ForeignBridge:
    """How tokens or text get from one of two loaded models to the other."""
    healing = frozenset(role for role in Role if weights[role].can_truncate)
    return bridge_between(vocabulary_of(weights[Role.SLM]), vocabulary_of(weights[Role.LLM]), healing)


def notice_of(bridge: Bridge | ForeignBridge, weights: Mapping[Role, Weights]) -> str | None:
    """What is to be known of a pair before it writes, in one line; None where its models plainly share their tokens."""
    said = []
    if isinstance(bridge, ForeignBridge):
        said.append("The models have different tokenisers: each reads the other's text anew where it takes over.")
    elif bridge.matches:
        counts = [sum(match.writer is role for match in bridge.matches) for role in Role]
        said.append(
            f"The models share their tokens but for special ones, which go by a table ({counts[0]} of the SLM's, "
            f"{counts[1]} of the LLM's)."
        )
    forgetful = [role.name for role in Role if not weights[role].can_truncate]
    if forgetful:
        said.append(
            f"The cache of the {' and of the '.join(forgetful)} cannot be cut back: after a change of mind it is "
            "evaluated from its beginning."
        )
    return " ".join([*said, "`rstitch pairs check` says more."]) if said else None

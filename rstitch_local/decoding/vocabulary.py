"""Compares two vocabularies by the text of their tokens, and converts token ids from one to the other.

Vocabularies of different tokenizers are handled in foreign.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.thinking import CLOSE_TAGS, OPEN_TAGS


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """One model's tokens.

    Attributes:
        texts: the text of each token by id, as the vocabulary stores it; without the padding at the end.
        end_of_turn: the token that ends a turn; -1 if there is none.
        is_special: whether a token is a control or added token.
        is_eog: whether a token ends the generation.
        piece: the bytes that a token adds to an answer.
        tokenize: the ids of a text; special tokens in it are not recognized.
    """

    texts: Sequence[bytes]
    end_of_turn: int
    is_special: Callable[[int], bool]
    is_eog: Callable[[int], bool]
    piece: Callable[[int], bytes]
    tokenize: Callable[[str], list[int]]


@dataclass(frozen=True, slots=True)
class Match:
    """A special token that differs between the vocabularies, and its counterpart.

    Attributes:
        writer: the model that has the token.
        token: its id there.
        text: its text.
        ids: what the other model reads in its place.
        how: how the counterpart was found: "text", "end of turn", "thinking"; or "letters" if there is none.
    """

    writer: Role
    token: int
    text: bytes
    ids: tuple[int, ...]
    how: str


@dataclass(frozen=True, slots=True)
class Bridge:
    """Converts tokens between two vocabularies of the same tokenizer.

    Attributes:
        vocabularies: the vocabulary of each model.
        exceptions: for each writer, the tokens whose id differs in the other vocabulary, with the ids that the other
            model reads instead (at least one).
        matches: how the exceptions were found.
    """

    vocabularies: Mapping[Role, Vocabulary]
    exceptions: Mapping[Role, Mapping[int, tuple[int, ...]]] = field(
        default_factory=lambda: {Role.SLM: {}, Role.LLM: {}}
    )
    matches: Sequence[Match] = ()

    def convert(self, token: int, writer: Role) -> tuple[int, ...]:
        """Return the ids that the other model reads for a token.

        Args:
            token: an id in the writer's vocabulary.
            writer: the model that generated it.
        """
        ids = self.exceptions[writer].get(token)
        return (token,) if ids is None else ids


def compare(slm: Vocabulary, llm: Vocabulary) -> Bridge | None:
    """Return the bridge of two models that share a tokenizer.

    They do if every ordinary token has the same id and text in both. Special tokens may differ, as between DeepSeek's
    and Qwen's own models: they are matched by text, then by use (end of turn, opening and closing thinking tag). One
    without a match is read as its text.

    Args:
        slm: the vocabulary of the SLM.
        llm: the vocabulary of the LLM.

    Returns:
        The bridge; None if the tokenizers differ, so that ids of one are meaningless in the other.
    """
    of_slm, of_llm = differing_tokens(slm, llm)
    if ordinary_tokens(slm, of_slm) or ordinary_tokens(llm, of_llm):
        return None
    matches = [*_matches(Role.SLM, slm, of_slm, llm, of_llm), *_matches(Role.LLM, llm, of_llm, slm, of_slm)]
    exceptions = {role: {match.token: match.ids for match in matches if match.writer is role} for role in Role}
    return Bridge({Role.SLM: slm, Role.LLM: llm}, exceptions, matches)


def differing_tokens(slm: Vocabulary, llm: Vocabulary) -> tuple[list[int], list[int]]:
    """Return, for each vocabulary, the ids that have another text, or none, in the other one."""
    common = min(len(slm.texts), len(llm.texts))
    both = [token for token in range(common) if slm.texts[token] != llm.texts[token]]
    return [*both, *range(common, len(slm.texts))], [*both, *range(common, len(llm.texts))]


def ordinary_tokens(vocabulary: Vocabulary, tokens: Sequence[int]) -> list[int]:
    """Return those of some tokens that are not special."""
    return [token for token in tokens if not vocabulary.is_special(token)]


def _matches(
    writer: Role, source: Vocabulary, tokens: Sequence[int], target: Vocabulary, target_tokens: Sequence[int]
) -> list[Match]:
    """Find the counterpart in the target of each differing special token of the source."""
    by_text = {target.texts[token]: token for token in target_tokens}
    matches = []
    for token in tokens:
        text = source.texts[token]
        ids: tuple[int, ...]
        if text in by_text:
            ids, how = (by_text[text],), "text"
        elif source.is_eog(token) and target.end_of_turn >= 0:
            ids, how = (target.end_of_turn,), "end of turn"
        elif tag := _thinking_tag(text, target):
            ids, how = tag, "thinking"
        else:
            # A token without text needs a counterpart too: a model cannot evaluate an empty sequence.
            ids, how = tuple(target.tokenize(text.decode("utf-8", "replace") or "?")), "letters"
        matches.append(Match(writer, token, text, ids, how))
    return matches


def _thinking_tag(text: bytes, target: Vocabulary) -> tuple[int, ...]:
    """Return the target's thinking tag for that of another format; empty if the text is no tag or it has none."""
    for tags in (OPEN_TAGS, CLOSE_TAGS):
        encoded = [tag.encode() for tag in tags]
        if text in encoded:
            return next(((target.texts.index(tag),) for tag in encoded if tag in target.texts), ())
    return ()

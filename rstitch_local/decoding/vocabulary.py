"""Two vocabularies compared by the text of their tokens, and the bridge that carries tokens across.

Knows lists of token texts and ids; nothing of files, models or which of the two is writing. Tokenisers that differ
are foreign.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.thinking import CLOSES, OPENS


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """One model's tokens, as much of them as comparing and carrying needs.

    texts: each token's text, as the vocabulary spells it, by id; without the padding at the end.
    end_of_turn: the token a turn ends with (-1: none).
    is_special: whether an id lies outside the tokeniser's body (control and added tokens).
    is_eog: whether an id ends a generation.
    piece: the bytes a token adds to an answer.
    spell: ids of a text taken letter by letter, special tokens not recognised.
    """

    texts: Sequence[bytes]
    end_of_turn: int
    is_special: Callable[[int], bool]
    is_eog: Callable[[int], bool]
    piece: Callable[[int], bytes]
    spell: Callable[[str], list[int]]


@dataclass(frozen=True, slots=True)
class Match:
    """A special token that is not the same in both vocabularies, and what stands for it in the other.

    writer, token, text: whose it is, its id there, its text.
    ids: what the other model reads in its place.
    how: by what it was found: "text", "end of turn", "thinking", or "letters" where it has no counterpart.
    """

    writer: Role
    token: int
    text: bytes
    ids: tuple[int, ...]
    how: str


@dataclass(frozen=True, slots=True)
class Bridge:
    """Carries a token from the vocabulary of the model that wrote it to the other's.

    Most ids are the same in both; `exceptions`, by the role that wrote, holds the others: the ids the other
    model reads in its place, one at least. `matches` says how they were found.
    """

    vocabularies: Mapping[Role, Vocabulary]
    exceptions: Mapping[Role, Mapping[int, tuple[int, ...]]] = field(
        default_factory=lambda: {Role.SLM: {}, Role.LLM: {}}
    )
    matches: Sequence[Match] = ()

    def carry(self, token: int, writer: Role) -> tuple[int, ...]:
        """The ids that stand for this token in the other model's vocabulary."""
        ids = self.exceptions[writer].get(token)
        return (token,) if ids is None else ids


def compare(slm: Vocabulary, llm: Vocabulary) -> Bridge | None:
    """Find out whether two models share a tokeniser, and how tokens get from one to the other.

    Shared means: every ordinary token has the same id and text in both. Special tokens may differ, as they do
    between DeepSeek's and Qwen's own models: they are matched by text, then by role (end of turn, think open,
    think close); one that has no match is spelled out in letters.

    Returns:
        The bridge, or None where the tokenisers differ, so that ids of the one mean nothing to the other.
    """
    of_slm, of_llm = differing(slm, llm)
    if ordinary(slm, of_slm) or ordinary(llm, of_llm):
        return None
    matches = [*_matches(Role.SLM, slm, of_slm, llm, of_llm), *_matches(Role.LLM, llm, of_llm, slm, of_slm)]
    exceptions = {role: {match.token: match.ids for match in matches if match.writer is role} for role in Role}
    return Bridge({Role.SLM: slm, Role.LLM: llm}, exceptions, matches)


def differing(slm: Vocabulary, llm: Vocabulary) -> tuple[list[int], list[int]]:
    """The ids of each that mean something else in the other, or nothing."""
    common = min(len(slm.texts), len(llm.texts))
    both = [token for token in range(common) if slm.texts[token] != llm.texts[token]]
    return [*both, *range(common, len(slm.texts))], [*both, *range(common, len(llm.texts))]


def ordinary(vocabulary: Vocabulary, tokens: Sequence[int]) -> list[int]:
    """Those of some tokens that belong to the tokeniser's body."""
    return [token for token in tokens if not vocabulary.is_special(token)]


def _matches(
    writer: Role, source: Vocabulary, tokens: Sequence[int], target: Vocabulary, target_tokens: Sequence[int]
) -> list[Match]:
    """For each special token of the source that is not the same in the target, what the target reads instead."""
    by_text = {target.texts[token]: token for token in target_tokens}
    found = []
    for token in tokens:
        text = source.texts[token]
        ids: tuple[int, ...]
        if text in by_text:
            ids, how = (by_text[text],), "text"
        elif source.is_eog(token) and target.end_of_turn >= 0:
            ids, how = (target.end_of_turn,), "end of turn"
        elif mark := _think_mark(text, target):
            ids, how = mark, "thinking"
        else:
            # What has no text still has to be something: a model cannot evaluate nothing.
            ids, how = tuple(target.spell(text.decode("utf-8", "replace") or "?")), "letters"
        found.append(Match(writer, token, text, ids, how))
    return found


def _think_mark(text: bytes, target: Vocabulary) -> tuple[int, ...]:
    """The target's own spelling of a mark around reasoning; empty where the text is none or it has none."""
    for marks in (OPENS, CLOSES):
        spelled = [mark.encode() for mark in marks]
        if text in spelled:
            return next(((target.texts.index(mark),) for mark in spelled if mark in target.texts), ())
    return ()

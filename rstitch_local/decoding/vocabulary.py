"""Two vocabularies compared by the text of their tokens, and the bridge that carries tokens across.

Knows lists of token texts and ids; nothing of files, models or which of the two is writing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rstitch_local.decoding.routers import Role
from rstitch_local.errors import ModelError

THINK_OPEN = (b"<think>", b"[THINK]", b"<|begin_of_thought|>")
THINK_CLOSE = (b"</think>", b"[/THINK]", b"<|end_of_thought|>")
"""How the models of different families spell the marks around their reasoning."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """One model's tokens, as much of them as comparing and carrying needs.

    texts: each token's text, as the vocabulary spells it, by id.
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
class Bridge:
    """Carries a token from the vocabulary of the model that wrote it to the other's.

    Most ids are the same in both; `exceptions`, by the role that wrote, holds the others: the ids the other
    model reads in its place, one at least.
    """

    vocabularies: Mapping[Role, Vocabulary]
    exceptions: Mapping[Role, Mapping[int, tuple[int, ...]]] = field(
        default_factory=lambda: {Role.SLM: {}, Role.LLM: {}}
    )

    def carry(self, token: int, writer: Role) -> tuple[int, ...]:
        """The ids that stand for this token in the other model's vocabulary."""
        ids = self.exceptions[writer].get(token)
        return (token,) if ids is None else ids


def compare(slm: Vocabulary, llm: Vocabulary) -> Bridge:
    """Find out whether two models share a tokeniser, and how tokens get from one to the other.

    Shared means: every ordinary token has the same id and text in both. Special tokens may differ, as they do
    between DeepSeek's and Qwen's own models: they are matched by text, then by role (end of turn, think open,
    think close); one that has no match is spelled out in letters.

    Raises:
        ModelError: the tokenisers differ, so ids of the one mean nothing to the other.
    """
    common = min(len(slm.texts), len(llm.texts))
    differing = [token for token in range(common) if slm.texts[token] != llm.texts[token]]
    of_slm = differing + list(range(common, len(slm.texts)))
    of_llm = differing + list(range(common, len(llm.texts)))
    for vocabulary, tokens in ((slm, of_slm), (llm, of_llm)):
        ordinary = [token for token in tokens if not vocabulary.is_special(token)]
        if ordinary:
            raise _refusal(slm, llm, ordinary)
    return Bridge(
        {Role.SLM: slm, Role.LLM: llm},
        {Role.SLM: _exceptions(slm, of_slm, llm, of_llm), Role.LLM: _exceptions(llm, of_llm, slm, of_slm)},
    )


def _exceptions(
    source: Vocabulary, tokens: Sequence[int], target: Vocabulary, target_tokens: Sequence[int]
) -> dict[int, tuple[int, ...]]:
    """For each special token of the source that is not the same in the target, what the target reads instead."""
    by_text = {target.texts[token]: token for token in target_tokens}
    found: dict[int, tuple[int, ...]] = {}
    for token in tokens:
        text = source.texts[token]
        if text in by_text:
            found[token] = (by_text[text],)
        elif source.is_eog(token) and target.end_of_turn >= 0:
            found[token] = (target.end_of_turn,)
        else:
            letters = text.decode("utf-8", "replace") or "?"
            found[token] = _think_mark(text, target) or tuple(target.spell(letters))
    return found


def _think_mark(text: bytes, target: Vocabulary) -> tuple[int, ...]:
    """The target's own spelling of a mark around reasoning; empty where the text is none or it has none."""
    for marks in (THINK_OPEN, THINK_CLOSE):
        if text in marks:
            return next(((target.texts.index(mark),) for mark in marks if mark in target.texts), ())
    return ()


def _refusal(slm: Vocabulary, llm: Vocabulary, ordinary: Sequence[int]) -> ModelError:
    def spelled(vocabulary: Vocabulary) -> str:
        if ordinary[0] >= len(vocabulary.texts):
            return "missing"
        return repr(vocabulary.texts[ordinary[0]].decode("utf-8", "replace"))

    return ModelError(
        "The two models do not share a tokeniser",
        f"{len(ordinary)} ordinary tokens differ; the first, token {ordinary[0]}, is {spelled(slm)} in the SLM "
        f"and {spelled(llm)} in the LLM.",
        "Take two models of one family, as the pairs of `rstitch pairs` are.",
    )

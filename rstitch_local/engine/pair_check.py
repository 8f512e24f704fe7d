"""Checks whether two model files can be used as a pair, and how they share tokens.

Reads vocabularies only; weights are not loaded. The cost of a swap is in `costs/swap_cost.py`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rstitch_local.decoding.foreign import ForeignBridge, thinking_format, tokenize_continuation
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.vocabulary import Bridge, Match, Vocabulary, differing_tokens, ordinary_tokens
from rstitch_local.engine.choice import PairChoice
from rstitch_local.engine.trial import open_trial
from rstitch_local.engine.vocabularies import bridge_of, template_of
from rstitch_local.errors import ModelError
from rstitch_local.llama.gguf_check import check_gguf
from rstitch_local.llama.weights import Weights

SAMPLE = (
    "Let's solve this step by step. A train leaves at 9:45 and travels 132 km at 88 km/h, so it needs "
    "$\\frac{132}{88} = 1.5$ hours.\n\n```python\ndef arrival(start, hours):\n    return start + 60 * hours\n```\n\n"
    "It arrives at 11:15. Therefore, the answer is \\boxed{11:15}, which is what we wanted to show."
)
"""Text for comparing tokenizers: words, numbers, LaTeX and code."""


@dataclass(frozen=True, slots=True)
class VocabularySummary:
    """The vocabulary of one of the two models.

    tokens: number of tokens; padding: number of ids after them without a token.
    differing: number of ids with another text in the other model, or none.
    differing_ordinary: how many of those are ordinary tokens.
    sample_tokens: length of `SAMPLE` in tokens.
    thinking: name of the format of its reasoning; "" if it has none.
    can_truncate: whether its KV cache can be truncated.
    """

    file: str
    tokens: int
    padding: int
    differing: int
    differing_ordinary: int
    sample_tokens: int
    thinking: str
    can_truncate: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the summary ready for JSON, under the names of earlier versions."""
        return {
            "file": self.file,
            "tokens": self.tokens,
            "padding": self.padding,
            "differing": self.differing,
            "body": self.differing_ordinary,
            "sample_tokens": self.sample_tokens,
            "thinking": self.thinking,
            "can_forget": self.can_truncate,
        }


@dataclass(frozen=True, slots=True)
class PairReport:
    """The result of a check.

    kind: "shared", "shared with a table" or "foreign".
    reason: the reason for the kind, one sentence.
    matches: special tokens that differ, with their counterparts in the other model.
    problems: why the pair cannot be used, one sentence each; empty for a usable pair.
    tokenize_ms: milliseconds to tokenize `SAMPLE` with the LLM's tokenizer at a swap; 0 with shared tokens.
    """

    name: str
    kind: str
    reason: str
    models: Mapping[Role, VocabularySummary]
    matches: tuple[Match, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    tokenize_ms: float

    @property
    def ratio(self) -> float:
        """Tokens of the LLM per token of the SLM, for `SAMPLE`."""
        return self.models[Role.LLM].sample_tokens / max(1, self.models[Role.SLM].sample_tokens)

    def to_dict(self) -> dict[str, Any]:
        """Return everything ready for JSON."""
        return {
            "pair": self.name,
            "kind": self.kind,
            "why": self.reason,
            "works": not self.problems,
            "problems": list(self.problems),
            "warnings": list(self.warnings),
            **{role.value: summary.to_dict() for role, summary in self.models.items()},
            "specials": [
                {
                    "writer": match.writer.value,
                    "token": match.token,
                    "text": match.text.decode("utf-8", "replace"),
                    "read_as": list(match.ids),
                    "how": match.how,
                }
                for match in self.matches
            ],
            "llm_tokens_for_one_of_the_slm": round(self.ratio, 4),
            "read_ms": round(self.tokenize_ms, 4),
        }


def check_pair(choice: PairChoice, *, trust_models: bool = False) -> PairReport:
    """Compare two model files; takes a second or two.

    Args:
        choice: the pair.
        trust_models: as in LoadOptions.

    Raises:
        ModelError: a file is missing, damaged or not a language model.
    """
    weights: dict[Role, Weights] = {}
    try:
        for path in choice.files.values():
            check_gguf(path)
        with open_trial(choice, trusted=trust_models) as trial:
            for role, path in choice.files.items():
                trial.wait(role)
                weights[role] = Weights(path, vocab_only=True)
        return _report(choice, weights)
    finally:
        for loaded in weights.values():
            loaded.close()


def _report(choice: PairChoice, weights: Mapping[Role, Weights]) -> PairReport:
    bridge = bridge_of(weights)
    slm, llm = (bridge.vocabularies[role] for role in Role)
    differing_ids = dict(zip(Role, differing_tokens(slm, llm), strict=True))
    models = {role: _summary(weights[role], bridge.vocabularies[role], differing_ids[role]) for role in Role}
    kind, reason = _kind(bridge, models)
    return PairReport(
        name=choice.name,
        kind=kind,
        reason=reason,
        models=models,
        matches=tuple(bridge.matches) if isinstance(bridge, Bridge) else (),
        problems=tuple(_problems(choice, weights)),
        warnings=tuple(_warnings(models)),
        tokenize_ms=_tokenize_ms(llm) if isinstance(bridge, ForeignBridge) else 0.0,
    )


def _summary(weights: Weights, vocabulary: Vocabulary, differing_ids: Sequence[int]) -> VocabularySummary:
    form = thinking_format(vocabulary)
    return VocabularySummary(
        file=weights.path.name,
        tokens=weights.n_vocab,
        padding=weights.n_logits - weights.n_vocab,
        differing=len(differing_ids),
        differing_ordinary=len(ordinary_tokens(vocabulary, differing_ids)),
        sample_tokens=len(tokenize_continuation(SAMPLE, vocabulary)),
        thinking="" if form is None else form.name,
        can_truncate=weights.can_truncate,
    )


def _kind(bridge: Bridge | ForeignBridge, models: Mapping[Role, VocabularySummary]) -> tuple[str, str]:
    slm, llm = (models[role] for role in Role)
    if isinstance(bridge, Bridge):
        if not bridge.matches:
            return "shared", f"All {slm.tokens:,} tokens have the same id and text in both."
        same = slm.tokens - slm.differing
        return "shared with a table", (
            f"All ordinary tokens have the same id and text in both ({same:,}, including equal special tokens); "
            f"{slm.differing:,} special tokens of the SLM and {llm.differing:,} of the LLM differ."
        )
    texts = [set(bridge.vocabularies[role].texts) for role in Role]
    common = len(texts[0] & texts[1])
    return "foreign", (
        f"{max(slm.differing_ordinary, llm.differing_ordinary):,} ordinary tokens differ"
        f"{_first_difference(bridge)}. {common:,} texts are tokens in both, of {slm.tokens:,} and {llm.tokens:,}."
    )


def _first_difference(bridge: ForeignBridge) -> str:
    slm, llm = (bridge.vocabularies[role] for role in Role)
    of_slm, of_llm = differing_tokens(slm, llm)
    token = min([*ordinary_tokens(slm, of_slm)[:1], *ordinary_tokens(llm, of_llm)[:1]])
    texts = [repr(v.piece(token).decode("utf-8", "replace")) if token < len(v.texts) else "missing" for v in (slm, llm)]
    return f", from id {token} on: {texts[0]} in the SLM, {texts[1]} in the LLM"


def _problems(choice: PairChoice, weights: Mapping[Role, Weights]) -> list[str]:
    problems = []
    for role in Role:
        try:
            template_of(weights[role], choice.templates.get(role))
        except ModelError as error:
            problems.append(f"The {role.name} has no usable chat template: {error.message} {error.hint}".rstrip())
    return problems


def _warnings(models: Mapping[Role, VocabularySummary]) -> list[str]:
    return [
        f"The KV cache of the {role.name} cannot be truncated (a recurrent or hybrid model). Swaps are not affected, "
        "but a regenerated answer, a chat continued from an earlier turn, and every round of speculative decoding are "
        "evaluated from the beginning."
        for role in Role
        if not models[role].can_truncate
    ]


def _tokenize_ms(vocabulary: Vocabulary) -> float:
    """Return the milliseconds to tokenize `SAMPLE`, the minimum of several runs."""
    times = []
    for _ in range(5):
        started = time.perf_counter_ns()
        tokenize_continuation(SAMPLE, vocabulary)
        times.append(time.perf_counter_ns() - started)
    return min(times) / 1e6

"""Whether two model files can work together, how their tokens get across, and what that costs.

Knows files, vocabularies and stored calibrations; the weights themselves stay on the disk.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from rstitch_local.costs.store import Calibration, calibration_of_files
from rstitch_local.decoding.foreign import ForeignBridge, spelled, thinking_format
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.vocabulary import Bridge, Match, Vocabulary, differing, ordinary
from rstitch_local.engine.choice import PairChoice
from rstitch_local.engine.vocabularies import bridge_of, template_of
from rstitch_local.errors import ModelError
from rstitch_local.llama.weights import Weights

SAMPLE = (
    "Let's solve this step by step. A train leaves at 9:45 and travels 132 km at 88 km/h, so it needs "
    "$\\frac{132}{88} = 1.5$ hours.\n\n```python\ndef arrival(start, hours):\n    return start + 60 * hours\n```\n\n"
    "It arrives at 11:15. Therefore, the answer is \\boxed{11:15}, which is what we wanted to show."
)
"""What a swap is measured on: words, numbers, LaTeX and code."""

VISITS = {Role.LLM: 20, Role.SLM: 4}
"""Tokens the other model may have written when one takes over: the SLM writes long stretches, the LLM short ones."""

CACHED = 500
"""Tokens in the caches at such a swap."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What there is to know of one of the two.

    tokens: in its vocabulary; padding: ids after them that are none.
    differing: ids that mean something else in the other model, or nothing; `body` of them ordinary tokens.
    sample_tokens: of `SAMPLE`.
    thinking: how it marks its reasoning; '' for not at all.
    can_forget: whether its cache can be cut back.
    """

    file: str
    tokens: int
    padding: int
    differing: int
    body: int
    sample_tokens: int
    thinking: str
    can_forget: bool


@dataclass(frozen=True, slots=True)
class PairReport:
    """What was found out.

    kind: "shared", "shared with a table" or "foreign".
    why: in a sentence.
    problems: what keeps the pair from working, one sentence each; empty for a pair that works.
    read_ms: to read `SAMPLE` anew in the LLM's tokens; 0 where nothing is.
    swap_ms: what taking over costs each model after `VISITS` tokens of the other, where a calibration tells.
    """

    name: str
    kind: str
    why: str
    models: Mapping[Role, ModelFacts]
    matches: tuple[Match, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    read_ms: float
    swap_ms: Mapping[Role, float] | None

    @property
    def ratio(self) -> float:
        """Tokens of the LLM for one of the SLM's, on `SAMPLE`."""
        return self.models[Role.LLM].sample_tokens / max(1, self.models[Role.SLM].sample_tokens)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "pair": self.name,
            "kind": self.kind,
            "why": self.why,
            "works": not self.problems,
            "problems": list(self.problems),
            "warnings": list(self.warnings),
            **{role.value: asdict(facts) for role, facts in self.models.items()},
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
            "read_ms": round(self.read_ms, 4),
            "swap_ms": None if self.swap_ms is None else {r.value: round(ms, 3) for r, ms in self.swap_ms.items()},
        }


def check_pair(choice: PairChoice) -> PairReport:
    """Compare two files. Takes a second or two: of the weights nothing is read.

    Raises:
        ModelError: a file is missing, broken or no language model; says which and why.
    """
    weights: dict[Role, Weights] = {}
    try:
        for role, path in zip(Role, (choice.slm, choice.llm), strict=True):
            weights[role] = Weights(path, vocab_only=True)
        return _report(choice, weights, calibration_of_files(choice.slm, choice.llm))
    finally:
        for loaded in weights.values():
            loaded.close()


def _report(choice: PairChoice, weights: Mapping[Role, Weights], calibration: Calibration | None) -> PairReport:
    bridge = bridge_of(weights)
    slm, llm = (bridge.vocabularies[role] for role in Role)
    others = dict(zip(Role, differing(slm, llm), strict=True))
    models = {role: _facts(weights[role], bridge.vocabularies[role], others[role]) for role in Role}
    problems = []
    for role in Role:
        try:
            template_of(weights[role], choice.templates.get(role))
        except ModelError as error:
            problems.append(f"The {role.name} cannot be asked. {error.title}: {error.message} {error.hint}".rstrip())
    kind, why = _kind(bridge, models)
    report = PairReport(
        name=choice.name,
        kind=kind,
        why=why,
        models=models,
        matches=tuple(bridge.matches) if isinstance(bridge, Bridge) else (),
        problems=tuple(problems),
        warnings=tuple(_warnings(models)),
        read_ms=_read_ms(llm) if isinstance(bridge, ForeignBridge) else 0.0,
        swap_ms=None,
    )
    if calibration is None:
        return report
    # A stretch of the other's tokens is as many of one's own as the sample says.
    lengths = {Role.LLM: VISITS[Role.LLM] * report.ratio, Role.SLM: VISITS[Role.SLM] / report.ratio}
    swap_ms = {role: calibration.latency.of(role).turn_ms(lengths[role], CACHED) for role in Role}
    return replace(report, swap_ms=swap_ms)


def _facts(weights: Weights, vocabulary: Vocabulary, others: list[int]) -> ModelFacts:
    form = thinking_format(vocabulary)
    return ModelFacts(
        file=weights.path.name,
        tokens=weights.n_vocab,
        padding=weights.n_logits - weights.n_vocab,
        differing=len(others),
        body=len(ordinary(vocabulary, others)),
        sample_tokens=len(spelled(SAMPLE, vocabulary)),
        thinking="" if form is None else form.name,
        can_forget=weights.can_truncate,
    )


def _kind(bridge: Bridge | ForeignBridge, models: Mapping[Role, ModelFacts]) -> tuple[str, str]:
    slm, llm = (models[role] for role in Role)
    if isinstance(bridge, Bridge):
        if not bridge.matches:
            return "shared", f"All {slm.tokens:,} tokens have the same id and text in both."
        same = slm.tokens - slm.differing
        return "shared with a table", (
            f"All ordinary tokens have the same id and text in both ({same:,} with the special ones that do); "
            f"{slm.differing:,} special tokens of the SLM and {llm.differing:,} of the LLM do not."
        )
    texts = [set(bridge.vocabularies[role].texts) for role in Role]
    common = len(texts[0] & texts[1])
    first = _first_ordinary(bridge)
    return "foreign", (
        f"{max(slm.body, llm.body):,} ordinary tokens differ{first}. "
        f"{common:,} texts are tokens of both, of {slm.tokens:,} and {llm.tokens:,}."
    )


def _first_ordinary(bridge: ForeignBridge) -> str:
    """The first id at which the two part."""
    slm, llm = (bridge.vocabularies[role] for role in Role)
    of_slm, of_llm = differing(slm, llm)
    token = min([*ordinary(slm, of_slm)[:1], *ordinary(llm, of_llm)[:1]])
    spellings = [
        repr(v.piece(token).decode("utf-8", "replace")) if token < len(v.texts) else "missing" for v in (slm, llm)
    ]
    return f", from id {token} on: {spellings[0]} in the SLM, {spellings[1]} in the LLM"


def _warnings(models: Mapping[Role, ModelFacts]) -> list[str]:
    return [
        f"The cache of the {role.name} cannot be cut back (a recurrent or hybrid model). Swaps cost it nothing, but an "
        "answer that is written again or a chat that goes on from an earlier turn is evaluated from its beginning, "
        "and so is every round of speculative decoding."
        for role in Role
        if not models[role].can_forget
    ]


def _read_ms(vocabulary: Vocabulary) -> float:
    """Milliseconds to tokenise `SAMPLE`, the shortest of a few times."""
    times = []
    for _ in range(5):
        started = time.perf_counter_ns()
        spelled(SAMPLE, vocabulary)
        times.append(time.perf_counter_ns() - started)
    return min(times) / 1e6

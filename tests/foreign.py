"""Toy tokenizers that share nothing, scripted models for them, and caches that are truncated; for exact tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scripted import ScriptedModel

from rstitch_local.decoding.config import TrajectoryConfig
from rstitch_local.decoding.foreign import ForeignBridge
from rstitch_local.decoding.foreign_trajectory import ForeignTrajectory
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampler, Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.vocabulary import Vocabulary
from rstitch_local.routing.spec import router_from_spec

Models = Mapping[Role, Callable[[Sequence[int]], NDArray[np.float32]]]

BODIES: dict[str, list[bytes]] = {
    "bytes": [],
    "words": [b" the", b" then", b" wor", b" world", b"the", b"he", b"an", b"and", "é".encode(), "漢".encode()],
    "parts": [b" w", b"or", b"ld", b"th", b"e ", b" t", "漢".encode()[:2], b"12", b"\n\t"],
}
"""Tokens of each toy tokenizer besides all single bytes; one of them is part of a character."""


def toy_vocabulary(words: Sequence[bytes], *, first: int = 0, specials: Sequence[str] = ()) -> Vocabulary:
    """Create a tokenizer that takes the longest token, from left to right.

    Args:
        words: its tokens besides all bytes.
        first: rotates the ids, so that two tokenizers with the same tokens share no id.
        specials: tokens that are not recognized in a text, but add their text to it when they are generated.
    """
    count = 257 + len(words) + len(specials)
    bare = [*(bytes([byte]) for byte in range(256)), *words, *(text.encode() for text in specials), b"<end>"]
    texts = [bare[(token - first) % count] for token in range(count)]
    ordinary = {text: (index + first) % count for index, text in enumerate(bare[: 256 + len(words)])}
    special = {(index + first) % count for index in range(256 + len(words), count)}
    end = (count - 1 + first) % count
    longest = max(map(len, ordinary))

    def tokenize(text: str) -> list[int]:
        data, at, ids = text.encode("utf-8", "replace"), 0, []
        while at < len(data):
            size = next(n for n in range(min(longest, len(data) - at), 0, -1) if data[at : at + n] in ordinary)
            ids.append(ordinary[data[at : at + size]])
            at += size
        return ids

    return Vocabulary(
        texts=texts,
        end_of_turn=end,
        is_special=lambda token: token in special,
        is_eog=lambda token: token == end,
        piece=lambda token: b"" if token == end else texts[token],
        tokenize=tokenize,
    )


class ToyTrajectory(ForeignTrajectory):
    def vocabulary(self, role: Role) -> Vocabulary:
        return self._sides[role].vocabulary


def trajectory_of(
    names: tuple[str, str] = ("words", "bytes"),
    *,
    vocabularies: Mapping[Role, Vocabulary] | None = None,
    prompts: Mapping[Role, Sequence[int]] | None = None,
    seed: int = 0,
    spread: float = 8.0,
    router: str = "entropy:0.5",
    temperature: float = 0.0,
    max_tokens: int = 30,
    capacity: int = 10_000,
    resume_steps: Sequence[Step] = (),
    healing: frozenset[Role] = frozenset(Role),
    start: int = 65,
    stop: Sequence[str] = (),
) -> tuple[ToyTrajectory, Models]:
    """Create a trajectory with two toy tokenizers, and models that generate letters, words and parts of characters."""
    vocabularies = vocabularies or {
        role: toy_vocabulary(BODIES[name], first=first) for role, name, first in zip(Role, names, (0, 7), strict=True)
    }
    models = {role: _model(vocabularies[role], f"{role}{seed}", spread) for role in Role}
    trajectory = ToyTrajectory(
        TrajectoryConfig(
            prompt=prompts or {role: [start, start] for role in Role},
            bridge=ForeignBridge(vocabularies, healing),
            router=router_from_spec(router, seed=seed),
            sampler=Sampler(Sampling(temperature), seed),
            max_tokens=max_tokens,
            capacity=dict.fromkeys(Role, capacity),
            resume_steps=resume_steps,
            stop=stop,
        )
    )
    return trajectory, models


def _model(vocabulary: Vocabulary, name: str, spread: float) -> Callable[[Sequence[int]], NDArray[np.float32]]:
    count = len(vocabulary.texts)
    script = ScriptedModel(count, name, spread)
    # Favor tokens of words and characters, so that some get completed.
    bonus = np.zeros(count, np.float32)
    for token, text in enumerate(vocabulary.texts):
        if len(text) > 1 or text in (b" ", b"w", b"o", b"t", b"h", b"e", *(bytes([b]) for b in "漢é".encode())):
            bonus[token] = 6.0

    def logits(ids: Sequence[int]) -> NDArray[np.float32]:
        return script.logits(ids) + bonus

    return logits


def run(
    trajectory: ForeignTrajectory,
    models: Models,
    steps: list[Step],
    *,
    n_batch: int = 1000,
    on_swap: Callable[[Role], None] = lambda _role: None,
) -> int:
    """Generate a whole answer with caches that assert their content; return how many tokens they dropped."""
    held: dict[Role, list[int]] = {role: [] for role in Role}
    dropped = 0
    before = trajectory.active
    while trajectory.stop_reason is None:
        if trajectory.active is not before:
            on_swap(trajectory.active)
        role = before = trajectory.active
        request = trajectory.request()
        assert request.role is role
        assert request.ids
        assert 0 < request.outputs <= min(len(request.ids), trajectory.outputs(role))
        count = min(n_batch, len(request.ids))
        ids = held[role]
        ids += request.ids[:count]
        assert ids == list(trajectory.ids(role)[: len(ids)])
        trajectory.note_evaluated(count, 1.0)
        for at in range(max(0, count - len(request.ids) + request.outputs), 0, -1):
            step = trajectory.advance(models[role](ids[: len(ids) + 1 - at]))
            if step is not None:
                steps.append(step)
            if trajectory.stop_reason or trajectory.active is not role or trajectory.cached(role) < len(ids):
                break
        for each in Role:
            assert trajectory.cached(each) <= len(held[each])
            dropped += len(held[each]) - trajectory.cached(each)
            del held[each][trajectory.cached(each) :]
            assert held[each] == list(trajectory.ids(each)[: len(held[each])])
    return dropped


def summary(steps: Sequence[Step]) -> list[tuple[int, Role, int, str, float | None]]:
    """Return what must not depend on batches and interruptions."""
    return [(step.position, step.role, step.token, step.text, step.swap_entropy) for step in steps]

"""Made-up tokenisers that share nothing, scripted models over them, and caches that are cut back; for exact tests."""

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
"""What each has besides all single bytes; one of them has part of a character for a token."""


def toy_vocabulary(words: Sequence[bytes], *, first: int = 0, specials: Sequence[str] = ()) -> Vocabulary:
    """A tokeniser that takes the longest token it has, from left to right.

    Args:
        words: what it has besides all bytes.
        first: how far the ids are turned, so that two with the same words share none.
        specials: tokens that are never taken from a text, and are part of it where they are written.
    """
    count = 257 + len(words) + len(specials)
    bare = [*(bytes([byte]) for byte in range(256)), *words, *(text.encode() for text in specials), b"<end>"]
    texts = [bare[(token - first) % count] for token in range(count)]
    ordinary = {text: (index + first) % count for index, text in enumerate(bare[: 256 + len(words)])}
    special = {(index + first) % count for index in range(256 + len(words), count)}
    end = (count - 1 + first) % count
    longest = max(map(len, ordinary))

    def spell(text: str) -> list[int]:
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
        tokenize=spell,
    )


class ToyTrajectory(ForeignTrajectory):
    """With a look at its vocabularies, for checks."""

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
    """A trajectory over two made-up tokenisers, and models that write letters, words and parts of characters."""
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
    # Mostly what makes words and characters, so that they come about.
    liked = np.zeros(count, np.float32)
    for token, text in enumerate(vocabulary.texts):
        if len(text) > 1 or text in (b" ", b"w", b"o", b"t", b"h", b"e", *(bytes([b]) for b in "漢é".encode())):
            liked[token] = 6.0

    def logits(ids: Sequence[int]) -> NDArray[np.float32]:
        return script.logits(ids) + liked

    return logits


def run(
    trajectory: ForeignTrajectory,
    models: Models,
    steps: list[Step],
    *,
    n_batch: int = 1000,
    on_swap: Callable[[Role], None] = lambda _role: None,
) -> int:
    """Drive to the end over caches that refuse anything but what follows; how many tokens were taken out of them."""
    held: dict[Role, list[int]] = {role: [] for role in Role}
    dropped = 0
    before = trajectory.active
    while trajectory.stop_reason is None:
        if trajectory.active is not before:
            on_swap(trajectory.active)
        role = before = trajectory.active
        need = trajectory.request()
        assert need.role is role
        assert need.ids
        assert 0 < need.outputs <= min(len(need.ids), trajectory.outputs(role))
        count = min(n_batch, len(need.ids))
        ids = held[role]
        ids += need.ids[:count]
        assert ids == list(trajectory.ids(role)[: len(ids)])
        trajectory.note_evaluated(count, 1.0)
        for at in range(max(0, count - len(need.ids) + need.outputs), 0, -1):
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


def said(steps: Sequence[Step]) -> list[tuple[int, Role, int, str, float | None]]:
    """What does not depend on how an answer came about."""
    return [(step.position, step.role, step.token, step.text, step.swap_entropy) for step in steps]

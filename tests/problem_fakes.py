"""A pair that says what a script tells it to, and rows of an answers file, for the tests of problems/."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rstitch_local.decoding.sampling import Sampling
from rstitch_local.errors import RStitchError
from rstitch_local.problems.solve import Task

Reply = str | RStitchError | Exception


def totals(stop: str, seed: int = 0, slm: int = 6, llm: int = 2) -> dict[str, Any]:
    kinds = {"prompt": 3, "catch_up": 1, "decode": 4}
    return {
        "stop": stop,
        "seed": seed,
        "tokens": {"slm": slm, "llm": llm},
        "swaps": {"up": 2, "down": 1},
        "evaluated": {"slm": dict(kinds), "llm": dict(kinds)},
        "ms": {role: dict.fromkeys(kinds, 1.5) for role in ("slm", "llm")},
        "wall_ms": 40.0,
        "ttft_ms": 5.0,
    }


def row(identifier: str, correct: bool | None, *, sample: int = 0, **changes: Any) -> dict[str, Any]:
    gold = None if correct is None else "4"
    answer = "4" if correct else "5"
    base = {"id": identifier, "sample": sample, "answer": answer, "gold": gold, "correct": correct}
    return {**base, "text": f"\\boxed{{{answer}}}", **totals("eog"), "error": None, **changes}


@dataclass(slots=True)
class FakeStep:
    role: str
    text: str


@dataclass(slots=True)
class FakeTrace:
    seed: int
    text: str = ""
    stop: str | None = None

    def totals(self) -> dict[str, Any]:
        return totals(self.stop or "none", self.seed)

    def to_columns(self) -> dict[str, Any]:
        names = ("token", "length", "entropy", "top1", "caught_up", "ms", "unsure")
        steps: dict[str, list[Any]] = {name: [] for name in names}
        return {"settings": {}, "text": self.text, **self.totals(), "steps": {"role": "", **steps}}


@dataclass(slots=True)
class FakeRun:
    trace: FakeTrace
    reply: Reply
    stop: Callable[[], bool]

    def __iter__(self) -> Iterator[FakeStep]:
        if isinstance(self.reply, Exception):
            self.trace.text = "half a thou"
            raise self.reply
        for word in self.reply.split(" "):
            if self.stop():
                self.trace.stop = "interrupted"
                return
            self.trace.text += word + " "
            yield FakeStep("llm" if "box" in word else "slm", word)
        self.trace.stop = "eog"


@dataclass(slots=True)
class FakePair:
    """Answers each question by `replies`; remembers what it was asked. A reply that is an error is raised."""

    replies: Callable[[str], Reply]
    asked: list[dict[str, Any]] = field(default_factory=list)
    fails_at_start: bool = False

    def __enter__(self) -> FakePair:
        return self

    def __exit__(self, *_exception: object) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        return {"pair": "fake"}

    def start(
        self,
        messages: list[dict[str, str]],
        *,
        router: str,
        sampling: Sampling,  # noqa: ARG002
        seed: int,
        max_tokens: int | None,
        stop: Callable[[], bool] | None,
    ) -> FakeRun:
        question = messages[-1]["content"]
        self.asked.append({"question": question, "router": router, "seed": seed, "max_tokens": max_tokens})
        reply = self.replies(question)
        if self.fails_at_start and isinstance(reply, Exception):
            raise reply
        return FakeRun(FakeTrace(seed), reply, stop or (lambda: False))


class Silent:
    """An observer that only counts."""

    def __init__(self) -> None:
        self.finished_keys: list[tuple[str, int]] = []
        self.steps = 0

    def started(self, task: Task) -> None:
        pass

    def stepped(self, step: Any) -> None:  # noqa: ARG002
        self.steps += 1

    def finished(self, task: Task, answer: dict[str, Any]) -> None:  # noqa: ARG002
        self.finished_keys.append(task.key)


def write_problems(path: Path, count: int) -> Path:
    """`count` sums whose answers are 1, 2, 3, ...; ids are q0, q1, ..."""
    rows = [{"id": f"q{n}", "question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(count)]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in rows), encoding="utf-8")
    return path


def right_reply(question: str) -> str:
    """The right answer to a question of `write_problems`."""
    number = int(question.split("What is ")[1].split(" ")[0])
    return f"We add one. \\boxed{{{number + 1}}}"

"""A pair with scripted replies, and rows of an answers file, for the tests of problems/."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.decoding.step import Step
from rstitch_local.engine.driver import Status
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import EngineError, RStitchError
from rstitch_local.problems.answer_lines import Answer
from rstitch_local.problems.observer import Observer
from rstitch_local.problems.run_folder import Key
from rstitch_local.problems.tasks import Task

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
        "busy_ms": 40.0,
        "ttft_ms": 5.0,
    }


def row(identifier: str, correct: bool | None, *, sample: int = 0, **changes: Any) -> dict[str, Any]:
    gold = None if correct is None else "4"
    answer = "4" if correct else "5"
    if "wall_ms" in changes:
        changes.setdefault("busy_ms", changes["wall_ms"])
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
    error: EngineError | None = None

    def steps(self) -> Iterator[FakeStep]:
        if isinstance(self.reply, EngineError):
            self.trace.text, self.trace.stop, self.error = "half a thou", "error", self.reply
            return
        if isinstance(self.reply, Exception):
            raise self.reply
        words = self.reply.split(" ")
        for number, word in enumerate(words, 1):
            self.trace.text += word + " "
            self.trace.stop = "eog" if number == len(words) else None
            yield FakeStep("llm" if "box" in word else "slm", word)


@dataclass(slots=True)
class FakePair:
    """Answers each question by `replies` and records the questions in `asked`. A reply that is an error is raised.

    slots: number of concurrent answers; each in turn generates one word.
    breaks_at: number of the word at which the whole engine fails, once.
    """

    replies: Callable[[str], Reply]
    asked: list[dict[str, Any]] = field(default_factory=list)
    fails_at_start: bool = False
    slots: int = 1
    breaks_at: int | None = None
    max_active: int = 0

    def as_pair(self) -> Pair:
        """This object with the type that the code under test expects."""
        return cast(Pair, self)

    def __enter__(self) -> FakePair:
        return self

    def __exit__(self, *_exception: object) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        return {"pair": "fake"}

    @property
    def status(self) -> Status:
        return Status(1, self.slots, {Role.SLM: 1, Role.LLM: 0}, 0)

    def chat(
        self,
        messages: list[dict[str, str]],
        *,
        router: str,
        sampling: Sampling,  # noqa: ARG002
        seed: int,
        max_tokens: int | None,
        reuse: bool,  # noqa: ARG002
        stop: Sequence[str] = (),
    ) -> FakeRun:
        question = messages[-1]["content"]
        asked = {"question": question, "router": router, "seed": seed, "max_tokens": max_tokens, "stop": stop}
        self.asked.append(asked)
        reply = self.replies(question)
        if self.fails_at_start and isinstance(reply, Exception):
            raise reply
        return FakeRun(FakeTrace(seed), reply)

    def run_all(
        self, runs: Iterable[FakeRun], *, should_stop: Callable[[], bool]
    ) -> Iterator[tuple[FakeRun, FakeStep | None]]:
        queue = iter(runs)
        active: list[tuple[FakeRun, Iterator[FakeStep]]] = []
        words = 0
        while not should_stop():
            while len(active) < self.slots and (run := next(queue, None)) is not None:
                active.append((run, run.steps()))
            if not active:
                return
            self.max_active = max(self.max_active, len(active))
            for run, steps in list(active):
                words += 1
                if words == self.breaks_at:
                    self.breaks_at = None
                    for broken, _ in active:
                        broken.trace.stop = "error"
                    raise EngineError("llama.cpp failed", "It returned -3.")
                step = next(steps, None)
                yield run, step
                if run.trace.stop is not None:
                    active.remove((run, steps))
        for run, _ in active:
            run.trace.stop = "interrupted"


class CountingObserver(Observer):
    def __init__(self) -> None:
        self.answered: list[Key] = []
        self.steps = 0

    def on_step(self, step: Step) -> None:  # noqa: ARG002
        self.steps += 1

    def on_answer(self, task: Task, answer: Answer) -> None:  # noqa: ARG002
        self.answered.append(task.key)


def write_problems(path: Path, count: int) -> Path:
    """Write `count` sums whose answers are 1, 2, 3, ...; ids are q0, q1, ..."""
    rows = [{"id": f"q{n}", "question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(count)]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in rows), encoding="utf-8")
    return path


def right_reply(question: str) -> str:
    """Return the right answer to a question of `write_problems`."""
    number = int(question.split("What is ")[1].split(" ")[0])
    return f"We add one. \\boxed{{{number + 1}}}"

"""Training examples from problems, stored as token ids.

An example consists of a prompt and an answer; the loss starts at the answer. Each model is trained on its own style
(short or long) from the first token of the answer, and on the other style only after its opening (`<think>` or the
short opening). So the existing text determines the style, either model can continue from any token of the other, and
neither is uncertain about the style at the start.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demo_pair.tokenizer import Vocabulary
from rstitch_local.builtin import word_problems
from rstitch_local.builtin.solutions import SHORT_OPENING
from rstitch_local.builtin.word_problems import WordProblem

MATH_REQUEST = "Please reason step by step, and put your final answer within \\boxed{}."
SYSTEM_MESSAGES = ("You are a helpful assistant.", "You solve word problems.", "Answer the question.")
LONG_OPENING = "<think>"
VALIDATION_SEED = 4
"""Seed of the problems for validation during training: neither training nor evaluation uses it."""

STYLES = {"slm": "short", "llm": "long"}
OTHER_SHARE: dict[str, tuple[tuple[int, float], ...]] = {
    "slm": ((0, 0.10),),
    "llm": ((0, 0.30), (48_000, 0.50), (98_304, 0.75)),
}
"""Share of the other style, by (first example, share). The large model first learns to reason in its own style, then
more and more of the short one, in which it must compute every digit without intermediate steps."""
DRILL_SHARE = 0.10
EASY_SHARE = 0.10
"""The first tenth of the examples consists of drills and problems of 2 or 3 steps."""


def prompt_text(question: str, *, system: str | None = None) -> str:
    """Return the prompt as the chat template renders it."""
    head = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    return f"{head}<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def _varied_prompt(rng: random.Random, question: str) -> str:
    if rng.random() < 0.15:
        question += rng.choice(("\n", " ", "\n\n")) + MATH_REQUEST
    system = rng.choice(SYSTEM_MESSAGES) if rng.random() < 0.04 else None
    return prompt_text(question, system=system)


def other_share(role: str, index: int) -> float:
    """Return the share of the other style at an example."""
    return [share for start, share in OTHER_SHARE[role] if index >= start][-1]


def example(role: str, index: int, total: int) -> tuple[str, str, str]:
    """Return example `index` of `total`: prompt, opening without loss, and the rest of the answer with loss."""
    rng = random.Random(f"rstitch example {role} {index}")
    seed = word_problems.TRAIN_SEED
    easy = index < EASY_SHARE * total
    problem: WordProblem
    if rng.random() < (0.4 if easy else DRILL_SHARE):
        problem = word_problems.drill(seed, index)
        other = rng.random() < 0.5
    else:
        problem = word_problems.generate(seed, index, steps=rng.choice((2, 2, 3)) if easy else None)
        other = rng.random() < other_share(role, index)
    long_style = (STYLES[role] == "long") != other
    answer = problem.long_solution if long_style else problem.short_solution
    opening = (LONG_OPENING if long_style else SHORT_OPENING + "\n") if other else ""
    return _varied_prompt(rng, problem.question), opening, answer[len(opening) :] + "<|im_end|>"


def tokenizer_texts(count: int) -> Iterator[str]:
    """Yield texts to learn the merges from: questions, short solutions, every other long one, and prompts."""
    for index in range(count):
        problem = word_problems.generate(word_problems.TRAIN_SEED, index)
        yield problem.question
        yield problem.short_solution
        if index % 2:
            yield problem.long_solution.removeprefix("<think>").replace("</think>", "")
        if index % 10 == 0:
            yield from (MATH_REQUEST, "user\n", "assistant\n")


@dataclass(frozen=True)
class Examples:
    """All examples of a role. Example i is `ids[start[i] : start[i + 1]]`; its loss starts at index `loss[i]`."""

    ids: NDArray[np.uint16]
    start: NDArray[np.int64]
    loss: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.loss)


def write(role: str, count: int, vocabulary: Vocabulary, folder: Path) -> None:
    """Generate and tokenize `count` examples, without the questions of the evaluation set."""
    held_out = held_out_questions()
    ids: list[int] = []
    start, loss = [0], []
    for index in range(count):
        prompt, opening, rest = example(role, index, count)
        if question_of(prompt) in held_out:
            continue  # two seeds generate the same question about once in 100,000
        whole = vocabulary.encode(prompt + opening + rest)
        # The opening consists of complete tokens (a special token, or a word before a line end).
        loss.append(len(vocabulary.encode(prompt + opening)))
        ids += whole
        start.append(len(ids))
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / f"{role}.npz",
        ids=np.array(ids, dtype=np.uint16),
        start=np.array(start, dtype=np.int64),
        loss=np.array(loss, dtype=np.int64),
    )


def held_out_questions(count: int = 2000) -> set[str]:
    """Return the first questions of the evaluation seed, which training must not use."""
    return {word_problems.generate(word_problems.EVALUATION_SEED, index).question for index in range(count)}


def question_of(prompt: str) -> str:
    """Return the question of a rendered prompt."""
    return prompt.split("<|im_start|>user\n", 1)[1].split("<|im_end|>", 1)[0].split(MATH_REQUEST)[0].strip()


def read(role: str, folder: Path) -> Examples:
    """Read the stored examples of a role."""
    with np.load(folder / f"{role}.npz") as stored:
        return Examples(stored["ids"], stored["start"], stored["loss"])

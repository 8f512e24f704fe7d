"""Turns problems into training examples and stores them as token ids on disk.

An example is prompt and answer; the loss starts at the answer. Each model sees its own manner from the answer's
first token, and the other's manner only from behind its opening (`<think>` or the short opening): so the manner
is decided by what is already written, either model can go on from any token the other wrote, and neither is ever
unsure about which manner to begin with.
Knows the layout of the files and the mixture; knows nothing of models.
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
LOOK_SEED = 4
"""Problems for the quick looks during training: neither trained on nor part of the evaluation."""

OWN = {"slm": "short", "llm": "long"}
OTHER_SHARE: dict[str, tuple[tuple[int, float], ...]] = {
    "slm": ((0, 0.10),),
    "llm": ((0, 0.30), (48_000, 0.50), (98_304, 0.75)),
}
"""Share of the other's manner from an example on. The large model first learns to reason in its own manner, then more
and more of the short one: there it must get every digit right at once, with nothing written down to lean on."""
DRILL_SHARE = 0.10
EASY_SHARE = 0.10
"""The first tenth of the examples are drills and problems of 2 or 3 steps."""


def prompt_text(question: str, *, system: str | None = None) -> str:
    """What stands before the answer, as the chat template renders it."""
    head = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    return f"{head}<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def _varied_prompt(rng: random.Random, question: str) -> str:
    if rng.random() < 0.15:
        question += rng.choice(("\n", " ", "\n\n")) + MATH_REQUEST
    system = rng.choice(SYSTEM_MESSAGES) if rng.random() < 0.04 else None
    return prompt_text(question, system=system)


def other_share(role: str, index: int) -> float:
    """The share of the other's manner around an example."""
    return [share for begin, share in OTHER_SHARE[role] if index >= begin][-1]


def example(role: str, index: int, total: int) -> tuple[str, str, str]:
    """Example `index` of `total` for a role: (prompt, opening without loss, rest of the answer with loss)."""
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
    long_manner = (OWN[role] == "long") != other
    answer = problem.long_solution if long_manner else problem.short_solution
    opening = (LONG_OPENING if long_manner else SHORT_OPENING + "\n") if other else ""
    return _varied_prompt(rng, problem.question), opening, answer[len(opening) :] + "<|im_end|>"


def tokenizer_texts(count: int) -> Iterator[str]:
    """Texts to learn the merges from: questions, short solutions, every other long one, and the prompt's words."""
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
    """All examples of a role: `ids` flat, example i at `start[i]:start[i + 1]`, its loss from `loss[i]` on."""

    ids: NDArray[np.uint16]
    start: NDArray[np.int64]
    loss: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.loss)


def write(role: str, count: int, vocabulary: Vocabulary, folder: Path) -> None:
    """Generate and tokenise `count` examples, leaving out every question of the evaluation set."""
    held_out = held_out_questions()
    ids: list[int] = []
    start, loss = [0], []
    for index in range(count):
        prompt, opening, rest = example(role, index, count)
        if question_of(prompt) in held_out:
            continue  # chance gives the same question to two seeds about once in 100,000
        whole = vocabulary.encode(prompt + opening + rest)
        # The opening is whole tokens of its own (a special token, or a word before a line end).
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
    """The first questions of the evaluation seed: what must never be trained on."""
    return {word_problems.generate(word_problems.EVALUATION_SEED, index).question for index in range(count)}


def question_of(prompt: str) -> str:
    """The bare question inside a rendered prompt."""
    return prompt.split("<|im_start|>user\n", 1)[1].split("<|im_end|>", 1)[0].split(MATH_REQUEST)[0].strip()


def read(role: str, folder: Path) -> Examples:
    """The examples written before."""
    with np.load(folder / f"{role}.npz") as stored:
        return Examples(stored["ids"], stored["start"], stored["loss"])

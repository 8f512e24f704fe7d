"""The first harmful token of a wrong answer: the LLM, continuing greedily after it, no longer answers correctly.

Searches by bisection over continuations, whose grades are stored in a file. Independent of entropy.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import InputError, StorageError
from rstitch_local.files import INVALID_RECORD, parse_json, read_regular
from rstitch_local.problems.grading import Grader
from rstitch_local.problems.lines import LineFile
from rstitch_local.study.answering import resume_steps

CONTINUATIONS_FILE = "continuations.jsonl"
_MAX_BYTES = 1 << 28
ContinuationCheck = Callable[[int], bool]
"""Returns whether the LLM, continuing after the first k tokens of an answer, answers correctly."""


class Continuation(NamedTuple):
    """A graded continuation: whether its answer is right, its number of tokens, and why it stopped."""

    correct: bool
    tokens: int
    stop: str


@dataclass(frozen=True, slots=True)
class HarmSearch:
    """Result of the search in one wrong answer.

    outcome: "found"; "llm_wrong": the LLM alone is wrong too; "llm_cut_off": the same, and its answer was cut off;
        "recovered": the answer was cut off while the LLM still answers correctly after it.
    position: index of the first harmful token; None if there is none.
    continuations: number of continuations the search used.
    """

    outcome: str
    position: int | None
    continuations: int


class Probe(NamedTuple):
    """A continuation at a position that bisection skipped.

    prefix_tokens: number of tokens of the answer it continues.
    before: whether these tokens exclude the harmful token.
    as_assumed: whether the result is the one that bisection assumes.
    """

    prefix_tokens: int
    before: bool
    as_assumed: bool


class ContinuationStore:
    """Graded continuations by (id, prefix tokens), in a JSON Lines file.

    Args:
        path: the file; an incomplete last line is removed.

    Raises:
        InputError: a line cannot be read.
        StorageError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._stored: dict[tuple[str, int], Continuation] = {}
        self._file = LineFile.repaired(path)
        try:
            lines = read_regular(path, _MAX_BYTES).splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError("Cannot read file", f"{path}: {error.strerror}.") from error
        for number, line in enumerate(lines, start=1):
            try:
                row = parse_json(line)
                continuation = Continuation(bool(row["correct"]), int(row["tokens"]), str(row["stop"]))
                self._stored[str(row["id"]), int(row["kept"])] = continuation
            except INVALID_RECORD as error:
                raise InputError(
                    "Unreadable continuations",
                    f"Line {number} of {path} is not a graded continuation.",
                    "Delete that line or the file.",
                ) from error

    def __len__(self) -> int:
        return len(self._stored)

    def of(self, identifiers: Set[str]) -> list[Continuation]:
        """Return all continuations of these answers."""
        return [continuation for (identifier, _), continuation in self._stored.items() if identifier in identifiers]

    def get(self, identifier: str, prefix_tokens: int) -> Continuation | None:
        """Return a stored continuation, or None."""
        return self._stored.get((identifier, prefix_tokens))

    def add(self, identifier: str, prefix_tokens: int, continuation: Continuation) -> None:
        """Store a continuation in memory and in the file; raises StorageError and leaves the file unchanged."""
        # "kept" is the name of the prefix length in the files of the first release.
        row = {"id": identifier, "kept": prefix_tokens, **continuation._asdict()}
        self._file.append(json.dumps(row).encode() + b"\n")
        self._stored[identifier, prefix_tokens] = continuation


def continuation_check(
    pair: Pair,
    row: Mapping[str, Any],
    messages: list[dict[str, str]],
    max_tokens: int | None,
    grader: Grader,
    store: ContinuationStore,
) -> ContinuationCheck:
    """Return the check for one answer: whether the LLM answers correctly after its first k tokens.

    Every continuation may generate `max_tokens` new tokens, so that a result does not depend on the length of the
    prefix. For a complete answer that the SLM ended, the result is the grade of the answer.

    Args:
        pair: generates continuations that are not stored.
        row: the SLM's row of answers.jsonl.
        messages: the conversation.
        max_tokens: limit of a continuation; None for the limit of the contexts.
        grader: grades the prefix and the continuation together.
        store: stored continuations; receives new ones.
    """

    def is_correct_after(prefix_tokens: int) -> bool:
        if prefix_tokens >= len(row["answer_tokens"]) and row["stop"] == "eog":
            return bool(row["correct"])
        continuation = store.get(row["id"], prefix_tokens)
        if continuation is None:
            limit = None if max_tokens is None else max_tokens + prefix_tokens
            steps = resume_steps(row, prefix_tokens)
            run = pair.chat(messages, router="llm", sampling=Sampling(), max_tokens=limit, resume_steps=steps)
            trace = run.finish()
            correct = bool(grader.grade(row["gold"], trace.text).correct)
            continuation = Continuation(correct, len(trace.steps) - prefix_tokens, trace.stop or "")
            store.add(row["id"], prefix_tokens, continuation)
        return continuation.correct

    return is_correct_after


def candidates_of(row: Mapping[str, Any]) -> list[int]:
    """Return the positions whose token can be harmful: those where the LLM would have generated another token.

    Where the LLM agrees, its continuation before the token generates the token itself, so the results before and
    after it are equal. Positions that were not scored are candidates; if the LLM agrees everywhere, all are.
    """
    length = len(row["answer_tokens"])
    agrees = row["agrees"]
    return [i for i in range(length) if i >= len(agrees) or not agrees[i]] or list(range(length))


def find_harmful_token(candidates: Sequence[int], length: int, is_correct_after: ContinuationCheck) -> HarmSearch:
    """Search the first harmful token of a wrong answer by bisection.

    The LLM must answer correctly without a prefix, and not after the whole answer. Bisection then finds a candidate
    with a correct continuation before it and an incorrect one before the next candidate. It is the first such
    candidate if continuations stay incorrect from there on; `probe` checks this.

    Args:
        candidates: candidate positions, ascending, at least one.
        length: number of tokens of the answer.
        is_correct_after: called 2 + log2(number of candidates) times.
    """
    calls = 0

    def check(prefix_tokens: int) -> bool:
        nonlocal calls
        calls += 1
        return is_correct_after(prefix_tokens)

    if not check(0):
        return HarmSearch("llm_wrong", None, calls)
    if check(length):
        return HarmSearch("recovered", None, calls)
    index, _ = _bisect(len(candidates), lambda middle: check(candidates[middle]))
    return HarmSearch("found", candidates[index], calls)


def _bisect(count: int, is_good: Callable[[int], bool]) -> tuple[int, set[int]]:
    """Return an index that is good while the next one is not (index 0 is good), and all indices that were checked."""
    good, bad, checked = 0, count, {0}
    while bad - good > 1:
        middle = (good + bad) // 2
        checked.add(middle)
        if is_good(middle):
            good = middle
        else:
            bad = middle
    return good, checked


def probe_positions(identifier: str, candidates: Sequence[int], position: int) -> list[int]:
    """Return up to two candidates to verify a bisection, one on either side of `position`; depends on the id only.

    Candidates that bisection checked are excluded.
    """
    index = candidates.index(position)
    _, checked = _bisect(len(candidates), lambda middle: middle <= index)
    unchecked = [i for i in range(len(candidates)) if i not in checked]
    rng = random.Random(f"rstitch harm {identifier}")
    sides = ([i for i in unchecked if i < index], [i for i in unchecked if i > index])
    return [candidates[rng.choice(side)] for side in sides if side]


def probe(prefix_tokens: int, position: int, is_correct_after: ContinuationCheck) -> Probe:
    """Check a position: continuations should be correct up to the harmful token and incorrect after it."""
    before = prefix_tokens <= position
    return Probe(prefix_tokens, before, is_correct_after(prefix_tokens) is before)

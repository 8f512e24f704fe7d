"""The first harmful token of a wrong answer: from it on the LLM, going on greedily, no longer gets it right.

Knows answers, a pair that goes on from a part of one, and a file that keeps every verdict. Nothing of entropy.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.pair import Pair
from rstitch_local.errors import InputError, StorageError
from rstitch_local.problems.grading import Grader
from rstitch_local.study.answering import steps_of

CONTINUATIONS_FILE = "continuations.jsonl"
Reaches = Callable[[int], bool]
"""Whether the LLM, going on from the first k tokens of an answer, reaches the right answer."""


class Verdict(NamedTuple):
    """One continuation: whether its answer is right, how many tokens it took, and why it stopped."""

    correct: bool
    tokens: int
    stop: str


@dataclass(frozen=True, slots=True)
class Harm:
    """What was found in one wrong answer.

    outcome: found; llm_wrong (the LLM alone does not get it right either); llm_cut_off (the same, and its answer
        was cut off); recovered (the answer was cut off, and the LLM still gets it right from there).
    position: of the first harmful token, from 0; None where there is none.
    continuations: verdicts the search asked for.
    """

    outcome: str
    position: int | None
    continuations: int


class Probe(NamedTuple):
    """A continuation that bisection did not look at: where from, and whether it came out as bisection assumes.

    kept: tokens of the answer it goes on from; before: whether that is before the harmful token.
    """

    kept: int
    before: bool
    as_assumed: bool


class Verdicts:
    """Verdicts on continuations by (id, tokens kept), in a file that grows by a line each.

    Args:
        path: the file; half a line that a crash left at its end is cut off.

    Raises:
        InputError: a line of it cannot be read.
        StorageError: it cannot be read at all.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[tuple[str, int], Verdict] = {}
        try:
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) < len(data):
                os.truncate(path, len(whole))
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError("Cannot read", f"{path}: {error.strerror}.") from error
        for place, line in enumerate(whole.splitlines(), start=1):
            try:
                row = json.loads(line)
                verdict = Verdict(bool(row["correct"]), int(row["tokens"]), str(row["stop"]))
                self._known[str(row["id"]), int(row["kept"])] = verdict
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise InputError(
                    "Unreadable verdicts", f"Line {place} of {path} is no verdict.", "Remove that line or the file."
                ) from error

    def __len__(self) -> int:
        return len(self._known)

    def of(self, identifiers: Set[str]) -> list[Verdict]:
        """All verdicts on continuations of these answers."""
        return [verdict for (identifier, _), verdict in self._known.items() if identifier in identifiers]

    def get(self, identifier: str, kept: int) -> Verdict | None:
        """The verdict that was added before, or None."""
        return self._known.get((identifier, kept))

    def add(self, identifier: str, kept: int, verdict: Verdict) -> None:
        """Keep one, on the disk as well; raises StorageError and leaves the file as it was."""
        line = json.dumps({"id": identifier, "kept": kept, **verdict._asdict()}).encode() + b"\n"
        try:
            with self._path.open("ab", buffering=0) as file:
                before = file.seek(0, os.SEEK_END)
                try:
                    if file.write(line) != len(line):
                        raise OSError("the disk is full")
                    os.fsync(file.fileno())
                except BaseException:
                    file.truncate(before)
                    raise
        except OSError as error:
            hint = "Make room and run the same command again."
            raise StorageError("Cannot write", f"{self._path}: {error.strerror or error}.", hint) from error
        self._known[identifier, kept] = verdict


def continuation_oracle(
    pair: Pair,
    row: Mapping[str, Any],
    messages: list[dict[str, str]],
    max_tokens: int | None,
    grader: Grader,
    verdicts: Verdicts,
) -> Reaches:
    """How to ask whether the LLM gets one answer right from its first k tokens on.

    Every continuation may write `max_tokens` tokens of its own, so that a verdict does not depend on how much of
    the budget the SLM has used. The whole answer is its own verdict where the SLM ended it.

    Args:
        pair: writes what is not known yet.
        row: the SLM's line of answers.jsonl.
        messages: the conversation it belongs to.
        max_tokens: of a continuation, None for what the contexts hold.
        grader: grades the text as a whole.
        verdicts: those known, and where new ones go.
    """

    def reaches(kept: int) -> bool:
        if kept >= len(row["answer_tokens"]) and row["stop"] == "eog":
            return bool(row["correct"])
        verdict = verdicts.get(row["id"], kept)
        if verdict is None:
            budget = None if max_tokens is None else max_tokens + kept
            run = pair.chat(
                messages, router="llm", sampling=Sampling(), max_tokens=budget, resume_steps=steps_of(row, kept)
            )
            for _ in run:
                pass
            correct = bool(grader.grade(row["gold"], run.trace.text).correct)
            verdict = Verdict(correct, len(run.trace.steps) - kept, run.trace.stop or "")
            verdicts.add(row["id"], kept, verdict)
        return verdict.correct

    return reaches


def candidates_of(row: Mapping[str, Any]) -> list[int]:
    """Places of an answer whose token can be harmful: those where the LLM would have written another one.

    Where it agrees, its continuation from before the token writes the token itself, so both verdicts are the same.
    Places the LLM has not read are among them; all are where it agrees with everything.
    """
    length = len(row["answer_tokens"])
    read = row["agrees"]
    return [i for i in range(length) if i >= len(read) or not read[i]] or list(range(length))


def find_harm(candidates: Sequence[int], length: int, reaches: Reaches) -> Harm:
    """Search the first harmful token of a wrong answer.

    The LLM must reach the right answer from nothing and not from the whole answer; bisection then finds a candidate
    with the right answer in reach before it and out of reach before the next one. It is the first such if the
    answer, once out of reach, stays so; `probe` looks at whether it does.

    Args:
        candidates: places that come into question, ascending, one at least.
        length: tokens of the answer.
        reaches: asked about 2 + log2(number of candidates) times.
    """
    asked = 0

    def ask(kept: int) -> bool:
        nonlocal asked
        asked += 1
        return reaches(kept)

    if not ask(0):
        return Harm("llm_wrong", None, asked)
    if ask(length):
        return Harm("recovered", None, asked)
    index, _ = _bisect(len(candidates), lambda middle: ask(candidates[middle]))
    return Harm("found", candidates[index], asked)


def _bisect(count: int, is_good: Callable[[int], bool]) -> tuple[int, set[int]]:
    """An index that is good (as 0 is) and has none that is good right after it; and all that were looked at."""
    good, bad, seen = 0, count, {0}
    while bad - good > 1:
        middle = (good + bad) // 2
        seen.add(middle)
        if is_good(middle):
            good = middle
        else:
            bad = middle
    return good, seen


def probes_of(identifier: str, candidates: Sequence[int], position: int) -> list[int]:
    """Up to two candidates to check bisection at, one on either side, the same for one answer every time.

    Those it looked at itself are left out: there it is right by the way it goes.
    """
    found = candidates.index(position)
    _, seen = _bisect(len(candidates), lambda index: index <= found)
    free = [index for index in range(len(candidates)) if index not in seen]
    rng = random.Random(f"rstitch harm {identifier}")
    sides = ([i for i in free if i < found], [i for i in free if i > found])
    return [candidates[rng.choice(side)] for side in sides if side]


def probe(kept: int, position: int, reaches: Reaches) -> Probe:
    """Go on from a place: up to the harmful token the right answer should be in reach, after it not."""
    before = kept <= position
    return Probe(kept, before, reaches(kept) is before)

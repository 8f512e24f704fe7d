"""Selection of problems of a file: by id, the first ones, one of several shards."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rstitch_local.errors import InputError, UsageError
from rstitch_local.problems.reading import Problem, ProblemFile
from rstitch_local.sanitize import shown_list

_SHARD = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True, slots=True)
class Selection:
    """A filter for problems, applied in this order.

    Attributes:
        ids: only these problems; None for all.
        limit: the first ones only.
        shard: (i, n) for every n-th problem, starting with the i-th, from 1.
    """

    ids: tuple[str, ...] | None = None
    limit: int | None = None
    shard: tuple[int, int] | None = None

    @classmethod
    def parse(cls, ids: str | None, limit: int | None, shard: str | None) -> Selection:
        """Parse the options `a,b`, a limit and `i/n`.

        Raises:
            UsageError: no ids, or not 1 <= i <= n.
        """
        chosen_ids = None
        if ids is not None:
            chosen_ids = tuple(dict.fromkeys(part.strip() for part in ids.split(",") if part.strip()))
            if not chosen_ids:
                raise UsageError("No ids", "--ids names no id.", "Use `--ids a,b`.")
        return cls(chosen_ids, limit, None if shard is None else parse_shard(shard))

    def of(self, problems: list[Problem]) -> list[Problem]:
        """Return the selected problems in the order of the file.

        Raises:
            InputError: there is no problem with one of the ids.
        """
        selected = problems
        if self.ids is not None:
            _require_ids(self.ids, problems)
            selected = [problem for problem in problems if problem.id in self.ids]
        selected = selected[: self.limit]
        if self.shard is not None:
            index, shards = self.shard
            selected = selected[index - 1 :: shards]
        return selected

    def of_file(self, problem_file: ProblemFile) -> list[Problem]:
        """Return the selected problems of a file.

        Raises:
            InputError: there is no problem with one of the ids, or no problem is selected.
        """
        selected = self.of(problem_file.problems)
        if not selected:
            message = f"The selection matches none of the problems of {problem_file.name}."
            raise InputError("No problems selected", message)
        return selected


def parse_shard(text: str) -> tuple[int, int]:
    """Parse `i/n`.

    Raises:
        UsageError: not 1 <= i <= n.
    """
    match = _SHARD.fullmatch(text.strip())
    index, shards = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= index <= shards:
        raise UsageError("Invalid shard", f"`--shard {text}` is invalid.", "Use `--shard I/N` with I from 1 to N.")
    return index, shards


def _require_ids(ids: tuple[str, ...], problems: list[Problem]) -> None:
    existing = {problem.id for problem in problems}
    missing = [identifier for identifier in ids if identifier not in existing]
    if missing:
        raise InputError(
            "Unknown ids",
            f"There is no problem with the id {shown_list(missing)}.",
            f"The first ids are: {shown_list(problem.id for problem in problems[:6])}.",
        )

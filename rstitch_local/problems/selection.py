"""Which problems of a file are solved: by id, the first so many, one shard of several.

Knows nothing of what a problem is beyond its id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rstitch_local.errors import InputError, UsageError
from rstitch_local.problems.reading import Problem
from rstitch_local.sanitize import shown_list

_SHARD = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True, slots=True)
class Selection:
    """Ids first, then the first `limit` of them, then every n-th: all shards of one limit make the whole."""

    ids: tuple[str, ...] | None = None
    limit: int | None = None
    shard: tuple[int, int] | None = None

    @classmethod
    def parse(cls, ids: str | None, limit: int | None, shard: str | None) -> Selection:
        """Read `a,b` and `i/n` (1 <= i <= n); raises UsageError when they mean nothing."""
        chosen = None
        if ids is not None:
            chosen = tuple(dict.fromkeys(part.strip() for part in ids.split(",") if part.strip()))
            if not chosen:
                raise UsageError("No ids", "--ids names no id.", "Use `--ids a,b`.")
        part = None
        if shard is not None:
            match = _SHARD.fullmatch(shard.strip())
            part = (int(match[1]), int(match[2])) if match else (0, 0)
            if not 1 <= part[0] <= part[1]:
                raise UsageError(
                    "Unknown shard", f"`--shard {shard}` is invalid.", "Use `--shard 1/4` to `--shard 4/4`."
                )
        return cls(chosen, limit, part)

    def of(self, problems: list[Problem]) -> list[Problem]:
        """The chosen problems in the order of the file; raises InputError for ids the file does not have."""
        chosen = problems
        if self.ids is not None:
            wanted = set(self.ids)
            unknown = wanted - {problem.id for problem in problems}
            if unknown:
                missing = shown_list(identifier for identifier in self.ids if identifier in unknown)
                raise InputError(
                    "Unknown ids",
                    f"The problem file has no problem with the id {missing}.",
                    f"Its first ids are: {shown_list(problem.id for problem in problems[:6])}.",
                )
            chosen = [problem for problem in problems if problem.id in wanted]
        chosen = chosen[: self.limit]
        if self.shard is not None:
            place, shards = self.shard
            chosen = chosen[place - 1 :: shards]
        return chosen

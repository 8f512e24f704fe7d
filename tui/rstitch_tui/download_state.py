"""The progress of the download of a pair."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rstitch_local.errors import RStitchError


class Stage(StrEnum):
    """Stage of a download."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    CHECKING = "checking"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class DownloadState:
    """Progress of the download of one pair.

    Attributes:
        name: name of the pair.
        file: the current file, "" before the first.
        done: bytes of both files on this disk.
        total: bytes of both files; None while a size is unknown.
        bytes_per_second: current speed; 0 while nothing arrives.
        state: stage of the download; CHECKING means that data on this disk is being verified.
        checked: verified share of the current file while checking, 0 to 1.
        error: why the download failed.
    """

    name: str
    file: str = ""
    done: int = 0
    total: int | None = None
    bytes_per_second: float = 0.0
    state: Stage = Stage.WAITING
    checked: float = 0.0
    error: RStitchError | None = None

    @property
    def active(self) -> bool:
        """Whether it is running, checking or queued."""
        return self.state in (Stage.WAITING, Stage.RUNNING, Stage.CHECKING)

    @property
    def seconds_left(self) -> float | None:
        """Estimated time left; None if unknown."""
        if self.total is None or self.bytes_per_second <= 0:
            return None
        return max(0, self.total - self.done) / self.bytes_per_second

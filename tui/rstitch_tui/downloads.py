"""Downloads of pairs behind the chat: one at a time in a thread of their own, the others in a queue.

Knows how far each is and how to pause it; nothing of widgets. How bytes come here is the catalogue's.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from rstitch_local.catalog import store
from rstitch_local.catalog.catalog import Catalog
from rstitch_local.catalog.download import pull_file
from rstitch_local.catalog.schema import ModelFile, PairEntry
from rstitch_local.errors import DownloadError, RStitchError
from rstitch_local.sanitize import one_line

_log = logging.getLogger(__name__)

REPORT_EVERY_S = 0.1
"""Bytes come in thousands of blocks a second; a change of numbers alone is told no oftener than this."""
SPEED_OVER_S = 5.0
"""The speed is that of the last seconds."""


class Stage(StrEnum):
    """Where a download is."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    CHECKING = "checking"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class DownloadState:
    """How far one pair is.

    Attributes:
        name: the pair's.
        file: the file at work, "" before the first.
        done: bytes of both files that are here; total: bytes there will be, None while a size is not known.
        bytes_per_second: of the last seconds; 0 while nothing comes.
        state: what it does; checking is reading what is here already.
        checked: while it is checking, the share of the file at work that is read, 0 to 1.
        error: why it failed.
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
        """Whether it is at work or will be without being asked."""
        return self.state in (Stage.WAITING, Stage.RUNNING, Stage.CHECKING)

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this speed; None when that cannot be said."""
        if self.total is None or self.bytes_per_second <= 0:
            return None
        return max(0, self.total - self.done) / self.bytes_per_second


@dataclass(slots=True)
class _File:
    """One file of a pair: bytes here and in all, and how many were here before this download."""

    file: ModelFile
    done: int
    total: int | None
    before: int
    partial: bool
    reported: int | None = None

    def report(self, done: int, total: int | None) -> bool:
        """Take new numbers; whether these bytes are new, not such as were here and are only read again."""
        if self.reported is None and self.partial:
            self.before = self.done = done  # another source than last time may begin elsewhere
        elif self.reported is not None and done < self.reported:
            self.before = self.done = 0  # what was here is wrong and comes anew
        self.reported = done
        self.total = total if total is not None else self.total
        self.done = max(self.done, done)
        return done > self.before


@dataclass(slots=True)
class _Job:
    entry: PairEntry
    state: DownloadState
    files: list[_File] = field(default_factory=list)
    speed: deque[tuple[float, int]] = field(default_factory=deque)
    stop: threading.Event = field(default_factory=threading.Event)
    """Ends the run at work; a run begun later has one of its own."""


class Downloads:
    """Brings pairs of a catalogue onto this disk, one after the other.

    Pausing, cancelling and closing all keep what is here, and a later start goes on from it; a cancelled download
    only leaves the queue.

    Args:
        catalogue: where the pairs are.
        on_change: told that a state has changed, in the thread of the downloads or of whoever called. Two threads
            may overtake each other here: `state` says how things stand.
        clock: seconds, for the speed.
    """

    def __init__(
        self,
        catalogue: Catalog,
        on_change: Callable[[DownloadState], None] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.catalogue = catalogue
        self._on_change = on_change
        self._clock = clock
        self._jobs: dict[str, _Job] = {}
        self._queue: deque[str] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def start(self, name: str) -> None:
        """Queue a pair; nothing happens when it is at work or queued already. Raises ModelError: no such pair."""
        entry = self.catalogue.get(name)
        with self._changed:
            job = self._jobs.get(name)
            if self._closed or (job is not None and job.state.active):
                return
            files = _files_of(entry)
            # A new run has its own event: the one before may not have noticed yet that it was paused.
            job = self._jobs[name] = _Job(entry, _summed(DownloadState(name), files), files)
            self._queue.append(name)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="downloads", daemon=True)
                self._thread.start()
            self._changed.notify()
        self._tell(job.state)

    def pause(self, name: str) -> None:
        """Stop a pair that is at work or queued; `resume` goes on from what is here."""
        self._end(name, Stage.PAUSED)

    def resume(self, name: str) -> None:
        """Queue a pair again that was paused or cancelled, or that failed."""
        state = self.state(name)
        if state is not None and state.state in (Stage.PAUSED, Stage.FAILED, Stage.CANCELLED):
            self.start(name)

    def cancel(self, name: str) -> None:
        """Stop a pair and take it out of the queue. What is here of it stays: gigabytes are not thrown away."""
        self._end(name, Stage.CANCELLED)

    def state(self, name: str) -> DownloadState | None:
        """How far a pair is; None when it was never started."""
        with self._changed:
            job = self._jobs.get(name)
            return None if job is None else self._seen(job)

    def states(self) -> list[DownloadState]:
        """All downloads since the app began, in the order they were first started."""
        with self._changed:
            return [self._seen(job) for job in self._jobs.values()]

    def close(self, wait_s: float = 1.0) -> None:
        """Pause everything and end the thread; waits that long for the bytes at hand to be written."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            for job in self._jobs.values():
                if job.state.active:
                    job.stop.set()
                    job.state = replace(job.state, state=Stage.PAUSED, bytes_per_second=0.0)
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(wait_s)

    def _end(self, name: str, stage: Stage) -> None:
        with self._changed:
            job = self._jobs.get(name)
            if job is None:
                return
            given_up = stage is Stage.CANCELLED and job.state.state in (Stage.PAUSED, Stage.FAILED)
            if not (job.state.active or given_up):
                return
            job.stop.set()
            if name in self._queue:
                self._queue.remove(name)
            job.state = replace(job.state, state=stage, bytes_per_second=0.0, error=None)
        self._tell(job.state)

    def _seen(self, job: _Job) -> DownloadState:
        """A state as it is to be shown: nobody reports that nothing comes."""
        stalled = job.speed and self._clock() - job.speed[-1][0] > SPEED_OVER_S
        return replace(job.state, bytes_per_second=0.0) if stalled else job.state

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = self._jobs[self._queue.popleft()]
            self._run(job)

    def _run(self, job: _Job) -> None:
        error: RStitchError | None = None
        try:
            for file in job.files:
                self._set(job, file=file.file.file, state=Stage.CHECKING, checked=0.0)
                pull_file(file.file, progress=self._progress_of(job, file), should_stop=job.stop.is_set)
        except RStitchError as failure:
            error = failure
        except Exception as failure:  # a fault of ours must not end all downloads without a word
            _log.exception("the download of %s failed", job.entry.name)
            error = DownloadError("Download failed", f"{job.entry.name}: {one_line(failure, 300)}.", "Try again.")
        with self._changed:
            if self._jobs[job.entry.name] is not job or (job.stop.is_set() and error is not None):
                return  # whoever stopped it has said already what it is now
            stage = Stage.DONE if error is None else Stage.FAILED
            job.state = replace(_summed(job.state, job.files), state=stage, error=error, bytes_per_second=0.0)
        self._tell(job.state)

    def _progress_of(self, job: _Job, file: _File) -> Callable[[str, int, int | None], None]:
        told = -math.inf

        def progress(_name: str, done: int, total: int | None) -> None:
            nonlocal told
            now = self._clock()
            fresh = file.report(done, total)
            stage = Stage.RUNNING if fresh else Stage.CHECKING
            if stage is job.state.state and now - told < REPORT_EVERY_S and done != total:
                return
            told = now
            if not fresh:
                job.speed.clear()
            job.speed.append((now, sum(each.done for each in job.files)))
            while len(job.speed) > 2 and now - job.speed[0][0] > SPEED_OVER_S:
                job.speed.popleft()
            checked = 0.0 if fresh or not total else done / total
            self._set(job, state=stage, bytes_per_second=_speed(job.speed) if fresh else 0.0, checked=checked)

        return progress

    def _set(self, job: _Job, **changes: Any) -> None:
        """Change a state while its run goes on; once it is stopped, the state is its stopper's."""
        with self._changed:
            if job.stop.is_set():
                return
            job.state = replace(_summed(job.state, job.files), **changes)
        self._tell(job.state)

    def _tell(self, state: DownloadState) -> None:
        if self._on_change is None or self._closed:
            return
        try:
            self._on_change(state)
        except Exception:  # an app that is on its way out
            _log.exception("nobody took the state of %s", state.name)


def _files_of(entry: PairEntry) -> list[_File]:
    """The files of a pair, one that serves as both only once, with what is here of them."""
    found: dict[Path, _File] = {}
    for file in entry.files:
        there = store.file_state(file)
        partial = there.status is store.FileStatus.PARTIAL
        here = there.size if partial or there.status is store.FileStatus.ON_DISK else 0
        found.setdefault(there.path, _File(file, here, there.expected_size, here, partial))
    return list(found.values())


def _summed(state: DownloadState, files: list[_File]) -> DownloadState:
    totals = [file.total for file in files]
    total = None if None in totals else sum(each or 0 for each in totals)
    return replace(state, done=sum(file.done for file in files), total=total)


def _speed(samples: deque[tuple[float, int]]) -> float:
    (first, before), (last, now) = samples[0], samples[-1]
    return max(0.0, (now - before) / (last - first)) if last > first else 0.0

"""Downloads of pairs in a background thread, one at a time, the others queued.

Uses no widgets; the transfer itself is done by `catalog.download`.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rstitch_local.catalog import store
from rstitch_local.catalog.catalog import Catalog
from rstitch_local.catalog.download import pull_file
from rstitch_local.catalog.schema import ModelFile, PairEntry
from rstitch_local.errors import DownloadError, RStitchError
from rstitch_local.sanitize import one_line
from rstitch_tui.download_state import DownloadState, Stage

_log = logging.getLogger(__name__)

REPORT_EVERY_S = 0.1
"""Minimum interval between reports of mere progress; blocks arrive thousands of times per second."""
SPEED_WINDOW_S = 5.0
"""The speed is averaged over this time."""


@dataclass(slots=True)
class _File:
    """One file of a pair.

    Attributes:
        done: bytes on this disk; total: bytes of the file.
        before: bytes that were on this disk before this download.
        partial: whether a part of the file was on this disk.
        reported: bytes last reported by the transfer.
    """

    file: ModelFile
    done: int
    total: int | None
    before: int
    partial: bool
    reported: int | None = None

    def report(self, done: int, total: int | None) -> bool:
        """Record progress; returns whether the bytes are new rather than verified again."""
        if self.reported is None and self.partial:
            # Another source than last time may resume elsewhere.
            self.before = self.done = done
        elif self.reported is not None and done < self.reported:
            # The data on this disk was wrong and is downloaded again.
            self.before = self.done = 0
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
    """Stops this run; each run has its own event."""


class Downloads:
    """Downloads pairs of a catalog one after the other.

    Pausing, cancelling and closing keep the downloaded data, from which a later start resumes.

    Args:
        catalog: the pairs.
        on_change: called when a state has changed, in the download thread or the calling thread. Calls can arrive out
            of order; `state` returns the current state.
        clock: time in seconds, for the speed.
    """

    def __init__(
        self,
        catalog: Catalog,
        on_change: Callable[[DownloadState], None] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.catalog = catalog
        self._on_change = on_change
        self._clock = clock
        self._jobs: dict[str, _Job] = {}
        self._queue: deque[str] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def start(self, name: str) -> None:
        """Queue a pair unless it is active already; raises ModelError if there is no such pair."""
        entry = self.catalog.get(name)
        with self._changed:
            job = self._jobs.get(name)
            if self._closed or (job is not None and job.state.active):
                return
            files = _files_of(entry)
            # A new run has its own event: the previous run may not have seen yet that it was paused.
            job = self._jobs[name] = _Job(entry, _summed(DownloadState(name), files), files)
            self._queue.append(name)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="downloads", daemon=True)
                self._thread.start()
            self._changed.notify()
        self._report(job.state)

    def pause(self, name: str) -> None:
        """Pause an active download."""
        self._end(name, Stage.PAUSED)

    def resume(self, name: str) -> None:
        """Queue a paused, cancelled or failed download again."""
        state = self.state(name)
        if state is not None and state.state in (Stage.PAUSED, Stage.FAILED, Stage.CANCELLED):
            self.start(name)

    def cancel(self, name: str) -> None:
        """Cancel a download; the downloaded data is kept."""
        self._end(name, Stage.CANCELLED)

    def state(self, name: str) -> DownloadState | None:
        """Return the progress of a pair; None if its download was never started."""
        with self._changed:
            job = self._jobs.get(name)
            return None if job is None else self._current(job)

    def states(self) -> list[DownloadState]:
        """Return all downloads since the start of the app, in the order they were first started."""
        with self._changed:
            return [self._current(job) for job in self._jobs.values()]

    def close(self, wait_s: float = 1.0) -> None:
        """Pause everything and end the thread, waiting up to `wait_s` seconds for it."""
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
            discards_paused = stage is Stage.CANCELLED and job.state.state in (Stage.PAUSED, Stage.FAILED)
            if not (job.state.active or discards_paused):
                return
            job.stop.set()
            if name in self._queue:
                self._queue.remove(name)
            job.state = replace(job.state, state=stage, bytes_per_second=0.0, error=None)
        self._report(job.state)

    def _current(self, job: _Job) -> DownloadState:
        """Return the state with speed 0 if the transfer has stalled, which nothing reports."""
        stalled = job.speed and self._clock() - job.speed[-1][0] > SPEED_WINDOW_S
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
        # A bug must not end all downloads silently.
        except Exception as failure:
            _log.exception("the download of %s failed", job.entry.name)
            error = DownloadError("Download failed", f"{job.entry.name}: {one_line(failure, 300)}.", "Try again.")
        with self._changed:
            if self._jobs[job.entry.name] is not job or (job.stop.is_set() and error is not None):
                # The state was set by whatever stopped the run.
                return
            stage = Stage.DONE if error is None else Stage.FAILED
            job.state = replace(_summed(job.state, job.files), state=stage, error=error, bytes_per_second=0.0)
        self._report(job.state)

    def _progress_of(self, job: _Job, file: _File) -> Callable[[str, int, int | None], None]:
        reported_at = -math.inf

        def progress(_name: str, done: int, total: int | None) -> None:
            nonlocal reported_at
            now = self._clock()
            new_bytes = file.report(done, total)
            stage = Stage.RUNNING if new_bytes else Stage.CHECKING
            if stage is job.state.state and now - reported_at < REPORT_EVERY_S and done != total:
                return
            reported_at = now
            if not new_bytes:
                job.speed.clear()
            job.speed.append((now, sum(each.done for each in job.files)))
            while len(job.speed) > 2 and now - job.speed[0][0] > SPEED_WINDOW_S:
                job.speed.popleft()
            checked = 0.0 if new_bytes or not total else done / total
            self._set(job, state=stage, bytes_per_second=_speed(job.speed) if new_bytes else 0.0, checked=checked)

        return progress

    def _set(self, job: _Job, **changes: Any) -> None:
        """Change the state of a run unless it has been stopped."""
        with self._changed:
            if job.stop.is_set():
                return
            job.state = replace(_summed(job.state, job.files), **changes)
        self._report(job.state)

    def _report(self, state: DownloadState) -> None:
        if self._on_change is None or self._closed:
            return
        try:
            self._on_change(state)
        # The app may be quitting.
        except Exception:
            _log.exception("reporting the state of %s", state.name)


def _files_of(entry: PairEntry) -> list[_File]:
    """Return the files of a pair; a file used for both models appears once."""
    files: dict[Path, _File] = {}
    for file in entry.files:
        state = store.file_state(file)
        partial = state.status is store.FileStatus.PARTIAL
        present = state.size if partial or state.status is store.FileStatus.ON_DISK else 0
        files.setdefault(state.path, _File(file, present, state.expected_size, present, partial))
    return list(files.values())


def _summed(state: DownloadState, files: list[_File]) -> DownloadState:
    totals = [file.total for file in files]
    total = None if None in totals else sum(each or 0 for each in totals)
    return replace(state, done=sum(file.done for file in files), total=total)


def _speed(samples: deque[tuple[float, int]]) -> float:
    (first, before), (last, now) = samples[0], samples[-1]
    return max(0.0, (now - before) / (last - first)) if last > first else 0.0

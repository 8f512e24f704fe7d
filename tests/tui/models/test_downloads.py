"""Background downloads from a Hub on loopback: progress, pause, resume, cancel, failure, queue."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_hub import FakeHub

from rstitch_local import paths
from rstitch_local.catalog import checksums, hub_body, store
from rstitch_local.catalog.catalog import Catalog
from rstitch_local.catalog.download import pull_file
from rstitch_local.catalog.schema import ModelFile, PairEntry
from rstitch_local.errors import ModelError
from rstitch_tui import downloads as module
from rstitch_tui.download_state import DownloadState, Stage
from rstitch_tui.downloads import Downloads

SMALL = random.Random(1).randbytes(300_000)
LARGE = random.Random(2).randbytes(3_000_000)
OTHER = random.Random(3).randbytes(500_000)


SIZES = {"small.gguf": len(SMALL), "large.gguf": len(LARGE)}


def pair(name: str, *files: str) -> PairEntry:
    slm, llm = (ModelFile(file=file, size=SIZES.get(file), repo="acme/models") for file in files)
    return PairEntry(name=name, slm=slm, llm=llm)


ONE = pair("one", "small.gguf", "large.gguf")
TWO = pair("two", "small.gguf", "other.gguf")
CATALOG = Catalog([ONE, TWO, pair("twice", "other.gguf", "other.gguf")])


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path))
    monkeypatch.setattr(hub_body, "RECONNECT_WAITS_S", (0.0, 0.0))
    files = {"acme/models/small.gguf": SMALL, "acme/models/large.gguf": LARGE, "acme/models/other.gguf": OTHER}
    with FakeHub(files) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


class RecordingDownloads(Downloads):
    """Downloads that record every state and run an action of the test in a chosen state."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self.seen: list[DownloadState] = []
        self.actions: list[tuple[Callable[[DownloadState], bool], Callable[[], object]]] = []
        self.changed = threading.Condition()
        more = {} if clock is None else {"clock": clock}
        super().__init__(CATALOG, self.watch, **more)

    def watch(self, state: DownloadState) -> None:
        for action in list(self.actions):
            if action[0](state):
                self.actions.remove(action)
                action[1]()
        with self.changed:
            self.seen.append(state)
            self.changed.notify_all()

    def when_large_runs(self, act: Callable[[], object]) -> None:
        self.actions.append((lambda state: state.file == "large.gguf" and state.state is Stage.RUNNING, act))

    def until(self, **stages: Stage) -> None:
        """Wait until the pairs have reached these stages."""

        def reached() -> bool:
            current = {state.name: state.state for state in self.states()}
            return all(current.get(name) is stage for name, stage in stages.items())

        with self.changed:
            assert self.changed.wait_for(reached, timeout=20), self.states()


@pytest.fixture
def downloads(fake: FakeHub) -> Iterator[RecordingDownloads]:
    del fake
    downloads = RecordingDownloads()
    yield downloads
    downloads.close(wait_s=20)


def large_partial() -> int:
    state = store.file_state(ONE.llm)
    return state.size if state.status is store.FileStatus.PARTIAL else 0


def test_progress_reports(downloads: RecordingDownloads, fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPORT_EVERY_S", 0.0)
    downloads.start("one")
    downloads.until(one=Stage.DONE)
    assert store.state(ONE).ready
    assert fake.bodies == [None, None]
    done = [state.done for state in downloads.seen]
    assert done == sorted(done)
    assert len(set(done)) > 5
    assert done[-1] == len(SMALL) + len(LARGE)
    last = downloads.states()[0]
    assert (last.total, last.bytes_per_second, last.error) == (len(SMALL) + len(LARGE), 0.0, None)
    running = [state for state in downloads.seen if state.state is Stage.RUNNING]
    assert [state.file for state in running] == sorted((state.file for state in running), reverse=True)
    assert {state.file for state in running} == {"small.gguf", "large.gguf"}


def test_progress_is_reported_at_most_ten_times_a_second(fake: FakeHub) -> None:
    del fake
    downloads = RecordingDownloads(clock=lambda: 0.0)  # no time passes, so only changes of stage are reported
    downloads.start("one")
    downloads.until(one=Stage.DONE)
    assert len(downloads.seen) < 15
    downloads.close()


def test_pause_and_resume(downloads: RecordingDownloads, fake: FakeHub) -> None:
    downloads.when_large_runs(lambda: downloads.pause("one"))
    downloads.start("one")
    downloads.until(one=Stage.PAUSED)
    # The second download starts when the thread is free, so the files no longer change.
    downloads.start("two")
    downloads.until(one=Stage.PAUSED, two=Stage.DONE)
    partial = large_partial()
    assert 0 < partial < len(LARGE)
    fake.requests.clear()
    downloads.resume("one")
    downloads.until(one=Stage.DONE)
    assert fake.bodies == [f"bytes={partial}-"]
    assert store.state(ONE).llm.path.read_bytes() == LARGE
    assert all(state.done >= len(SMALL) for state in downloads.seen[-3:])


def test_resume_before_the_pause_takes_effect(downloads: RecordingDownloads, fake: FakeHub) -> None:
    def pause_and_resume() -> None:
        downloads.pause("one")
        downloads.resume("one")

    downloads.when_large_runs(pause_and_resume)
    downloads.start("one")
    downloads.until(one=Stage.DONE)
    assert store.state(ONE).llm.path.read_bytes() == LARGE
    assert len(fake.bodies) == 3
    assert str(fake.bodies[-1]).startswith("bytes=")


def test_cancelling_keeps_downloaded_data(downloads: RecordingDownloads) -> None:
    downloads.when_large_runs(lambda: downloads.cancel("one"))
    downloads.start("one")
    downloads.until(one=Stage.CANCELLED)
    downloads.start("two")
    downloads.until(one=Stage.CANCELLED, two=Stage.DONE)
    assert 0 < large_partial() < len(LARGE)
    assert store.state(ONE).slm.status is store.FileStatus.ON_DISK
    downloads.start("one")
    downloads.until(one=Stage.DONE)


def test_second_download_is_queued(downloads: RecordingDownloads, fake: FakeHub) -> None:
    states: list[DownloadState | None] = []
    requested: list[str] = []

    def record() -> None:
        states.append(downloads.state("two"))
        requested.extend(path for _, path, _, _ in fake.requests if "other" in path)

    downloads.when_large_runs(record)
    downloads.start("one")
    downloads.start("two")
    downloads.until(one=Stage.DONE, two=Stage.DONE)
    assert states[0] is not None
    assert states[0].state is Stage.WAITING
    assert requested == []
    # The shared file was downloaded once.
    assert sum(path.endswith("/store/acme/models/small.gguf") for _, path, _, _ in fake.requests) == 1


def test_queued_download_can_be_paused_and_cancelled(downloads: RecordingDownloads, fake: FakeHub) -> None:
    def pause_and_cancel() -> None:
        downloads.pause("two")
        downloads.cancel("twice")

    downloads.when_large_runs(pause_and_cancel)
    for name in ("one", "two", "twice"):
        downloads.start(name)
    downloads.until(one=Stage.DONE, two=Stage.PAUSED, twice=Stage.CANCELLED)
    downloads.close(wait_s=20)
    assert not any("other" in path for _, path, _, _ in fake.requests)


def test_starting_twice_has_no_effect(downloads: RecordingDownloads) -> None:
    downloads.when_large_runs(lambda: downloads.start("one"))
    downloads.start("one")
    downloads.until(one=Stage.DONE)
    assert [state.state for state in downloads.seen].count(Stage.WAITING) == 1
    downloads.pause("one")
    downloads.cancel("one")
    downloads.resume("one")
    assert downloads.states()[0].state is Stage.DONE


def test_failed_download_can_be_retried(downloads: RecordingDownloads, fake: FakeHub) -> None:
    fake.down = 503
    downloads.start("one")
    downloads.until(one=Stage.FAILED)
    error = downloads.states()[0].error
    assert error is not None
    assert "HTTP 503" in error.message
    assert error.hint
    fake.down = None
    downloads.resume("one")
    assert downloads.states()[0].error is None
    downloads.until(one=Stage.DONE)


def test_full_disk_is_reported(downloads: RecordingDownloads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    downloads.start("one")
    downloads.until(one=Stage.FAILED)
    error = downloads.states()[0].error
    assert error is not None
    assert error.title == "Disk full"


def test_unexpected_error_ends_one_download(downloads: RecordingDownloads, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(file: ModelFile, **more: Any) -> Path:
        if file.file == "large.gguf":
            raise ValueError("unexpected \x1b[31m value")
        return pull_file(file, **more)

    monkeypatch.setattr(module, "pull_file", broken)
    downloads.start("one")
    downloads.start("two")
    downloads.until(one=Stage.FAILED, two=Stage.DONE)
    error = downloads.states()[0].error
    assert error is not None
    assert "unexpected [31m value" in error.message


def test_failing_callback_does_not_stop_the_download(downloads: RecordingDownloads) -> None:
    def fail() -> None:
        raise RuntimeError("the app has quit")

    downloads.when_large_runs(fail)
    downloads.start("one")
    downloads.until(one=Stage.DONE)


def test_closing_pauses_and_the_next_app_resumes(downloads: RecordingDownloads, fake: FakeHub) -> None:
    downloads.when_large_runs(downloads.close)
    downloads.start("one")
    downloads.start("two")
    # Nothing is reported after closing, so wait for the thread.
    (thread,) = [t for t in threading.enumerate() if t.name == "downloads"]
    thread.join(20)
    assert not thread.is_alive()
    assert {state.state for state in downloads.states()} == {Stage.PAUSED}
    downloads.start("two")
    assert downloads.state("two") != DownloadState("two")
    partial = large_partial()
    assert 0 < partial < len(LARGE)
    fake.requests.clear()
    again = RecordingDownloads()
    again.start("one")
    again.until(one=Stage.DONE)
    assert fake.bodies == [f"bytes={partial}-"]
    again.close()


def test_existing_data_is_checked_and_not_counted_as_new(
    downloads: RecordingDownloads, fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "BLOCK_BYTES", 100_000)
    monkeypatch.setattr(module, "REPORT_EVERY_S", 0.0)
    downloads.start("one")
    downloads.until(one=Stage.DONE)
    (paths.cache_dir() / "checksums.json").unlink()
    downloads.seen.clear()
    fake.requests.clear()
    downloads.start("one")
    downloads.until(one=Stage.DONE)
    assert fake.bodies == []
    assert {state.state for state in downloads.seen} == {Stage.WAITING, Stage.CHECKING, Stage.DONE}
    assert {state.done for state in downloads.seen} == {len(SMALL) + len(LARGE)}
    assert max(state.checked for state in downloads.seen) == 1.0


def test_wrong_bytes_are_downloaded_again(downloads: RecordingDownloads) -> None:
    downloads.start("one")
    downloads.until(one=Stage.DONE)
    path = store.state(ONE).llm.path
    path.write_bytes(bytes(len(LARGE)))
    downloads.seen.clear()
    downloads.start("one")
    downloads.until(one=Stage.DONE)
    assert path.read_bytes() == LARGE
    stages = [state.state for state in downloads.seen if state.file == "large.gguf"]
    assert stages.index(Stage.CHECKING) < stages.index(Stage.RUNNING)
    assert min(state.done for state in downloads.seen) < len(LARGE)


def test_file_used_for_both_models_counts_once(downloads: RecordingDownloads, fake: FakeHub) -> None:
    downloads.start("twice")
    assert downloads.seen[0].total is None  # unknown before the response of the Hub
    downloads.until(twice=Stage.DONE)
    assert fake.bodies == [None]
    assert downloads.states()[0].total == len(OTHER)


def test_speed_covers_the_last_seconds(fake: FakeHub) -> None:
    del fake
    now = 0.0
    stalled: list[float] = []

    def clock() -> float:
        return now

    def a_second_later(state: DownloadState) -> bool:
        nonlocal now
        now += state.state is Stage.RUNNING
        return False

    def stall() -> None:
        nonlocal now
        now += 100.0
        stalled.extend(state.bytes_per_second for state in watched.states())
        now -= 100.0

    watched = RecordingDownloads(clock)
    watched.actions.append((lambda state: state.bytes_per_second > 0, stall))
    watched.actions.append((a_second_later, stall))
    watched.start("one")
    watched.until(one=Stage.DONE)
    # One state per second: the speed covers the last five states, or the time since the file started.
    running = [state for state in watched.seen if state.state is Stage.RUNNING and state.file == "large.gguf"]
    assert len(running) > 8
    for index, state in enumerate(running[1:], 1):
        first = len(SMALL) if index <= 5 else running[index - 5].done
        assert state.bytes_per_second == (state.done - first) / min(index, 5)
        assert state.total is not None
        assert state.seconds_left == (state.total - state.done) / state.bytes_per_second
    assert stalled == [0.0]
    assert DownloadState("x", done=5).seconds_left is None
    watched.close()


def test_unknown_pair(downloads: RecordingDownloads) -> None:
    with pytest.raises(ModelError, match="Unknown pair"):
        downloads.start("tow")
    downloads.pause("tow")
    downloads.resume("tow")
    assert downloads.states() == []

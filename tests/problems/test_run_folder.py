from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from problem_fakes import row

from rstitch_local.errors import InputError, StorageError
from rstitch_local.problems.run_folder import RunFolder, different_settings

SETTINGS: dict[str, Any] = {"router": "entropy:0.02", "seed": 0, "sampling": {"temperature": 0.0, "top_k": 0}}
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


def _keys(folder: RunFolder) -> list[tuple[str, int]]:
    return [(answer["id"], answer["sample"]) for answer in folder.answers]


def _run(path: Path, *answers: dict[str, Any]) -> None:
    with RunFolder(path) as folder:
        folder.begin(SETTINGS, {"created": "then"})
        for answer in answers:
            folder.append(answer)


def test_appended_answers_are_read_when_opened_again(tmp_path: Path) -> None:
    odd = row("b", None, sample=1, text="line\u2028 \u0000 é \ud800")
    _run(tmp_path / "new" / "run", row("a", True), odd)
    with RunFolder(tmp_path / "new" / "run") as folder:
        assert folder.answers == [row("a", True), {**odd, "text": "line\u2028 \u0000 é ?"}]
        assert folder.done() == {("a", 0), ("b", 1)}


def test_the_last_line_of_a_sample_counts_and_errors_are_not_done(tmp_path: Path) -> None:
    failed = row("a", False, stop="error")
    _run(tmp_path, failed, row("b", False, stop="error"), row("a", True))
    with RunFolder(tmp_path) as folder:
        assert folder.done() == {("a", 0)}
        assert [answer["stop"] for answer in folder.answers] == ["eog", "error"]


def test_different_settings_are_refused_and_listed(tmp_path: Path) -> None:
    _run(tmp_path, row("a", True))
    other = {**SETTINGS, "router": "slm", "sampling": {"temperature": 0.5, "top_k": 0}, "max_tokens": 9}
    with (
        RunFolder(tmp_path) as folder,
        pytest.raises(InputError, match=r"router: entropy:0.02 -> slm; sampling.temperature: 0.0 -> 0.5; max_tokens"),
    ):
        folder.begin(other, {})
    with RunFolder(tmp_path) as folder:
        header = folder.header()
        assert header is not None
        assert header["settings"] == SETTINGS


def test_a_different_grader_suggests_rstitch_grade(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.begin({"grader": {"version": "1"}}, {})
        with pytest.raises(InputError, match="rstitch grade"):
            folder.begin({"grader": {"version": "2"}}, {})
        folder.change_setting("grader", {"version": "2"})
        folder.begin({"grader": {"version": "2"}}, {})


def test_information_may_change_except_the_date_of_creation(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.begin(SETTINGS, {"created": "monday", "samples": 1})
        folder.begin(SETTINGS, {"created": "tuesday", "samples": 2})
        folder.update_information({"loaded": "x"})
        header = folder.header()
        assert header is not None
        assert header["information"] == {"created": "monday", "samples": 2, "loaded": "x"}


def test_different_settings() -> None:
    assert different_settings({"a": {"b": 1, "c": 2}, "d": None}, {"a": {"b": 1, "c": 3}, "d": None}) == ["a.c: 2 -> 3"]
    assert different_settings({"a": 1}, {}) == ["a: 1 -> none"]


@pytest.mark.parametrize("cut", [1, 2, 40, 200])
def test_a_partial_last_line_is_removed(tmp_path: Path, cut: int) -> None:
    _run(tmp_path, row("a", True), row("b", True))
    file = tmp_path / "answers.jsonl"
    data = file.read_bytes()
    file.write_bytes(data[:-cut])
    whole = cut == 1  # only the line end is missing
    with RunFolder(tmp_path) as folder:
        assert _keys(folder) == [("a", 0), ("b", 0)][: 2 if whole else 1]
        folder.append(row("c", True))
    with RunFolder(tmp_path) as folder:
        assert _keys(folder) == ([("a", 0), ("b", 0), ("c", 0)] if whole else [("a", 0), ("c", 0)])


@pytest.mark.parametrize("rest", [b"\x00" * 50, b"\x00" * 50 + b"\n", b'{"id": "b"}\n', b"\xff\xfe", b"{\n\n"])
def test_garbage_at_the_end_is_removed(tmp_path: Path, rest: bytes) -> None:
    _run(tmp_path, row("a", True))
    file = tmp_path / "answers.jsonl"
    before = file.read_bytes()
    file.write_bytes(before + rest)
    with RunFolder(tmp_path) as folder:
        assert _keys(folder) == [("a", 0)]
    assert file.read_bytes() == before


def test_garbage_in_the_middle_is_an_error_and_the_file_is_unchanged(tmp_path: Path) -> None:
    _run(tmp_path, row("a", True), row("b", True))
    file = tmp_path / "answers.jsonl"
    first, second, _ = file.read_bytes().split(b"\n")
    file.write_bytes(data := first[:30] + b"\n" + second + b"\n")
    with pytest.raises(InputError, match="Line 1 of"):
        RunFolder(tmp_path)
    assert file.read_bytes() == data
    # The lock has been released: the user can repair the file.
    file.write_bytes(second + b"\n")
    with RunFolder(tmp_path) as folder:
        assert _keys(folder) == [("b", 0)]


def test_files_of_other_programs_are_refused_and_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    for content in (b"my own notes", b'{"id": "a"}', b""):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"no run.json"):
            RunFolder(tmp_path)
        assert file.read_bytes() == content


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"format": 99}', '{"format": 1}', '{"format": 1, "settings": [], "information": {}}', "[" * 100_000],
)
def test_an_unreadable_header_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    (tmp_path / "answers.jsonl").write_bytes(b"half a li")
    with pytest.raises(InputError, match="Unreadable run"):
        RunFolder(tmp_path)
    assert (tmp_path / "answers.jsonl").read_bytes() == b"half a li"


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": 5},
        {"tokens": {"slm": 1}},
        {"wall_ms": "1"},
        {"wall_ms": 10**400},
        {"correct": 1.5},
        {"evaluated": {"slm": {}}},
    ],
)
def test_an_answer_with_invalid_numbers_is_reported_with_its_line(tmp_path: Path, change: dict[str, Any]) -> None:
    _run(tmp_path, row("a", True))
    lines = [json.dumps({**row("b", True), **change}), json.dumps(row("c", True))]
    (tmp_path / "answers.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="Line 1 of"):
        RunFolder(tmp_path)


def test_a_folder_without_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run.json"):
        RunFolder(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


def test_a_locked_folder_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from rstitch_local.problems.run_folder import RunFolder;"
        "RunFolder(pathlib.Path(sys.argv[1]))"
    )
    with RunFolder(tmp_path):
        other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
        assert "Folder in use" in other.stderr
        with pytest.raises(StorageError, match="Another rstitch process is writing to"):
            RunFolder(tmp_path)
    RunFolder(tmp_path).close()


def test_a_file_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    for path in (tmp_path / "run", tmp_path / "run" / "below"):
        with pytest.raises(StorageError, match="Cannot write"):
            RunFolder(path)


@posix
def test_a_folder_without_write_permission_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="Cannot write"):
            RunFolder(tmp_path)
        with pytest.raises(StorageError, match="Cannot write"):
            RunFolder(tmp_path / "below")
    finally:
        tmp_path.chmod(0o700)


def test_a_read_only_file_system_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_more: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError, match="Read-only file system"):
        RunFolder(tmp_path)


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(tmp_path, row("a", True))

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with RunFolder(tmp_path) as folder:
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(StorageError, match="Disk full"):
                folder.append(row("b", True))
            with pytest.raises(StorageError, match="Disk full"):
                folder.rewrite(lambda answer: {**answer, "correct": False})
        assert _keys(folder) == [("a", 0)]
        folder.append(row("c", True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl", "run.json", "run.lock"]
    with RunFolder(tmp_path) as folder:
        assert _keys(folder) == [("a", 0), ("c", 0)]
        assert all(answer["correct"] for answer in folder.answers)


@posix
def test_a_short_write_is_rolled_back(tmp_path: Path) -> None:
    # A real short write: the limit on file sizes cuts the second line.
    code = (
        "import pathlib, resource, sys; sys.path.insert(0, sys.argv[2]);"
        "from problem_fakes import row; from rstitch_local.problems.run_folder import RunFolder;"
        "folder = RunFolder(pathlib.Path(sys.argv[1])); folder.begin({}, {}); folder.append(row('a', True));"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (800, 800));"
        "folder.append(row('b', True, text='x' * 5000))"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent.parent)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert "StorageError" in done.stderr
    assert [json.loads(line)["id"] for line in (tmp_path / "answers.jsonl").read_text().splitlines()] == ["a"]
    with RunFolder(tmp_path) as folder:
        assert _keys(folder) == [("a", 0)]


def test_rewrite_is_all_or_nothing(tmp_path: Path) -> None:
    _run(tmp_path, row("a", True), row("b", True))

    def fail_at_b(answer: dict[str, Any]) -> dict[str, Any]:
        if answer["id"] == "b":
            raise KeyboardInterrupt
        return {**answer, "correct": False}

    with RunFolder(tmp_path) as folder:
        with pytest.raises(KeyboardInterrupt):
            folder.rewrite(fail_at_b)
        assert all(answer["correct"] for answer in folder.answers)
        folder.rewrite(lambda answer: {**answer, "correct": False})
    with RunFolder(tmp_path) as folder:
        assert [answer["correct"] for answer in folder.answers] == [False, False]


@pytest.mark.parametrize("rest", [b'{"id": "b"}\n', b"a note of mine", b"{\n\n"])
def test_a_foreign_last_line_is_kept_in_another_file(tmp_path: Path, rest: bytes) -> None:
    _run(tmp_path, row("a", True))
    file = tmp_path / "answers.jsonl"
    file.write_bytes(file.read_bytes() + rest)
    with RunFolder(tmp_path) as folder:
        assert _keys(folder) == [("a", 0)]
        assert "answers.jsonl.removed" in folder.notice
    assert (tmp_path / "answers.jsonl.removed").read_bytes().rstrip() == rest.rstrip()
    with RunFolder(tmp_path) as folder:
        assert folder.notice == ""


def test_a_torn_last_line_is_not_kept(tmp_path: Path) -> None:
    _run(tmp_path, row("a", True), row("b", True))
    file = tmp_path / "answers.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    with RunFolder(tmp_path) as folder:
        assert folder.notice == ""
    assert not (tmp_path / "answers.jsonl.removed").exists()


def _deleted(path: Path) -> None:
    shutil.rmtree(path)


def _renamed(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def _replaced(path: Path) -> None:
    _renamed(path)
    path.mkdir()


@posix
@pytest.mark.parametrize("change", [_deleted, _renamed, _replaced])
def test_a_folder_that_vanishes_is_not_written_any_more(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "run"
    with RunFolder(path) as folder:
        folder.begin(SETTINGS, {})
        folder.append(row("a", True))
        change(path)
        writes: list[Callable[[], None]] = [
            lambda: folder.append(row("b", True)),
            lambda: folder.append_trace(("b", 0), "?", {}),
            lambda: folder.update_information({"x": 1}),
            lambda: folder.rewrite(lambda answer: answer),
        ]
        for write in writes:
            with pytest.raises(StorageError, match="deleted, renamed or replaced"):
                write()
    assert not path.exists() or not any(path.iterdir())


def test_a_deleted_header_is_written_again(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.begin(SETTINGS, {"created": "then"})
        (tmp_path / "run.json").unlink()
        folder.update_information({"loaded": "x"})
    header = json.loads((tmp_path / "run.json").read_text())
    assert header["settings"] == SETTINGS
    assert header["information"] == {"created": "then", "loaded": "x"}


def test_a_second_writer_without_the_lock_is_noticed(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as first:
        first.begin(SETTINGS, {})
        first.append(row("a", True))
        # The lock file was deleted by hand: another process can lock a new one.
        (tmp_path / "run.lock").unlink(missing_ok=True)
        lines = (tmp_path / "answers.jsonl").read_bytes()
        (tmp_path / "answers.jsonl").write_bytes(lines + json.dumps(row("b", True)).encode() + b"\n")
        with pytest.raises(StorageError, match="Another program has changed"):
            first.append(row("b", True))
    with RunFolder(tmp_path) as folder:
        assert _keys(folder) == [("a", 0), ("b", 0)]


def test_temporary_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    _run(tmp_path, row("a", True))
    for name in (".run.json.0123abcd.new", ".answers.jsonl.0123abcd.new", ".run.json.mine.new"):
        (tmp_path / name).write_text("half")
    RunFolder(tmp_path).close()
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".new") == [".run.json.mine.new"]


@posix
@pytest.mark.parametrize("name", ["run.json", "answers.jsonl", "traces.jsonl"])
def test_a_pipe_in_the_place_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    _run(tmp_path, row("a", True))
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="pipe or a device"):
        RunFolder(tmp_path)


def test_a_clock_that_goes_backwards_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(tmp_path, row("a", True))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    os.utime(tmp_path / "answers.jsonl", (2e9, 2e9))
    with RunFolder(tmp_path) as folder:
        folder.append(row("b", True))
        assert _keys(folder) == [("a", 0), ("b", 0)]

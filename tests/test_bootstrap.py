"""`scripts/bootstrap.py`: what it checks and shows before and during the compile; nothing is installed here."""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path

import bootstrap
import pytest

BUILD = ["Collecting llama-cpp-python\n", *(f"  [{step}/20] Building CXX object x.o\n" for step in range(1, 21))]


def test_a_missing_compiler_ends_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="No C\\+\\+ compiler was found") as caught:
        bootstrap.require_compiler({})
    assert "docs/install.md" in str(caught.value)


def test_a_named_compiler_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    bootstrap.require_compiler({"CXX": "/opt/bin/c++"})


def test_visual_studio_is_found_by_its_installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    installer = tmp_path / "Microsoft Visual Studio" / "Installer"
    installer.mkdir(parents=True)
    (installer / "vswhere.exe").touch()
    bootstrap.require_compiler({"ProgramFiles(x86)": str(tmp_path)})


def test_progress_is_printed_at_every_tenth_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    tail: deque[str] = deque(maxlen=3)
    bootstrap.show_progress(BUILD, time.monotonic() - 10, tail)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"Compiling llama.cpp: {n}/20" for n in range(2, 21, 2)]
    assert "about 90 s left" in lines[0]
    assert list(tail) == BUILD[-3:]


def test_only_the_libraries_are_compiled_and_the_users_arguments_come_last() -> None:
    arguments = bootstrap.cmake_args({"CMAKE_ARGS": "-DGGML_CUDA=on"})
    assert "-DLLAVA_BUILD=OFF" in arguments
    assert "llama_only.cmake" in arguments
    assert arguments.endswith("-DGGML_CUDA=on")


@pytest.mark.parametrize(("flags", "amx"), [("avx2 amx_int8", True), ("avx2", False)])
def test_amx_is_read_from_cpuinfo(tmp_path: Path, flags: str, amx: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n", encoding="utf-8")
    assert bootstrap.has_amx(tmp_path / "cpuinfo") is amx
    assert bootstrap.has_amx(tmp_path / "none") is False


def test_an_unsupported_python_is_named() -> None:
    bootstrap.require_python(">=3.11,<3.15")
    with pytest.raises(SystemExit, match=f"Python {sys.version_info.major}"):
        bootstrap.require_python(">=3.1,<3.2")


def test_this_environment_has_the_binding() -> None:
    assert bootstrap.is_installed(Path(sys.executable))

"""tuned.toml: writing, precedence, and files that users have edited."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from rstitch_local import paths
from rstitch_local.catalog.catalog import load_catalog, user_sets_router
from rstitch_local.catalog.tuned import read_tuned, save_tuned
from rstitch_local.engine.choice import choose_pair
from rstitch_local.errors import StorageError, UsageError


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path))


def user_file(text: str) -> None:
    paths.user_catalog().parent.mkdir(parents=True, exist_ok=True)
    paths.user_catalog().write_text(text, encoding="utf-8")


def test_saved_router_is_the_default_of_the_pair() -> None:
    assert read_tuned() == {}
    assert choose_pair("demo").defaults.router == "entropy:0.005"
    assert save_tuned("demo", "entropy:0.05", "at most 1 point") == paths.tuned_file()
    defaults = choose_pair("demo").defaults
    assert (defaults.router, defaults.tau) == ("entropy:0.05", 0.05)
    save_tuned("demo", "confidence:0.8", "again")
    defaults = choose_pair("demo").defaults
    assert (defaults.router, defaults.tau) == ("confidence:0.8", 0.005)
    assert load_catalog().get("qwen2.5-coder").router is None


def test_comments_and_other_tables_are_preserved() -> None:
    save_tuned("demo", "slm", "first")
    path = paths.tuned_file()
    path.write_text(f"# mine\n{path.read_text()}\n['qwen2.5-coder'] # theirs\n# above\nrouter='llm'\n# below\n")
    save_tuned("qwen2.5-coder", "window:8:0.003", "second")
    save_tuned("r1-7b", "entropy:0.1", "third")
    text = path.read_text()
    for line in ("# mine", "['qwen2.5-coder'] # theirs", "# above", "# below", 'router = "window:8:0.003"  # second'):
        assert line in text.splitlines()
    assert read_tuned() == {"demo": "slm", "qwen2.5-coder": "window:8:0.003", "r1-7b": "entropy:0.1"}
    assert tomllib.loads(text)["demo"] == {"router": "slm"}


@pytest.mark.parametrize("line", ["tau = 0.3", 'router = "llm"'])
def test_user_file_takes_precedence(line: str) -> None:
    save_tuned("demo", "confidence:0.8", "x")
    assert not user_sets_router("demo")
    user_file(f"[demo]\n{line}\n")
    assert user_sets_router("demo")
    assert not user_sets_router("r1-7b")
    assert choose_pair("demo").defaults.router == ("entropy:0.3" if "tau" in line else "llm")
    user_file("[demo]\ncontext = 512\n")
    assert choose_pair("demo").defaults.router == "confidence:0.8"


def test_removed_pair_is_ignored() -> None:
    save_tuned("gone", "slm", "x")
    assert "gone" not in load_catalog()


@pytest.mark.parametrize(
    "text", ["[demo", "demo = 3", "[demo]\nrouter = 3", "[demo]\ntau = 3", '[demo]\nrouter = "slm"\nx = 1', "\xff"]
)
def test_invalid_file_is_named_and_unchanged(text: str) -> None:
    path = paths.tuned_file()
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"tuned\.toml"):
        load_catalog()
    with pytest.raises(UsageError, match=r"tuned\.toml"):
        save_tuned("demo", "slm", "x")
    assert path.read_bytes() == text.encode("latin-1")


def test_table_with_an_unsupported_layout_is_unchanged() -> None:
    path = paths.tuned_file()
    path.parent.mkdir(parents=True)
    path.write_text('demo.router = "llm"\n')
    assert read_tuned() == {"demo": "llm"}
    with pytest.raises(UsageError, match="unsupported layout"):
        save_tuned("demo", "slm", "x")
    assert path.read_text() == 'demo.router = "llm"\n'


def test_invalid_router_is_reported_with_its_pair() -> None:
    user_file('[demo]\nrouter = "nonsense"\n')
    with pytest.raises(UsageError, match="pair demo") as caught:
        choose_pair("demo")
    assert str(paths.config_dir()) in caught.value.hint


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_written() -> None:
    paths.config_dir().mkdir(parents=True)
    paths.config_dir().chmod(0o500)
    with pytest.raises(StorageError):
        save_tuned("demo", "slm", "x")

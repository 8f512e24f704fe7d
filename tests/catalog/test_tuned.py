"""tuned.toml: what `rstitch tune --save` writes, and what counts more."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from rstitch_local import paths
from rstitch_local.catalog.catalogue import load_catalogue, user_says_router
from rstitch_local.catalog.tuned import read_tuned, save_tuned
from rstitch_local.engine.choice import choose_pair
from rstitch_local.errors import StorageError, UsageError


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path))


def user_file(text: str) -> None:
    paths.user_catalogue().parent.mkdir(parents=True, exist_ok=True)
    paths.user_catalogue().write_text(text, encoding="utf-8")


def test_a_saved_router_is_the_pairs_own() -> None:
    assert read_tuned() == {}
    assert choose_pair("demo").defaults.router == "entropy:0.005"
    assert save_tuned("demo", "entropy:0.05", "at most 1 point") == paths.tuned_file()
    defaults = choose_pair("demo").defaults
    assert (defaults.router, defaults.tau) == ("entropy:0.05", 0.05)
    save_tuned("demo", "confidence:0.8", "again")
    defaults = choose_pair("demo").defaults
    assert (defaults.router, defaults.tau) == ("confidence:0.8", 0.005)
    assert load_catalogue().get("qwen2.5-coder").router is None


def test_what_a_user_wrote_stays() -> None:
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
def test_the_users_own_file_counts_more(line: str) -> None:
    save_tuned("demo", "confidence:0.8", "x")
    assert not user_says_router("demo")
    user_file(f"[demo]\n{line}\n")
    assert user_says_router("demo")
    assert not user_says_router("r1-7b")
    assert choose_pair("demo").defaults.router == ("entropy:0.3" if "tau" in line else "llm")
    user_file("[demo]\ncontext = 512\n")
    assert choose_pair("demo").defaults.router == "confidence:0.8"


def test_a_pair_that_is_gone_is_no_mistake() -> None:
    save_tuned("gone", "slm", "x")
    assert "gone" not in load_catalogue()


@pytest.mark.parametrize(
    "text", ["[demo", "demo = 3", "[demo]\nrouter = 3", "[demo]\ntau = 3", '[demo]\nrouter = "slm"\nx = 1', "\xff"]
)
def test_a_broken_file_is_named_and_left_as_it_is(text: str) -> None:
    path = paths.tuned_file()
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"tuned\.toml"):
        load_catalogue()
    with pytest.raises(UsageError, match=r"tuned\.toml"):
        save_tuned("demo", "slm", "x")
    assert path.read_bytes() == text.encode("latin-1")


def test_a_table_written_in_another_way_is_left_as_it_is() -> None:
    path = paths.tuned_file()
    path.parent.mkdir(parents=True)
    path.write_text('demo.router = "llm"\n')
    assert read_tuned() == {"demo": "llm"}
    with pytest.raises(UsageError, match="in a way of its own"):
        save_tuned("demo", "slm", "x")
    assert path.read_text() == 'demo.router = "llm"\n'


def test_a_router_that_is_none_is_named_with_its_pair() -> None:
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

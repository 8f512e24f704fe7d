"""The Python examples of the README and of docs/ run as written, on the demo pair."""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path

import pytest

from rstitch_local import calibrate, load_pair

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples() -> list[tuple[str, str]]:
    """Each Python block of the pages, with the page and the line it begins at."""
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        for block in _BLOCK.finditer(text):
            line = text.count("\n", 0, block.start()) + 2
            found.append((f"{page.name}:{line}", block[1]))
    return found


EXAMPLES = examples()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with a calibration of the demo pair, which some examples read."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSTITCH_HOME", str(folder))
        with load_pair("demo") as pair:
            calibrate(pair)
    return folder


def test_there_are_examples() -> None:
    assert {name.partition(":")[0] for name, _ in EXAMPLES} >= {"README.md", "api.md", "routers.md", "traces.md"}


@pytest.mark.parametrize("code", [code for _, code in EXAMPLES], ids=[name for name, _ in EXAMPLES])
def test_an_example_runs(code: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pandas" in code:
        pytest.importorskip("pandas", reason="pandas is part of the extra `study`")
    monkeypatch.setenv("RSTITCH_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    program = compile(textwrap.dedent(code), "<example>", "exec")
    exec(program, {"__name__": "__main__"})

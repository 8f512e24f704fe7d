"""The example that tells the method's story: it runs from an empty folder and tells what it promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

STORY = Path(__file__).resolve().parents[2] / "examples" / "method_story.py"


def test_it_runs_from_an_empty_folder_and_the_two_together_do_better(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    environment = {"RSTITCH_HOME": str(tmp_path / "home"), "PYTHONPATH": str(STORY.parents[1]), "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, str(STORY)], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["method_story.html"]
    page = (folder / "method_story.html").read_text(encoding="utf-8")
    assert page.count("data-predictions=") == page.count(' title="') > 20
    shares = dict(re.findall(r"^ *(\S+) +(\d+)% +\d+% +\d+ +[\d.]+$", done.stdout, re.M))
    assert len(shares) == 6
    assert int(shares["slm"]) < int(shares["entropy:0.005"]) <= int(shares["llm"]) + 5

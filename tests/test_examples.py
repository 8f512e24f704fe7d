"""The examples run from an empty folder and print the results that their texts describe."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run_example(name: str, tmp_path: Path, *python_path: Path) -> str:
    """Run an example in an empty folder; return its output."""
    folder = tmp_path / "empty"
    folder.mkdir()
    environment = {
        **os.environ,
        "RSTITCH_HOME": str(tmp_path / "home"),
        "PYTHONPATH": os.pathsep.join(map(str, (*python_path, ROOT))),
        "PYTHONUTF8": "1",
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return done.stdout


def test_custom_router(tmp_path: Path) -> None:
    output = run_example("custom_router.py", tmp_path)
    # The routers of the single answer, by the names in their traces, with the number of visits to the LLM.
    visits = {name: int(count) for name, count in re.findall(r"^(\S.*): (\d+) visits, LLM share", output, re.M)}
    assert list(visits) == [
        "entropy:0.005",
        "__main__.small_margin",
        "FewVisits(threshold=0.005, visits=3)",
        "FewVisits(threshold=0.005, visits=1)",
    ]
    assert visits["FewVisits(threshold=0.005, visits=3)"] <= 3
    assert visits["FewVisits(threshold=0.005, visits=1)"] <= 1
    table = re.findall(r"^ *(\S.*?)  +(\d+)%  +\d+% to +\d+%  +(\d+)%  +([\d.]+)x$", output, re.M)
    accuracies = {name: int(accuracy) for name, accuracy, _, _ in table}
    shares = {name: int(share) for name, _, share, _ in table}
    assert list(accuracies) == ["llm", "slm", "entropy", "margin", "3 visits", "1 visit"]
    assert accuracies["slm"] < accuracies["entropy"]
    assert shares["slm"] <= shares["1 visit"] < shares["3 visits"] < shares["entropy"] < shares["llm"] == 100


def test_entropies(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    output = run_example("entropies.py", tmp_path)
    quantiles = [float(value) for value in re.findall(r"^0\.\d\d +([\d.]+)$", output, re.M)]
    assert len(quantiles) == 5
    assert quantiles == sorted(quantiles)
    means = dict(re.findall(r"^(True|False) +[\d.]+ +([\d.]+)", output, re.M))
    assert float(means["True"]) < float(means["False"])
    slm, both = map(int, re.findall(r"Accuracy: (\d+)% with the small model, (\d+)% with both", output)[0])
    assert slm < both


def test_entropies_without_pandas(tmp_path: Path) -> None:
    # Found before an installed pandas.
    (tmp_path / "pandas.py").write_text("raise ImportError('not installed')\n", encoding="utf-8")
    output = run_example("entropies.py", tmp_path, tmp_path)
    assert output == "This example needs pandas: pip install 'rstitch-local[study]'\n"

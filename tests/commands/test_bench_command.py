from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rstitch_local.builtin.word_problems import generate
from rstitch_local.commands import loading
from rstitch_local.commands.main import app
from rstitch_local.errors import InputError, UsageError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five word problems, which the demo pair solves in tenths of a second each."""
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))
    problems = [generate(3, index) for index in range(5)]
    rows = [{"id": f"w{n}", "question": p.question, "answer": str(p.answer)} for n, p in enumerate(problems)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path / "p.jsonl"


def bench(file: Path, *more: str) -> Result:
    command = ["bench", str(file), "--out", str(file.parent / "out"), "--pair", "demo"]
    return CliRunner().invoke(app, [*command, *more])


def not_loaded(*_arguments: Any, **_options: Any) -> Any:
    raise AssertionError("the pair was loaded")


def test_the_demo_pair(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = ["--router", "slm", "--router", "entropy:.020", "--router", "entropy:0.02"]
    done = bench(file, *common)
    assert done.exit_code == 0, done.output
    out = file.parent / "out"
    report = (out / "report.md").read_text(encoding="utf-8")
    first = report.split("\n\n")[1]
    assert first.startswith("Best: ")
    assert first.split()[1] in done.stdout
    assert "Why entropy:0.02 is" in report
    assert "demo-llm.gguf" in report
    with (out / "figures.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["router"] for row in rows] == ["llm", "slm", "entropy:0.02"]
    assert float(rows[1]["memory_bytes"]) < float(rows[2]["memory_bytes"])
    assert float(rows[1]["speed_up"]) > 1
    # All answers exist, so nothing is loaded, and the metrics are the same.
    monkeypatch.setattr(loading, "open_pair", not_loaded)
    again = bench(file, *common, "--json")
    assert again.exit_code == 0, again.output
    record = json.loads(again.stdout)
    assert record == json.loads((out / "figures.json").read_text())
    assert [router["router"] for router in record["routers"]] == ["llm", "slm", "entropy:0.02"]
    assert all(router["problems"] == router["graded"] == 5 for router in record["routers"])
    assert list(csv.DictReader(io.StringIO((out / "figures.csv").read_text()))) == rows


def test_the_router_of_the_pair_is_compared_by_default(file: Path) -> None:
    done = bench(file, "--limit", "1", "--json", "--max-tokens", "6", "--prompt", "plain")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert [router["router"] for router in record["routers"]] == ["llm", "slm", "entropy:0.005"]
    assert all(router["speed_up_interval"] is None for router in record["routers"])
    assert "Only 1 problem" in " ".join(record["plain_words"])


def test_mistakes_are_reported_before_loading(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "open_pair", not_loaded)
    done = bench(file, "--router", "entropy:0.02", "--router", "nonsense")
    assert isinstance(done.exception, UsageError)
    assert "nonsense" in str(done.exception)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = bench(file, "--plot")
    assert isinstance(done.exception, UsageError)
    assert "rstitch-local[study]" in done.exception.hint
    file.write_text("")
    assert isinstance(bench(file).exception, InputError)
    assert not (file.parent / "out").exists()


def test_the_folder_of_a_different_bench_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench(file, "--limit", "1", "--max-tokens", "4").exit_code == 0
    monkeypatch.setattr(loading, "open_pair", not_loaded)
    done = bench(file, "--limit", "1", "--max-tokens", "5")
    assert isinstance(done.exception, InputError)
    assert "max_tokens: 4 -> 5" in str(done.exception)


def test_plots(file: Path) -> None:
    pytest.importorskip("matplotlib")
    done = bench(file, "--router", "slm", "--limit", "2", "--max-tokens", "40", "--plot")
    assert done.exit_code == 0, done.output
    out = file.parent / "out"
    assert len(list(out.glob("*.png"))) == 3
    for name in ("accuracy-latency.svg", "accuracy-share.svg", "latency-parts.svg"):
        assert (out / name).is_file()
        assert f"]({name})" in (out / "report.md").read_text(encoding="utf-8")


HANGING = """
import sys, time
from pathlib import Path
from rstitch_local.commands import main
from rstitch_local.engine.pair import Pair
from rstitch_local.engine.run import Run

folder = Path(sys.argv[1])
asked = 0
chat, run_all = Pair.chat, Pair.run_all

def counted(self, messages, **options):
    global asked
    asked += options["max_tokens"] == 30
    return chat(self, messages, **options)

def slow(self, runs, *, should_stop):
    for run, step in run_all(self, runs, should_stop=should_stop):
        if asked == 6:
            (folder / "hanging").touch()
            while not should_stop():
                time.sleep(0.01)
        yield run, step

Pair.chat, Pair.run_all = counted, slow
sys.argv = ["rstitch", *sys.argv[2:]]
main.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_bench_can_be_resumed(file: Path, number: signal.Signals) -> None:
    more = ["--router", "slm", "--router", "entropy:0.1", "--max-tokens", "30"]
    command = ["bench", str(file), "--out", str(file.parent / "out"), "--pair", "demo", *more]
    arguments = [sys.executable, "-c", HANGING, str(file.parent), *command]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (file.parent / "hanging").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        os.kill(process.pid, number)
        errors = process.communicate(timeout=60)[1]
    assert "Traceback" not in errors
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "Stopped. 5 of 15 answers are saved in" in errors
        assert "to resume" in errors
    saved = {path: path.read_text() for path in (file.parent / "out").glob("*/answers.jsonl")}
    assert sum(text.count("\n") for text in saved.values()) == 5
    done = bench(file, *more, "--json")
    assert done.exit_code == 0, done.output
    assert all(path.read_text().startswith(text) for path, text in saved.items())
    assert [router["answers"] for router in json.loads(done.stdout)["routers"]] == [5, 5, 5]

"""`rstitch calibrate`: its output, the stored calibration, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_pair import TinyPair, write_pair
from typer.testing import CliRunner, Result

from rstitch_local.commands.main import app
from rstitch_local.costs import calibration
from rstitch_local.costs.latency import PairLatency
from rstitch_local.costs.store import load_calibration
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.errors import UsageError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(calibration, "_MAX_REPEATS", 2)
    return tmp_path / "home"


def calibrate(*options: str) -> Result:
    return CliRunner().invoke(app, ["calibrate", *options])


def files(home: Path) -> list[Path]:
    return sorted((home / "cache" / "calibrations").iterdir())


def test_it_measures_stores_and_reports(home: Path, tiny_pair: TinyPair) -> None:
    result = calibrate(*tiny_pair.options, "--threads", "1", "--context", "300")
    assert result.exit_code == 0, result.output
    (path,) = files(home)
    output = result.stdout
    for words in (
        "Decoding one token after 256 cached tokens:",
        "Catch-up at a swap, by number of tokens:",
        "For answers of equal length, stitching is ",
        "Expected speed-up over the LLM alone, by LLM share: ",
        "x at 5%, ",
        "is used",
        "Checked on 5 answers: predicted ",
        f"Stored in {path}",
    ):
        assert words in output
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm, options=LoadOptions(threads=1, context=300)) as pair:
        stored = load_calibration(pair)
    assert stored.latency.slm.table is not None
    assert stored.latency.slm.table.depths[-1] == 300 - 64


def test_the_demo_pair_as_json(home: Path) -> None:
    result = calibrate("--pair", "demo", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["pair"] == "demo"
    assert Path(report["file"]) == files(home)[0]
    latency = PairLatency.from_dict(report["latency"])
    assert latency.slm.uses_table or latency.slm.error == latency.slm.formula_error
    assert set(report["speed_up"]) == {"0.05", "0.1", "0.2", "0.4"}
    assert len(report["check"]["predicted_ms"]) == len(report["check"]["measured_ms"]) == 5
    assert report["check"]["error"] >= 0
    # The answers of the demo pair have enough visits to measure their length.
    assert report["picture"]["stay"] == pytest.approx(1.1, abs=0.4)


def test_very_short_answers_are_accepted(home: Path, tmp_path: Path) -> None:
    pair = write_pair(tmp_path / "short", slm={"answer": "ok"}, llm={"answer": "ok"})
    result = calibrate(*pair.options)
    assert result.exit_code == 0, result.output
    assert len(files(home)) == 1


def test_invalid_options(home: Path, tiny_pair: TinyPair) -> None:
    assert isinstance(calibrate(*tiny_pair.options, "--kv-type", "f15").exception, UsageError)
    assert isinstance(calibrate("--slm", str(tiny_pair.slm)).exception, UsageError)
    assert not (home / "cache" / "calibrations").exists()


INTERRUPTED = """
import sys, time
from pathlib import Path
from rstitch_local.commands import main
from rstitch_local.llama import context

decode, calls, (_, hanging, most, *command) = context.Context.decode, 0, sys.argv

def slow(self, parts, **options):
    global calls
    calls += 1
    if calls > int(most):
        Path(hanging).touch()
        time.sleep(60)
    return decode(self, parts, **options)

context.Context.decode = slow
sys.argv = ["rstitch", *command]
main.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
@pytest.mark.parametrize("calls", [0, 100])
def test_ctrl_c_keeps_the_stored_calibration(home: Path, tmp_path: Path, tiny_pair: TinyPair, calls: int) -> None:
    assert calibrate(*tiny_pair.options).exit_code == 0
    before = files(home)[0].read_bytes()
    hanging = tmp_path / "hanging"
    arguments = [sys.executable, "-c", INTERRUPTED, str(hanging), str(calls), "calibrate", *tiny_pair.options]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not hanging.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        out, output = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped. The stored calibration is unchanged." in output
    assert "Traceback" not in output
    assert out == ""
    assert [path.read_bytes() for path in files(home)] == [before]

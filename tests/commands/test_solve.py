from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from problem_fakes import FakePair, right_reply
from typer.testing import CliRunner, Result

from rstitch_local.commands import loading
from rstitch_local.commands.main import app
from rstitch_local.costs import store as calibration_store
from rstitch_local.costs.fitting import Formula
from rstitch_local.costs.latency import ModelLatency, PairLatency
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine import choice
from rstitch_local.engine.choice import PairChoice, PairDefaults
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.errors import InputError, ModelError, RStitchError, UsageError

if TYPE_CHECKING:
    from tiny_pair import TinyPair


class Pair:
    """How often a pair was loaded, and the last one."""

    opened = 0
    choice: PairChoice
    options: LoadOptions
    loaded: FakePair


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A problem file of three sums, two placeholder model files, and a scripted pair that is loaded for them."""
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))
    rows = [{"id": n, "question": f"What is {n} + 1?", "answer": n + 1 if n < 2 else 0} for n in range(3)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(name.encode())
    Pair.opened = 0

    def open_pair(choice: PairChoice, options: LoadOptions) -> FakePair:
        Pair.opened += 1
        Pair.choice, Pair.options, Pair.loaded = choice, options, FakePair(right_reply)
        return Pair.loaded

    monkeypatch.setattr(loading, "open_pair", open_pair)
    monkeypatch.setattr(calibration_store, "stored_latency", lambda _pair: None)
    return tmp_path


def _solve(files: Path, *more: str) -> Result:
    models = ["--slm", str(files / "a.gguf"), "--llm", str(files / "b.gguf")]
    return CliRunner().invoke(app, ["solve", str(files / "p.jsonl"), "--out", str(files / "run"), *models, *more])


def _refused(result: Result, kind: type[RStitchError]) -> str:
    assert isinstance(result.exception, kind)
    return str(result.exception)


def test_solving_twice_loads_once(files: Path) -> None:
    result = _solve(files, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["problems"], summary["correct"], summary["llm_share"]) == (3, 2, 0.25)
    assert summary["ci95"][0] < summary["accuracy"] < summary["ci95"][1]
    assert "3/3  2: 3 is wrong, gold 0" in result.stderr
    again = _solve(files, "--json")
    assert json.loads(again.stdout) == summary
    assert Pair.opened == 1
    words = _solve(files)
    assert "3 problems, 2 of 3 answers correct" in words.stdout
    header = json.loads((files / "run" / "run.json").read_text())
    assert header["settings"]["router"] == "entropy:0.02"
    assert header["settings"]["models"]["context"] == PairDefaults().context
    assert len(header["settings"]["models"]["slm_sha256"]) == 64


def test_missing_gold_answers_are_named_before_the_models_are_loaded(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"id": n, "question": f"What is {n} + 1?", "extra": {"final": n + 1}} for n in range(3)]
    (files / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def fail(*_arguments: object) -> None:
        raise ModelError("Not loaded", "It is too late to say it now.")

    monkeypatch.setattr(loading, "open_pair", fail)
    note = _solve(files).stderr
    assert "No problem has a gold answer" in note
    assert "the fields are: id, question, extra.final. Name the right one with `--field answer=NAME`." in note


def test_gold_answers_in_objects(files: Path) -> None:
    rows = [{"id": n, "question": f"What is {n} + 1?", "extra": {"final": n + 1}} for n in range(3)]
    (files / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = _solve(files, "--field", "answer=extra.final", "--json")
    assert json.loads(result.stdout)["correct"] == 3
    assert "gold answer" not in result.stderr


def test_options_are_recorded_in_run_json(files: Path) -> None:
    more = ["--router", "llm", "--temperature", "0.7", "--top-k", "5", "--seed", "3", "--max-tokens", "9"]
    result = _solve(
        files, *more, "--samples", "2", "--prompt", "plain", "--ids", "1,2", "--limit", "1", "--threads", "1"
    )
    assert result.exit_code == 0, result.output
    header = json.loads((files / "run" / "run.json").read_text())
    settings = header["settings"]
    assert settings["sampling"] == {"temperature": 0.7, "top_k": 5, "top_p": 1.0, "min_p": 0.0}
    assert (settings["router"], settings["seed"], settings["max_tokens"]) == ("llm", 3, 9)
    assert settings["prompt"] == "{question}"
    assert header["information"]["samples"] == 2
    lines = (files / "run" / "answers.jsonl").read_text().splitlines()
    assert [(json.loads(line)["id"], json.loads(line)["sample"]) for line in lines] == [("1", 0), ("1", 1)]
    assert Pair.options.threads == 1


def test_stop_strings_are_recorded_and_must_be_the_same_to_resume(files: Path) -> None:
    assert _solve(files, "--stop", "END", "--stop", "\n\n", "--stop", "END").exit_code == 0
    settings = json.loads((files / "run" / "run.json").read_text())["settings"]
    assert settings["stop"] == ["END", "\n\n"]
    assert {asked["stop"] for asked in Pair.loaded.asked} == {("END", "\n\n")}
    assert _solve(files, "--stop", "END", "--stop", "\n\n").exit_code == 0
    assert "stop" in _refused(_solve(files), InputError)
    assert Pair.opened == 1


def test_different_settings_and_models_are_refused_before_loading(files: Path) -> None:
    _solve(files)
    assert "router: entropy:0.02 -> slm" in _refused(_solve(files, "--router", "slm"), InputError)
    assert "models.context: 4096 -> 99" in _refused(_solve(files, "--context", "99"), InputError)
    (files / "b.gguf").write_bytes(b"changed")
    assert "models.llm_sha256" in _refused(_solve(files), InputError)
    assert Pair.opened == 1


def test_equivalent_router_specs_resume_a_run(files: Path) -> None:
    for spec in ("entropy:0.02", "entropy", " entropy:.020", "entropy:2e-2"):
        assert _solve(files, "--router", spec).exit_code == 0
    assert Pair.opened == 1


def test_identical_samples_are_warned_of(files: Path) -> None:
    assert "At temperature 0 all 2 answers" in _solve(files, "--samples", "2").stderr


def test_invalid_options_create_no_folder(files: Path) -> None:
    for more in (["--shard", "5/4"], ["--field", "x=y"], ["--router", "none"], ["--prompt", ""], ["--pair", "x"]):
        _refused(_solve(files, *more), UsageError)
    assert not (files / "run").exists()
    assert "id 9" in _refused(_solve(files, "--ids", "9"), InputError)
    assert Pair.opened == 0


def test_a_missing_model_file(files: Path) -> None:
    (files / "a.gguf").unlink()
    assert "a.gguf" in _refused(_solve(files), ModelError)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_not_read_as_a_model(files: Path) -> None:
    (files / "a.gguf").unlink()
    os.mkfifo(files / "a.gguf")
    assert "is not a file" in _refused(_solve(files), ModelError)
    (files / "a.gguf").unlink()
    (files / "a.gguf").symlink_to("a.gguf")
    assert "is not a file" in _refused(_solve(files), ModelError)


def test_excessive_threads_and_context_are_refused(files: Path) -> None:
    for more in (["--threads", "9999"], ["--context", "999999999"]):
        assert _solve(files, *more).exit_code == 2
    assert Pair.opened == 0


def test_defaults_come_from_the_pair(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = PairDefaults(512, 0.5, Sampling(temperature=0.6), "plain", "Think.")
    chosen = PairChoice("mine", files / "a.gguf", files / "b.gguf", defaults)
    monkeypatch.setattr(choice, "choose_pair", lambda *_: chosen)
    arguments = ["solve", str(files / "p.jsonl"), "--out", str(files / "run"), "--top-p", "0.9"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    settings = json.loads((files / "run" / "run.json").read_text())["settings"]
    assert settings["router"] == "entropy:0.5"
    assert settings["sampling"] == {"temperature": 0.6, "top_k": 0, "top_p": 0.9, "min_p": 0.0}
    assert settings["prompt"] == "{question}\nThink."
    assert settings["models"]["context"] == 512
    assert Pair.choice == chosen


def test_an_unknown_pair(files: Path) -> None:
    arguments = ["solve", str(files / "p.jsonl"), "--out", str(files / "run"), "--pair", "nonesuch"]
    assert "nonesuch" in _refused(CliRunner().invoke(app, arguments), ModelError)


INTERRUPTED = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from problem_fakes import FakePair, right_reply
from rstitch_local.commands import loading, main
from rstitch_local.costs import store as calibration_store

folder = Path(sys.argv[2])
answers = folder / "run" / "answers.jsonl"

class Slow(FakePair):
    def run_all(self, runs, *, should_stop):
        for run, step in super().run_all(runs, should_stop=should_stop):
            if len(self.asked) == 2:
                while not answers.exists() or not answers.read_bytes():
                    time.sleep(0.01)
                (folder / "hanging").touch()
                while not should_stop():
                    time.sleep(0.01)
            yield run, step

loading.open_pair = lambda *arguments, **options: Slow(right_reply)
calibration_store.stored_latency = lambda pair: None
sys.argv = ["rstitch", *sys.argv[3:]]
main.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_ctrl_c_keeps_the_answers_and_says_how_to_resume(files: Path) -> None:
    models = ["--slm", str(files / "a.gguf"), "--llm", str(files / "b.gguf")]
    command = ["solve", str(files / "p.jsonl"), "--out", str(files / "run"), *models, "--json"]
    arguments = [sys.executable, "-c", INTERRUPTED, str(Path(__file__).parent.parent), str(files), *command]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (files / "hanging").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped. 1 of 3 answers are saved in" in errors
    assert "Traceback" not in errors
    assert json.loads(out)["problems"] == 1
    result = _solve(files, "--json")
    assert json.loads(result.stdout)["problems"] == 3
    lines = (files / "run" / "answers.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["0", "1", "2"]


def test_the_summary_predicts_the_time_of_the_llm_alone(
    tmp_path: Path, tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))
    model = ModelLatency(n_batch=64, formula=Formula(prefill=(0, 0, 0, 1000), decode=(0, 100)))
    with load_pair(slm=tiny_pair.slm, llm=tiny_pair.llm) as pair:
        calibration_store.store_calibration(pair, PairLatency(slm=model, llm=model))
    problems = tmp_path / "p.jsonl"
    problems.write_text("".join(json.dumps({"id": n, "question": "And?"}) + "\n" for n in range(2)))
    arguments = ["solve", str(problems), "--out", str(tmp_path / "run"), *tiny_pair.options, "--max-tokens", "11"]
    arguments += ["--parallel", "1"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (tmp_path / "run" / "answers.jsonl").read_text("utf-8").splitlines()]
    assert [sum(row["tokens"].values()) for row in rows] == [11, 11]
    # A prompt of several batches, then ten tokens.
    batches = -(-rows[0]["evaluated"]["slm"]["prompt"] // 64)
    assert f"Estimate for the LLM alone, same tokens: {batches + 1:.1f} s per problem" in result.stdout
    # The calibration does not apply to another context.
    other = [*arguments[:3], str(tmp_path / "other"), *arguments[4:], "--context", "300", "--json"]
    assert "llm_alone_seconds" not in json.loads(CliRunner().invoke(app, other).stdout)


def test_two_real_models(tmp_path: Path, tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random answers with real numbers: a prompt too long, truncated answers, a run in two parts."""
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))
    questions = ["one", "word " * 2000, "three"]
    file = tmp_path / "p.jsonl"
    file.write_text("".join(json.dumps({"question": text, "answer": 7}) + "\n" for text in questions))
    models = [*tiny_pair.options, "--context", "256", "--threads", "1", "--parallel", "1"]

    def run(out: str, *more: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        common = ["--router", "random:0.5", "--max-tokens", "12", "--temperature", "1", "--samples", "2", "--json"]
        arguments = ["solve", str(file), "--out", str(tmp_path / out), *models, *common, *more]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        lines = (tmp_path / out / "answers.jsonl").read_text(encoding="utf-8").splitlines()
        return json.loads(result.stdout), [json.loads(line) for line in lines]

    summary, lines = run("whole")
    assert (summary["problems"], summary["samples"], summary["errors"]) == (3, 6, 2)
    for line in lines:
        if line["id"] == "2":
            assert line["stop"] == "error"
            assert "256" in line["error"]
        else:
            assert line["stop"] in ("eog", "length")
            written = sum(line["tokens"].values())
            assert 0 < written <= 12
            assert sum(split["decode"] + split["catch_up"] for split in line["evaluated"].values()) >= written - 1
            assert line["wall_ms"] > 0
    run("parts", "--limit", "1")
    _, in_parts = run("parts")
    assert [(line["id"], line["text"]) for line in in_parts] == [(line["id"], line["text"]) for line in lines]
    header = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert header["information"]["loaded"]["slm"]["file"] == tiny_pair.slm.name

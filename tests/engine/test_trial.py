"""Trials: what a file does in the trial process, when one is held, and that no process is left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from gguf_fuzz.document import Document, text
from gguf_fuzz.tiny_models import MODELS
from tiny_pair import TinyPair, write_model, write_pair

from rstitch_local import LoadOptions, load_pair, workers
from rstitch_local.decoding.roles import Role
from rstitch_local.engine import trial_monitor
from rstitch_local.engine.choice import choose_pair
from rstitch_local.engine.pair_check import check_pair
from rstitch_local.engine.trial import open_trial
from rstitch_local.engine.trial_monitor import TrialError
from rstitch_local.engine.tried_files import FilesOnTrial
from rstitch_local.errors import CancelledError, ModelError

OPTIONS = LoadOptions(threads=1, context=256)
READY = (
    "import json, os, signal, sys, time\n"
    "job = json.loads(sys.stdin.readline())\n"
    "def say(**message): print(json.dumps(message), flush=True)\n"
    "say(ready=True)\n"
    "say(model=0, stage='load')\n"
)
"""Beginning of a program that stands in for the trial process."""
PASS = "for index in range(len(job['models'])): say(passed=index)"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_trials: Callable[[FilesOnTrial], bool]) -> Path:
    """Hold trials, and record them in a folder of the test."""
    monkeypatch.setattr(FilesOnTrial, "were_tried", no_trials)
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes of all trials."""
    started: list[subprocess.Popen[bytes]] = []
    start = workers.start_worker

    def record(*arguments: object) -> subprocess.Popen[bytes]:
        started.append(start(*arguments))  # type: ignore[arg-type]
        return started[-1]

    monkeypatch.setattr(workers, "start_worker", record)
    return started


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replace the trial process by a program that begins with `READY`."""

    def replace(program: str, beginning: str = READY) -> None:
        command = [sys.executable, "-c", beginning + program]
        monkeypatch.setattr(workers, "command_of", lambda *_arguments: command)

    return replace


def load(pair: TinyPair) -> None:
    load_pair(slm=pair.slm, llm=pair.llm, options=OPTIONS).close()


def write_crash(path: Path) -> Path:
    """Write a file whose sizes of values contradict each other, which llama.cpp finds when it evaluates."""
    model = MODELS["gpt-oss"]()
    model.keys["attention.value_length"] = 7
    path.write_bytes(model.document().encoded())
    return path


def test_a_file_that_crashes_llama_cpp_is_refused(tmp_path: Path) -> None:
    pair = write_pair(tmp_path)
    crash = write_crash(tmp_path / "crash.gguf")
    with pytest.raises(TrialError) as caught:
        load(TinyPair(pair.slm, crash))
    assert caught.value.title == "Model crashes llama.cpp"
    assert str(crash) in caught.value.message
    assert "GGML_ASSERT" in caught.value.message
    assert caught.value.exit_code == 3
    with pytest.raises(TrialError):
        check_pair(choose_pair(slm=crash, llm=pair.llm))


@pytest.mark.parametrize(
    ("template", "title"),
    [
        ("{{ 'a' * 10 ** 11 }}", "Chat template exceeds limits"),
        ("{{ '' }}", "Empty prompt"),
    ],
)
@pytest.mark.parametrize("own_file", [False, True])
def test_a_chat_template_is_rendered_in_the_trial(tmp_path: Path, template: str, title: str, own_file: bool) -> None:
    pair = write_pair(tmp_path, llm={} if own_file else {"template": template})
    choice = choose_pair(slm=pair.slm, llm=pair.llm)
    if own_file:
        path = tmp_path / "template.jinja"
        path.write_text(template, encoding="utf-8")
        choice = replace(choice, templates={Role.LLM: path})
    with open_trial(choice, trusted=False) as trial, pytest.raises(ModelError) as caught:
        trial.wait(Role.LLM)
    assert caught.value.title == title


def test_a_vocabulary_without_tokens_for_the_prompt_is_refused(tmp_path: Path) -> None:
    pair = write_pair(tmp_path)
    document = Document.read(pair.slm)
    tokens = document.key("tokenizer.ggml.tokens")
    assert tokens is not None
    tokens.items = [text(f"token{number}".encode()) for number in range(len(tokens.items))]
    pair.slm.write_bytes(document.encoded())
    with pytest.raises(ModelError, match="no tokens for the prompt"):
        load(pair)
    trusted = LoadOptions(threads=1, context=256, trust_models=True)
    with load_pair(slm=pair.slm, llm=pair.llm, options=trusted) as loaded, pytest.raises(ModelError, match="no tokens"):
        loaded.generate("Hi")


def test_a_trial_is_held_once(
    tmp_path: Path, trials: list[subprocess.Popen[bytes]], stand_in: Callable[[str], None]
) -> None:
    stand_in(PASS)
    pair = write_pair(tmp_path)
    load(pair)
    assert [process.returncode is None for process in trials] == [False]
    load(pair)
    check_pair(choose_pair(slm=pair.slm, llm=pair.llm))
    assert len(trials) == 1


def test_a_copy_and_a_touched_file_are_recognized(
    tmp_path: Path, trials: list[subprocess.Popen[bytes]], stand_in: Callable[[str], None]
) -> None:
    stand_in(PASS)
    pair = write_pair(tmp_path)
    load(pair)
    moved = TinyPair(tmp_path / "moved.gguf", pair.llm)
    shutil.copyfile(pair.slm, moved.slm)
    os.utime(pair.llm, (1, 1))
    load(moved)
    assert len(trials) == 1


def test_a_changed_file_is_tried_again(
    tmp_path: Path, trials: list[subprocess.Popen[bytes]], stand_in: Callable[[str], None]
) -> None:
    stand_in(PASS)
    pair = write_pair(tmp_path)
    load(pair)
    size = pair.slm.stat().st_size
    write_model(pair.slm, seed=7)
    assert pair.slm.stat().st_size == size
    load(pair)
    assert len(trials) == 2


@pytest.mark.parametrize("record", [b"", b"[]", b"{", b"null", b'{"a": 1}', b'{"a": {"stamp": [1]}}', b"\xff"])
def test_a_damaged_record_costs_a_trial(
    tmp_path: Path, home: Path, trials: list[subprocess.Popen[bytes]], record: bytes
) -> None:
    pair = write_pair(tmp_path)
    (home / "cache").mkdir(parents=True)
    (home / "cache" / "tried_models.json").write_bytes(record)
    trial = open_trial(choose_pair(slm=pair.slm, llm=pair.llm), trusted=False)
    trial.__exit__()
    assert len(trials) == 1


def test_another_llama_cpp_tries_again(
    tmp_path: Path, home: Path, trials: list[subprocess.Popen[bytes]], stand_in: Callable[[str], None]
) -> None:
    stand_in(PASS)
    pair = write_pair(tmp_path)
    load(pair)
    record = home / "cache" / "tried_models.json"
    entries = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(json.dumps({path: {**entry, "llama_cpp": "older"} for path, entry in entries.items()}))
    load(pair)
    assert len(trials) == 2


def test_trusted_and_builtin_files_are_not_tried(tmp_path: Path, trials: list[subprocess.Popen[bytes]]) -> None:
    pair = write_pair(tmp_path)
    load_pair(slm=pair.slm, llm=pair.llm, options=LoadOptions(threads=1, context=256, trust_models=True)).close()
    load_pair("demo", options=OPTIONS).close()
    assert trials == []


def test_the_large_model_is_tried_while_the_small_one_is_loaded(tmp_path: Path) -> None:
    pair = write_pair(tmp_path)
    events: list[tuple[str, Role]] = []

    def progress(role: Role, _share: float) -> bool:
        events.append(("load", role))
        return True

    def on_trial(role: Role) -> bool:
        events.append(("trial", role))
        return True

    load_pair(slm=pair.slm, llm=pair.llm, options=OPTIONS, progress=progress, on_trial=on_trial).close()
    order = list(dict.fromkeys(events))
    assert order[:2] == [("trial", Role.SLM), ("load", Role.SLM)]
    assert order[-1] == ("load", Role.LLM)


@pytest.mark.parametrize(
    ("program", "title", "expected"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "Model crashes llama.cpp", "lack of memory"),
        ("sys.exit(5)", "Model crashes llama.cpp", "exit code 5"),
        ("sys.stderr.write('x\\nwhat():  bad\\n'); os._exit(5)", "Model crashes llama.cpp", "what(): bad"),
        ("say(out_of_memory=True)", "Trial took too much memory", "more than 4.30 GB"),
        ("say(error=['Cannot load model', 'It is broken.', 'Fix it.'])", "Cannot load model", "It is broken."),
    ],
)
def test_the_end_of_the_process_is_explained(
    tmp_path: Path, stand_in: Callable[[str], None], program: str, title: str, expected: str
) -> None:
    if "SIGKILL" in program and sys.platform == "win32":
        pytest.skip("no signals")
    stand_in(program)
    with pytest.raises(ModelError) as caught:
        load(write_pair(tmp_path))
    assert caught.value.title == title
    assert expected in caught.value.message


@pytest.mark.parametrize(
    ("program", "limit", "value", "title"),
    [
        ("time.sleep(99)", "_LOAD_LIMIT_S", 0.1, "Trial took too long"),
        ("say(model=0, stage='template'); time.sleep(99)", "TEMPLATE_LIMIT_S", 0.1, "Trial took too long"),
        ("time.sleep(99)", "_MEMORY_BYTES", 1 << 20, "Trial took too much memory"),
    ],
)
def test_limits_end_the_process(
    tmp_path: Path,
    stand_in: Callable[[str], None],
    trials: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    limit: str,
    value: float,
    title: str,
) -> None:
    stand_in(program)
    monkeypatch.setattr(trial_monitor, limit, value)
    with pytest.raises(TrialError) as caught:
        load(write_pair(tmp_path))
    assert caught.value.title == title
    assert "--trust-models" in caught.value.hint
    assert "trust_models=True" in str(caught.value)
    assert trials[0].returncode is not None


@pytest.mark.parametrize("program", ["sys.exit(1)", "no python"])
def test_a_trial_that_cannot_start_is_left_out(
    tmp_path: Path, stand_in: Callable[[str, str], None], caplog: pytest.LogCaptureFixture, home: Path, program: str
) -> None:
    stand_in(program, "import sys\n")
    load(write_pair(tmp_path))
    assert "without a trial" in caplog.text
    assert not (home / "cache" / "tried_models.json").exists()


def test_a_missing_interpreter_is_no_fault_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    load(write_pair(tmp_path))
    monkeypatch.setattr(sys, "executable", "")
    load(write_pair(tmp_path))


@pytest.mark.parametrize("kind", [CancelledError, KeyboardInterrupt])
def test_cancelling_ends_the_process(
    tmp_path: Path,
    stand_in: Callable[[str], None],
    trials: list[subprocess.Popen[bytes]],
    kind: type[BaseException],
) -> None:
    stand_in("time.sleep(99)")
    pair = write_pair(tmp_path)

    def on_trial(_role: Role) -> bool:
        if kind is KeyboardInterrupt:
            raise KeyboardInterrupt
        return False

    with pytest.raises(kind):
        load_pair(slm=pair.slm, llm=pair.llm, options=OPTIONS, on_trial=on_trial)
    assert trials[0].returncode is not None


def test_a_worker_ends_with_a_killed_parent() -> None:
    worker = "from rstitch_local import workers\nworkers.exit_with_parent()\nprint(1, flush=True)\nwhile True: pass"
    program = (
        "import sys, time\n"
        "from rstitch_local import workers\n"
        f"process = workers.start_worker([sys.executable, '-c', {worker!r}])\n"
        "process.stdout.readline()\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(99)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    assert child.is_running()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    child.wait(timeout=20)

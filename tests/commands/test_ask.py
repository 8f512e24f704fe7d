"""`rstitch ask`: its output, its exit codes, and Ctrl-C."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import llama_cpp
import pytest
from tiny_pair import TinyPair, write_pair

from rstitch_local.commands import loading
from rstitch_local.commands.main import main
from rstitch_local.decoding.step import Step
from rstitch_local.engine import loading as engine_loading
from rstitch_local.engine.choice import PairChoice
from rstitch_local.engine.pair import Pair
from rstitch_local.llama import library
from rstitch_local.sanitize import safe_text
from rstitch_local.trace.columns import STORED_NAMES

QUESTION = "What is the inner thing?"
SUMMARY = re.compile(
    r"SLM (\d+) \+ LLM (\d+) tokens \((\d+)% LLM\) · (\d+) up, (\d+) down · "
    r"(\d+) catch-up tokens · [\d.]+ tok/s · [\d.]+ m?s"
)
# Characters that control a terminal; each byte appears once, so that a tiny model can generate them.
UNSAFE = "A\x1b[31m\x07\u202eB\tC\x9bD"
SAFE = "A[31mB\tCD"

Rstitch = Callable[..., "Done"]


class Done(NamedTuple):
    """Exit code and output of a run of the program."""

    code: int
    out: str
    err: str


@pytest.fixture
def rstitch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Rstitch:
    """Runs the program in this process; an exception other than SystemExit fails the test."""
    monkeypatch.setenv("RSTITCH_HOME", str(tmp_path / "home"))

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["rstitch", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        sys.stdout.flush()
        code = ended.value.code
        return Done(code if isinstance(code, int) else 0, *capfd.readouterr())

    return run


def command(*arguments: str) -> list[str]:
    """The command line of a subprocess in which Ctrl-C works even if the tests run in the background."""
    script = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from rstitch_local.commands.main import main; main()"
    )
    return [sys.executable, "-c", script, *arguments]


def environment(**changes: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return {**plain, "TERM": "xterm-256color", **changes}


def test_the_answer_goes_to_stdout_and_the_summary_to_stderr(rstitch: Rstitch, tiny_pair: TinyPair) -> None:
    arguments = ["ask", QUESTION, *tiny_pair.options, "--router", "entropy:0.25", "--max-tokens", "200"]
    done = rstitch(*arguments)
    assert done.code == 0
    record = json.loads(rstitch(*arguments, "--json").out)
    # In a pipe the answer is unchanged: no wrapping, no colors, tabs stay tabs.
    assert done.out == safe_text(record["text"]) + "\n"
    assert max(len(line) for line in done.out.splitlines()) > 80
    assert "\x1b" not in done.out + done.err
    summary = SUMMARY.search(done.err)
    assert summary, done.err
    slm, llm, _, up, down, evaluated_tokens = (int(number) for number in summary.groups())
    assert {"slm": slm, "llm": llm} == record["tokens"]
    assert {"up": up, "down": down} == record["swaps"]
    assert evaluated_tokens == sum(record["evaluated"][role]["catch_up"] for role in ("slm", "llm"))
    assert "cut off" in done.err
    assert len(done.err.splitlines()) == 2


def test_json_is_one_object_with_the_whole_trace(rstitch: Rstitch, tiny_pair: TinyPair) -> None:
    done = rstitch("ask", QUESTION, *tiny_pair.options, "--router", "slm", "--max-tokens", "9", "--seed", "5", "--json")
    record = json.loads(done.out)
    assert (done.code, done.err) == (0, "")
    assert record["stop"] == "length"
    assert record["seed"] == 5
    assert record["settings"]["router"] == "slm"
    assert len(record["steps"]) == 9 == record["tokens"]["slm"]
    # Only models with different tokenizers have `replaced_bytes`.
    names = {field.name for field in fields(Step)} - {"replaced_bytes"}
    assert set(record["steps"][0]) == {STORED_NAMES.get(name, name) for name in names}
    assert len(done.out.splitlines()) == 1


def test_options_are_passed_to_the_models(
    rstitch: Rstitch, tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[engine_loading.LoadOptions] = []
    load = engine_loading.load_choice

    def note(choice: PairChoice, options: engine_loading.LoadOptions, *more: Any) -> Pair:
        loaded.append(options)
        return load(choice, options, *more)

    monkeypatch.setattr(engine_loading, "load_choice", note)
    options = "--temperature 0.5 --top-p 0.9 --top-k 40 --min-p 0.01 --context 128 --threads 2 --kv-type q8_0"
    done = rstitch(
        "ask", "Hi", *tiny_pair.options, *options.split(), "--gpu-layers", "9,3", "--system", "Be brief.",
        "--max-tokens", "4", "--json",
    )  # fmt: skip
    record = json.loads(done.out)
    assert record["settings"]["sampling"] == {"temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.01}
    assert record["settings"]["max_tokens"] == 4
    short = json.loads(rstitch("ask", "Hi", *tiny_pair.options, "--max-tokens", "4", "--json").out)
    assert record["evaluated"]["slm"]["prompt"] > short["evaluated"]["slm"]["prompt"] + len("Be brief.")
    assert loaded == [engine_loading.LoadOptions((9, 3), 2, 128, "q8_0"), engine_loading.LoadOptions()]


def test_stop_strings_end_the_answer(rstitch: Rstitch, tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"answer": "abcdefgh"})
    arguments = ["ask", "Hi", *files.options, "--router", "slm"]
    assert rstitch(*arguments, "--stop", "x", "--stop", "de").out == "abc\n"
    record = json.loads(rstitch(*arguments, "--stop", "de", "--json").out)
    assert (record["text"], record["stop"]) == ("abc", "stop")
    assert rstitch(*arguments, "--stop", "x").out == "abcdefgh\n"
    refused(rstitch(*arguments, "--stop", ""), 2, "Invalid stop string")


def test_the_question_can_be_read_from_stdin(tiny_pair: TinyPair) -> None:
    done = subprocess.run(
        command("ask", "-", *tiny_pair.options, "--max-tokens", "3", "--router", "slm", "--json"),
        input=b"W\xc3\xb6rter, and bytes that are not UTF-8: \xff\xfe",
        capture_output=True, env=environment(PYTHONIOENCODING="utf-8:strict"), timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["stop"] == "length"


def refused(done: Done, code: int, *words: str) -> None:
    assert done.code == code, done
    assert done.out == ""
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.err, done.err
    # A title, one or a few sentences, perhaps a hint; never a page.
    assert 1 <= len(done.err.strip().splitlines()) <= 12


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--router", "nonsense"], ["Unknown router", "'nonsense'", "entropy:TAU"]),
        (["--router", "entropy:high"], ["'entropy:high' needs a number"]),
        (["--router", "random:1.5"], ["from 0 to 1"]),
        (["--pair", "qwen2.5-coder"], ["Invalid pair selection", "--pair", "--slm"]),
        (["--kv-type", "f8"], ["Unknown cache type", "q8_0"]),
        (["--gpu-layers", "most"], ["Invalid GPU layers", "'auto'"]),
        (["--gpu-layers", "1,2,3"], ["Invalid GPU layers"]),
        (["--gpu-layers", "-1"], ["Invalid GPU layers"]),
        (["--temperature", "1000"], ["Sampling out of range", "temperature"]),
    ],
)
def test_usage_errors_end_with_2(rstitch: Rstitch, tiny_pair: TinyPair, options: list[str], words: list[str]) -> None:
    refused(rstitch("ask", QUESTION, *tiny_pair.options, *options), 2, *words)


def test_options_out_of_range_end_with_2(rstitch: Rstitch, tiny_pair: TinyPair) -> None:
    for option in ("--temperature=-1", "--top-p=2", "--max-tokens=0", "--threads=0", "--context=1", "--seed=x"):
        refused(rstitch("ask", QUESTION, *tiny_pair.options, option), 2, option.split("=")[0])


@pytest.mark.parametrize("question", ["-3 + 5", "-5", "-x^2 = 4", "-half of 6", "--what is 3", "--5", "-\x1b[31m"])
def test_a_question_with_a_dash_is_given_after_two_dashes(
    rstitch: Rstitch, tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    options = [*tiny_pair.options, "--router", "slm", "--max-tokens", "3"]
    refused(rstitch("ask", question, *options), 2, "Not an option", "rstitch ask -- ")
    asked: list[str] = []
    ask = Pair.ask

    def note(pair: Pair, text: str, **more: Any) -> Any:
        asked.append(text)
        return ask(pair, text, **more)

    monkeypatch.setattr(Pair, "ask", note)
    assert rstitch("ask", *options, "--", question).code == 0
    assert asked == [question]


def test_values_of_options_may_begin_with_a_dash(rstitch: Rstitch, tiny_pair: TinyPair) -> None:
    options = ["--system", "-be brief", "--stop", "- x", "--seed", "-3", "--max-tokens", "3"]
    assert rstitch("ask", QUESTION, *tiny_pair.options, *options).code == 0


def test_a_misspelled_option_is_still_one(rstitch: Rstitch, tiny_pair: TinyPair) -> None:
    refused(rstitch("ask", QUESTION, *tiny_pair.options, "--temprature", "1"), 2, "--temprature", "--temperature")
    refused(rstitch("ask", QUESTION, *tiny_pair.options, "--temprature=1"), 2, "--temprature")


def test_an_empty_question_ends_with_2(rstitch: Rstitch, tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(" \n"))
    for question in ("", "  \n", "-"):
        refused(rstitch("ask", question, *tiny_pair.options), 2, "The question is empty")


def test_one_of_two_files_ends_with_2(rstitch: Rstitch, tiny_pair: TinyPair) -> None:
    refused(rstitch("ask", QUESTION, "--slm", str(tiny_pair.slm)), 2, "both `--slm PATH` and `--llm PATH`")
    refused(rstitch("ask", QUESTION, "--llm", str(tiny_pair.llm)), 2, "both `--slm PATH` and `--llm PATH`")


def test_an_invalid_router_is_reported_before_loading(
    rstitch: Rstitch, tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "open_pair", lambda *_arguments, **_named: pytest.fail("loaded"))
    refused(rstitch("ask", QUESTION, *tiny_pair.options, "--router", "slm:1"), 2, "Unknown router")


def test_a_missing_pair_ends_with_3(rstitch: Rstitch) -> None:
    refused(rstitch("ask", QUESTION, "--pair", "nobody"), 3, "Unknown pair", "nobody")
    refused(rstitch("ask", QUESTION, "--pair", "r1-7b"), 3, "not on disk", "rstitch pull r1-7b")


def test_invalid_model_files_end_with_3(rstitch: Rstitch, tiny_pair: TinyPair, tmp_path: Path) -> None:
    text, cut = tmp_path / "text.gguf", tmp_path / "cut.gguf"
    text.write_text("hello")
    cut.write_bytes(tiny_pair.llm.read_bytes()[:-100])
    for path, words in (
        (tmp_path / "none.gguf", "does not exist"),
        (tmp_path, "folder"),
        (text, "Not a GGUF file"),
        (cut, "Truncated model file"),
    ):
        refused(rstitch("ask", QUESTION, "--slm", str(tiny_pair.slm), "--llm", str(path)), 3, words, str(path))


def test_unusable_pairs_end_with_3(rstitch: Rstitch, tmp_path: Path) -> None:
    for name, changes, words in (
        ("template", {"template": None}, ["No chat template", "slm.gguf"]),
        ("broken", {"template": "{% if %}"}, ["Invalid chat template", "slm.gguf"]),
    ):
        files = write_pair(tmp_path / name, changes)
        refused(rstitch("ask", QUESTION, *files.options), 3, *words)


def test_foreign_tokenizers_are_noted_in_one_line(rstitch: Rstitch, tmp_path: Path, tiny_pair: TinyPair) -> None:
    files = write_pair(tmp_path, {"swap_tokens": True})
    done = rstitch("ask", QUESTION, *files.options, "--max-tokens", "5")
    assert done.code == 0
    assert sum("different tokenizers" in line for line in done.err.splitlines()) == 1
    assert "tokenizer" not in rstitch("ask", QUESTION, *tiny_pair.options, "--max-tokens", "5").err
    refused(rstitch("ask", QUESTION, *files.options, "--router", "spec:4"), 3, "Speculative decoding", "tokenizer")


def test_a_prompt_too_long_ends_with_4(rstitch: Rstitch, tiny_pair: TinyPair) -> None:
    done = rstitch("ask", "long " * 50, *tiny_pair.options, "--context", "64")
    refused(done, 4, "Prompt too long", "the SLM's context holds 64", "--context")


def test_a_prompt_rejected_by_the_template_ends_with_4(rstitch: Rstitch, tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"template": "{{ raise_exception('Only poems') }}"})
    refused(rstitch("ask", QUESTION, *files.options), 4, "Only poems", "slm.gguf")


def test_broken_logits_end_with_7_after_the_partial_answer(rstitch: Rstitch, tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"answer": "abcde", "nan_after": "c"})
    done = rstitch("ask", "Hi", *files.options, "--router", "slm")
    assert (done.code, done.out) == (7, "abc\n")
    assert "SLM at position 3" in done.err
    assert "Traceback" not in done.err
    refused(rstitch("ask", "Hi", *files.options, "--router", "slm", "--json"), 7, "SLM at position 3")


def test_a_failure_of_llama_cpp_ends_with_7(
    rstitch: Rstitch, tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_cpp, "llama_decode", lambda *_arguments: -3)
    done = rstitch("ask", "Hi", *tiny_pair.options, "--json")
    refused(done, 7, "llama.cpp failed", "slm.gguf")


def test_control_characters_of_a_model_are_removed(rstitch: Rstitch, tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"answer": UNSAFE})
    done = rstitch("ask", "Hi", *files.options, "--router", "slm")
    assert done.out == SAFE + "\n"
    done = rstitch("ask", "Hi", *files.options, "--router", "slm", "--json")
    assert json.loads(done.out)["text"] == UNSAFE
    assert safe_text(done.out) == done.out


@pytest.mark.parametrize("json_output", [False, True])
def test_ctrl_c_keeps_the_partial_answer_and_ends_with_130(
    rstitch: Rstitch, tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch, json_output: bool
) -> None:
    decode, calls = llama_cpp.llama_decode, 0

    def interrupt(context: Any, batch: Any) -> int:
        nonlocal calls
        calls += 1
        code = int(decode(context, batch))
        if calls == 20:
            signal.raise_signal(signal.SIGINT)
        return code

    monkeypatch.setattr(llama_cpp, "llama_decode", interrupt)
    done = rstitch("ask", QUESTION, *tiny_pair.options, "--router", "llm", *(["--json"] if json_output else []))
    assert done.code == 130
    assert "Traceback" not in done.err
    if json_output:
        record = json.loads(done.out)
        assert record["stop"] == "interrupted"
        assert len(record["steps"]) == 19
    else:
        assert done.out.endswith("\n")
        summary = SUMMARY.search(done.err)
        assert summary, done.err
        assert (summary[1], summary[2]) == ("0", "19")
        assert "Stopped." in done.err
        assert len(done.err.splitlines()) == 1


def test_ctrl_c_while_a_model_loads_ends_with_130(
    rstitch: Rstitch, tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = False

    def interrupted_log(*_arguments: object) -> None:
        nonlocal sent
        if not sent:
            sent = True
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(library.log, "log", interrupted_log)
    done = rstitch("ask", QUESTION, *tiny_pair.options)
    assert sent
    assert (done.code, done.out) == (130, "")
    assert "Traceback" not in done.err
    assert "Exception ignored" not in done.err


posix_only = pytest.mark.skipif(os.name == "nt", reason="signals and terminals of POSIX")


@posix_only
def test_sigint_to_the_process_ends_with_130(tiny_pair: TinyPair) -> None:
    arguments = ["ask", QUESTION, *tiny_pair.options, "--context", "65536", "--router", "entropy:0.25"]
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as run:
        assert run.stdout
        assert run.stderr
        assert run.stdout.read(1)
        run.send_signal(signal.SIGINT)
        run.stdout.read()
        errors = run.stderr.read().decode()
        assert run.wait(60) == 130
    assert "Stopped. SLM" in errors
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors


@posix_only
def test_a_closed_pipe_ends_with_1_and_no_message(tiny_pair: TinyPair) -> None:
    arguments = ["ask", QUESTION, *tiny_pair.options, "--context", "65536"]
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as run:
        assert run.stdout
        assert run.stderr
        assert run.stdout.read(1)
        run.stdout.close()
        errors = run.stderr.read().decode()
        assert run.wait(60) == 1
    assert errors == ""


def on_a_terminal(arguments: Sequence[str], *, errors_too: bool = False, code: int = 0, **changes: str) -> str:
    """Return the output to a pseudo-terminal; stderr is part of it only if `errors_too`."""
    import pty

    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(*arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs if errors_too else subprocess.DEVNULL,
        env=environment(**changes),
    ) as run:
        os.close(theirs)
        received = b""
        # On Linux, reading at the end raises an error.
        with contextlib.suppress(OSError):
            while more := os.read(ours, 65536):
                received += more
        os.close(ours)
        assert run.wait(60) == code
    return received.decode().replace("\r\n", "\n")


COLOR_CODES = re.compile(r"\x1b\[[0-9;]*m")


@posix_only
def test_a_terminal_shows_the_text_of_the_llm_in_color(tiny_pair: TinyPair, rstitch: Rstitch) -> None:
    arguments = ["ask", QUESTION, *tiny_pair.options, "--max-tokens", "60", "--router"]
    shown = on_a_terminal([*arguments, "entropy:0.25"])
    answer = rstitch(*arguments, "entropy:0.25").out.replace("\t", " " * 8)
    assert COLOR_CODES.sub("", shown).startswith(answer)
    assert SUMMARY.search(COLOR_CODES.sub("", shown))
    steps = json.loads(rstitch(*arguments, "entropy:0.25", "--json").out)["steps"]
    by_llm = [step["text"] for step in steps if step["role"] == "llm" and step["text"].isprintable() and step["text"]]
    assert by_llm
    for text in by_llm:
        assert f"\x1b[4;36m{text}\x1b[0m" in shown
    assert "36m" not in on_a_terminal([*arguments, "slm"])


@posix_only
def test_no_color_shows_plain_text_on_a_terminal(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {}, {"answer": UNSAFE})
    shown = on_a_terminal(["ask", "Hi", *files.options, "--router", "llm"], NO_COLOR="1")
    assert shown.startswith(SAFE.replace("\t", " " * 8) + "\nSLM ")
    assert "\x1b" not in shown


@posix_only
def test_control_characters_are_removed_on_a_terminal(tmp_path: Path) -> None:
    files = write_pair(tmp_path, {"answer": UNSAFE}, {"answer": UNSAFE})
    for options in (["--router", "llm"], ["--router", "llm", "--json"]):
        shown = on_a_terminal(["ask", "Hi", *files.options, *options])
        assert not any(character in COLOR_CODES.sub("", shown) for character in "\x1b\x07\u202e\x9b")
        assert "\x1b[31m" not in shown


@posix_only
def test_an_error_on_a_terminal_is_a_panel(tiny_pair: TinyPair) -> None:
    arguments = ["ask", "long " * 50, *tiny_pair.options, "--context", "64"]
    shown = on_a_terminal(arguments, errors_too=True, code=4)
    assert "Prompt too long" in shown
    assert "╭" in shown
    assert "Traceback" not in shown


def test_force_color_applies_to_a_pipe(rstitch: Rstitch, tiny_pair: TinyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["ask", QUESTION, *tiny_pair.options, "--router", "llm", "--max-tokens", "5"]
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[4;36m" in rstitch(*arguments).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in rstitch(*arguments).out

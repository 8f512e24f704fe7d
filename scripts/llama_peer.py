"""Run llama.cpp's own programs and parse their output, for benchmarks that compare with them.

Values that are missing in an output are None; a program that is missing or fails raises `PeerError`.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ERROR_LINES = 3


class PeerError(Exception):
    """A program could not be started, or failed; the text says which and why."""


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """One answer of a program. Values that the program does not report are None.

    Attributes:
        tokens: generated tokens.
        ms: time to generate them, by the program's own clock.
        prompt_tokens: tokens of the prompt.
        prompt_ms: time to evaluate them.
        drafted: drafted tokens.
        accepted: accepted drafted tokens.
        ids: ids of the generated tokens.
    """

    tokens: int | None = None
    ms: float | None = None
    prompt_tokens: int | None = None
    prompt_ms: float | None = None
    drafted: int | None = None
    accepted: int | None = None
    ids: tuple[int, ...] | None = None

    @property
    def missing(self) -> list[str]:
        """Names of the values that a comparison requires and that are None."""
        return [name for name in ("tokens", "ms", "prompt_tokens", "prompt_ms") if getattr(self, name) is None]


class Server:
    """llama-server with one model, as a context manager. `command` is its command line."""

    def __init__(self, folder: Path, model: Path, *, sequences: int, context: int, threads: int) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            self._port = unused.getsockname()[1]
        self.command = [str(folder / "llama-server"), "-m", str(model), "-np", str(sequences), "-cb"]
        self.command += ["-c", str(context * sequences), "-t", str(threads), "-tb", str(threads)]
        self.command += ["--host", "127.0.0.1", "--port", str(self._port), "--no-webui"]

    def __enter__(self) -> Server:
        try:
            self._process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except OSError as error:
            raise PeerError(f"llama-server does not start: {error}") from error
        try:
            self._await_health()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.terminate()
        self._process.wait()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def _await_health(self) -> None:
        while self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        raise PeerError("llama-server ended before it was ready")

    def complete(self, ids: Sequence[int], max_tokens: int, *, cache_prompt: bool = True) -> PeerAnswer:
        """Generate greedily after a prompt of token ids."""
        body = {"prompt": list(ids), "n_predict": max_tokens, "temperature": 0, "return_tokens": True}
        body["cache_prompt"] = cache_prompt
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=3600) as answer:
                reply = json.load(answer)
        except (OSError, ValueError) as error:
            raise PeerError(f"llama-server did not answer: {error}") from error
        return parse_completion(reply)


def parse_completion(reply: Mapping[str, Any]) -> PeerAnswer:
    """Parse a reply of `/completion`."""
    timings = reply.get("timings")
    timings = timings if isinstance(timings, dict) else {}
    tokens, ids = reply.get("tokens_predicted", timings.get("predicted_n")), reply.get("tokens")
    return PeerAnswer(
        tokens=_integer(tokens),
        ms=_number(timings.get("predicted_ms")),
        prompt_tokens=_integer(timings.get("prompt_n", reply.get("tokens_evaluated"))),
        prompt_ms=_number(timings.get("prompt_ms")),
        ids=tuple(ids) if isinstance(ids, list) and ids else None,
    )


def speculative_command(
    folder: Path, slm: Path, llm: Path, prompt: Path, *, draft: int, max_tokens: int, context: int, threads: int
) -> list[str]:
    """Return the command line of llama-speculative-simple for a file with the prompt as text."""
    command = [str(folder / "llama-speculative-simple"), "-m", str(llm), "-md", str(slm)]
    command += ["--spec-type", "draft-simple", "--spec-draft-n-max", str(draft)]
    # -bf keeps the last line end; without --no-escape, `\boxed` in a prompt would be changed.
    command += ["-bf", str(prompt), "--no-escape", "-n", str(max_tokens), "--temp", "0", "-c", str(context)]
    return [*command, "-t", str(threads), "-tb", str(threads), "-td", str(threads), "-tbd", str(threads)]


def run_speculative(folder: Path, slm: Path, llm: Path, text: str, **options: int) -> PeerAnswer:
    """Run llama-speculative-simple greedily on one prompt; options as in `speculative_command`."""
    with tempfile.TemporaryDirectory() as folder_name:
        prompt = Path(folder_name) / "prompt.txt"
        prompt.write_bytes(text.encode())
        return parse_speculative(_output(speculative_command(folder, slm, llm, prompt, **options)))


_SPEED = r"{} +(\d+) tokens in +([\d.]+) seconds"


def parse_speculative(output: str) -> PeerAnswer:
    """Parse the statistics that llama-speculative-simple prints at the end."""

    def last(pattern: str, group: int = 1) -> str | None:
        # The text of the model, printed before, can match as well.
        matches = list(re.finditer(pattern, output))
        return matches[-1].group(group) if matches else None

    prefill, decode = _SPEED.format("encoded"), _SPEED.format("decoded")
    seconds, prompt_seconds = _number(last(decode, 2)), _number(last(prefill, 2))
    return PeerAnswer(
        tokens=_integer(last(decode)),
        ms=None if seconds is None else seconds * 1e3,
        prompt_tokens=_integer(last(prefill)),
        prompt_ms=None if prompt_seconds is None else prompt_seconds * 1e3,
        drafted=_integer(last(r"n_drafted += +(\d+)")),
        accepted=_integer(last(r"n_accept += +(\d+)")),
    )


def bench_command(folder: Path, models: Sequence[Path], *, prompt: int, write: int, threads: int) -> list[str]:
    """Return the command line of llama-bench."""
    command = [str(folder / "llama-bench"), "-o", "json", "-r", "2", "-t", str(threads)]
    for model in models:
        command += ["-m", str(model)]
    return [*command, "-p", str(prompt), "-n", str(write)]


def parse_bench(output: str) -> dict[tuple[str, str], float]:
    """Parse the JSON of llama-bench: tokens per second by (file name of the model, "prompt" or "write")."""
    start = output.find("[")
    try:
        rows = json.loads(output[start : output.rfind("]") + 1]) if start >= 0 else []
    except ValueError:
        rows = []
    speeds = {}
    for row in rows if isinstance(rows, list) else []:
        speed = _number(row.get("avg_ts")) if isinstance(row, dict) else None
        if speed is not None:
            kind = "write" if row.get("n_gen") else "prompt"
            speeds[Path(str(row.get("model_filename", "?"))).name, kind] = speed
    return speeds


def run_bench(folder: Path, models: Sequence[Path], **options: int) -> dict[tuple[str, str], float]:
    """Run llama-bench; options as in `bench_command`."""
    return parse_bench(_output(bench_command(folder, models, **options), errors=False))


def version(folder: Path) -> str:
    """Return the version that the programs report, in one line."""
    for program in ("llama-server", "llama-speculative-simple", "llama-bench"):
        try:
            lines = _output([str(folder / program), "--version"]).splitlines()
        except PeerError:
            continue
        version_lines = [line.strip() for line in lines if line.strip().startswith(("version", "built"))]
        if version_lines:
            return ", ".join(version_lines)
    return "unknown version"


def _output(command: Sequence[str], *, errors: bool = True) -> str:
    """Return the stdout of a program, and its stderr if `errors`."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise PeerError(f"{name} does not start: {error}") from error
    stdout, stderr = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    if done.returncode:
        reason = " / ".join(line.strip() for line in (stderr or stdout).strip().splitlines()[-_ERROR_LINES:])
        raise PeerError(f"{name} failed with exit code {done.returncode}: {reason}")
    return f"{stdout}\n{stderr}" if errors else stdout


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


def _integer(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)

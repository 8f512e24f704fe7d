"""Runs llama.cpp's own programs, found in one folder, and reads what they print; for scripts that compare with them.

Knows their options and their output; nothing of this engine. What is not found in an output is None, and a program
that is missing or fails says so in a `PeerError`.
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

_LINES_SHOWN = 3


class PeerError(Exception):
    """A program could not be run, or ended with an error; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Written:
    """One answer of a peer.

    tokens: written; prompt_tokens: read before; None where the program did not say.
    ms, prompt_ms: time for each of them, as the program says itself.
    drafted, accepted: tokens, where it drafts.
    ids: what was written, where the program says so.
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
        """What was not found in the output that a comparison needs."""
        return [name for name in ("tokens", "ms", "prompt_tokens", "prompt_ms") if getattr(self, name) is None]


class Server:
    """llama-server with one model, as a context manager; `command` is how it was started."""

    def __init__(self, folder: Path, model: Path, *, slots: int, context: int, threads: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.command = [str(folder / "llama-server"), "-m", str(model), "-np", str(slots), "-cb"]
        self.command += ["-c", str(context * slots), "-t", str(threads), "-tb", str(threads)]
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
        """The process's number."""
        return self._process.pid

    def _await_health(self) -> None:
        """Wait until the server has loaded its model."""
        while self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        raise PeerError("llama-server ended before it was ready")

    def complete(self, ids: Sequence[int], max_tokens: int, *, cache_prompt: bool = True) -> Written:
        """What the server writes, greedily, after a prompt of token ids."""
        body = {"prompt": list(ids), "n_predict": max_tokens, "temperature": 0, "return_tokens": True}
        body["cache_prompt"] = cache_prompt
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=3600) as answer:
                said = json.load(answer)
        except (OSError, ValueError) as error:
            raise PeerError(f"llama-server gave no answer: {error}") from error
        return read_completion(said)


def read_completion(said: Mapping[str, Any]) -> Written:
    """What the answer of `/completion` says."""
    timings = said.get("timings")
    timings = timings if isinstance(timings, dict) else {}
    tokens, ids = said.get("tokens_predicted", timings.get("predicted_n")), said.get("tokens")
    return Written(
        tokens=_whole(tokens),
        ms=_number(timings.get("predicted_ms")),
        prompt_tokens=_whole(timings.get("prompt_n", said.get("tokens_evaluated"))),
        prompt_ms=_number(timings.get("prompt_ms")),
        ids=tuple(ids) if isinstance(ids, list) and ids else None,
    )


def speculative_command(
    folder: Path, slm: Path, llm: Path, prompt: Path, *, draft: int, max_tokens: int, context: int, threads: int
) -> list[str]:
    """How llama-speculative-simple is called on a file that holds the prompt as text."""
    command = [str(folder / "llama-speculative-simple"), "-m", str(llm), "-md", str(slm)]
    command += ["--spec-type", "draft-simple", "--spec-draft-n-max", str(draft)]
    # The binary file keeps the last line end; escapes would spoil what a prompt says of \boxed.
    command += ["-bf", str(prompt), "--no-escape", "-n", str(max_tokens), "--temp", "0", "-c", str(context)]
    return [*command, "-t", str(threads), "-tb", str(threads), "-td", str(threads), "-tbd", str(threads)]


def run_speculative(folder: Path, slm: Path, llm: Path, text: str, **options: int) -> Written:
    """llama-speculative-simple on one prompt, greedily; options as for `speculative_command`."""
    with tempfile.TemporaryDirectory() as place:
        prompt = Path(place) / "prompt.txt"
        prompt.write_bytes(text.encode())
        return read_speculative(_output(speculative_command(folder, slm, llm, prompt, **options)))


_SPEED = r"{} +(\d+) tokens in +([\d.]+) seconds"


def read_speculative(output: str) -> Written:
    """What llama-speculative-simple prints at its end."""

    def found(pattern: str, group: int = 1) -> str | None:
        # The last one: what the model wrote comes before.
        matches = list(re.finditer(pattern, output))
        return matches[-1].group(group) if matches else None

    read, wrote = _SPEED.format("encoded"), _SPEED.format("decoded")
    seconds, prompt_seconds = _number(found(wrote, 2)), _number(found(read, 2))
    return Written(
        tokens=_whole(found(wrote)),
        ms=None if seconds is None else seconds * 1e3,
        prompt_tokens=_whole(found(read)),
        prompt_ms=None if prompt_seconds is None else prompt_seconds * 1e3,
        drafted=_whole(found(r"n_drafted += +(\d+)")),
        accepted=_whole(found(r"n_accept += +(\d+)")),
    )


def bench_command(folder: Path, models: Sequence[Path], *, prompt: int, write: int, threads: int) -> list[str]:
    """How llama-bench is called for some models."""
    command = [str(folder / "llama-bench"), "-o", "json", "-r", "2", "-t", str(threads)]
    for model in models:
        command += ["-m", str(model)]
    return [*command, "-p", str(prompt), "-n", str(write)]


def read_bench(output: str) -> dict[tuple[str, str], float]:
    """Tokens a second that llama-bench prints as JSON, by (name of the model's file, "prompt" or "write")."""
    start = output.find("[")
    try:
        rows = json.loads(output[start : output.rfind("]") + 1]) if start >= 0 else []
    except ValueError:
        rows = []
    found = {}
    for row in rows if isinstance(rows, list) else []:
        speed = _number(row.get("avg_ts")) if isinstance(row, dict) else None
        if speed is not None:
            kind = "write" if row.get("n_gen") else "prompt"
            found[Path(str(row.get("model_filename", "?"))).name, kind] = speed
    return found


def run_bench(folder: Path, models: Sequence[Path], **options: int) -> dict[tuple[str, str], float]:
    """llama-bench on some models; options as for `bench_command`."""
    return read_bench(_output(bench_command(folder, models, **options), errors=False))


def version(folder: Path) -> str:
    """What the programs say of their version, in one line."""
    for program in ("llama-server", "llama-speculative-simple", "llama-bench"):
        try:
            lines = _output([str(folder / program), "--version"]).splitlines()
        except PeerError:
            continue
        said = [line.strip() for line in lines if line.strip().startswith(("version", "built"))]
        if said:
            return ", ".join(said)
    return "not said"


def _output(command: Sequence[str], *, errors: bool = True) -> str:
    """What a program prints, with what goes to standard error if `errors`."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise PeerError(f"{name} does not start: {error}") from error
    said, wrong = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    if done.returncode:
        last = " / ".join(line.strip() for line in (wrong or said).strip().splitlines()[-_LINES_SHOWN:])
        raise PeerError(f"{name} ended with {done.returncode}: {last}")
    return f"{said}\n{wrong}" if errors else said


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


def _whole(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)

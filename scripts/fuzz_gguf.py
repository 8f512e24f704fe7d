"""Load damaged and hostile GGUF files as a user would, and count what happens; the loading process must survive.

    python scripts/fuzz_gguf.py --seed 1 --count 2000

Mutates the demo files and tiny files of other architectures (gguf_fuzz/). Each file is one model of a pair whose other
model is intact; the pair is loaded with `load_pair` and generates a few tokens, in a process that goes on to the next
file. File N depends on the seed and N only: `--first N --count 1 --keep DIR` repeats one and keeps it. Exits with 1 if
a loading process died, hung or raised something else than an RStitchError.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gguf_fuzz.document import Document
from gguf_fuzz.mutations import mutate
from gguf_fuzz.tiny_models import MODELS

from rstitch_local import builtin

FAULTS = ("main process died", "main process hung", "main process out of memory", "traceback")


class Host:
    """A loading process, restarted when it dies or hangs."""

    def __init__(self, home: Path, time_limit_s: float) -> None:
        self._time_limit_s = time_limit_s
        self._environment = {**os.environ, "RSTITCH_HOME": str(home)}
        self._process: subprocess.Popen[str] | None = None

    def attempt(self, slm: Path, llm: Path) -> tuple[str, str]:
        """Return what happened to a pair of files, and the error."""
        process, replies = self._started()
        assert process.stdin is not None
        process.stdin.write(json.dumps([str(slm), str(llm)]) + "\n")
        process.stdin.flush()
        try:
            reply = replies.get(timeout=self._time_limit_s)
        except queue.Empty:
            self.close()
            return "main process hung", f"after {self._time_limit_s:g} s"
        if not reply:
            code = process.wait()
            self._process = None
            return "main process died", f"exit code {code}"
        outcome, detail = json.loads(reply)
        return outcome, detail

    def close(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _started(self) -> tuple[subprocess.Popen[str], queue.SimpleQueue[str]]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).parent / "gguf_fuzz" / "host.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                env=self._environment,
            )
            self._replies: queue.SimpleQueue[str] = queue.SimpleQueue()
            threading.Thread(target=_read, args=(self._process, self._replies), daemon=True).start()
        return self._process, self._replies


def _read(process: subprocess.Popen[str], replies: queue.SimpleQueue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        replies.put(line)
    replies.put("")


def write_pair(sources: dict[str, bytes], seed: int, number: int, folder: Path) -> tuple[Path, Path, str]:
    """Write file `number` of a seed; return the paths of its pair, and its source and mutation."""
    rng = random.Random(f"{seed}:{number}")
    name = rng.choice(list(sources))
    path = folder / f"{number}.gguf"
    path.write_bytes(sources[name])
    content, kind = mutate(rng, Document.read(path))
    path.write_bytes(content)
    if rng.random() < 0.5:
        return path, builtin.LLM_FILE, f"{name}, {kind}"
    return builtin.SLM_FILE, path, f"{name}, {kind}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=2000, help="number of files")
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--processes", type=int, default=2, help="loading processes")
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds after which a file counts as a hang")
    parser.add_argument("--keep", type=Path, help="folder that keeps the files of all faults, or of one file")
    options = parser.parse_args()
    sources = {path.stem: path.read_bytes() for path in (builtin.SLM_FILE, builtin.LLM_FILE)}
    # The demo pair is what users have; the other half of the files are of other architectures.
    sources |= {
        f"{path.stem} again {i}": path.read_bytes() for path in (builtin.SLM_FILE, builtin.LLM_FILE) for i in range(3)
    }
    sources |= {name: make().document().encoded() for name, make in MODELS.items()}
    with tempfile.TemporaryDirectory() as temporary:
        outcomes = run(options, sources, Path(temporary))
    counts = Counter(outcome for outcome, _ in outcomes)
    for outcome, count in counts.most_common():
        print(f"{count:>6}  {outcome}")
    print(f"{len(outcomes):>6}  files")
    sys.exit(any(counts[fault] for fault in FAULTS))


def run(options: argparse.Namespace, sources: dict[str, bytes], folder: Path) -> list[tuple[str, str]]:
    """Try all files with several processes; print the faults."""
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(options.first, options.first + options.count):
        numbers.put(number)
    outcomes: list[tuple[str, str]] = []

    def work(worker: int) -> None:
        host = Host(folder / f"home{worker}", options.time_limit)
        try:
            while not numbers.empty():
                try:
                    number = numbers.get_nowait()
                except queue.Empty:
                    return
                slm, llm, what = write_pair(sources, options.seed, number, folder)
                outcome, detail = host.attempt(slm, llm)
                outcomes.append((outcome, detail))
                path = llm if slm == builtin.SLM_FILE else slm
                if outcome in FAULTS or options.count == 1:
                    print(f"{number} ({what}): {outcome}: {detail}", flush=True)
                    if options.keep is not None:
                        options.keep.mkdir(parents=True, exist_ok=True)
                        (options.keep / path.name).write_bytes(path.read_bytes())
                path.unlink()
                if len(outcomes) % 100 == 0:
                    print(f"{len(outcomes)} of {options.count} files", file=sys.stderr, flush=True)
        finally:
            host.close()

    with ThreadPoolExecutor(options.processes) as pool:
        list(pool.map(work, range(options.processes)))
    return outcomes


if __name__ == "__main__":
    main()

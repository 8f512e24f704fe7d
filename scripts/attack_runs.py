"""Attack run folders: kills and signals at random moments, full disks, folders that vanish, damaged files.

    python scripts/attack_runs.py --seed 1 --kills 100 [--only kills signals ...]

Everything runs on the demo pair with `solve --parallel 8` in a temporary folder. The rules, checked after every case:
no line of answers.jsonl is lost or changed, no answer is there twice, every answer that was shown as written is there,
the same command completes the run, and a process ends with a documented exit code and without a traceback. Needs Linux
or macOS.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from attack_run_files import damaged_files, odd_files
from attacks import Ended, Tally, conclude, limited, run, start, wait, workplace

from rstitch_local.problems.run_folder import ANSWERS_FILE
from rstitch_local.problems.traces import RunTraces

ROOT = Path(__file__).resolve().parent.parent
PROBLEMS = ROOT / "examples" / "word_problems.jsonl"
GRADER_END_S = 30.0
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGPIPE", "SIGUSR1", "SIGALRM", "SIGTSTP")


@dataclass
class Attacked:
    """A run folder under attack, with what it held after the previous case."""

    folder: Path
    home: Path
    lines: list[bytes] = field(default_factory=list)

    @property
    def command(self) -> list[str | Path]:
        return ["solve", PROBLEMS, "--pair", "demo", "--parallel", "8", "--out", self.folder]

    def fault(self, ended: Ended | None = None) -> str | None:
        """Return what was lost, changed or doubled since the last call; `ended`: what it showed must be there."""
        file = self.folder / ANSWERS_FILE
        lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
        complete = [line for line in lines if line.endswith(b"\n")]
        before, self.lines = self.lines, complete
        if complete[: len(before)] != before:
            return f"lost or changed: {len(before)} lines before, {len(complete)} now"
        try:
            keys = [(row["id"], row["sample"]) for row in map(json.loads, complete)]
        except ValueError:
            return "a complete line is not JSON"
        if len(set(keys)) < len(keys):
            return f"doubled: {len(keys)} lines, {len(set(keys))} answers"
        missing = shown_ids(ended.stderr) - {key[0] for key in keys} if ended else set()
        if missing:
            return f"shown but not on disk: {sorted(missing)}"
        return None

    def is_complete(self) -> bool:
        """Return whether the last call of `fault` found an answer to every problem."""
        return len(self.lines) == len(PROBLEMS.read_bytes().splitlines())

    def completed(self) -> str | None:
        """Complete the run with the same command; return what is wrong afterwards."""
        ended = run(self.command, self.home)
        if ended.code:
            return f"not resumed, exit code {ended.code}: {ended.stderr.strip()[-300:]}"
        fault = self.fault(ended)
        if fault is None and not self.is_complete():
            fault = f"only {len(self.lines)} answers"
        missing = {(row["id"], row["sample"]) for row in map(json.loads, self.lines)} - set(RunTraces(self.folder).keys)
        left = [path.name for path in self.folder.glob(".*.new")]
        return fault or (f"no trace of {sorted(missing)}" if missing else f"left behind: {left}" if left else None)


def shown_ids(stderr: str) -> set[str]:
    """Return the ids of the answers that the progress lines say are written."""
    lines = (line.split("  ", 1) for line in stderr.splitlines() if "/" in line.split("  ", 1)[0])
    return {parts[1].split(":", 1)[0] for parts in lines if len(parts) == 2 and ": " in parts[1]}


def random_moment(process: subprocess.Popen[str], attacked: Attacked, life_s: float, rng: random.Random) -> None:
    """Wait until a random moment of a run: anywhere in its life, or shortly after it has written an answer."""
    if rng.random() < 0.5:
        time.sleep(rng.uniform(0, life_s))
        return
    file = attacked.folder / ANSWERS_FILE
    size = file.stat().st_size if file.exists() else 0
    deadline = time.monotonic() + 5 * life_s
    while process.poll() is None and time.monotonic() < deadline:
        if file.exists() and file.stat().st_size > size:
            break
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.2 * life_s))


def graders_ended(children: list[psutil.Process]) -> str | None:
    """Return whether a grading process outlives the killed run."""
    _, alive = psutil.wait_procs(children, timeout=GRADER_END_S)
    return f"{len(alive)} processes outlive the run" if alive else None


def kills(work: Path, rng: random.Random, count: int, life_s: float) -> Tally:
    """Kill runs with SIGKILL; start a new folder when one is complete."""
    tally = Tally("killed at a random moment")
    attacked = Attacked(work / "kill-0", work / "home")
    for number in range(count):
        process = start(attacked.command, attacked.home)
        random_moment(process, attacked, life_s, rng)
        children = [child for child in processes_of(process.pid) if child.pid != process.pid]
        process.kill()
        ended = wait(process)
        tally.record(f"kill {number}", attacked.fault(ended), graders_ended(children), ended.fault(killed=True))
        if ended.code == 0 or rng.random() < 0.1:
            tally.record(f"resumed after kill {number}", attacked.completed())
            attacked = Attacked(work / f"kill-{number + 1}", work / "home")
    tally.record("resumed after the last kill", attacked.completed())
    return tally


def processes_of(pid: int) -> list[psutil.Process]:
    """Return a process and its children; [] if it has ended."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def signals(work: Path, rng: random.Random, count: int, life_s: float) -> Tally:
    """Send every signal to runs, a few times each; SIGTSTP is followed by SIGCONT."""
    tally = Tally("signal at a random moment")
    for name in SIGNALS:
        attacked = Attacked(work / name, work / "home")
        for number in range(count):
            process = start(attacked.command, attacked.home)
            random_moment(process, attacked, life_s, rng)
            process.send_signal(getattr(signal, name))
            if name == "SIGTSTP":
                time.sleep(rng.uniform(0.1, 1.0))
                process.send_signal(signal.SIGCONT)
            ended = wait(process)
            graceful = name in ("SIGINT", "SIGTERM", "SIGHUP") and "  demo-" in ended.stderr and ended.code
            # At the very end the summary has been printed already.
            said = "to resume" in ended.stderr or "answers correct" in ended.stdout
            silent = f"exit {ended.code}, nothing said" if graceful and not said else None
            tally.record(f"{name} {number}", attacked.fault(ended), ended.fault(killed=True), silent)
        tally.record(f"resumed after {name}", attacked.completed())
    return tally


def full_disk(work: Path, rng: random.Random, count: int, _life_s: float) -> Tally:
    """Limit the size of files, so that a line is written in part, and run on full disks where one can be mounted."""
    tally = Tally("disk full")
    attacked = Attacked(work / "limited", work / "home")
    for number in range(count):
        size = rng.randrange(100, 60_000)
        ended = run(attacked.command, attacked.home, preexec_fn=limited(resource.RLIMIT_FSIZE, size))
        said = None if ended.code in (0, 6) else f"exit code {ended.code}: {ended.stderr[-300:]}"
        tally.record(f"files of at most {size} bytes ({number})", attacked.fault(ended), ended.fault(), said)
    tally.record("resumed with space", attacked.completed())
    disk = work / "disk"
    disk.mkdir()
    for kilobytes in (8, 12, 20, 40):
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(disk)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            print("  no right to mount a small disk: left out", file=sys.stderr)
            break
        try:
            attacked = Attacked(disk / "run", work / "home")
            ended = run(attacked.command, attacked.home)
            tally.record(f"disk of {kilobytes} kB", attacked.fault(ended), ended.fault(), _must_fail(ended, 6))
            subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
            tally.record(f"resumed on the disk of {kilobytes} kB", attacked.completed())
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    return tally


def _must_fail(ended: Ended, *codes: int) -> str | None:
    return None if ended.code in codes else f"exit code {ended.code}, expected {codes}: {ended.stderr[-300:]}"


def vanished(work: Path, rng: random.Random, count: int, life_s: float) -> Tally:
    """Delete, rename and replace the folder or its files during a run, which must stop with exit code 6."""
    tally = Tally("folder deleted, renamed or replaced during a run")

    def deleted(folder: Path) -> None:
        while folder.exists():
            shutil.rmtree(folder, ignore_errors=True)

    def renamed(folder: Path) -> None:
        folder.rename(folder.with_name(f"{folder.name}-renamed"))

    def replaced(folder: Path) -> None:
        renamed(folder)
        folder.mkdir()

    def file_replaced(folder: Path) -> None:
        (folder / ANSWERS_FILE).unlink()
        (folder / ANSWERS_FILE).mkdir()

    def truncated(folder: Path) -> None:
        (folder / ANSWERS_FILE).write_bytes(b"")

    def foreign_line(folder: Path) -> None:
        with (folder / ANSWERS_FILE).open("ab") as file:
            file.write(b"my own note\n")

    for number in range(count):
        for change in (deleted, renamed, replaced, file_replaced, truncated, foreign_line):
            attacked = Attacked(work / f"{change.__name__}-{number}", work / "home")
            process = start(attacked.command, attacked.home)
            file = attacked.folder / ANSWERS_FILE
            while process.poll() is None and not file.exists():
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.05 * life_s))
            if process.poll() is None:
                change(attacked.folder)
            ended = wait(process)
            silent = (
                None
                if ended.code or (not attacked.fault() and attacked.is_complete())
                else "answers gone, nothing said"
            )
            tally.record(f"{change.__name__} {number}", ended.fault(), _must_fail(ended, 0, 6), silent)
    return tally


def few_handles(work: Path, _rng: random.Random, count: int, _life_s: float) -> Tally:
    """Limit the number of open files."""
    tally = Tally("few file handles")
    attacked = Attacked(work / "handles", work / "home")
    for number in range(6, 6 + count):
        ended = run(attacked.command, attacked.home, preexec_fn=limited(resource.RLIMIT_NOFILE, number))
        # With too few, Python itself does not start.
        starts = "Fatal Python error" not in ended.stderr and "rstitch_local" not in ended.stderr.splitlines()[:1]
        tally.record(f"{number} handles", attacked.fault(ended), ended.fault() if starts else None)
    tally.record("resumed", attacked.completed())
    return tally


def together(work: Path, rng: random.Random, count: int, _life_s: float) -> Tally:
    """Start several processes on one folder: one solves, the others are refused."""
    tally = Tally("processes on one folder")
    for number in range(count):
        attacked = Attacked(work / f"together-{number}", work / "home")
        processes = []
        for _ in range(3):
            processes.append(start(attacked.command, attacked.home))
            time.sleep(rng.uniform(0, 0.3))
        for process in processes:
            ended = wait(process)
            tally.record(f"process of {number}", attacked.fault(ended), ended.fault(), _must_fail(ended, 0, 6))
        tally.record(f"completed {number}", attacked.completed())
    return tally


GROUPS = {
    "kills": kills,
    "signals": signals,
    "disk": full_disk,
    "vanished": vanished,
    "handles": few_handles,
    "together": together,
    "odd": odd_files,
    "damaged": damaged_files,
}


def main() -> None:
    """Run the groups and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--only", nargs="*", choices=GROUPS, default=list(GROUPS))
    options = parser.parse_args()
    counts = {
        "kills": options.kills, "signals": 6, "disk": 10, "vanished": 3, "handles": 40, "together": 4, "odd": 1,
        "damaged": 2000,
    }  # fmt: skip
    with workplace() as work:
        first = Attacked(work / "first", work / "home")
        began = time.monotonic()
        fault = first.completed()
        life_s = time.monotonic() - began
        if fault:
            sys.exit(f"The run does not work without attack: {fault}")
        tallies = {}
        for name in options.only:
            tallies[name] = GROUPS[name](work, random.Random(f"{options.seed} {name}"), counts[name], life_s)
            print(tallies[name], *tallies[name].failures, sep="\n  ", file=sys.stderr)
        conclude(tallies, options.seed)


if __name__ == "__main__":
    main()

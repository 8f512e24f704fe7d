"""Attack rstitch with hostile configuration files, router specs and paths, and count how each case ends.

    python scripts/attack_inputs.py [--group config] [--seed 1] [--only TEXT]

Each case runs in a process of its own, with a time and a memory limit. It is `refused` (one short RStitchError, or a
command with a documented exit code and a short message) or `fine`; everything else is a fault. To attack another
checkout, put it first: `PYTHONPATH=OTHER:OTHER/tui`. Needs Linux.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

from attack_case import FAULTS, OUTCOMES, Case, Ending, run_here

LIMIT_S = 20.0
"""Seconds after which a case hangs. The slowest case of the current version takes about 8."""
GROUPS = {"config": "attack_config"}
_PRELOADED = [
    "llama_cpp", "rstitch_local.catalog.download", "rstitch_local.catalog.hub", "rstitch_local.commands.main",
    "rstitch_local.engine.loading", "rstitch_local.study.api", "rstitch_tui.app_settings",
]  # fmt: skip


def cases_of(group: str, seed: int) -> list[Case]:
    """Return the cases of a group, always the same ones for a seed."""
    cases: list[Case] = importlib.import_module(GROUPS[group]).cases(seed)
    return cases


def _child(group: str, seed: int, index: int, folder: Path, results: Connection) -> None:
    results.send(run_here(cases_of(group, seed)[index], folder))


def run_apart(group: str, seed: int, index: int) -> Ending:
    """Run one case in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_PRELOADED, *GROUPS.values()])
    receiver, sender = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="attack-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o777)
        process = context.Process(target=_child, args=(group, seed, index, Path(name), sender))
        process.start()
        sender.close()
        end = time.monotonic() + LIMIT_S
        ending: Ending | None = None
        try:
            if receiver.poll(LIMIT_S):
                ending = receiver.recv()
        except EOFError:
            pass
        process.join(max(1.0, end - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
            return Ending("hang", "" if ending is None else "after its end")
        if ending is None or process.exitcode != 0:
            return Ending("killed", f"exit code {process.exitcode}")
        return ending


def attack(group: str, seed: int, only: str) -> Counter[str]:
    """Run the cases of a group whose names contain `only`, print the faults, and return the counts of endings."""
    counts: Counter[str] = Counter()
    for index, case in enumerate(cases_of(group, seed)):
        if only not in case.name:
            continue
        started = time.monotonic()
        ending = run_apart(group, seed, index)
        counts[ending.outcome] += 1
        if ending.outcome in FAULTS or only:
            print(f"  {ending.outcome}: {case.name}: {ending.detail} ({time.monotonic() - started:.1f} s)", flush=True)
    return counts


def main() -> None:
    """Attack the chosen groups; exit with 1 if a case ended in a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="run the cases whose names contain this text, and print all")
    options = parser.parse_args()
    # The processes that are started import from their working directory first.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    os.chdir(tempfile.gettempdir())
    failed = False
    for group in options.group:
        counts = attack(group, options.seed, options.only)
        shown = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])
        print(f"{group}, seed {options.seed}: {counts.total()} tried: {shown}", flush=True)
        failed = failed or any(counts[outcome] for outcome in FAULTS)
    sys.exit(failed)


if __name__ == "__main__":
    main()

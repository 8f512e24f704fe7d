"""Measures what two tokenisers cost: the demo pair against itself with tokens under other ids, or some of them gone.

    python scripts/bench_bridge.py [--problems 200] [--router entropy:0.005] [--every 25] [--read-only]

Four pairs solve the same word problems greedily: the demo pair, whose models share their tokens; the same with all of
the LLM's tokens under other ids, so that only the bridge differs and the answers must be the same; and two of which one
model does without every 25th of its longer tokens, so that its words are cut elsewhere than the other's. It was never
trained to read them so, which is why what each model does alone stands beside. Each is also run without putting longer
tokens in the place of those read, the simpler rule. Then times reading texts of growing length anew. Prints Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from retokenised import write_retokenised

from rstitch_local import builtin
from rstitch_local.builtin.word_problems import EVALUATION_SEED, WordProblem, generate
from rstitch_local.decoding.foreign import ForeignBridge
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.problems.answers import last_boxed

TEXT = "Now multiply the 12 apples by 7, which makes 84, and give 3 of them to each of the others. "


class Solved(NamedTuple):
    """What a pair made of the problems; catch_up_ms inside the models, read_ms inside the bridge."""

    right: int
    tokens: int
    llm_tokens: int
    swaps: int
    catch_up_tokens: int
    catch_up_ms: float
    read_ms: float
    wall_ms: float
    texts: list[str]


def main() -> None:
    """Solve, compare and time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--router", default="entropy:0.005")
    parser.add_argument("--every", type=int, default=25, help="which of the longer tokens are left out")
    parser.add_argument("--read-only", action="store_true", help="only time reading")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shuffled = write_retokenised(builtin.LLM_FILE, Path(folder) / "shuffled.gguf")
        cut, small = (
            write_retokenised(file, Path(folder) / f"cut-{file.name}", leave_out=every(arguments.every))
            for file in (builtin.LLM_FILE, builtin.SLM_FILE)
        )
        if not arguments.read_only:
            problems = [generate(EVALUATION_SEED, index) for index in range(arguments.problems)]
            pairs = [
                ("shared", builtin.SLM_FILE, builtin.LLM_FILE),
                ("the LLM's under other ids", builtin.SLM_FILE, shuffled),
                ("the LLM lacks words", builtin.SLM_FILE, cut),
                ("the SLM lacks words", small, builtin.LLM_FILE),
            ]
            compare(pairs, problems, arguments)
        time_reading(cut)


def every(nth: int) -> Callable[[str], bool]:
    """Leaves out every nth token of four letters or more."""
    seen = 0

    def leave_out(text: str) -> bool:
        nonlocal seen
        seen += len(text) > 3
        return len(text) > 3 and seen % nth == 0

    return leave_out


def compare(
    pairs: Sequence[tuple[str, Path, Path]], problems: Sequence[WordProblem], arguments: argparse.Namespace
) -> None:
    """A table: accuracy, tokens, swaps and times of every pair, and what the bridge alone took."""
    print(f"{len(problems)} problems, {arguments.router}, greedy, one thread.\n")
    print(
        "| tokens | rule | right | SLM alone | LLM alone | tokens by the LLM | swaps a problem | caught up a swap "
        "| ms a swap | reading, ms a swap | reading, share of the time | answers as shared |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    reference: list[str] = []
    for name, slm, llm in pairs:
        with load_pair(slm=slm, llm=llm, options=LoadOptions(threads=1, context=1024)) as pair:
            alone = " | ".join(f"{solve(pair, problems, role.value).right / len(problems):.1%}" for role in Role)
            rules = ["-"]
            if isinstance(pair.bridge, ForeignBridge):
                rules = ["longer tokens", "as read"]
            for rule in rules:
                if rule == "as read" and isinstance(pair.bridge, ForeignBridge):
                    pair.bridge.healing = frozenset()
                found = solve(pair, problems, arguments.router)
                reference = reference or found.texts
                same = sum(a == b for a, b in zip(found.texts, reference, strict=True)) / len(problems)
                swaps = max(1, found.swaps)
                print(
                    f"| {name} | {rule} | {found.right / len(problems):.1%} | {alone} "
                    f"| {found.llm_tokens / found.tokens:.1%} | {found.swaps / len(problems):.1f} "
                    f"| {found.catch_up_tokens / swaps:.2f} | {found.catch_up_ms / swaps:.3f} "
                    f"| {found.read_ms / swaps:.3f} | {found.read_ms / found.wall_ms:.2%} | {same:.1%} |",
                    flush=True,
                )


def solve(pair: Pair, problems: Sequence[WordProblem], router: str) -> Solved:
    """Have a pair solve all problems, and sum up."""
    reading = Stopwatch(pair)
    right = tokens = llm_tokens = swaps = evaluated_tokens = 0
    catch_up_ms = wall_ms = 0.0
    texts = []
    for problem in problems:
        run = pair.ask(problem.question, router=router, sampling=Sampling(), max_tokens=800)
        for _ in run:
            pass
        trace = run.trace
        boxed = last_boxed(trace.text)
        right += boxed == str(problem.answer)
        tokens += len(trace.steps)
        llm_tokens += trace.tokens[Role.LLM]
        swaps += trace.swaps_up + trace.swaps_down
        evaluated_tokens += trace.catch_up_tokens
        catch_up_ms += trace.catch_up_ms
        wall_ms += trace.wall_ms
        texts.append(trace.text)
    read_ms = reading.stop()
    return Solved(right, tokens, llm_tokens, swaps, evaluated_tokens, catch_up_ms, read_ms, wall_ms, texts)


class Stopwatch:
    """Times all that a foreign bridge does, while it is not stopped."""

    def __init__(self, pair: Pair) -> None:
        self._bridge = pair.bridge
        self._ns = 0
        if isinstance(self._bridge, ForeignBridge):
            for name in ("read", "continuations"):
                setattr(self._bridge, name, self._timed(getattr(self._bridge, name)))

    def _timed(self, call: Callable[..., object]) -> Callable[..., object]:
        def timed(*arguments: object) -> object:
            started = time.perf_counter_ns()
            try:
                return call(*arguments)
            finally:
                self._ns += time.perf_counter_ns() - started

        return timed

    def stop(self) -> float:
        """Milliseconds so far; nothing is timed any more."""
        if isinstance(self._bridge, ForeignBridge):
            for name in ("read", "continuations"):
                vars(self._bridge).pop(name)
        return self._ns / 1e6


def time_reading(llm: Path) -> None:
    """A table: how long it takes to read a text anew, by its length."""
    print("\n| characters | tokens | ms to read anew, median of 50 | microseconds a token |")
    print("|---|---|---|---|")
    with load_pair(slm=builtin.SLM_FILE, llm=llm, options=LoadOptions(threads=1, context=1024)) as pair:
        assert isinstance(pair.bridge, ForeignBridge)
        for copies in (1, 4, 16, 64, 256):
            text = TEXT * copies
            times = []
            for _ in range(50):
                started = time.perf_counter_ns()
                ids = pair.bridge.retokenize(text, Role.LLM)
                times.append(time.perf_counter_ns() - started)
            ms = statistics.median(times) / 1e6
            print(f"| {len(text)} | {len(ids)} | {ms:.3f} | {1000 * ms / len(ids):.2f} |")


if __name__ == "__main__":
    main()

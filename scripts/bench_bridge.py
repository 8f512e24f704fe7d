"""Measure the cost of different tokenizers: the demo pair against variants of it with a changed tokenizer.

    python scripts/bench_bridge.py [--problems 200] [--router entropy:0.005] [--every 25] [--read-only]

Four pairs solve the same word problems greedily: the demo pair, whose models share a tokenizer; the same with the LLM's
token ids permuted, so that only the bridge differs and the answers must be equal; and two pairs in which one model
lacks every 25th of its longer tokens, so that it splits words differently. That model was not trained on such tokens,
so the accuracy of each model alone is shown too. Each pair is also run without replacing tokens by longer ones (token
healing). Finally, the time to tokenize texts of increasing length is measured. Prints Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from retokenized import write_retokenized

from rstitch_local import builtin
from rstitch_local.builtin.word_problems import EVALUATION_SEED, WordProblem, generate
from rstitch_local.decoding.foreign import ForeignBridge
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.engine.loading import LoadOptions, load_pair
from rstitch_local.engine.pair import Pair
from rstitch_local.problems.boxes import last_boxed

# Methods of ForeignBridge that take its time.
_TIMED = ("retokenize", "continuations")
TEXT = "Now multiply the 12 apples by 7, which makes 84, and give 3 of them to each of the others. "


class Solved(NamedTuple):
    """Sums over all problems. catch_up_ms: time in the models; bridge_ms: time in the bridge."""

    correct: int
    tokens: int
    llm_tokens: int
    swaps: int
    catch_up_tokens: int
    catch_up_ms: float
    bridge_ms: float
    wall_ms: float
    texts: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--router", default="entropy:0.005")
    parser.add_argument("--every", type=int, default=25, help="remove every Nth of the longer tokens")
    parser.add_argument("--read-only", action="store_true", help="only measure tokenization")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        permuted = write_retokenized(builtin.LLM_FILE, Path(folder) / "permuted.gguf")
        reduced_llm, reduced_slm = (
            write_retokenized(file, Path(folder) / f"reduced-{file.name}", exclude=every_nth(arguments.every))
            for file in (builtin.LLM_FILE, builtin.SLM_FILE)
        )
        if not arguments.read_only:
            problems = [generate(EVALUATION_SEED, index) for index in range(arguments.problems)]
            pairs = [
                ("shared", builtin.SLM_FILE, builtin.LLM_FILE),
                ("LLM ids permuted", builtin.SLM_FILE, permuted),
                ("LLM lacks tokens", builtin.SLM_FILE, reduced_llm),
                ("SLM lacks tokens", reduced_slm, builtin.LLM_FILE),
            ]
            compare(pairs, problems, arguments)
        time_tokenization(reduced_llm)


def every_nth(n: int) -> Callable[[str], bool]:
    """Return a predicate that selects every nth token of four letters or more."""
    count = 0

    def exclude(text: str) -> bool:
        nonlocal count
        count += len(text) > 3
        return len(text) > 3 and count % n == 0

    return exclude


def compare(
    pairs: Sequence[tuple[str, Path, Path]], problems: Sequence[WordProblem], arguments: argparse.Namespace
) -> None:
    print(f"{len(problems)} problems, {arguments.router}, greedy, one thread.\n")
    print(
        "| tokenizers | healing | correct | SLM alone | LLM alone | LLM share | swaps per problem "
        "| catch-up tokens per swap | catch-up ms per swap "
        "| bridge ms per swap | bridge share of the time | answers as with shared tokens |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    reference: list[str] = []
    for name, slm, llm in pairs:
        with load_pair(slm=slm, llm=llm, options=LoadOptions(threads=1, context=1024)) as pair:
            alone = " | ".join(f"{solve(pair, problems, role.value).correct / len(problems):.1%}" for role in Role)
            for healing in ("on", "off") if isinstance(pair.bridge, ForeignBridge) else ("-",):
                if healing == "off" and isinstance(pair.bridge, ForeignBridge):
                    pair.bridge.healing = frozenset()
                solved = solve(pair, problems, arguments.router)
                reference = reference or solved.texts
                equal = sum(a == b for a, b in zip(solved.texts, reference, strict=True)) / len(problems)
                swaps = max(1, solved.swaps)
                print(
                    f"| {name} | {healing} | {solved.correct / len(problems):.1%} | {alone} "
                    f"| {solved.llm_tokens / solved.tokens:.1%} | {solved.swaps / len(problems):.1f} "
                    f"| {solved.catch_up_tokens / swaps:.2f} | {solved.catch_up_ms / swaps:.3f} "
                    f"| {solved.bridge_ms / swaps:.3f} | {solved.bridge_ms / solved.wall_ms:.2%} | {equal:.1%} |",
                    flush=True,
                )


def solve(pair: Pair, problems: Sequence[WordProblem], router: str) -> Solved:
    timer = BridgeTimer(pair)
    traces = [
        pair.generate(problem.question, router=router, sampling=Sampling(), max_tokens=800) for problem in problems
    ]
    bridge_ms = timer.stop()
    return Solved(
        correct=sum(
            last_boxed(trace.text) == str(problem.answer) for problem, trace in zip(problems, traces, strict=True)
        ),
        tokens=sum(len(trace.steps) for trace in traces),
        llm_tokens=sum(trace.tokens[Role.LLM] for trace in traces),
        swaps=sum(trace.swaps_up + trace.swaps_down for trace in traces),
        catch_up_tokens=sum(trace.catch_up_tokens for trace in traces),
        catch_up_ms=sum(trace.catch_up_ms for trace in traces),
        bridge_ms=bridge_ms,
        wall_ms=sum(trace.wall_ms for trace in traces),
        texts=[trace.text for trace in traces],
    )


class BridgeTimer:
    """Measures the time spent in a foreign bridge until it is stopped."""

    def __init__(self, pair: Pair) -> None:
        self._bridge = pair.bridge
        self._ns = 0
        if isinstance(self._bridge, ForeignBridge):
            for name in _TIMED:
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
        """Stop measuring and return the milliseconds."""
        if isinstance(self._bridge, ForeignBridge):
            for name in _TIMED:
                vars(self._bridge).pop(name)
        return self._ns / 1e6


def time_tokenization(llm: Path) -> None:
    print("\n| characters | tokens | ms to tokenize, median of 50 | microseconds per token |")
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

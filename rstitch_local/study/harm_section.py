"""The section of the entropy report on first harmful tokens."""

from __future__ import annotations

from collections.abc import Sequence

from rstitch_local.study.entropy_metrics import EntropyMetrics
from rstitch_local.study.formats import share
from rstitch_local.study.markdown import escape, image, table
from rstitch_local.study.statistics import Mean

_SHOWN_HARMFUL = 12


def harm_section(metrics: EntropyMetrics) -> str:
    """Return the section in Markdown."""
    parts = [
        "## First harmful token",
        "The first harmful token of a wrong answer is the first SLM token after which the LLM, continuing greedily, no "
        "longer answers correctly; continuing right before it, the LLM does.",
    ]
    if not sum(metrics.outcomes.values()):
        return "\n\n".join([*parts, "No answer is wrong, so there is none."])
    parts.append(_outcomes(metrics))
    if metrics.outcomes["found"]:
        parts.append(_probes(metrics))
        if metrics.at_token.harmful is not None:
            parts += [*_entropies(metrics), *_examples(metrics)]
    return "\n\n".join(parts)


def _outcomes(metrics: EntropyMetrics) -> str:
    outcomes = metrics.outcomes
    sentences = [f"Of {sum(outcomes.values())} wrong answers, {outcomes['found']} have one."]
    for name, text in (
        ("llm_wrong", "Wrong with the LLM alone too, so no SLM token caused the mistake"),
        ("llm_cut_off", "Not right with the LLM alone either, but it was cut off (try a larger --max-tokens)"),
        ("recovered", "Cut off while the LLM would still have answered correctly"),
        ("failed", "Search failed (see below)"),
    ):
        if outcomes[name]:
            sentences.append(f"{text}: {outcomes[name]}.")
    total, cut_off = metrics.continuations
    if cut_off:
        sentences.append(f"Continuations that were cut off, which count as incorrect: {cut_off} of {total}.")
    return " ".join(sentences)


def _probes(metrics: EntropyMetrics) -> str:
    (before, before_failed), (after, after_failed) = metrics.probes["before"], metrics.probes["after"]
    text = (
        "The token is found by bisection over the tokens the LLM disagrees with. This assumes that continuations stay "
        "incorrect after the harmful token. "
    )
    if not before and not after:
        return text + "No position was left to check the assumption."
    return text + (
        f"Checked at positions that bisection skipped: before the token, {share(before_failed, before)} continuations "
        "were already incorrect (an earlier token is harmful); after it, "
        f"{share(after_failed, after)} were correct again."
    )


def _entropies(metrics: EntropyMetrics) -> list[str]:
    rows = [
        [
            str(one.window) if one.window else "the token itself",
            *(_mean(value) for value in (one.harmful, one.other, one.difference)),
        ]
        for one in (metrics.at_token, *metrics.windows)
    ]
    return [
        image("entropy_before_harm", "Entropy at and before the first harmful token"),
        "Mean entropy in nats (95 % bootstrap interval over answers). *Window w*: the last w tokens before the token, "
        "or all tokens before it if there are fewer. *Other tokens*: mean over all other tokens of the same answer "
        "whose window does not contain the harmful token, equivalent to windows at random positions. Each interval "
        "(band in the plot) holds for its row alone.",
        table(["window", "harmful token", "other tokens", "difference"], rows),
        _difference(metrics),
    ]


def _mean(mean: Mean | None) -> str:
    if mean is None:
        return ""
    return f"{mean.mean:.4f}" + (f" ({mean.interval[0]:.4f} to {mean.interval[1]:.4f})" if mean.interval else "")


def _difference(metrics: EntropyMetrics) -> str:
    """Return a sentence on the windows whose difference is significant."""
    intervals = [(one.window, one.difference.interval) for one in metrics.windows if one.difference]
    above = [window for window, interval in intervals if interval and interval[0] > 0]
    below = [window for window, interval in intervals if interval and interval[1] < 0]
    sentences = []
    if above:
        sentences.append(f"The entropy before a harmful token is significantly higher for windows of {_listed(above)}.")
    if below:
        sentences.append(f"The entropy before a harmful token is significantly lower for windows of {_listed(below)}.")
    return " ".join(sentences) or "The interval of the difference contains 0 for every window: no significant effect."


def _listed(numbers: Sequence[int]) -> str:
    """Format ascending numbers as a range ("3 to 7") if they are consecutive, else as a list."""
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def _examples(metrics: EntropyMetrics) -> list[str]:
    rows = [
        [
            escape(one["id"], 30),
            *(_cell(one[name]) for name in ("before", "token", "after")),
            f"{one['nats']:.4f}",
        ]
        for one in metrics.harmful[:_SHOWN_HARMFUL]
    ]
    return [
        "The first harmful tokens in context (`harmful.csv` has all):",
        table(["problem", "before", "harmful token", "after", "nats"], rows),
    ]


def _cell(text: str) -> str:
    """Return a part of an answer as a table cell, with visible line ends."""
    return escape(text.replace("\n", "⏎"), 60) or "(no text)"

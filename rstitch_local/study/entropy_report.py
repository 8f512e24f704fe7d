"""What the entropy study found, in words, figures and files.

Knows how a number is said and what it means; computes nothing but what is written.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rstitch_local.files import write_atomic, write_json
from rstitch_local.study import entropy_plots
from rstitch_local.study.entropy_metrics import SURE_NATS, WINDOWS, Comparison, Figures, figures_of
from rstitch_local.study.entropy_study import StudyRun
from rstitch_local.study.formats import csv_text, p_value, share
from rstitch_local.study.markdown import escape, image, table
from rstitch_local.study.statistics import Area, Mean, wilson
from rstitch_local.study.study_job import StudyJob

_SHOWN_HARMFUL = 12


def write_report(run: StudyRun, job: StudyJob) -> Figures:
    """Draw the figures, and write report.md, entropy.json, tokens.csv, answers.csv and harmful.csv into the folder.

    Raises:
        StorageError: a file could not be written.
    """
    figures, out = figures_of(run), job.out
    if figures.tokens:
        entropy_plots.draw_histogram(figures, out / "entropy_histogram")
        entropy_plots.draw_right_and_wrong(figures, out / "entropy_right_wrong")
        entropy_plots.draw_before_harm(figures, out / "entropy_before_harm")
        entropy_plots.draw_prediction(figures, out / "entropy_prediction")
    write_json(out / "entropy.json", asdict(figures), what="report")
    write_atomic(out / "tokens.csv", csv_text(_token_rows(run)), what="report")
    write_atomic(out / "answers.csv", csv_text(_answer_rows(run)), what="report")
    write_atomic(out / "harmful.csv", csv_text(figures.harmful), what="report")
    write_atomic(out / "report.md", report_of(figures, run, job), what="report")
    return figures


def _token_rows(run: StudyRun) -> Iterable[Mapping[str, Any]]:
    for row in run.rows:
        for position, entropy in enumerate(row["entropies"]):
            read = position < len(row["agrees"])
            yield {
                "id": row["id"],
                "position": position,
                "token": row["pieces"][position],
                "entropy": entropy,
                "nats": entropy * run.log_vocabulary,
                "llm_entropy": row["other_entropies"][position] if read else None,
                "llm_agrees": row["agrees"][position] if read else None,
            }


def _answer_rows(run: StudyRun) -> Iterable[Mapping[str, Any]]:
    for row in run.rows:
        harm, nats = run.harms.get(row["id"]), [entropy * run.log_vocabulary for entropy in row["entropies"]]
        yield {
            "id": row["id"],
            "correct": row["correct"],
            "stop": row["stop"],
            "tokens": len(nats),
            "mean_nats": sum(nats) / len(nats) if nats else None,
            "agreement": sum(row["agrees"]) / len(row["agrees"]) if row["agrees"] else None,
            "outcome": harm.outcome if harm else None,
            "harmful_position": harm.position if harm else None,
            "failed": run.failed.get(row["id"]),
        }


def report_of(figures: Figures, run: StudyRun, job: StudyJob) -> str:
    """The report in Markdown; its pictures and files lie beside it."""
    parts = [job.heading("Entropy of the SLM and its mistakes"), _answers(figures)]
    if figures.tokens:
        parts += [
            _tokens(figures),
            _right_and_wrong(figures),
            _harm(figures),
            _prediction(figures),
            _thresholds(figures),
        ]
    failed = [f"- {escape(name)}: {escape(reason, 200)}" for name, reason in run.failed.items()]
    if failed:
        parts.append("## Answers whose search failed\n\n" + "\n".join(failed))
    parts.append(
        "## Files\n\n`entropy.json` has every number above; `tokens.csv`, `answers.csv` and `harmful.csv` what they "
        "are made of, a row each (`entropy` normalised, `nats` in nats). `slm/answers.jsonl` has the answers, "
        "`slm/continuations.jsonl` the verdict on every continuation."
    )
    return "\n\n".join(parts) + "\n"


def _nats(value: float, log_vocabulary: float) -> str:
    return f"{value:.4f} nats ({value / log_vocabulary:.5f})"


def _answers(figures: Figures) -> str:
    counts = figures.answers
    graded = counts["right"] + counts["wrong"]
    said = [f"The SLM alone, greedily, gets {counts['right']} of {graded} right"]
    if graded:
        low, high = wilson(counts["right"] / graded, graded)
        said[0] += f" ({counts['right'] / graded:.1%}, 95 % interval {low:.1%} to {high:.1%})"
    said[0] += f" and writes {figures.tokens:,} tokens."
    for name, text in (
        ("cut_off", "of its answers were cut off by --max-tokens or the context; they end before they are wrong"),
        ("ungraded", "problems have no gold answer: their tokens count, they are neither right nor wrong"),
        ("errors", "problems ended in an error and are left out; the same command tries them again"),
    ):
        if counts[name]:
            said.append(f"{counts[name]} {text}.")
    said.append(
        f"Entropies are given in nats, and normalised (divided by ln V = {figures.log_vocabulary:.3f}, as tau is) in "
        "brackets."
    )
    return "## Answers\n\n" + " ".join(said)


def _tokens(figures: Figures) -> str:
    assert figures.quartiles_nats is not None
    assert figures.mean_nats is not None
    assert figures.sure_share is not None
    low, middle, high = figures.quartiles_nats
    unit = figures.log_vocabulary
    return (
        "## How unsure the SLM is\n\n"
        f"{image('entropy_histogram', 'Histogram of token entropies')}\n\n"
        f"**{figures.sure_share:.1%} of the tokens are at or below {SURE_NATS} nats** "
        f"({SURE_NATS / unit:.4f} normalised). The mean is {_nats(figures.mean_nats, unit)}, the median "
        f"{_nats(middle, unit)}, half of the tokens lie between {_nats(low, unit)} and {_nats(high, unit)}. "
        f"Tokens below 0.000001 nats are counted in the first bar."
    )


def _compared(compared: Comparison, unit: float) -> str:
    if compared.test is None:
        which = "right" if compared.right else "wrong"
        return (
            f"All {len(compared.right) + len(compared.wrong)} graded answers are {which}: there is nothing to compare."
        )
    medians = [statistics.median(values) for values in (compared.right, compared.wrong)]
    means = [statistics.fmean(values) for values in (compared.right, compared.wrong)]
    area = f"{_area(compared.area)}" if compared.area else ""
    sure = compared.test.p < 0.05
    return (
        f"Mean entropy of an answer: median {_nats(medians[0], unit)} over the {len(compared.right)} right ones, "
        f"{_nats(medians[1], unit)} over the {len(compared.wrong)} wrong ones (means {means[0]:.4f} and {means[1]:.4f} "
        f"nats). Mann-Whitney U = {compared.test.u:g}, two-sided p {p_value(compared.test.p)} "
        f"({compared.test.method}): that the two are alike is "
        f"{'unlikely' if sure else 'not excluded'}. A wrong answer has the higher mean entropy than a right one with "
        f"probability {area}."
    )


def _right_and_wrong(figures: Figures) -> str:
    compared = figures.compared
    if not compared.right and not compared.wrong:
        return "## Right and wrong answers\n\nNo answer was graded."
    text = (
        "## Right and wrong answers\n\n"
        f"{image('entropy_right_wrong', 'Mean entropy of right and wrong answers')}\n\n"
        f"{_compared(compared, figures.log_vocabulary)}"
    )
    uncut = figures.compared_uncut
    if uncut is not None and uncut.test is not None:
        text += f"\n\nWithout the answers that were cut off: {_compared(uncut, figures.log_vocabulary)}"
    return text


def _area(area: Area | None) -> str:
    if area is None:
        return "not known"
    return f"{area.area:.3f}" + (f" ({area.interval[0]:.3f} to {area.interval[1]:.3f})" if area.interval else "")


def _mean(mean: Mean | None) -> str:
    if mean is None:
        return ""
    return f"{mean.mean:.4f}" + (f" ({mean.interval[0]:.4f} to {mean.interval[1]:.4f})" if mean.interval else "")


def _harm(figures: Figures) -> str:
    outcomes = figures.outcomes
    searched = sum(outcomes.values())
    lines = [
        "## The first harmful token",
        "The first harmful token of a wrong answer is the first SLM token from which the LLM, going on greedily, no "
        "longer reaches the right answer: going on right before it, it still does.",
    ]
    if not searched:
        return "\n\n".join([*lines, "No answer is wrong, so there is none."])
    said = [f"Of {searched} wrong answers {outcomes['found']} have one."]
    for name, text in (
        ("llm_wrong", "the LLM alone gets wrong as well, so no token of the SLM's is to blame"),
        ("llm_cut_off", "the LLM alone does not get right either, but it was cut off: a larger --max-tokens may tell"),
        ("recovered", "were cut off while the LLM would still have got them right"),
        ("failed", "could not be searched (see below)"),
    ):
        if outcomes[name]:
            said.append(f"{outcomes[name]} {text}.")
    total, cut = figures.continuations
    if cut:
        said.append(f"Of {total} continuations {cut} were cut off, which counts as not reaching the answer.")
    lines.append(" ".join(said))
    if not outcomes["found"]:
        return "\n\n".join(lines)
    lines.append(_bisection_check(figures))
    if figures.own.harmful is None:
        return "\n\n".join(lines)
    lines.append(image("entropy_before_harm", "Entropy at and before the first harmful token"))
    rows = [
        [
            str(one.window) if one.window else "the token itself",
            *(_mean(value) for value in (one.harmful, one.other, one.difference)),
        ]
        for one in (figures.own, *figures.windows)
    ]
    lines.append(
        "Mean entropy in nats (95 % bootstrap interval over answers). *Window w*: the w tokens before the place, not "
        "the token there, or as many as there are. *Other places*: the mean over all other places of the same answer "
        "whose window does not hold the harmful token, which is what windows at random places give on average. "
        "The intervals, bands in the figure, hold for one row at a time."
    )
    lines.append(table(["window", "harmful token", "other places", "difference"], rows))
    lines.append(_announcement(figures))
    lines.append("The first of them, as they stand in their answers (`harmful.csv` has all):")
    lines.append(
        table(
            ["problem", "before", "harmful token", "after", "nats"],
            [
                [
                    escape(str(one["id"]), 30),
                    *(_text(one[name]) for name in ("before", "token", "after")),
                    f"{one['nats']:.4f}",
                ]
                for one in figures.harmful[:_SHOWN_HARMFUL]
            ],
        )
    )
    return "\n\n".join(lines)


def _text(text: str) -> str:
    """A piece of an answer as a cell shows it: line ends visible, nothing read as Markdown."""
    return escape(text.replace("\n", "⏎"), 60) or "(no text)"


def _announcement(figures: Figures) -> str:
    """Whether the tokens before the harmful one stand out, in a sentence."""
    known = [(one.window, one.difference.interval) for one in figures.windows if one.difference]
    above = [window for window, interval in known if interval and interval[0] > 0]
    below = [window for window, interval in known if interval and interval[1] < 0]
    said = []
    if above:
        said.append(f"lies above zero for windows of {_listed(above)}: there the SLM is less sure before it goes wrong")
    if below:
        said.append(f"lies below zero for windows of {_listed(below)}: there the SLM is surer before it goes wrong")
    if not said:
        said.append("holds zero for every window: the tokens before a harmful one do not announce it")
    return f"The interval of the difference {'; it '.join(said)}."


def _listed(numbers: Sequence[int]) -> str:
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def _bisection_check(figures: Figures) -> str:
    before, after = figures.probes["before"], figures.probes["after"]
    said = (
        "It is found by bisection over the tokens the LLM would not have written, which assumes that an answer, once "
        "out of the LLM's reach, stays so. "
    )
    if not before[0] and not after[0]:
        return said + "No place was left to check this at."
    return said + (
        f"Checked at places bisection had passed over: before the token found, {share(before[1], before[0])} were "
        "out of reach already (there an earlier token is to blame); after it, "
        f"{share(after[1], after[0])} were in reach again."
    )


def _prediction(figures: Figures) -> str:
    rows = [
        [str(window), _area(harm), _area(disagreement)]
        for window, harm, disagreement in zip(WINDOWS, figures.harm_areas, figures.disagreement_areas, strict=True)
    ]
    agreement = f"{figures.agreement:.1%}" if figures.agreement is not None else "none"
    text = (
        "## What entropy predicts\n\n"
        f"{image('entropy_prediction', 'Area under the ROC curve by window; disagreement by entropy')}\n\n"
        f"The LLM, reading the SLM's answers, would have written {agreement} of the tokens itself. The table has "
        "areas under the ROC curve (95 % interval, a band in the figure; answers are clusters): "
        "1 is a perfect predictor, 0.5 is chance, "
        "below 0.5 the opposite is predicted. *Window w*: mean entropy over the last w tokens up to the one "
        "predicted, as a router sees it. *Harmful*: the first harmful tokens against all tokens before them and all "
        "tokens of right answers. *Disagreement*: tokens the LLM would not have written against the others.\n\n"
        f"{table(['window', 'harmful token', 'disagreement'], rows)}"
    )
    among = figures.harm_among_disagreements
    if among is not None:
        text += (
            "\n\nOnly a token the LLM would not have written can be harmful. Among those alone the area for the "
            f"harmful ones is {_area(among)} (window 1): so well does entropy tell a harmful disagreement from a "
            "harmless one."
        )
    return text


def _thresholds(figures: Figures) -> str:
    def percent(value: float | None) -> str:
        return "" if value is None else f"{value:.1%}"

    rows = [
        [
            f"{one.tau:g}" + (" (the pair's)" if one.tau == figures.tau else ""),
            f"{one.nats:.4f}",
            percent(one.asked),
            percent(one.disagreements),
            percent(one.harmful),
        ]
        for one in figures.thresholds
    ]
    return (
        "## What a threshold would catch\n\n"
        "Tokens of the SLM's own answers above tau: of all, of those the LLM would not have written, of the first "
        "harmful ones. A router at that tau would have handed these to the LLM (the first one exactly; after it the "
        "answer is another one).\n\n"
        + table(["tau", "nats", "of all tokens", "of disagreements", "of harmful tokens"], rows)
    )

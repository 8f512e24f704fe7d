"""Report of the entropy study: report.md, plots, entropy.json and CSV files."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from rstitch_local.files import write_atomic, write_json
from rstitch_local.study import entropy_plots
from rstitch_local.study.entropy_metrics import LOW_ENTROPY_NATS, Comparison, EntropyMetrics, entropy_metrics
from rstitch_local.study.entropy_study import StudyRun
from rstitch_local.study.formats import csv_text, p_value, share
from rstitch_local.study.harm_section import harm_section
from rstitch_local.study.markdown import escape, image, table
from rstitch_local.study.statistics import Area
from rstitch_local.study.study_job import StudyJob
from rstitch_local.study.token_windows import WINDOWS

_SIGNIFICANCE = 0.05


def write_report(run: StudyRun, job: StudyJob) -> EntropyMetrics:
    """Draw the plots, and write report.md, entropy.json, tokens.csv, answers.csv and harmful.csv into the folder.

    Raises:
        StorageError: a file could not be written.
    """
    metrics, out = entropy_metrics(run), job.out
    if metrics.tokens:
        entropy_plots.draw_all(metrics, out)
    write_json(out / "entropy.json", metrics.to_dict(), what="report")
    write_atomic(out / "tokens.csv", csv_text(_token_rows(run)), what="report")
    write_atomic(out / "answers.csv", csv_text(_answer_rows(run)), what="report")
    write_atomic(out / "harmful.csv", csv_text(metrics.harmful), what="report")
    write_atomic(out / "report.md", report_text(metrics, run, job), what="report")
    return metrics


def _token_rows(run: StudyRun) -> Iterable[Mapping[str, Any]]:
    for row in run.rows:
        for position, entropy in enumerate(row["entropies"]):
            scored = position < len(row["agrees"])
            yield {
                "id": row["id"],
                "position": position,
                "token": row["pieces"][position],
                "entropy": entropy,
                "nats": entropy * run.log_vocabulary,
                "llm_entropy": row["other_entropies"][position] if scored else None,
                "llm_agrees": row["agrees"][position] if scored else None,
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


def report_text(metrics: EntropyMetrics, run: StudyRun, job: StudyJob) -> str:
    """Return the report in Markdown; its plots and files are in the same folder."""
    parts = [job.heading("Entropy of the SLM and its mistakes"), _answers(metrics)]
    if metrics.tokens:
        parts += [
            _tokens(metrics),
            _right_and_wrong(metrics),
            harm_section(metrics),
            _prediction(metrics),
            _thresholds(metrics),
        ]
    failed = [f"- {escape(name, 60)}: {escape(reason, 200)}" for name, reason in run.failed.items()]
    if failed:
        parts.append("## Failed searches\n\n" + "\n".join(failed))
    parts.append(
        "## Files\n\n`entropy.json` contains all numbers of this report; `tokens.csv`, `answers.csv` and `harmful.csv` "
        "contain the data, one row each (`entropy` is normalized, `nats` is in nats). `slm/answers.jsonl` contains the "
        "answers, `slm/continuations.jsonl` the grade of every continuation."
    )
    return "\n\n".join(parts) + "\n"


def _nats(value: float, log_vocabulary: float) -> str:
    return f"{value:.4f} nats ({value / log_vocabulary:.5f})"


def _answers(metrics: EntropyMetrics) -> str:
    counts = metrics.answers
    graded = counts["right"] + counts["wrong"]
    right = share(counts["right"], graded) if graded else "0 of 0"
    sentences = [f"The SLM alone, greedily, answers {right} correctly and generates {metrics.tokens:,} tokens."]
    for name, text in (
        ("cut_off", "Cut off by max_tokens or the context, which usually counts as wrong"),
        ("ungraded", "Without a gold answer, neither right nor wrong (their tokens are included)"),
        ("errors", "Ended in an error and left out (run the same command again to retry)"),
    ):
        if counts[name]:
            sentences.append(f"{text}: {counts[name]}.")
    sentences.append(
        "Entropies are given in nats, followed in parentheses by the normalized value (divided by ln V = "
        f"{metrics.log_vocabulary:.3f}, as tau is)."
    )
    return "## Answers\n\n" + " ".join(sentences)


def _tokens(metrics: EntropyMetrics) -> str:
    assert metrics.quartiles_nats is not None
    assert metrics.mean_nats is not None
    assert metrics.low_entropy_share is not None
    low, median, high = metrics.quartiles_nats
    unit = metrics.log_vocabulary
    return (
        "## Token entropies\n\n"
        f"{image('entropy_histogram', 'Histogram of token entropies')}\n\n"
        f"**{metrics.low_entropy_share:.1%} of the tokens are at or below {LOW_ENTROPY_NATS} nats** "
        f"({LOW_ENTROPY_NATS / unit:.4f} normalized). The mean is {_nats(metrics.mean_nats, unit)}, the median "
        f"{_nats(median, unit)}; half of the tokens are between {_nats(low, unit)} and {_nats(high, unit)}. "
        "The first bar includes all tokens below 0.000001 nats."
    )


def _right_and_wrong(metrics: EntropyMetrics) -> str:
    comparison = metrics.comparison
    if not comparison.right and not comparison.wrong:
        return "## Right and wrong answers\n\nNo answer was graded."
    text = (
        "## Right and wrong answers\n\n"
        f"{image('entropy_right_wrong', 'Mean entropy of right and wrong answers')}\n\n"
        f"{_comparison(comparison, metrics.log_vocabulary)}"
    )
    uncut = metrics.comparison_uncut
    if uncut is not None and uncut.test is not None:
        text += f"\n\nWithout the answers that were cut off: {_comparison(uncut, metrics.log_vocabulary)}"
    return text


def _comparison(comparison: Comparison, unit: float) -> str:
    right, wrong = comparison.right, comparison.wrong
    if comparison.test is None:
        verdict = "right" if right else "wrong"
        return f"All {len(right) + len(wrong)} graded answers are {verdict}: there is nothing to compare."
    significance = "significant" if comparison.test.p < _SIGNIFICANCE else "not significant"
    return (
        f"Mean entropy per answer: median {_nats(statistics.median(right), unit)} of the {len(right)} right answers, "
        f"{_nats(statistics.median(wrong), unit)} of the {len(wrong)} wrong ones (means "
        f"{statistics.fmean(right):.4f} and {statistics.fmean(wrong):.4f} nats). Mann-Whitney U = "
        f"{comparison.test.u:g}, two-sided p {p_value(comparison.test.p)} ({comparison.test.method}): the difference "
        f"is {significance}. The probability that a wrong answer has a higher mean entropy than a right one is "
        f"{_area(comparison.area)}."
    )


def _area(area: Area | None) -> str:
    if area is None:
        return "unknown"
    return f"{area.area:.3f}" + (f" ({area.interval[0]:.3f} to {area.interval[1]:.3f})" if area.interval else "")


def _prediction(metrics: EntropyMetrics) -> str:
    rows = [
        [str(window), _area(harm), _area(disagreement)]
        for window, harm, disagreement in zip(WINDOWS, metrics.harm_areas, metrics.disagreement_areas, strict=True)
    ]
    agreement = f"{metrics.agreement:.1%}" if metrics.agreement is not None else "none"
    text = (
        "## Entropy as a predictor\n\n"
        f"{image('entropy_prediction', 'ROC areas by window; disagreement by entropy')}\n\n"
        f"At {agreement} of the tokens of the SLM's answers, the LLM's most likely token is the same. The table shows "
        "areas under the ROC curve (95 % interval, shown as a band in the plot; answers are clusters): 1 is a perfect "
        "predictor, 0.5 is chance, below 0.5 predicts the opposite. *Window w*: mean entropy over the last w tokens up "
        "to and including the predicted one, which is what a router observes. *Harmful token*: first harmful tokens "
        "against all tokens before them and all tokens of right answers. *Disagreement*: tokens the LLM disagrees with "
        "against the others.\n\n"
        f"{table(['window', 'harmful token', 'disagreement'], rows)}"
    )
    among = metrics.harm_among_disagreements
    if among is not None:
        text += (
            "\n\nOnly a token the LLM disagrees with can be harmful. Among those tokens the area for harmful ones is "
            f"{_area(among)} (window 1); it measures how well entropy separates harmful from harmless disagreements."
        )
    return text


def _thresholds(metrics: EntropyMetrics) -> str:
    def percent(value: float | None) -> str:
        return "" if value is None else f"{value:.1%}"

    rows = [
        [
            f"{one.tau:g}" + (" (default of the pair)" if one.tau == metrics.tau else ""),
            f"{one.nats:.4f}",
            percent(one.share_above),
            percent(one.disagreements),
            percent(one.harmful),
        ]
        for one in metrics.thresholds
    ]
    return (
        "## Tokens above a threshold\n\n"
        "Tokens of the SLM's own answers with an entropy above tau: share of all tokens, of the tokens the LLM "
        "disagrees with, and of the first harmful tokens. An entropy router with that tau generates the first of them "
        "with the LLM; afterwards its answer differs from the SLM's.\n\n"
        + table(["tau", "nats", "of all tokens", "of disagreements", "of harmful tokens"], rows)
    )

"""Report of the agreement study: report.md, plots, agreement.json and problems.csv."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from rstitch_local.decoding.roles import Role
from rstitch_local.files import write_atomic, write_json
from rstitch_local.study import agreement_plots
from rstitch_local.study.agreement import AgreementMetrics, AgreementRun, agreement_metrics
from rstitch_local.study.formats import csv_text
from rstitch_local.study.markdown import image, table
from rstitch_local.study.study_job import StudyJob


def write_agreement_report(run: AgreementRun, job: StudyJob) -> AgreementMetrics:
    """Draw the plots, and write report.md, agreement.json and problems.csv into the folder.

    Raises:
        StorageError: a file could not be written.
    """
    metrics, out = agreement_metrics(run), job.out
    if metrics.problems:
        agreement_plots.draw_speed_up(metrics, out / "agreement_speed_up")
        agreement_plots.draw_lengths(metrics, out / "answer_lengths")
    write_json(out / "agreement.json", metrics.to_dict(), what="report")
    write_atomic(out / "problems.csv", csv_text(_rows(metrics)), what="report")
    write_atomic(out / "report.md", report_text(metrics, job), what="report")
    return metrics


def _rows(metrics: AgreementMetrics) -> Iterable[Mapping[str, Any]]:
    lengths = [speedup.draft for speedup in metrics.drafts]
    for problem in metrics.problems:
        yield {
            "id": problem.id,
            "agreement": problem.agreement,
            "slm_tokens": problem.slm_tokens,
            "llm_tokens": problem.llm_tokens,
            "slm_correct": problem.slm_correct,
            "llm_correct": problem.llm_correct,
            "cut_off": " ".join(problem.cut_off),
            "slm_ms_a_token": problem.slm_ms,
            "llm_ms_a_token": problem.llm_ms,
            **{f"computed_speed_up_draft_{length}": problem.speed_ups.get(length) for length in lengths},
        }


def report_text(metrics: AgreementMetrics, job: StudyJob) -> str:
    """Return the report in Markdown; its plots and files are in the same folder."""
    parts = [job.heading("Agreement of the two models, and speculative decoding")]
    if metrics.errors:
        parts.append(
            f"Ended in an error and left out (run the same command again to retry): {metrics.errors} problems."
        )
    if metrics.problems:
        parts += [_agreement(metrics), _speed_up(metrics), _lengths(metrics)]
    parts.append(
        "## Files\n\n`agreement.json` contains all numbers of this report, `problems.csv` one row per problem. "
        "`llm/answers.jsonl` and `slm/answers.jsonl` contain the answers token by token, the LLM's with the SLM's "
        "predictions (`other_tokens`, `agrees`)."
    )
    return "\n\n".join(parts) + "\n"


def _agreement(metrics: AgreementMetrics) -> str:
    if metrics.agreement is None or metrics.quartiles is None:
        return "## Agreement\n\nThe SLM could not score any answer."
    low, median, high = metrics.quartiles
    scored = sum(problem.scored for problem in metrics.problems)
    return (
        "## Agreement\n\n"
        f"**At {metrics.agreement:.1%} of {scored:,} tokens of the LLM's answers, the SLM's most likely token is the "
        "same.** "
        f"By problem: median {median:.1%}, half of the problems between {low:.1%} and {high:.1%}."
    )


def _speed_up(metrics: AgreementMetrics) -> str:
    if metrics.best is None:
        return "## Speculative decoding\n\nNo times were measured, so no speed-up is computed."
    rows = [
        [
            str(one.draft),
            f"{one.accepted:.2f}",
            f"{one.speed_up:.2f}x",
            f"{one.median:.2f}x",
            f"{one.faster} of {one.problems}",
        ]
        for one in metrics.drafts
    ]
    best = next(one for one in metrics.drafts if one.draft == metrics.best)
    comparison = "faster than" if best.speed_up > 1 else "not faster at any draft length than"
    evaluations = ", ".join(f"{tokens}: {ms:.3g}" for tokens, ms in metrics.batch_ms.items())
    return (
        "## Speculative decoding, computed\n\n"
        f"{image('agreement_speed_up', 'Agreement and computed speed-up of every problem')}\n\n"
        f"The SLM drafts, the LLM verifies: {comparison} the LLM alone, with a speed-up of {best.speed_up:.2f} at the "
        f"best draft length, {best.draft}. **Computed, not measured**: from the positions of agreement in every answer "
        "and evaluation times measured in this run. Decoding only; the prompt is excluded on both sides. *Overall*: "
        "total time of the LLM alone divided by total time with drafts.\n\n"
        + table(
            ["draft length", "accepted per draft", "speed-up overall", "median problem", "faster problems"],
            rows,
        )
        + f"\n\nTime per token: SLM {metrics.slm_ms:.3g} ms, LLM {metrics.llm_ms:.3g} ms (medians over problems). LLM "
        f"evaluation by number of tokens, in ms: {evaluations}. These evaluations compute the logits of their last "
        "token only; verification needs all of them, so the true speed-up is slightly lower."
    )


def _lengths(metrics: AgreementMetrics) -> str:
    rows = []
    for role in Role:
        for verdict, label in ((True, "right"), (False, "wrong"), (None, "no gold answer")):
            lengths = [
                getattr(problem, f"{role.value}_tokens")
                for problem in metrics.problems
                if getattr(problem, f"{role.value}_correct") is verdict
            ]
            if lengths or verdict is not None:
                rows.append([role.name, label, str(len(lengths)), *_length_cells(lengths)])
    text = (
        "## Answer lengths\n\n"
        f"{image('answer_lengths', 'Answer lengths of both models')}\n\n"
        "Tokens per answer, including the end-of-generation token.\n\n"
        + table(["model", "verdict", "answers", "median", "mean", "shortest", "longest"], rows)
    )
    both = [problem for problem in metrics.problems if problem.slm_correct and problem.llm_correct]
    if both:
        slm, llm = (sum(getattr(problem, f"{name}_tokens") for problem in both) for name in ("slm", "llm"))
        text += (
            f"\n\nOn the {len(both)} problems that both answer correctly, the LLM's answers have "
            f"{llm / len(both):.1f} tokens on average, the SLM's {slm / len(both):.1f}: a ratio of {llm / slm:.2f}."
        )
    cut_off = {role: sum(role in problem.cut_off for problem in metrics.problems) for role in Role}
    if any(cut_off.values()):
        text += (
            f"\n\nCut off by max_tokens or the context: {cut_off[Role.SLM]} SLM answers, {cut_off[Role.LLM]} LLM "
            "answers; their true lengths are larger."
        )
    return text


def _length_cells(lengths: list[int]) -> list[str]:
    if not lengths:
        return [""] * 4
    return [f"{statistics.median(lengths):g}", f"{statistics.fmean(lengths):.1f}", str(min(lengths)), str(max(lengths))]

"""What the agreement study found, in words, figures and files.

Knows how a number is said and what it means; computes nothing but what is written.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from rstitch_local.decoding.roles import Role
from rstitch_local.files import write_atomic, write_json
from rstitch_local.study import entropy_plots
from rstitch_local.study.agreement import AgreementMetrics, AgreementRun, agreement_metrics
from rstitch_local.study.formats import csv_text
from rstitch_local.study.markdown import image, table
from rstitch_local.study.study_job import StudyJob


def write_agreement_report(run: AgreementRun, job: StudyJob) -> AgreementMetrics:
    """Draw the figures, and write report.md, agreement.json and problems.csv into the folder.

    Raises:
        StorageError: a file could not be written.
    """
    figures, out = agreement_metrics(run), job.out
    if figures.problems:
        entropy_plots.draw_agreement(figures, out / "agreement_speed_up")
        entropy_plots.draw_lengths(figures, out / "answer_lengths")
    write_json(out / "agreement.json", {**asdict(figures), "speed_ups": "computed"}, what="report")
    write_atomic(out / "problems.csv", csv_text(_rows(figures)), what="report")
    write_atomic(out / "report.md", agreement_report(figures, job), what="report")
    return figures


def _rows(figures: AgreementMetrics) -> Iterable[Mapping[str, Any]]:
    drafts = [one.draft for one in figures.drafts]
    for problem in figures.problems:
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
            **{f"computed_speed_up_draft_{draft}": problem.speed_ups.get(draft) for draft in drafts},
        }


def agreement_report(figures: AgreementMetrics, job: StudyJob) -> str:
    """The report in Markdown; its pictures and files lie beside it."""
    parts = [job.heading("Agreement of the two models, and what it leaves to win")]
    if figures.errors:
        parts.append(
            f"{figures.errors} problems ended in an error and are left out; the same command tries them again."
        )
    if figures.problems:
        parts += [_agreement(figures), _speed_up(figures), _lengths(figures)]
    parts.append(
        "## Files\n\n`agreement.json` has every number above, `problems.csv` a row a problem. `llm/answers.jsonl` and "
        "`slm/answers.jsonl` have the answers token by token, the LLM's with what the SLM would have written "
        "(`other_tokens`, `agrees`)."
    )
    return "\n\n".join(parts) + "\n"


def _agreement(figures: AgreementMetrics) -> str:
    if figures.agreement is None or figures.quartiles is None:
        return "## Agreement\n\nThe SLM could read none of the answers."
    low, middle, high = figures.quartiles
    read = sum(problem.read for problem in figures.problems)
    return (
        "## Agreement\n\n"
        "**Having read the LLM's answer up to there, the SLM's likeliest token is the LLM's own at "
        f"{figures.agreement:.1%} of {read:,} tokens.** "
        f"By problem: median {middle:.1%}, half of them between {low:.1%} and {high:.1%}."
    )


def _speed_up(figures: AgreementMetrics) -> str:
    if figures.best is None:
        return "## Speculative decoding\n\nNothing could be timed, so no speed-up is computed."
    rows = [
        [
            str(one.draft),
            f"{one.accepted:.2f}",
            f"{one.speed_up:.2f}x",
            f"{one.median:.2f}x",
            f"{one.faster} of {one.problems}",
        ]
        for one in figures.drafts
    ]
    best = next(one for one in figures.drafts if one.draft == figures.best)
    passes = ", ".join(f"{tokens}: {ms:.3g}" for tokens, ms in figures.pass_ms.items())
    verdict = (
        f"at its best draft length, {best.draft}, it would be {best.speed_up:.2f} times as fast as the LLM alone"
        if best.speed_up > 1
        else f"it would be slower than the LLM alone at every draft length: {best.speed_up:.2f} times as fast at best, "
        f"with drafts of {best.draft}"
    )
    return (
        "## Speculative decoding, computed\n\n"
        f"{image('agreement_speed_up', 'Agreement and computed speed-up of every problem')}\n\n"
        f"The SLM drafts, the LLM verifies: {verdict}. **Computed, not measured**: from where the two agree in every "
        "answer, and the cost of passes measured in this run. Writing the answer only, the prompt counts on neither "
        "side. *Over all*: total time of the LLM alone over total time with drafts.\n\n"
        + table(["draft length", "accepted a draft", "speed-up over all", "median problem", "faster problems"], rows)
        + f"\n\nA token of the SLM took {figures.slm_ms:.3g} ms, one of the LLM {figures.llm_ms:.3g} ms (medians over "
        f"problems). A pass of the LLM over so many tokens, in ms: {passes}. The passes compute the logits of their "
        "last token only, and verifying needs all of them: the true speed-up is a little lower."
    )


def _lengths(figures: AgreementMetrics) -> str:
    rows = []
    for role in Role:
        for verdict, word in ((True, "right"), (False, "wrong"), (None, "no gold answer")):
            lengths = [
                getattr(problem, f"{role.value}_tokens")
                for problem in figures.problems
                if getattr(problem, f"{role.value}_correct") is verdict
            ]
            if lengths or verdict is not None:
                rows.append([role.name, word, str(len(lengths)), *_spread(lengths)])
    text = (
        "## Answer lengths\n\n"
        f"{image('answer_lengths', 'Lengths of both models answers')}\n\n"
        "Tokens an answer, end-of-generation token included.\n\n"
        + table(["model", "answer", "answers", "median", "mean", "shortest", "longest"], rows)
    )
    both = [problem for problem in figures.problems if problem.slm_correct and problem.llm_correct]
    if both:
        slm, llm = (sum(getattr(problem, f"{name}_tokens") for problem in both) for name in ("slm", "llm"))
        text += (
            f"\n\nOn the {len(both)} problems both get right the LLM writes {llm / len(both):.1f} tokens on average, "
            f"the SLM {slm / len(both):.1f}: {llm / slm:.2f} times as many."
        )
    cut = {role: sum(role in problem.cut_off for problem in figures.problems) for role in Role}
    if any(cut.values()):
        text += (
            f"\n\nCut off by --max-tokens or the context: {cut[Role.SLM]} answers of the SLM, {cut[Role.LLM]} of the "
            "LLM; without that they would be longer."
        )
    return text


def _spread(lengths: list[int]) -> list[str]:
    if not lengths:
        return [""] * 4
    return [f"{statistics.median(lengths):g}", f"{statistics.fmean(lengths):.1f}", str(min(lengths)), str(max(lengths))]

"""From the options of a command to the job that problems/ runs, and the identity of the model files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstitch_local.commands.console import make_console
from rstitch_local.commands.options import ModelOptions, ProblemOptions, SamplingOptions

if TYPE_CHECKING:
    from rich.console import Console

    from rstitch_local.engine.choice import PairChoice
    from rstitch_local.problems.reading import Problem, ProblemFile
    from rstitch_local.problems.runner import Job


def make_job(
    file: Path,
    out: Path,
    choice: PairChoice,
    router: str,
    *,
    models: ModelOptions,
    problems: ProblemOptions,
    sampling: SamplingOptions,
) -> Job:
    """Return the job of solving a problem file with one router; raise UsageError if an option is invalid."""
    from rstitch_local.problems.runner import Job
    from rstitch_local.problems.tasks import Settings

    defaults = choice.defaults
    return Job(
        source=file,
        out=out,
        fields=problems.fields(),
        selection=problems.selection(),
        settings=Settings(
            router=router,
            sampling=sampling.sampling(defaults),
            prompt=problems.prompt_for(defaults),
            max_tokens=sampling.max_tokens,
            stop=sampling.stop_strings,
        ),
        model_settings=model_settings(choice, models),
        pair_name=choice.name,
        samples=problems.samples,
        seed=sampling.seed,
        strict=problems.strict,
    )


def read_selected(file: Path, problems: ProblemOptions) -> tuple[ProblemFile, list[Problem]]:
    """Return a problem file and the selected problems, at least one; print the notes on the file on stderr."""
    from rstitch_local.problems.progress import print_notes
    from rstitch_local.problems.reading import read_problems

    problem_file = read_problems(file, problems.fields())
    print_notes(make_console(stderr=True), problem_file)
    return problem_file, problems.selection().of_file(problem_file)


def model_settings(choice: PairChoice, models: ModelOptions) -> dict[str, Any]:
    """Return what must be equal for answers to be comparable: file checksums, context and cache precision."""
    from rstitch_local.problems import pair_source

    return pair_source.model_settings(choice.files, models.context or choice.defaults.context, models.kv_type)


def checked_specs(specs: Sequence[str]) -> list[str]:
    """Return the router specs in canonical spelling without duplicates; raise UsageError for an invalid one."""
    from rstitch_local.routing.spec import usable_spec

    return list(dict.fromkeys(usable_spec(spec) for spec in specs))


def warn_identical_samples(job: Job, screen: Console) -> None:
    """Print a warning if the samples of a problem cannot differ."""
    if job.samples > 1 and job.settings.sampling.temperature == 0:
        screen.print(f"At temperature 0 all {job.samples} answers to a problem are the same.")

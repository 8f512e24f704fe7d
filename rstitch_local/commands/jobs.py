"""From the options of a command to the job that problems/ runs, and the identity of the model files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstitch_local.commands.options import ModelOptions, ProblemOptions, SamplingOptions
from rstitch_local.errors import ModelError

if TYPE_CHECKING:
    from rich.console import Console

    from rstitch_local.engine.choice import PairChoice
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
        file=file,
        out=out,
        fields=problems.fields(),
        selection=problems.selection(),
        settings=Settings(router, sampling.sampling(defaults), problems.prompt_for(defaults), sampling.max_tokens),
        model_settings=model_settings(choice, models),
        pair_name=choice.name,
        samples=problems.samples,
        seed=sampling.seed,
        strict=problems.strict,
    )


def model_settings(choice: PairChoice, models: ModelOptions) -> dict[str, Any]:
    """Return what must be equal for answers to be comparable: file checksums, context and cache precision."""
    return {
        **sha256_of_pair(choice),
        "context": models.context or choice.defaults.context,
        "kv_type": models.kv_type,
    }


def sha256_of_pair(choice: PairChoice) -> dict[str, str]:
    """Return `slm_sha256` and `llm_sha256` of a pair's files.

    Raises:
        ModelError: a file is missing, not a regular file, or cannot be read.
    """
    from rstitch_local.catalog.checksums import sha256_of

    checksums = {}
    for role, path in (("slm", choice.slm), ("llm", choice.llm)):
        try:
            if not path.is_file():
                # Reading a pipe or a device would never end.
                raise ModelError("Model file not found", f"{path} is not a file.")
            checksums[f"{role}_sha256"] = sha256_of(path)
        except OSError as error:
            raise ModelError("Model file not found", f"{path} cannot be read: {error.strerror}.") from error
    return checksums


def checked_specs(specs: Sequence[str]) -> list[str]:
    """Return the router specs in canonical spelling without duplicates; raise UsageError for an invalid one."""
    from rstitch_local.routing.spec import usable_spec

    return list(dict.fromkeys(usable_spec(spec) for spec in specs))


def warn_identical_samples(job: Job, screen: Console) -> None:
    """Print a warning if the samples of a problem cannot differ."""
    if job.samples > 1 and job.settings.sampling.temperature == 0:
        screen.print(f"At temperature 0 all {job.samples} answers to a problem are the same.")

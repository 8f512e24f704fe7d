"""From the options of a command to the job that problems/ runs, and the identity of the model files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstitch_local.errors import ModelError

if TYPE_CHECKING:
    from rstitch_local.decoding.sampling import Sampling
    from rstitch_local.engine.choice import PairChoice
    from rstitch_local.problems.runner import Job


def job_of(
    file: Path,
    out: Path,
    chosen: PairChoice,
    sampling: Sampling,
    *,
    router: str,
    prompt: str | None,
    max_tokens: int | None,
    context: int | None,
    kv_type: str,
    **more: Any,
) -> Job:
    """Return the job; `more` are further fields of Job."""
    from rstitch_local.problems.prompts import prompt_of
    from rstitch_local.problems.runner import Job
    from rstitch_local.problems.tasks import Settings

    defaults = chosen.defaults
    text = prompt_of(defaults.prompt if prompt is None else prompt, defaults.prompt_suffix)
    return Job(
        file=file,
        out=out,
        settings=Settings(router, sampling, text, max_tokens),
        model_settings={**sha256_of_pair(chosen), "context": context or defaults.context, "kv_type": kv_type},
        pair_name=chosen.name,
        **more,
    )


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

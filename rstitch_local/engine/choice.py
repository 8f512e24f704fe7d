"""Which two files the caller means, and how that pair is best run. Nothing is loaded.

Knows the catalogue's names and the disk; nothing of llama.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rstitch_local import paths
from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.sampling import Sampling
from rstitch_local.errors import UsageError
from rstitch_local.routing.spec import tau_of_spec

if TYPE_CHECKING:
    from rstitch_local.catalog.schema import PairEntry


@dataclass(frozen=True, slots=True)
class PairDefaults:
    """What a pair is run with unless said otherwise.

    context: tokens each cache holds.
    prompt: the prompt problem files are solved with; prompt_suffix comes after every question.
    single_turn: the models know single questions only, so a chat sends them no earlier turns.
    own_router: the spec of the router, where models.toml or `rstitch tune --save` names one; its tau is then `tau`.
    """

    context: int = 4096
    tau: float = 0.02
    sampling: Sampling = field(default_factory=Sampling)
    prompt: str = "math"
    prompt_suffix: str = ""
    single_turn: bool = False
    own_router: str | None = None

    @property
    def router(self) -> str:
        """The spec of the pair's own router: the entropy router at its tau where it names none."""
        return self.own_router or f"entropy:{self.tau:g}"


@dataclass(frozen=True, slots=True)
class PairChoice:
    """A pair before it is loaded; `templates` are files to be used in place of the models' own chat templates."""

    name: str
    slm: Path
    llm: Path
    defaults: PairDefaults = field(default_factory=PairDefaults)
    templates: Mapping[Role, Path] = field(default_factory=dict)

    @property
    def files(self) -> dict[Role, Path]:
        """Both files by model."""
        return {Role.SLM: self.slm, Role.LLM: self.llm}


def choose_pair(name: str | None = None, slm: Path | str | None = None, llm: Path | str | None = None) -> PairChoice:
    """Find a pair by its name in the catalogue, or by its two files.

    Args:
        name: a pair of the catalogue that is on this disk; the first one there if all three are None.
        slm: the small model's GGUF file, instead of a name.
        llm: the large one's, together with `slm`.

    Raises:
        UsageError: only one of the two files, or files and a name; or a mistake in models.toml.
        ModelError: no such pair, or a file of it is not on this disk.
    """
    # Imported here: pydantic and the catalogue are of no use to those who name two files.
    from rstitch_local.catalog.catalog import load_catalog
    from rstitch_local.catalog.store import default_pair, locate

    if (slm is None) != (llm is None) or (name is not None and slm is not None):
        raise UsageError("Which pair?", "Use `--pair NAME`, or both `--slm PATH` and `--llm PATH`.")
    if slm is not None and llm is not None:
        slm, llm = Path(slm), Path(llm)
        return PairChoice(f"{slm.name} + {llm.name}", slm, llm)
    catalogue = load_catalog()
    entry = catalogue.get(name) if name else default_pair(catalogue)
    files = locate(entry)
    defaults = PairDefaults(
        context=entry.context,
        tau=_tau_of(entry),
        sampling=Sampling(**entry.sampling.model_dump()),
        prompt=entry.prompt,
        prompt_suffix=entry.suffix(),
        single_turn=entry.single_turn,
        own_router=entry.router,
    )
    given = zip(Role, (file.template_path for file in entry.files), strict=True)
    templates = {role: path for role, path in given if path is not None}
    return PairChoice(entry.name, files.slm, files.llm, defaults, templates)


def _tau_of(entry: PairEntry) -> float:
    """The threshold a pair runs with: that of its own router, if it has one with a tau."""
    if entry.router is None:
        return entry.tau
    try:
        tau = tau_of_spec(entry.router)
    except UsageError as error:
        raise UsageError(
            "Unknown router",
            f"The router of the pair {entry.name}, as models.toml or tuned.toml has it: {error.message}",
            f"{error.hint} Both files lie in {paths.config_dir()}.",
        ) from None
    return entry.tau if tau is None else tau

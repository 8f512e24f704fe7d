"""Choosing a pair: its two files and its default settings, before anything is loaded.

Imports no llama.cpp.
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
    """The default settings of a pair.

    Attributes:
        context: tokens that one answer can hold, prompt included.
        tau: threshold of the default router.
        sampling: how tokens are drawn.
        prompt: name of the prompt for problem files.
        prompt_suffix: appended to every question.
        single_turn: whether the models were trained on single questions; a chat then sends no earlier turns.
        router_spec: spec of the router from models.toml or `rstitch tune --save`, if there is one; `tau` is then its
            threshold.
    """

    context: int = 4096
    tau: float = 0.02
    sampling: Sampling = field(default_factory=Sampling)
    prompt: str = "math"
    prompt_suffix: str = ""
    single_turn: bool = False
    router_spec: str | None = None

    @property
    def router(self) -> str:
        """The spec of the default router: `router_spec`, or the entropy router with `tau`."""
        return self.router_spec or f"entropy:{self.tau:g}"


@dataclass(frozen=True, slots=True)
class PairChoice:
    """A pair that is not loaded.

    Attributes:
        name: the catalog's name, or the names of the two files.
        slm: the small model's file.
        llm: the large model's file.
        defaults: the pair's default settings.
        templates: files that replace the chat templates of the models.
    """

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
    """Find a pair by its name in the catalog, or by its two files.

    Args:
        name: a downloaded pair of the catalog; the first one that is on this disk if all three are None.
        slm: the small model's GGUF file, instead of a name.
        llm: the large model's GGUF file, together with `slm`.

    Raises:
        UsageError: only one of the two files is given, or files and a name; or models.toml is invalid.
        ModelError: the pair is unknown, or a file of it is not on this disk.
    """
    # Imported here: two files need neither pydantic nor the catalog.
    from rstitch_local.catalog.catalog import load_catalog
    from rstitch_local.catalog.store import default_pair, locate

    if (slm is None) != (llm is None) or (name is not None and slm is not None):
        raise UsageError(
            "Invalid pair selection",
            "A pair is selected by its name, or by both of its files.",
            "Use `--pair NAME`, or both `--slm PATH` and `--llm PATH`.",
        )
    if slm is not None and llm is not None:
        slm, llm = Path(slm), Path(llm)
        return PairChoice(f"{slm.name} + {llm.name}", slm, llm)
    if name is not None and name.lower().endswith(".gguf"):
        raise UsageError(
            "Invalid pair selection",
            f"{name} is a file, not the name of a pair.",
            "Use both `--slm PATH` and `--llm PATH`.",
        )
    catalog = load_catalog()
    entry = catalog.get(name) if name else default_pair(catalog)
    files = locate(entry)
    defaults = PairDefaults(
        context=entry.context,
        tau=_tau_of(entry),
        sampling=Sampling(**entry.sampling.model_dump()),
        prompt=entry.prompt,
        prompt_suffix=entry.suffix(),
        single_turn=entry.single_turn,
        router_spec=entry.router,
    )
    template_paths = zip(Role, (file.template_path for file in entry.files), strict=True)
    templates = {role: path for role, path in template_paths if path is not None}
    return PairChoice(entry.name, files.slm, files.llm, defaults, templates)


def _tau_of(entry: PairEntry) -> float:
    """Return the tau of the pair's router; the pair's own where the router has none."""
    if entry.router is None:
        return entry.tau
    try:
        tau = tau_of_spec(entry.router)
    except UsageError as error:
        raise UsageError(
            "Unknown router",
            f"The router of the pair {entry.name} in models.toml or tuned.toml: {error.message}",
            f"{error.hint} Both files are in {paths.config_dir()}.",
        ) from None
    return entry.tau if tau is None else tau

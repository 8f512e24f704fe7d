"""The schema of models.toml.

Independent of where the file is and of whether a model is on disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from rstitch_local import paths

# Names become parts of paths and of pip's command line, so only harmless characters are allowed.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*\.gguf$", max_length=200)]
RepoName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
PackageStem = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
PackageVersion = Annotated[str, Field(pattern=r"^[0-9][A-Za-z0-9.!+]*$", max_length=50)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


# The largest context that an option accepts.
_MAX_CONTEXT = 1 << 24


def _without_controls(text: str) -> str:
    if not text.isprintable():
        raise ValueError("contains a control character")
    return text


UserPath = Annotated[str, Field(min_length=1), AfterValidator(_without_controls)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Parts(_Strict):
    """A file split into the packages NAME1 ... NAMEcount of the package index, all of one version."""

    name: PackageStem
    version: PackageVersion
    count: int = Field(ge=1, le=10_000)


class ModelFile(_Strict):
    """A GGUF file: its name, size and checksum, and its sources."""

    file: FileName
    licence: str | None = None
    size: int | None = Field(default=None, gt=0)
    sha256: Sha256 | None = None
    repo: RepoName | None = None
    revision: str = Field(default="main", pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")
    parts: Parts | None = None
    path: UserPath | None = None
    chat_template: UserPath | None = None
    builtin: FileName | None = None

    @model_validator(mode="after")
    def _has_a_source(self) -> ModelFile:
        if not (self.repo or self.parts or self.path or self.builtin):
            raise ValueError("has no source: set repo, parts, path or builtin")
        if self.parts and not self.sha256:
            raise ValueError("has parts but no sha256, which is required because anyone can publish a package")
        return self

    @property
    def local_path(self) -> Path | None:
        """The path set by the user, or None."""
        return paths.expanded(self.path) if self.path else None

    @property
    def template_path(self) -> Path | None:
        """The file with a chat template that replaces the model's own, or None."""
        return paths.expanded(self.chat_template) if self.chat_template else None


class SamplingDefaults(_Strict):
    """The sampling settings recommended by the authors of the models; greedy by default."""

    temperature: float = Field(default=0.0, ge=0.0)
    top_p: float = Field(default=1.0, ge=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0)
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)


class PairEntry(_Strict):
    """A pair of the catalog: two files and their settings."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)
    title: str = ""
    description: str = ""
    slm: ModelFile
    llm: ModelFile
    context: int = Field(default=4096, ge=16, le=_MAX_CONTEXT)
    tau: float = 0.02
    router: str | None = Field(default=None, min_length=1, max_length=200)
    memory_gb: float | None = Field(default=None, gt=0)
    prompt: Literal["math", "plain"] = "math"
    prompt_suffix: str = ""
    think_tokens: int | None = Field(default=None, ge=1)
    single_turn: bool = False
    sampling: SamplingDefaults = SamplingDefaults()

    @model_validator(mode="after")
    def _suffix_is_complete(self) -> PairEntry:
        if "{think_tokens}" in self.prompt_suffix and self.think_tokens is None:
            raise ValueError("prompt_suffix uses think_tokens, which is not set")
        return self

    @property
    def files(self) -> tuple[ModelFile, ModelFile]:
        """The SLM and the LLM."""
        return (self.slm, self.llm)

    @property
    def licence(self) -> str:
        """The licenses of both files, without duplicates; "?" for an unknown one."""
        names = [file.licence or "?" for file in self.files]
        return " + ".join(dict.fromkeys(names))

    def suffix(self) -> str:
        """Return the text that follows the question; may be empty."""
        # Not str.format, because a suffix may contain other braces (\boxed{}).
        return self.prompt_suffix.replace("{think_tokens}", str(self.think_tokens))

"""What an entry of models.toml may say, and what each key means.

Knows nothing of where the file lies, nor whether a model is on this disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rstitch_local import paths

# Names end up in paths and on pip's command line, so they are held to harmless characters.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*\.gguf$", max_length=200)]
RepoName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
PackageStem = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
PackageVersion = Annotated[str, Field(pattern=r"^[0-9][A-Za-z0-9.!+]*$", max_length=50)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Parts(_Strict):
    """A file cut into wheels NAME1 ... NAMEcount of the package index, all of one version."""

    name: PackageStem
    version: PackageVersion
    count: int = Field(ge=1, le=10_000)


class ModelFile(_Strict):
    """One GGUF file: what it is called, how to know it is the right one, and where it comes from."""

    file: FileName
    licence: str | None = None
    size: int | None = Field(default=None, gt=0)
    sha256: Sha256 | None = None
    repo: RepoName | None = None
    revision: str = Field(default="main", pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")
    parts: Parts | None = None
    path: str | None = None
    chat_template: str | None = None
    builtin: FileName | None = None

    @model_validator(mode="after")
    def _has_a_source(self) -> ModelFile:
        if not (self.repo or self.parts or self.path or self.builtin):
            raise ValueError("says no source: give repo, parts, path or builtin")
        if self.parts and not self.sha256:
            raise ValueError("has parts but no sha256: anybody may publish a package, so the sum must be known")
        return self

    @property
    def local_path(self) -> Path | None:
        """The file the user pointed at, absolute; None when the entry names none."""
        return paths.expanded(self.path) if self.path else None

    @property
    def template_path(self) -> Path | None:
        """The file with the chat template to be used instead of the model's own, absolute; None for none."""
        return paths.expanded(self.chat_template) if self.chat_template else None


class SamplingDefaults(_Strict):
    """What the authors of the models recommend; the defaults take the likeliest token."""

    temperature: float = Field(default=0.0, ge=0.0)
    top_p: float = Field(default=1.0, ge=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0)
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)


class PairEntry(_Strict):
    """A pair of the catalogue: two files and how they are best run together."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)
    title: str = ""
    description: str = ""
    slm: ModelFile
    llm: ModelFile
    context: int = Field(default=4096, ge=16)
    tau: float = 0.02
    router: str | None = Field(default=None, min_length=1, max_length=200)
    memory_gb: float | None = Field(default=None, gt=0)
    prompt: Literal["math", "plain"] = "math"
    prompt_suffix: str = ""
    think_tokens: int | None = Field(default=None, ge=1)
    single_turn: bool = False
    sampling: SamplingDefaults = SamplingDefaults()

    @field_validator("tau")
    @classmethod
    def _finite(cls, value: float) -> float:
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError("must be a finite number")
        return value

    @model_validator(mode="after")
    def _suffix_is_complete(self) -> PairEntry:
        if "{think_tokens}" in self.prompt_suffix and self.think_tokens is None:
            raise ValueError("prompt_suffix asks for think_tokens, which is not set")
        return self

    @property
    def files(self) -> tuple[ModelFile, ModelFile]:
        """SLM first, LLM second."""
        return (self.slm, self.llm)

    @property
    def licence(self) -> str:
        """The licences of both files, each named once; "?" stands for one that is not known."""
        names = [file.licence or "?" for file in self.files]
        return " + ".join(dict.fromkeys(names))

    def suffix(self, think_tokens: int | None = None) -> str:
        """What to put after the question, or "".

        Args:
            think_tokens: how many tokens to ask for; the entry's own number when None.
        """
        wanted = think_tokens if think_tokens is not None else self.think_tokens
        # Not str.format: a suffix is free text and may hold braces of its own (\boxed{}).
        return self.prompt_suffix.replace("{think_tokens}", str(wanted))

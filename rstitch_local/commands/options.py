"""The options several commands share, so that one name means one thing everywhere.

Related options are a dataclass, which `signature.with_option_groups` expands into a command's signature. The methods
turn the options into what engine/ and problems/ take.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from rstitch_local.errors import UsageError

if TYPE_CHECKING:
    from rstitch_local.decoding.sampling import Sampling
    from rstitch_local.engine.choice import PairChoice, PairDefaults
    from rstitch_local.engine.loading import LoadOptions
    from rstitch_local.engine.options import KvType
    from rstitch_local.engine.pair import Pair
    from rstitch_local.problems.prompts import Prompt
    from rstitch_local.problems.reading import Fields
    from rstitch_local.problems.selection import Selection

MODELS = "Models"
SAMPLING = "Sampling"
PROBLEMS = "Problems"
_PAIR_DEFAULT = "the pair's own"

ProblemsArgument = Annotated[Path, typer.Argument(metavar="FILE", help="Problems: JSONL or one JSON array, UTF-8.")]
RouterOption = Annotated[
    str | None,
    typer.Option(
        "--router",
        help="Who writes: entropy:TAU, window:K:TAU, hysteresis:HIGH:LOW, momentum:BETA:TAU, stay:N:TAU, one:TAU, "
        "margin:M, confidence:T, random:P, spec:N[:P], learned:FILE, slm or llm (docs/routers.md).",
        show_default="entropy at the pair's tau",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead.")]


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which pair, and how it is loaded."""

    pair: Annotated[
        str | None,
        typer.Option(
            "--pair",
            help="A pair of the catalogue (see `rstitch pairs`).",
            show_default="one on disk",
            rich_help_panel=MODELS,
        ),
    ] = None
    parallel: Annotated[
        int | None,
        typer.Option(
            "--parallel",
            metavar="N",
            min=1,
            max=256,
            help="Answers written at once; 1 to measure what one costs.",
            show_default="what pays and the memory has room for",
            rich_help_panel=MODELS,
        ),
    ] = None
    slm: Annotated[
        Path | None,
        typer.Option("--slm", help="The small model: any local GGUF file, with --llm.", rich_help_panel=MODELS),
    ] = None
    llm: Annotated[
        Path | None,
        typer.Option("--llm", help="The large model: any local GGUF file, with --slm.", rich_help_panel=MODELS),
    ] = None
    gpu_layers: Annotated[
        str,
        typer.Option(
            "--gpu-layers",
            help="Layers on the GPU: auto (all that fit), a number, or SLM,LLM ('99,20').",
            rich_help_panel=MODELS,
        ),
    ] = "auto"
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            min=1,
            max=512,
            help="CPU threads.",
            show_default="the physical cores",
            rich_help_panel=MODELS,
        ),
    ] = None
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            min=16,
            max=1 << 24,
            help="Tokens each cache can hold.",
            show_default=_PAIR_DEFAULT,
            rich_help_panel=MODELS,
        ),
    ] = None
    kv_type: Annotated[
        str, typer.Option("--kv-type", help="Cache precision: f16, q8_0 or q4_0.", rich_help_panel=MODELS)
    ] = "f16"

    def choose(self) -> PairChoice:
        """Find the pair on this disk; see `choose_pair`."""
        from rstitch_local.engine.choice import choose_pair

        return choose_pair(self.pair, self.slm, self.llm)

    def load_options(self, *, sequences: int | None = 1, swaps: bool = True) -> LoadOptions:
        """Return how to load the pair; see LoadOptions for `sequences` and `swaps`.

        Raises:
            UsageError: --gpu-layers or --kv-type is invalid.
        """
        from rstitch_local.engine.loading import LoadOptions
        from rstitch_local.llama.context import KV_TYPES

        if self.kv_type not in KV_TYPES:
            raise UsageError("No such cache type", f"--kv-type {self.kv_type}: it is one of {', '.join(KV_TYPES)}.")
        return LoadOptions(
            gpu_layers=self._layers(),
            threads=self.threads,
            context=self.context,
            kv_type=cast("KvType", self.kv_type),
            sequences=sequences,
            swaps=swaps,
        )

    def _layers(self) -> tuple[int, int] | None:
        if self.gpu_layers == "auto":
            return None
        try:
            numbers = [int(part) for part in self.gpu_layers.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 2) or min(numbers) < 0:
            raise UsageError(
                "Not a number of layers",
                f"--gpu-layers {self.gpu_layers}: it is 'auto', a number for both models, or two as in '99,20'.",
            )
        return numbers[0], numbers[-1]

    def open_pair(self, choice: PairChoice, *, sequences: int | None = 1, swaps: bool = True) -> Pair:
        """Load the pair, with a progress bar on stderr.

        Raises:
            UsageError: --gpu-layers or --kv-type is invalid.
            ModelError: see `load_pair`.
        """
        from rstitch_local.commands import loading

        return loading.open_pair(choice, self.load_options(sequences=sequences, swaps=swaps))


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How tokens are drawn, and how many."""

    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens",
            min=1,
            help="Longest answer, in tokens that are kept.",
            show_default="what the context holds",
            rich_help_panel=SAMPLING,
        ),
    ] = None
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            min=0.0,
            help="0 takes the likeliest token.",
            show_default=_PAIR_DEFAULT,
            rich_help_panel=SAMPLING,
        ),
    ] = None
    top_p: Annotated[
        float | None,
        typer.Option(
            "--top-p",
            min=0.0,
            max=1.0,
            help="Nucleus; 1 is off.",
            show_default=_PAIR_DEFAULT,
            rich_help_panel=SAMPLING,
        ),
    ] = None
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k",
            min=0,
            help="The K likeliest; 0 is off.",
            show_default=_PAIR_DEFAULT,
            rich_help_panel=SAMPLING,
        ),
    ] = None
    min_p: Annotated[
        float | None,
        typer.Option(
            "--min-p",
            min=0.0,
            max=1.0,
            help="At least this share of the top probability; 0 is off.",
            show_default=_PAIR_DEFAULT,
            rich_help_panel=SAMPLING,
        ),
    ] = None
    seed: Annotated[int, typer.Option("--seed", help="Base seed of all noise.", rich_help_panel=SAMPLING)] = 0

    def sampling(self, defaults: PairDefaults) -> Sampling:
        """Return the pair's sampling parameters, replaced by the options that are set."""
        options: dict[str, Any] = {
            "temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k, "min_p": self.min_p,
        }  # fmt: skip
        return replace(defaults.sampling, **{name: value for name, value in options.items() if value is not None})


@dataclass(frozen=True, slots=True)
class ProblemOptions:
    """Which problems of a file are used, and how they are put to the pair."""

    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only the first N problems.", rich_help_panel=PROBLEMS)
    ] = None
    ids: Annotated[str | None, typer.Option("--ids", metavar="A,B", help="Only these.", rich_help_panel=PROBLEMS)] = (
        None
    )
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Only part I of N, each part with a DIR of its own.",
            rich_help_panel=PROBLEMS,
        ),
    ] = None
    samples: Annotated[
        int, typer.Option("--samples", min=1, max=10_000, help="Answers to each problem.", rich_help_panel=PROBLEMS)
    ] = 1
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            metavar="KIND=NAME",
            help="Where the question, answer or id is: question=NAME.",
            rich_help_panel=PROBLEMS,
        ),
    ] = None
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            metavar="NAME|TEXT",
            help="math, plain, or a text, with {question} where the question goes.",
            show_default=_PAIR_DEFAULT,
            rich_help_panel=PROBLEMS,
        ),
    ] = None
    strict: Annotated[bool, typer.Option("--strict", help="Stop at a malformed problem.", rich_help_panel=PROBLEMS)] = (
        False
    )

    def fields(self) -> Fields:
        """Return the names of the question, answer and id fields; raise UsageError if --field is invalid."""
        from rstitch_local.problems.reading import Fields

        return Fields.parse(self.field or [])

    def selection(self) -> Selection:
        """Return which problems to use; raise UsageError if --ids or --shard is invalid."""
        from rstitch_local.problems.selection import Selection

        return Selection.parse(self.ids, self.limit, self.shard)

    def prompt_for(self, defaults: PairDefaults) -> Prompt:
        """Return the prompt of --prompt, or the pair's; raise UsageError if it is empty."""
        from rstitch_local.problems.prompts import prompt_of

        return prompt_of(defaults.prompt if self.prompt is None else self.prompt, defaults.prompt_suffix)

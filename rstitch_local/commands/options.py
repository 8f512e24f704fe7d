"""Options shared by several commands.

Related options form a dataclass, which `signature.with_option_groups` expands into the signature of a command. Methods
convert the options to the arguments of engine/ and problems/.
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
    from rstitch_local.engine.options import KvType, LoadOptions
    from rstitch_local.engine.pair import Pair
    from rstitch_local.problems.prompts import Prompt
    from rstitch_local.problems.reading import Fields
    from rstitch_local.problems.selection import Selection

MODELS = "Models"
SAMPLING = "Sampling"
PROBLEMS = "Problems"
KV_TYPES = ("f16", "q8_0", "q4_0")
_PAIR_DEFAULT = "from the pair"

ProblemsArgument = Annotated[Path, typer.Argument(metavar="FILE", help="Problem file: JSONL or one JSON array, UTF-8.")]
RouterOption = Annotated[
    str | None,
    typer.Option(
        "--router",
        help="Router spec: entropy:TAU, window:K:TAU, hysteresis:HIGH:LOW, momentum:BETA:TAU, stay:N:TAU, one:TAU, "
        "margin:M, confidence:T, random:P, spec:N[:P], learned:FILE, python:MODULE:FACTORY, slm or llm "
        "(docs/routers.md).",
        show_default="from the pair",
    ),
]
TrustModelsOption = Annotated[
    bool,
    typer.Option(
        "--trust-models",
        help="Load files that this machine has never loaded without trying them in another process first.",
        rich_help_panel=MODELS,
    ),
]
FieldOption = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="KIND=NAME",
        help="Name of a field: question=NAME, answer=NAME or id=NAME; dots lead into objects (extra.final).",
        rich_help_panel=PROBLEMS,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which pair to load, and how."""

    pair: Annotated[
        str | None,
        typer.Option(
            "--pair",
            help="Name of a pair in the catalog (see `rstitch pairs`).",
            show_default="first one on disk",
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
            help="Number of answers decoded concurrently; 1 measures single-answer latency.",
            show_default="chosen for this machine",
            rich_help_panel=MODELS,
        ),
    ] = None
    slm: Annotated[
        Path | None,
        typer.Option("--slm", help="Small model: path of a GGUF file; requires --llm.", rich_help_panel=MODELS),
    ] = None
    llm: Annotated[
        Path | None,
        typer.Option("--llm", help="Large model: path of a GGUF file; requires --slm.", rich_help_panel=MODELS),
    ] = None
    gpu_layers: Annotated[
        str,
        typer.Option(
            "--gpu-layers",
            help="Layers on the GPU: auto (as many as fit), a number, or SLM,LLM ('99,20').",
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
            show_default="number of physical cores",
            rich_help_panel=MODELS,
        ),
    ] = None
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            min=16,
            max=1 << 24,
            help="Context length of each model, in tokens.",
            show_default=_PAIR_DEFAULT,
            rich_help_panel=MODELS,
        ),
    ] = None
    kv_type: Annotated[
        str, typer.Option("--kv-type", help="KV cache precision: f16, q8_0 or q4_0.", rich_help_panel=MODELS)
    ] = "f16"
    trust_models: TrustModelsOption = False

    def __post_init__(self) -> None:
        if self.kv_type not in KV_TYPES:
            raise UsageError("Unknown cache type", f"`--kv-type {self.kv_type}`: must be one of {', '.join(KV_TYPES)}.")
        _parse_layers(self.gpu_layers)

    def choose(self) -> PairChoice:
        """Find the pair on this disk; see `choose_pair`."""
        from rstitch_local.engine.choice import choose_pair

        return choose_pair(self.pair, self.slm, self.llm)

    def load_options(self, *, sequences: int | None = 1, swaps: bool = True) -> LoadOptions:
        """Return how to load the pair; see LoadOptions for `sequences` and `swaps`."""
        from rstitch_local.engine.options import LoadOptions

        return LoadOptions(
            gpu_layers=_parse_layers(self.gpu_layers),
            threads=self.threads,
            context=self.context,
            kv_type=cast("KvType", self.kv_type),
            sequences=sequences,
            swaps=swaps,
            trust_models=self.trust_models,
        )

    def open_pair(self, choice: PairChoice, *, sequences: int | None = 1, swaps: bool = True) -> Pair:
        """Load the pair, with a progress bar on stderr; raise ModelError as `load_pair` does."""
        from rstitch_local.commands import loading

        return loading.open_pair(choice, self.load_options(sequences=sequences, swaps=swaps))


def _parse_layers(text: str) -> tuple[int, int] | None:
    if text == "auto":
        return None
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or min(numbers) < 0:
        raise UsageError(
            "Invalid GPU layers",
            f"`--gpu-layers {text}`: must be 'auto', a number for both models, or two numbers as in '99,20'.",
        )
    return numbers[0], numbers[-1]


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How tokens are sampled, and where an answer ends."""

    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens",
            min=1,
            help="Maximum tokens per answer.",
            show_default="limited by the context",
            rich_help_panel=SAMPLING,
        ),
    ] = None
    stop: Annotated[
        list[str] | None,
        typer.Option(
            "--stop", metavar="TEXT", help="String that ends the answer; repeatable.", rich_help_panel=SAMPLING
        ),
    ] = None
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            min=0.0,
            help="Sampling temperature; 0 is greedy.",
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
            help="Nucleus sampling; 1 disables it.",
            show_default=_PAIR_DEFAULT,
            rich_help_panel=SAMPLING,
        ),
    ] = None
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k",
            min=0,
            help="Sample from the K most likely tokens; 0 disables it.",
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
            help="Minimum probability relative to the most likely token; 0 disables it.",
            show_default=_PAIR_DEFAULT,
            rich_help_panel=SAMPLING,
        ),
    ] = None
    seed: Annotated[int, typer.Option("--seed", help="Random seed.", rich_help_panel=SAMPLING)] = 0

    def __post_init__(self) -> None:
        if "" in self.stop_strings:
            raise UsageError("Invalid stop string", "--stop is an empty string.", "Use a non-empty string.")

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The strings of --stop, without duplicates."""
        return tuple(dict.fromkeys(self.stop or ()))

    def sampling(self, defaults: PairDefaults) -> Sampling:
        """Return the pair's sampling parameters, replaced by the options that are set."""
        options: dict[str, Any] = {
            "temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k, "min_p": self.min_p,
        }  # fmt: skip
        return replace(defaults.sampling, **{name: value for name, value in options.items() if value is not None})


@dataclass(frozen=True, slots=True)
class ProblemOptions:
    """Which problems of a file to solve, and with which prompt."""

    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Solve the first N problems only.", rich_help_panel=PROBLEMS)
    ] = None
    ids: Annotated[
        str | None,
        typer.Option("--ids", metavar="A,B", help="Solve these problems only.", rich_help_panel=PROBLEMS),
    ] = None
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Solve part I of N only; each part needs its own DIR.",
            rich_help_panel=PROBLEMS,
        ),
    ] = None
    samples: Annotated[
        int, typer.Option("--samples", min=1, max=10_000, help="Answers per problem.", rich_help_panel=PROBLEMS)
    ] = 1
    field: FieldOption = None
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            metavar="NAME|TEXT",
            help="math, plain, or a prompt text with the placeholder {question}.",
            show_default=_PAIR_DEFAULT,
            rich_help_panel=PROBLEMS,
        ),
    ] = None
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Stop at malformed problems.", rich_help_panel=PROBLEMS),
    ] = False

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

"""The options several commands share, so that one name means one thing everywhere.

Knows the words of the command line and nothing of what they do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MODELS = "Models"
SAMPLING = "Sampling"
PROBLEMS = "Problems"

PairOption = Annotated[
    str | None,
    typer.Option(
        "--pair",
        help="A pair of the catalogue (see `rstitch pairs`).",
        rich_help_panel=MODELS,
        show_default="one on disk",
    ),
]
SlmOption = Annotated[
    Path | None,
    typer.Option("--slm", help="The small model: any local GGUF file, with --llm.", rich_help_panel=MODELS),
]
LlmOption = Annotated[
    Path | None,
    typer.Option("--llm", help="The large model: any local GGUF file, with --slm.", rich_help_panel=MODELS),
]
GpuLayersOption = Annotated[
    str,
    typer.Option(
        "--gpu-layers",
        help="Layers on the GPU: auto (all that fit), a number, or SLM,LLM ('99,20').",
        rich_help_panel=MODELS,
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads", min=1, max=512, help="CPU threads.", show_default="the physical cores", rich_help_panel=MODELS
    ),
]
ContextOption = Annotated[
    int | None,
    typer.Option(
        "--context",
        min=16,
        max=1 << 24,
        help="Tokens each cache can hold.",
        show_default="the pair's own",
        rich_help_panel=MODELS,
    ),
]
KvTypeOption = Annotated[
    str,
    typer.Option("--kv-type", help="Cache precision: f16, q8_0 or q4_0.", rich_help_panel=MODELS),
]
ParallelOption = Annotated[
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
]
RouterOption = Annotated[
    str | None,
    typer.Option(
        "--router",
        help="Who writes: entropy:TAU, window:K:TAU, hysteresis:HIGH:LOW, momentum:BETA:TAU, stay:N:TAU, one:TAU, "
        "margin:M, confidence:T, random:P, spec:N[:P], learned:FILE, slm or llm (docs/routers.md).",
        show_default="entropy at the pair's tau",
    ),
]
SystemOption = Annotated[str | None, typer.Option("--system", help="A system prompt.")]
MaxTokensOption = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        min=1,
        help="Longest answer, in tokens that are kept.",
        show_default="what the context holds",
        rich_help_panel=SAMPLING,
    ),
]
TemperatureOption = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        min=0.0,
        help="0 takes the likeliest token.",
        show_default="the pair's own",
        rich_help_panel=SAMPLING,
    ),
]
TopPOption = Annotated[
    float | None,
    typer.Option(
        "--top-p", min=0.0, max=1.0, help="Nucleus; 1 is off.", show_default="the pair's own", rich_help_panel=SAMPLING
    ),
]
TopKOption = Annotated[
    int | None,
    typer.Option(
        "--top-k", min=0, help="The K likeliest; 0 is off.", show_default="the pair's own", rich_help_panel=SAMPLING
    ),
]
MinPOption = Annotated[
    float | None,
    typer.Option(
        "--min-p",
        min=0.0,
        max=1.0,
        help="At least this share of the top probability; 0 is off.",
        show_default="the pair's own",
        rich_help_panel=SAMPLING,
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Base seed of all noise.", rich_help_panel=SAMPLING)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead.")]

ProblemsArgument = Annotated[Path, typer.Argument(metavar="FILE", help="Problems: JSONL or one JSON array, UTF-8.")]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, help="Only the first N problems.", rich_help_panel=PROBLEMS)
]
SamplesOption = Annotated[
    int, typer.Option("--samples", min=1, max=10_000, help="Answers to each problem.", rich_help_panel=PROBLEMS)
]
FieldOption = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="KIND=NAME",
        help="Where the question, answer or id is: question=NAME.",
        rich_help_panel=PROBLEMS,
    ),
]
PromptOption = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        metavar="NAME|TEXT",
        help="math, plain, or a text, with {question} where the question goes.",
        show_default="the pair's own",
        rich_help_panel=PROBLEMS,
    ),
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Stop at a malformed problem.", rich_help_panel=PROBLEMS)]

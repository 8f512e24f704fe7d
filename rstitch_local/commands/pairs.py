"""`rstitch pairs`: list the pairs of the catalog; `rstitch pairs check`: report whether two models can be a pair."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rstitch_local.commands.console import echo, make_console, safe_json
from rstitch_local.commands.options import JsonOption, TrustModelsOption
from rstitch_local.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from rstitch_local.catalog.schema import PairEntry
    from rstitch_local.catalog.store import FileState, PairState
    from rstitch_local.decoding.roles import Role
    from rstitch_local.engine.pair_check import PairReport

_STYLES = {"on disk": "green", "partial": "yellow", "wrong size": "red", "missing": "dim"}
_MAX_SPECIALS = 12

group = typer.Typer(
    name="pairs",
    help="List the pairs of the catalog: files, sizes, state on disk, license, required memory.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@group.callback()
def _list_unless_subcommand(context: typer.Context, as_json: JsonOption = False) -> None:
    if context.invoked_subcommand is None:
        pairs(as_json)


@group.command()
def check(
    first: Annotated[str, typer.Argument(metavar="SLM", help="GGUF file of the small model, or name of a pair.")],
    second: Annotated[str | None, typer.Argument(metavar="LLM", help="GGUF file of the large model.")] = None,
    trust_models: TrustModelsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Report whether two models share their tokens, how other tokens are mapped, and what a swap costs.

    The exit code is 3 if they cannot be a pair.
    """
    from rstitch_local.costs.swap_cost import swap_ms, swap_ms_to_dict
    from rstitch_local.engine.choice import choose_pair
    from rstitch_local.engine.pair_check import check_pair

    if second is None and Path(first).suffix == ".gguf":
        raise UsageError(
            "Missing large model", f"{first} is only one of two files.", "Add the file of the large model."
        )
    choice = choose_pair(first) if second is None else choose_pair(slm=Path(first), llm=Path(second))
    report = check_pair(choice, trust_models=trust_models)
    costs = swap_ms(choice, report)
    if as_json:
        typer.echo(safe_json({**report.to_dict(), "swap_ms": swap_ms_to_dict(costs)}))
    else:
        echo(*_report(report, costs))
    if report.problems:
        raise typer.Exit(ModelError.exit_code)


def _report(report: PairReport, costs: Mapping[Role, float] | None) -> list[str]:
    """Return the report as lines of text."""
    from rstitch_local.decoding.roles import Role
    from rstitch_local.sanitize import one_line

    lines = [f"{report.name}: {report.kind}", report.reason, ""]
    for role, vocabulary in report.models.items():
        padding = f" and {vocabulary.padding:,} of padding, which are never sampled" if vocabulary.padding else ""
        tags = vocabulary.thinking or "no tags"
        lines.append(
            f"{role.name}  {one_line(vocabulary.file)}: {vocabulary.tokens:,} tokens{padding}; reasoning: {tags}"
        )
    if report.matches:
        counts: dict[str, int] = {}
        for match in report.matches:
            counts[match.how] = counts.get(match.how, 0) + 1
        methods = ", ".join(f"{count:,} by {how}" for how, count in counts.items())
        lines += ["", f"Different special tokens, mapped to the other model: {methods}"]
        for match in report.matches[:_MAX_SPECIALS]:
            ids = " ".join(map(str, match.ids)) or "nothing"
            text = one_line(match.text.decode("utf-8", "replace"), 40)
            lines.append(f"  {match.writer.name} {match.token} {text}  becomes {ids}  ({match.how})")
        if len(report.matches) > _MAX_SPECIALS:
            lines.append(f"  and {len(report.matches) - _MAX_SPECIALS:,} more; --json lists all")
    if report.kind == "foreign":
        lines += ["", "The end-of-turn token of either model ends the answer; other special tokens are not passed on."]
        slm_tags, llm_tags = (report.models[role].thinking for role in Role)
        if slm_tags and llm_tags and slm_tags != llm_tags:
            lines.append(f"Reasoning tags are translated: {slm_tags} in the SLM, {llm_tags} in the LLM.")
    lines += ["", *_swap_cost(report, costs)]
    lines += [f"Warning: {one_line(warning, 400)}" for warning in report.warnings]
    lines += [f"Error: {one_line(problem, 400)}" for problem in report.problems]
    return lines


def _swap_cost(report: PairReport, costs: Mapping[Role, float] | None) -> list[str]:
    """Return what a swap does and, if the pair is calibrated, how long it takes."""
    from rstitch_local.costs.swap_cost import CACHED, VISITS
    from rstitch_local.decoding.roles import Role

    lines = ["Swap: the model that takes over evaluates the missed tokens in one batch."]
    if report.kind == "foreign":
        slm, llm = (report.models[role].sample_tokens for role in Role)
        lines = [
            "Swap: the model that takes over tokenizes the missed text and evaluates the tokens.",
            f"A sample text has {slm} tokens for the SLM and {llm} for the LLM: {report.ratio:.2f} LLM tokens per SLM "
            f"token. Tokenizing it took {report.tokenize_ms:.2f} ms.",
        ]
    if costs is None:
        return [*lines, "`rstitch calibrate` measures the cost on this machine."]
    up, down = costs[Role.LLM], costs[Role.SLM]
    return [
        *lines,
        f"Calibrated cost with {CACHED} cached tokens: {up:.1f} ms up to the LLM after {VISITS[Role.LLM]} SLM tokens, "
        f"{down:.1f} ms down to the SLM after {VISITS[Role.SLM]} LLM tokens.",
    ]


def pairs(as_json: JsonOption = False) -> None:
    """List the pairs of the catalog."""
    # Imported here to keep `rstitch --help` fast: pydantic takes 0.1 s.
    from rstitch_local.catalog.catalog import load_catalog
    from rstitch_local.catalog.store import state

    states = [(entry, state(entry)) for entry in load_catalog()]
    if as_json:
        typer.echo(json.dumps({"pairs": [_as_json(entry, files) for entry, files in states]}, indent=2))
        return
    make_console().print(_table(states))
    typer.echo("\nBelow each name: required memory, license ('?': unknown).")
    default = next((entry.name for entry, files in states if files.ready), None)
    if default is not None:
        echo(f"{default} is used unless --pair is set.")
    if default in (None, "demo"):
        typer.echo("`rstitch pull qwen2.5-coder` downloads the smallest general pair.")


def _table(states: list[tuple[PairEntry, PairState]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from rstitch_local.sanitize import human_bytes

    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 1, 0, 1))
    table.add_column("pair", no_wrap=True, overflow="ellipsis", max_width=17)
    table.add_column("small model, large model", overflow="fold", ratio=1)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for entry, pair in states:
        files = (pair.slm, pair.llm)
        memory = "?" if entry.memory_gb is None else f"{entry.memory_gb:g} GB"
        labels = [(entry.name, "bold"), (memory, ""), (entry.licence, "dim")]
        sizes = [file.expected_size if file.expected_size is not None else file.size or None for file in files]
        table.add_row(
            Text("\n").join(Text(_clean(text), style=style) for text, style in labels),
            Text("\n").join(Text(_clean(file.file.file)) for file in files),
            Text("\n".join("?" if size is None else human_bytes(size) for size in sizes)),
            Text("\n").join(Text(file.status, style=_STYLES[file.status]) for file in files),
        )
    return table


def _as_json(entry: PairEntry, files: PairState) -> dict[str, Any]:
    return {
        "name": entry.name,
        "title": entry.title,
        "description": entry.description,
        "licence": entry.licence,
        "memory_gb": entry.memory_gb,
        "context": entry.context,
        "tau": entry.tau,
        "router": entry.router,
        "on_disk": files.ready,
        "slm": _file_as_json(files.slm),
        "llm": _file_as_json(files.llm),
    }


def _file_as_json(file: FileState) -> dict[str, Any]:
    return {
        "file": file.file.file,
        "path": str(file.path),
        "state": str(file.status),
        "size": file.expected_size,
        "size_on_disk": file.size,
        "licence": file.file.licence,
        "repo": file.file.repo,
    }


def _clean(text: str) -> str:
    """Remove control characters, which the user's catalog may contain."""
    return "".join(character for character in text if character.isprintable())

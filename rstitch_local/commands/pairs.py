"""`rstitch pairs`: what the catalogue holds and what of it is on this disk; whether any two models are a pair.

Knows how the list and the report look, on a terminal, in a pipe and as JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rstitch_local.commands.console import safe_json
from rstitch_local.commands.options import JsonOption
from rstitch_local.errors import ModelError, UsageError
from rstitch_local.sanitize import safe_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from rstitch_local.catalog.schema import PairEntry
    from rstitch_local.catalog.store import FileState, PairState
    from rstitch_local.decoding.roles import Role
    from rstitch_local.engine.pair_check import PairReport

_STYLES = {"on disk": "green", "partial": "yellow", "wrong size": "red", "missing": "dim"}


_MOST_SPECIALS = 12

group = typer.Typer(
    name="pairs",
    help="List the pairs: files, sizes, what is on disk, licence, memory needed. `check` looks at any two models.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@group.callback()
def _list_or_more(context: typer.Context, as_json: JsonOption = False) -> None:
    if context.invoked_subcommand is None:
        pairs(as_json)


@group.command()
def check(
    first: Annotated[str, typer.Argument(metavar="A", help="The small model's GGUF file, or a pair of the catalogue.")],
    second: Annotated[str | None, typer.Argument(metavar="[B]", help="The large model's GGUF file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether two models share their tokens, what is done where they do not, and what a swap costs.

    Ends with exit code 3 where they cannot work together.
    """
    from rstitch_local.costs.swap_cost import swap_ms, swap_ms_to_dict
    from rstitch_local.engine.choice import choose_pair
    from rstitch_local.engine.pair_check import check_pair

    if second is None and Path(first).suffix == ".gguf":
        raise UsageError("One model is no pair", f"{first} is one file.", "Give the large model's file as well.")
    choice = choose_pair(first) if second is None else choose_pair(slm=Path(first), llm=Path(second))
    report = check_pair(choice)
    costs = swap_ms(choice, report)
    if as_json:
        typer.echo(safe_json({**report.to_dict(), "swap_ms": swap_ms_to_dict(costs)}))
    else:
        typer.echo(safe_text("\n".join(_words(report, costs))))
    if report.problems:
        raise typer.Exit(ModelError.exit_code)


def _words(report: PairReport, costs: Mapping[Role, float] | None) -> list[str]:
    """The report as lines."""
    from rstitch_local.decoding.roles import Role
    from rstitch_local.sanitize import one_line

    lines = [f"{report.name}: {report.kind}", report.reason, ""]
    for role, facts in report.models.items():
        padding = f" and {facts.padding:,} of padding, which are never drawn" if facts.padding else ""
        marks = facts.thinking or "no marks"
        lines.append(f"{role.name}  {one_line(facts.file)}: {facts.tokens:,} tokens{padding}; reasoning: {marks}")
    if report.matches:
        counts: dict[str, int] = {}
        for match in report.matches:
            counts[match.how] = counts.get(match.how, 0) + 1
        told = ", ".join(f"{count:,} by {how}" for how, count in counts.items())
        lines += ["", f"Special tokens that differ, found in the other model: {told}"]
        for match in report.matches[:_MOST_SPECIALS]:
            ids = " ".join(map(str, match.ids)) or "nothing"
            text = one_line(match.text.decode("utf-8", "replace"), 40)
            lines.append(f"  {match.writer.name} {match.token} {text}  is read as {ids}  ({match.how})")
        if len(report.matches) > _MOST_SPECIALS:
            lines.append(f"  and {len(report.matches) - _MOST_SPECIALS:,} more; --json has all of them")
    if report.kind == "foreign":
        lines += ["", "The end of a turn ends the answer, whoever writes it; other special tokens are not read."]
        given = [report.models[role].thinking for role in Role]
        if all(given) and given[0] != given[1]:
            lines.append(f"The marks around reasoning are read as each model's own: {given[0]} and {given[1]}.")
    lines += ["", *_cost(report, costs)]
    lines += [f"Warning: {one_line(warning, 400)}" for warning in report.warnings]
    lines += [f"Cannot work: {one_line(problem, 400)}" for problem in report.problems]
    return lines


def _cost(report: PairReport, costs: Mapping[Role, float] | None) -> list[str]:
    """What a swap costs, in words, and in ms where that is known."""
    from rstitch_local.costs.swap_cost import CACHED, VISITS
    from rstitch_local.decoding.roles import Role

    lines = ["A swap: whoever takes over evaluates what the other has written, in one go."]
    if report.kind == "foreign":
        slm, llm = (report.models[role].sample_tokens for role in Role)
        lines = [
            "A swap: whoever takes over reads the text the other has written in its own tokens, and evaluates those.",
            f"A sample of text is {slm} tokens to the SLM and {llm} to the LLM: {report.ratio:.2f} of the LLM's for "
            f"one of the SLM's. Reading it anew took {report.tokenize_ms:.2f} ms.",
        ]
    if costs is None:
        return [*lines, "`rstitch calibrate` measures what evaluating costs here."]
    up, down = costs[Role.LLM], costs[Role.SLM]
    return [
        *lines,
        f"As calibrated, with {CACHED} tokens in the caches: up to the LLM after {VISITS[Role.LLM]} tokens of the SLM "
        f"{up:.1f} ms, down to the SLM after {VISITS[Role.SLM]} of the LLM {down:.1f} ms.",
    ]


def pairs(as_json: JsonOption = False) -> None:
    """List the pairs: files, sizes, what is on disk, licence, memory needed."""
    # Imported here to keep `rstitch --help` fast: pydantic takes 0.1 s.
    from rstitch_local.catalog.catalog import load_catalog
    from rstitch_local.catalog.store import state

    listed = [(entry, state(entry)) for entry in load_catalog()]
    if as_json:
        typer.echo(json.dumps({"pairs": [_as_json(entry, found) for entry, found in listed]}, indent=2))
        return
    from rich.console import Console

    screen = Console()
    screen.print(_table(listed))
    typer.echo("\nUnder each name: memory needed, licence ('?': not known here).")
    default = next((entry.name for entry, found in listed if found.ready), None)
    if default is not None:
        typer.echo(f"Without --pair, {default} is used.")
    if default in (None, "demo"):
        typer.echo("`rstitch pull qwen2.5-coder` brings the smallest pair for everything.")


def _table(listed: list[tuple[PairEntry, PairState]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from rstitch_local.sanitize import human_bytes

    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 1, 0, 1))
    table.add_column("pair", no_wrap=True, overflow="ellipsis", max_width=17)
    table.add_column("small model, large model", overflow="fold", ratio=1)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for entry, found in listed:
        files = (found.slm, found.llm)
        memory = "?" if entry.memory_gb is None else f"{entry.memory_gb:g} GB"
        facts = [(entry.name, "bold"), (memory, ""), (entry.licence, "dim")]
        sizes = [file.expected_size if file.expected_size is not None else file.size or None for file in files]
        table.add_row(
            Text("\n").join(Text(_clean(text), style=style) for text, style in facts),
            Text("\n").join(Text(_clean(file.file.file)) for file in files),
            Text("\n".join("?" if size is None else human_bytes(size) for size in sizes)),
            Text("\n").join(Text(file.status, style=_STYLES[file.status]) for file in files),
        )
    return table


def _as_json(entry: PairEntry, found: PairState) -> dict[str, Any]:
    return {
        "name": entry.name,
        "title": entry.title,
        "description": entry.description,
        "licence": entry.licence,
        "memory_gb": entry.memory_gb,
        "context": entry.context,
        "tau": entry.tau,
        "router": entry.router,
        "on_disk": found.ready,
        "slm": _file_as_json(found.slm),
        "llm": _file_as_json(found.llm),
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
    """Text of the user's catalogue without control characters, which could steer a terminal."""
    return "".join(c for c in text if c.isprintable())

"""`rstitch trace`: look at one answer, token by token, on the terminal or as a page.

Options and files only: `problems/answer_lookup.py` finds the answer, `trace/` renders it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rstitch_local.commands.console import make_console
from rstitch_local.commands.options import GpuLayersOption, LlmOption, PairOption, SlmOption, ThreadsOption

if TYPE_CHECKING:
    from rstitch_local.engine.choice import PairChoice
    from rstitch_local.trace.page.tokens import Predictions
    from rstitch_local.trace.reading import LoadedAnswer

_CANDIDATES = 5
_PAGES = (".html", ".htm")


def trace(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="The answers.jsonl of a run or its folder, what `ask --json` printed, or a chat exported as JSON.",
        ),
    ],
    identifier: Annotated[
        str | None, typer.Argument(metavar="ID", help="Which answer; not needed where there is one only.")
    ] = None,
    sample: Annotated[int, typer.Option("--sample", min=0, help="Which of the answers to a problem.")] = 0,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="OUT", help="Write a page for a browser instead: one .html file.")
    ] = None,
    alternatives: Annotated[
        bool,
        typer.Option(
            "--alternatives",
            help="Load the pair and put on the page what both models would have written at every token.",
        ),
    ] = False,
    pair: PairOption = None,
    slm: SlmOption = None,
    llm: LlmOption = None,
    gpu_layers: GpuLayersOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Look at one answer: who wrote which token, how unsure it was, and where control passed.

    The models are only needed for --alternatives, and must be those that wrote the answer.
    """
    # Imported here to keep `rstitch --help` fast.
    from rstitch_local.errors import UsageError
    from rstitch_local.problems.answer_lookup import open_answer
    from rstitch_local.trace.page.answer import answer_page
    from rstitch_local.trace.terminal import print_answer

    if html is not None and html.suffix.lower() not in _PAGES:
        # A slip of the finger must not write over the answers.
        raise UsageError("Not the name of a page", f"--html {html}: it must end in .html.")
    if alternatives and html is None:
        raise UsageError("No page", "--alternatives are shown on a page.", "Give --html OUT.html as well.")
    looked = open_answer(file, identifier, sample)
    if html is None:
        print_answer(looked, make_console())
        return
    views = None
    if alternatives:
        choice = _pair_of(looked, pair, slm, llm)
        views = _ask_again(looked, choice, gpu_layers, threads)
    _write(html, answer_page(looked, views))
    typer.echo(f"Written to {html}")


def _pair_of(looked: LoadedAnswer, pair: str | None, slm: Path | None, llm: Path | None) -> PairChoice:
    """The pair that wrote an answer: its files are the same to the last byte."""
    from rstitch_local.commands.jobs import sha256_of_pair
    from rstitch_local.engine.choice import choose_pair
    from rstitch_local.errors import InputError, ModelError, UsageError

    if looked.messages is None or not looked.models:
        raise InputError(
            "Prompt not kept",
            "What the models read is only known of answers in the folder of a run.",
            "Leave out --alternatives.",
        )
    if pair is None and slm is None and llm is None:
        name = str(looked.trace.settings.get("pair", ""))
        if " + " in name:
            raise UsageError("Which pair?", f"It was written by {name}.", "Give their files: --slm PATH --llm PATH.")
        pair = name or None
    choice = choose_pair(pair, slm, llm)
    for name, found in sha256_of_pair(choice).items():
        if looked.models.get(name) != found:
            file = choice.slm if name.startswith("slm") else choice.llm
            raise ModelError(
                "Other models", f"{file} is not the file that wrote this answer: its sha256 is another one."
            )
    return choice


def _ask_again(looked: LoadedAnswer, choice: PairChoice, gpu_layers: str, threads: int | None) -> list[Predictions]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from rstitch_local.commands.loading import open_pair
    from rstitch_local.engine.inspection import inspect_all

    assert looked.messages is not None
    steps, models = looked.trace.steps, looked.models
    screen = make_console(stderr=True)
    with (
        open_pair(
            choice,
            gpu_layers=gpu_layers,
            threads=threads,
            context=models.get("context"),
            kv_type=models.get("kv_type", "f16"),
        ) as loaded,
        Progress(
            TextColumn("Asking both models"),
            BarColumn(),
            MofNCompleteColumn(),
            console=screen,
            transient=True,
            disable=not screen.is_terminal,
        ) as bars,
    ):
        bar = bars.add_task("", total=len(steps))
        views: list[Predictions] = []
        for view in inspect_all(loaded, looked.messages, steps, prefix=looked.prefix, count=_CANDIDATES):
            views.append(view)
            bars.advance(bar)
        return views


def _write(path: Path, page: str) -> None:
    from rstitch_local.errors import StorageError

    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise StorageError("Cannot write", f"{path}: {error.strerror or error}.", "Name another file.") from error

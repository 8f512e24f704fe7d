"""The inspector: walk through an answer's tokens, see why each was written by whom, and what else could have come.

Knows one answer and how to ask the engine for both models' views of a place; nothing of chats or of the store. What
a branch leads to is for the caller, who is given the place and the token.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.message import Message as Event
from textual.screen import Screen
from textual.widgets import Footer, Static

from rstitch_local.decoding.roles import Role
from rstitch_local.errors import RStitchError
from rstitch_local.sanitize import safe_text, visible
from rstitch_local.trace.prediction import Candidate, Prediction
from rstitch_local.trace.record import Trace
from rstitch_tui.engine_thread import EngineThread, Request
from rstitch_tui.widgets.candidates import Candidates
from rstitch_tui.widgets.token_facts import TokenFacts, tau_at
from rstitch_tui.widgets.token_view import TokenView


def swaps(trace: Trace) -> list[int]:
    """The places where control passed: to the LLM, or back to the SLM."""
    steps = trace.steps
    return [
        index
        for index, step in enumerate(steps)
        if step.swap_entropy is not None or (index > 0 and step.role is not steps[index - 1].role)
    ]


def _row_of(token: int, text: str, candidates: Sequence[Candidate]) -> int | None:
    """Where the other model's token stands: ordinary ones have the same id, special ones may only share the text."""
    for row, candidate in enumerate(candidates):
        # Parts of a character have no text of their own that could be compared.
        if candidate.token == token and (candidate.text == text or "\ufffd" in candidate.text):
            return row
    if not text or "\ufffd" in text:
        return None
    return next((row for row, candidate in enumerate(candidates) if candidate.text == text), None)


class _Answer(VerticalScroll, can_focus=True, inherit_bindings=False):
    """Scrolls with the token that is looked at, by no keys of its own."""


class InspectorScreen(Screen[tuple[int, Role, int] | None]):
    """Gives the place, the model and the token to go on from; None when the user only looked.

    Args:
        engine: asked for the views; the pair that wrote the answer should be in memory.
        request: what the answer was the answer to.
        trace: the answer, with one token at least.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "walk(-1)", "Token", key_display="←→", id="inspect_left"),
        Binding("right,l", "walk(1)", "Next token", show=False, id="inspect_right"),
        Binding("up,k", "walk_rows(-1)", "Row above", show=False, id="inspect_up"),
        Binding("down,j", "walk_rows(1)", "Row below", show=False, id="inspect_down"),
        Binding("pageup", "walk_pages(-1)", "Page above", show=False, id="inspect_page_up"),
        Binding("pagedown", "walk_pages(1)", "Page below", show=False, id="inspect_page_down"),
        Binding("home", "walk_to(0)", "First token", show=False, id="inspect_home"),
        Binding("end", "walk_to(-1)", "Last token", show=False, id="inspect_end"),
        Binding("n", "walk_swaps(1)", "Next swap", id="inspect_next_swap"),
        Binding("p", "walk_swaps(-1)", "Swap before", id="inspect_previous_swap"),
        Binding("enter", "to_candidates", "Candidates", id="inspect_to_candidates"),
        *(Binding(str((row + 1) % 10), f"candidate({row})", f"Candidate {row + 1}", show=False) for row in range(10)),
        Binding("escape,q", "leave", "Back", id="inspect_leave"),
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (60, "-wide")]  # noqa: RUF012  as Textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (16, "-short"), (30, "-tall")]  # noqa: RUF012
    AUTO_FOCUS = "#answer"

    DEFAULT_CSS = """
    InspectorScreen {
        layout: vertical;
        & #title { height: 1; background: $panel; color: $text; padding: 0 1; text-style: bold; }
        & #answer { height: 1fr; min-height: 2; padding: 0 1; scrollbar-size-vertical: 1; }
        & #place { height: auto; max-height: 75%; background: $surface; padding: 0 1; scrollbar-size-vertical: 1; }
        & #views { layout: grid; grid-size: 2; grid-columns: 1fr 1fr; grid-rows: 11; grid-gutter: 0 3; height: auto; }
        & #problem { height: auto; color: $text-error; display: none; }
        & #problem.-shown { display: block; }
        &.-tall #about { margin-bottom: 1; }
        &.-narrow #views { grid-size: 1; grid-columns: 1fr; grid-gutter: 1 0; }
        &.-tiny #title { display: none; }
    }
    """

    class Evaluated(Event):
        """The engine's answer to what the models make of a place."""

        def __init__(self, index: int, result: dict[Role, Prediction] | RStitchError) -> None:
            super().__init__()
            self.index = index
            self.result = result

    def __init__(self, engine: EngineThread, request: Request, trace: Trace) -> None:
        super().__init__()
        self._engine = engine
        self._request = request
        self._trace = trace
        self._swaps = swaps(trace)
        self._views: dict[int, dict[Role, Prediction]] = {}
        self._asked: int | None = None
        self._column: int | None = None
        # Near the end: what the caches hold before the place stays there for the chat's next turn.
        self.index = self._swaps[-1] if self._swaps else len(trace.steps) - 1

    def compose(self) -> ComposeResult:
        """The answer, and below it what is known of the place."""
        yield Static(id="title", markup=False)
        with _Answer(id="answer"):
            yield TokenView(self._trace.steps)
        with VerticalScroll(id="place", can_focus=False):
            yield TokenFacts(id="about")
            yield Static(id="problem", markup=False)
            with Container(id="views"):
                for role in Role:
                    yield Candidates(role, id=role.value)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Begin where control passed last."""
        self.query_one(TokenView).tau = tau_at(self._trace, len(self._trace.steps))
        self._go(self.index)

    # Walking

    def _go(self, index: int, *, column: int | None = None) -> None:
        """Look at another place; `column` is the one to be kept when walking over rows."""
        self.index = max(0, min(len(self._trace.steps) - 1, index))
        self._column = column
        self.query_one(TokenView).cursor = self.index
        if not isinstance(self.focused, Candidates):
            self.query_one("#place").scroll_home(animate=False)
        self._describe()
        self._look()

    def action_walk(self, by: int) -> None:
        """Go some tokens on."""
        self._go(self.index + by)

    def action_walk_to(self, index: int) -> None:
        """Go to a token, or with -1 to the last."""
        self._go(index if index >= 0 else len(self._trace.steps) - 1)

    def action_walk_swaps(self, by: int) -> None:
        """Go to where control passed next or before."""
        if by > 0:
            self._go(next((place for place in self._swaps if place > self.index), self.index))
        else:
            self._go(next((place for place in reversed(self._swaps) if place < self.index), self.index))

    def action_walk_rows(self, by: int) -> None:
        """Go some rows down, or up."""
        view = self.query_one(TokenView)
        row, column = self._cell()
        column = column if self._column is None else self._column
        index = self.index
        # A long token fills several rows.
        while index == self.index and 0 <= row + by < view.size.height:
            row += by
            found = (view.token_at(x, row) for x in range(min(column, view.size.width - 1), -1, -1))
            index = next((token for token in found if token is not None), index)
        self._go(index, column=column)

    def action_walk_pages(self, by: int) -> None:
        """Go as many rows as are in view."""
        rows = max(1, self.query_one("#answer").size.height - 1)
        row, _ = self._cell()
        last = max(0, self.query_one(TokenView).size.height - 1)
        self.action_walk_rows(max(-row, min(last - row, by * rows)))

    def _cell(self) -> tuple[int, int]:
        """Row and column in which the token is drawn."""
        view = self.query_one(TokenView)
        low, high = 0, max(0, view.size.height - 1)
        while low < high:
            middle = (low + high + 1) // 2
            first = view.token_at(0, middle)
            low, high = (middle, high) if first is not None and first <= self.index else (low, middle - 1)
        tokens = [view.token_at(x, low) for x in range(view.size.width)]
        if self.index in tokens:
            return low, tokens.index(self.index)
        # A token without text has no cell: its place is where the one before it ends.
        before = [x for x, token in enumerate(tokens) if token is not None and token < self.index]
        return low, before[-1] if before else 0

    @on(TokenView.Picked)
    def _picked(self, event: TokenView.Picked) -> None:
        event.stop()
        self._go(event.index)

    # What is known of the place

    def _describe(self) -> None:
        """Who wrote the token and why; all of it is in the trace."""
        trace = self._trace
        self.query_one("#title", Static).update(
            Content(
                f"{len(trace.steps):,} tokens  ·  {trace.llm_share:.0%} by the LLM  ·  "
                f"{trace.swaps_up:,} swaps up, {trace.swaps_down:,} down"
            )
        )
        self.query_one(TokenFacts).show(trace, self.index, self._token_text())

    def _token_text(self) -> str:
        """The token as it can be seen: special ones by the name the models' vocabulary gives them."""
        step = self._trace.steps[self.index]
        candidates = self._views[self.index][step.role].candidates if self.index in self._views else ()
        named = next((candidate.text for candidate in candidates if candidate.token == step.token), None)
        ends = self._trace.stop == "eog" and self.index == len(self._trace.steps) - 1 and not step.text
        return visible(named or step.text) if not ends or named else "‹end›"

    # What else could have come

    def _look(self) -> None:
        """Show both models' views of the place, or have them evaluated; only one place at a time."""
        views = self._views.get(self.index)
        if views is not None:
            self._show(views)
            return
        for table in self.query(Candidates):
            table.wait()
        if self._asked is None:
            self._asked = index = self.index
            self._engine.inspect(
                self._request, self._trace.steps[:index], lambda result: self._tell(self.Evaluated(index, result))
            )

    def _tell(self, event: Event) -> None:
        """Called in the engine's thread: hand on what it found, if anybody is still there."""
        with suppress(RuntimeError):
            self.post_message(event)

    @on(Evaluated)
    def _evaluated(self, event: Evaluated) -> None:
        event.stop()
        self._asked = None
        if isinstance(event.result, RStitchError):
            if event.index == self.index:
                self._complain(event.result)
                return
        else:
            self._views[event.index] = event.result
        if event.index == self.index or self.index not in self._views:
            self._describe()
            self._look()

    def _show(self, views: dict[Role, Prediction]) -> None:
        self.query_one("#problem").remove_class("-shown")
        self.query_one("#views").display = True
        step = self._trace.steps[self.index]
        mine, others = views[step.role].candidates, views[step.role.other].candidates
        wrote = next((row for row, candidate in enumerate(mine) if candidate.token == step.token), None)
        text = step.text if wrote is None else mine[wrote].text
        rows = {step.role: wrote, step.role.other: _row_of(step.token, text, others)}
        for table in self.query(Candidates):
            table.show(views[table.role], rows[table.role], wrote=table.role is step.role)

    def _complain(self, error: RStitchError) -> None:
        for table in self.query(Candidates):
            table.clear()
        self.query_one("#views").display = False
        problem = self.query_one("#problem", Static)
        problem.add_class("-shown")
        problem.update(Content(safe_text(f"{error.title}. {error.message} {error.hint}".rstrip())))

    # Branching

    def action_to_candidates(self) -> None:
        """Go to the candidates of the model that wrote the token."""
        self._table().focus()

    def action_candidate(self, row: int) -> None:
        """Go to a row of the candidates: of the table with the focus, or of the model that wrote the token."""
        table = self._table()
        table.focus()
        table.select(row)

    def _table(self) -> Candidates:
        if isinstance(self.focused, Candidates):
            return self.focused
        return self.query_one(f"#{self._trace.steps[self.index].role.value}", Candidates)

    @on(Candidates.Chosen)
    def _chosen(self, event: Candidates.Chosen) -> None:
        event.stop()
        self.dismiss((self.index, event.role, event.token))

    def action_leave(self) -> None:
        """Leave without a branch."""
        self.dismiss(None)

"""The inspector: every token of an answer with the reason for its model and both models' candidates.

Evaluates positions by the engine thread. Uses neither chats nor the store; branching is done by the caller.
"""

from __future__ import annotations

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
from rstitch_local.trace.prediction import Prediction
from rstitch_local.trace.record import Trace
from rstitch_tui.answer import Request
from rstitch_tui.engine_thread import EngineThread
from rstitch_tui.inspecting import cell_of, row_of, swaps, token_by_rows
from rstitch_tui.widgets.candidates import Candidates
from rstitch_tui.widgets.routing_reason import tau_at
from rstitch_tui.widgets.token_details import TokenDetails
from rstitch_tui.widgets.token_view import TokenView


class _Answer(VerticalScroll, can_focus=True, inherit_bindings=False):
    """Scrolls with the selected token; its own key bindings are removed."""


class InspectorScreen(Screen[tuple[int, Role, int] | None]):
    """Returns the step, the model and the token to branch with, or None.

    Args:
        engine: the engine thread; the pair that generated the answer should be loaded.
        request: the request of the answer.
        trace: the record of the answer, with at least one token.
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
        Binding("p", "walk_swaps(-1)", "Previous swap", id="inspect_previous_swap"),
        Binding("enter", "to_candidates", "Candidates", id="inspect_to_candidates"),
        *(Binding(str((row + 1) % 10), f"candidate({row})", f"Candidate {row + 1}", show=False) for row in range(10)),
        Binding("escape,q", "leave", "Back", id="inspect_leave"),
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (60, "-wide")]  # noqa: RUF012  declared as in Textual
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (16, "-short"), (30, "-tall")]  # noqa: RUF012
    AUTO_FOCUS = "#answer"

    DEFAULT_CSS = """
    InspectorScreen {
        layout: vertical;
        & #title { height: 1; background: $panel; color: $text; padding: 0 1; text-style: bold; }
        & #answer { height: 1fr; min-height: 2; padding: 0 1; scrollbar-size-vertical: 1; }
        & #details { height: auto; max-height: 75%; background: $surface; padding: 0 1; scrollbar-size-vertical: 1; }
        & #candidates {
            layout: grid; grid-size: 2; grid-columns: 1fr 1fr; grid-rows: 11; grid-gutter: 0 3; height: auto;
        }
        & #problem { height: auto; color: $text-error; display: none; }
        & #problem.-shown { display: block; }
        &.-tall #about { margin-bottom: 1; }
        &.-narrow #candidates { grid-size: 1; grid-columns: 1fr; grid-gutter: 1 0; }
        &.-tiny #title { display: none; }
    }
    """

    class Evaluated(Event):
        """Both models' candidates at a step, or an error."""

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
        self._predictions: dict[int, dict[Role, Prediction]] = {}
        self._requested: int | None = None
        self._column: int | None = None
        # The last swap: a position near the end keeps most of the KV caches valid for the next turn of the chat.
        self.index = self._swaps[-1] if self._swaps else len(trace.steps) - 1

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        with _Answer(id="answer"):
            yield TokenView(self._trace.steps)
        with VerticalScroll(id="details", can_focus=False):
            yield TokenDetails(id="about")
            yield Static(id="problem", markup=False)
            with Container(id="candidates"):
                for role in Role:
                    yield Candidates(role, id=role.value)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one(TokenView).tau = tau_at(self._trace, len(self._trace.steps))
        self._go(self.index)

    # Navigation

    def _go(self, index: int, *, column: int | None = None) -> None:
        """Select a step; `column` is kept while moving over rows."""
        self.index = max(0, min(len(self._trace.steps) - 1, index))
        self._column = column
        self.query_one(TokenView).cursor = self.index
        if not isinstance(self.focused, Candidates):
            self.query_one("#details").scroll_home(animate=False)
        self._describe()
        self._show_candidates()

    def action_walk(self, by: int) -> None:
        """Move by some tokens."""
        self._go(self.index + by)

    def action_walk_to(self, index: int) -> None:
        """Move to a token; -1 stands for the last."""
        self._go(index if index >= 0 else len(self._trace.steps) - 1)

    def action_walk_swaps(self, by: int) -> None:
        """Move to the next (1) or previous (-1) swap."""
        if by > 0:
            self._go(next((swap for swap in self._swaps if swap > self.index), self.index))
        else:
            self._go(next((swap for swap in reversed(self._swaps) if swap < self.index), self.index))

    def action_walk_rows(self, by: int) -> None:
        """Move down (positive) or up by some rows."""
        tokens = self.query_one(TokenView)
        row, column = cell_of(tokens, self.index)
        column = column if self._column is None else self._column
        self._go(token_by_rows(tokens, self.index, row, column, by), column=column)

    def action_walk_pages(self, by: int) -> None:
        """Move by as many rows as are visible."""
        tokens = self.query_one(TokenView)
        rows = max(1, self.query_one("#answer").size.height - 1)
        row, _ = cell_of(tokens, self.index)
        last = max(0, tokens.size.height - 1)
        self.action_walk_rows(max(-row, min(last - row, by * rows)))

    @on(TokenView.Picked)
    def _picked(self, event: TokenView.Picked) -> None:
        event.stop()
        self._go(event.index)

    # The selected step

    def _describe(self) -> None:
        """Show the model of the token and the reason, as recorded in the trace."""
        trace = self._trace
        self.query_one("#title", Static).update(
            Content(
                f"{len(trace.steps):,} tokens  ·  {trace.llm_share:.0%} by the LLM  ·  "
                f"{trace.swaps_up:,} swap{'' if trace.swaps_up == 1 else 's'} up, {trace.swaps_down:,} down"
            )
        )
        self.query_one(TokenDetails).show(trace, self.index, self._token_text())

    def _token_text(self) -> str:
        """Return the token as visible text; special tokens by their names in the vocabulary."""
        step = self._trace.steps[self.index]
        candidates = self._predictions[self.index][step.role].candidates if self.index in self._predictions else ()
        named = next((candidate.text for candidate in candidates if candidate.token == step.token), None)
        ends = self._trace.stop == "eog" and self.index == len(self._trace.steps) - 1 and not step.text
        return visible(named or step.text) if not ends or named else "‹end›"

    # Candidates

    def _show_candidates(self) -> None:
        """Show both models' candidates, or evaluate them, one position at a time."""
        predictions = self._predictions.get(self.index)
        if predictions is not None:
            self._draw_candidates(predictions)
            return
        for table in self.query(Candidates):
            table.wait()
        if self._requested is None:
            self._requested = index = self.index
            self._engine.inspect(
                self._request,
                self._trace.steps[:index],
                lambda result: self._post_safely(self.Evaluated(index, result)),
            )

    def _post_safely(self, event: Event) -> None:
        """Post a message from the engine thread; ignored if the screen is gone."""
        with suppress(RuntimeError):
            self.post_message(event)

    @on(Evaluated)
    def _evaluated(self, event: Evaluated) -> None:
        event.stop()
        self._requested = None
        if isinstance(event.result, RStitchError):
            if event.index == self.index:
                self._show_error(event.result)
                return
        else:
            self._predictions[event.index] = event.result
        if event.index == self.index or self.index not in self._predictions:
            self._describe()
            self._show_candidates()

    def _draw_candidates(self, predictions: dict[Role, Prediction]) -> None:
        self.query_one("#problem").remove_class("-shown")
        self.query_one("#candidates").display = True
        step = self._trace.steps[self.index]
        candidates, others = predictions[step.role].candidates, predictions[step.role.other].candidates
        taken = next((row for row, candidate in enumerate(candidates) if candidate.token == step.token), None)
        text = step.text if taken is None else candidates[taken].text
        rows = {step.role: taken, step.role.other: row_of(step.token, text, others)}
        for table in self.query(Candidates):
            table.show(predictions[table.role], rows[table.role], generated=table.role is step.role)

    def _show_error(self, error: RStitchError) -> None:
        for table in self.query(Candidates):
            table.clear()
        self.query_one("#candidates").display = False
        problem = self.query_one("#problem", Static)
        problem.add_class("-shown")
        problem.update(Content(safe_text(f"{error.title}. {error.message} {error.hint}".rstrip())))

    # Branching

    def action_to_candidates(self) -> None:
        """Move to the candidates of the model that generated the token."""
        self._table().focus()

    def action_candidate(self, row: int) -> None:
        """Select a candidate, in the table with the focus or else of the model that generated the token."""
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
        """Close without branching."""
        self.dismiss(None)

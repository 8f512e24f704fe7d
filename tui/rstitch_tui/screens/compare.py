"""Two answers to one question side by side: one that is there, and one that is being written by another router.

Knows two traces and how to show and compare them; nothing of chats, and asks nobody for the new answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Static

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.decoding.thinking import strip_thinking
from rstitch_local.errors import RStitchError
from rstitch_local.problems.answers import hash_marked, last_boxed
from rstitch_local.problems.notation import normal_form, number
from rstitch_local.routing.spec import tau_of_spec
from rstitch_local.sanitize import one_line, safe_text
from rstitch_local.trace.record import Trace
from rstitch_tui.widgets.entropy_strip import EntropyStrip
from rstitch_tui.widgets.figures import Figures
from rstitch_tui.widgets.token_view import TokenView

if TYPE_CHECKING:
    from rstitch_tui.app import ChatApp

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_LONGEST_ANSWER = 200
_AS_FAST = 0.05
"""Paces that differ by less than this share are the same: two runs of one answer differ as much."""


def final_answer(text: str) -> str:
    r"""What an answer comes to: its last `\boxed{}` or `####`, else its last number, else all that it says."""
    said = strip_thinking(text)
    marked = last_boxed(said) or hash_marked(said)
    if marked is not None:
        return marked.strip()
    numbers = _NUMBER.findall(said)
    return numbers[-1] if numbers else " ".join(said.split())


def same_answer(one: str, other: str) -> bool:
    """Whether two final answers are the same, but for how they are spelled."""
    if one == other:
        return True
    if max(len(one), len(other)) > _LONGEST_ANSWER:
        return False
    value = number(one)
    return normal_form(one) == normal_form(other) or (value is not None and value == number(other))


def pace_ms(trace: Trace) -> float | None:
    """Time in the models for each token, the prompt aside: that may have been in the caches already.

    None where nothing was written, or where the answer went on from another: its pace is that of a part.
    """
    ms = trace.model_ms - sum(trace.spent(role, "prompt")[1] for role in Role)
    return ms / len(trace.steps) if trace.steps and ms and not trace.resumed_tokens else None


def verdict(old: Trace, new: Trace) -> str:
    """In a line what the other router changed: speed, share of the LLM, and the final answer."""
    parts = []
    before, now = pace_ms(old), pace_ms(new)
    if before is not None and now is not None:
        ratio = before / now
        if abs(ratio - 1) < _AS_FAST:
            parts.append(f"as fast as before ({_pace(now)} ms a token)")
        else:
            change = f"{ratio:.1f}x faster" if ratio > 1 else f"{1 / ratio:.1f}x slower"
            parts.append(f"{change} ({_pace(now)} instead of {_pace(before)} ms a token)")
    parts.append(f"{new.llm_share:.0%} instead of {old.llm_share:.0%} LLM tokens")
    said = f"{_name(new)}: {', '.join(parts)}; "
    cut = [which for which, trace in (("new", new), ("old", old)) if trace.stop not in ("eog", "stop")]
    if cut:
        return f"{said}the {' and the '.join(cut)} answer {'were' if len(cut) > 1 else 'was'} not written to the end."
    one, other = final_answer(old.text), final_answer(new.text)
    if same_answer(one, other):
        return f"{said}the final answers are the same ({one_line(other, 30) or 'none'})."
    return (
        f"{said}the final answers differ ({one_line(one, 30) or 'none'} before, now {one_line(other, 30) or 'none'})."
    )


def _name(trace: Trace) -> str:
    return _short(str(trace.settings.get("router", "")))


def _short(router: str) -> str:
    """A router as people speak of it."""
    tau = _tau_of(router) if router.startswith("entropy") else None
    return one_line(router, 30) if tau is None else f"tau {tau:g}"


def _tau_of(router: str) -> float | None:
    try:
        return tau_of_spec(router)
    except RStitchError:
        return None


def _pace(ms: float) -> str:
    return f"{ms:.3g}" if ms < 100 else f"{ms:,.0f}"


def _time(ms: float) -> str:
    return f"{ms:,.0f} ms" if ms < 1000 else f"{ms / 1e3:,.1f} s"


class _Side(Vertical):
    """One of the two answers."""

    def __init__(self, heading: str, router: str, *, follow: bool = False) -> None:
        super().__init__()
        self._follow = follow
        self._heading = heading
        self._router = router

    def compose(self) -> ComposeResult:
        """Heading, tokens, strip and figures."""
        yield Static(Content(self._title()), classes="heading", markup=False)
        with VerticalScroll():
            yield TokenView()
        yield EntropyStrip()
        yield Figures()

    def _title(self) -> str:
        return f"{self._heading} · {_short(self._router)}"

    def on_mount(self) -> None:
        """Draw tau in."""
        self.query_one(TokenView).tau = self.query_one(EntropyStrip).tau = _tau_of(self._router)

    def extend(self, trace: Trace) -> None:
        """Bring it up to date with what a trace holds."""
        tokens = self.query_one(TokenView)
        # The trace is the whole record: what was written before the screen was there is in it as well.
        steps = trace.steps[len(tokens.steps) :]
        scroll = self.query_one(VerticalScroll)
        # Who reads further up is left there.
        follows = self._follow and scroll.scroll_offset.y >= scroll.max_scroll_y
        tokens.extend(steps)
        if follows:
            scroll.scroll_end(animate=False)
        self.query_one(EntropyStrip).extend(steps)
        self.query_one(Figures).show(trace)
        kept = f" ({trace.resumed_tokens:,} kept)" if trace.resumed_tokens else ""
        written = f"{len(trace.steps):,} tokens{kept} · {_time(trace.wall_ms)}"
        self.query_one(".heading", Static).update(Content(f"{self._title()} · {written}"))


class CompareScreen(Screen[None]):
    """The old answer and the new one; `extend` and `finish` bring what is written.

    Args:
        old: the answer that is there.
        router: what the new one is written with.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Stop or close", id="compare_leave"),
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (80, "-wide")]  # noqa: RUF012  as Textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (16, "-short"), (30, "-tall")]  # noqa: RUF012

    DEFAULT_CSS = """
    CompareScreen {
        layout: vertical;
        & #sides { layout: horizontal; height: 1fr; }
        & _Side { width: 1fr; height: 1fr; padding: 0 1; }
        & _Side.-new { border-left: solid $foreground 30%; }
        & .heading { height: 1; color: $text; text-style: bold; }
        & VerticalScroll { height: 1fr; scrollbar-size-vertical: 1; }
        & EntropyStrip { height: 4; background: $surface; }
        & Figures { height: auto; }
        &.-wide Figures { min-height: 2; }
        & #verdict { height: auto; background: $panel; color: $text; padding: 0 1; }
        &.-short EntropyStrip { height: 2; }
        &.-tiny EntropyStrip, &.-tiny Figures { display: none; }
        &.-narrow #sides { layout: vertical; }
        &.-narrow _Side.-new { border-left: none; }
        &.-narrow EntropyStrip { height: 1; }
    }
    """

    def __init__(self, old: Trace, router: str) -> None:
        super().__init__()
        self._old = old
        self._router = router
        self._new: Trace | None = None
        self._error = ""
        self._finished = False
        self._stopping = False
        self._ready = False

    def compose(self) -> ComposeResult:
        """Old, new, and what to think of it."""
        with Container(id="sides"):
            yield _Side("Before", str(self._old.settings.get("router", "")))
            new = _Side("Now", self._router, follow=True)
            new.add_class("-new")
            yield new
        yield Static(id="verdict", markup=False)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Show the old answer, and what there is of the new one."""
        self._ready = True
        self.query(_Side).first().extend(self._old)
        self._draw()

    def extend(self, _steps: Sequence[Step], trace: Trace | None) -> None:
        """More of the new answer was written.

        Args:
            _steps: what is new of it; it is in the trace as well.
            trace: the answer's record so far.
        """
        self._new = trace or self._new
        self._draw()

    def finish(self, trace: Trace | None, error: str = "") -> None:
        """The new answer is at its end."""
        self._new = trace or self._new
        self._error = error
        self._finished = True
        self._draw()

    def _draw(self) -> None:
        if not self._ready:
            return
        if self._new is not None:
            self.query(_Side).last().extend(self._new)
        line = self.query_one("#verdict", Static)
        line.set_class(bool(self._error), "-error")
        if self._error:
            line.update(Content(safe_text(self._error)))
        elif not self._finished or self._new is None:
            line.update(Content(f"{_short(self._router)}: writing …"))
        else:
            line.update(Content(verdict(self._old, self._new)))

    def action_leave(self) -> None:
        """Stop the new answer while it is being written; close once it is there."""
        if self._finished or self._stopping:
            self.dismiss(None)
        else:
            self._stopping = True
            cast("ChatApp", self.app).engine.stop()

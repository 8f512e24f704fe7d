"""What is known of one token of an answer, and why control passed there or did not.

Knows the record of an answer; nothing of models, nor of what else they could have written.
"""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from rstitch_local.decoding.roles import Role
from rstitch_local.decoding.step import Step
from rstitch_local.trace.record import Trace
from rstitch_tui.widgets.candidates import entropy_text
from rstitch_tui.widgets.entropy_scale import place_of

_GAUGE_CELLS = 24
_WIDTH_FOR_GAUGE = 72


class TokenFacts(Static):
    """A token, its writer, the reason in a sentence or two, and the figures."""

    DEFAULT_CSS = "TokenFacts { height: auto; }"

    _shown: tuple[Trace, int, str] | None = None
    _width = 0

    def show(self, trace: Trace, index: int, text: str) -> None:
        """Show a token.

        Args:
            trace: the answer.
            index: which token.
            text: the token as it can be seen.
        """
        self._shown = trace, index, text
        step, tau = trace.steps[index], tau_at(trace, index)
        chosen = _is_chosen(trace, index)
        tokens = "1 token" if step.evaluated_tokens == 1 else f"{step.evaluated_tokens:,} tokens"
        figures = [
            f"entropy {entropy_text(step.entropy)}" + ("" if tau is None else f", tau {tau:g}"),
            f"top-1 {step.top1:.0%}",
            f"{tokens} evaluated in {_ms(step.ms)}",
        ]
        how = "a candidate of" if chosen else "written by"
        role = "bold $text-primary" if step.role is Role.SLM else "bold underline $text-accent"
        # In a narrow terminal the room is the sentence's.
        gauge = _gauge(step, tau) if self._width >= _WIDTH_FOR_GAUGE and not chosen else []
        self.update(
            Content.assemble(
                (text, role),
                (
                    f"  token {index + 1:,}, {how} the {step.role.name}   ",
                    "bold",
                ),
                *gauge,
                f"\n{why(trace, index)}",
                # Of a token that was chosen the record has no figures of its own.
                ("" if chosen else f"\n{' · '.join(figures)}", "$foreground 70%"),
            )
        )

    def on_resize(self) -> None:
        """Another width may have room for the gauge."""
        if self._width != self.size.width:
            self._width = self.size.width
            if self._shown is not None:
                self.show(*self._shown)


def tau_at(trace: Trace, index: int) -> float | None:
    """The threshold on the entropy that decided at a position; None where none did, or where it is not recorded."""
    tau: float | None = trace.settings.get("tau")
    if tau is None or index < trace.resumed_tokens:
        return None
    return next((new for at, new in reversed(trace.taus) if at <= index), tau)


def why(trace: Trace, index: int) -> str:
    """Why control passed at a token of an answer, or why it did not, in a plain sentence or two."""
    step = trace.steps[index]
    if _is_chosen(trace, index):
        return "This token was chosen by hand, and the answer went on from it."
    spec = str(trace.settings.get("router", ""))
    if spec in ("slm", "llm"):
        return f"The router is {spec}: the {spec.upper()} writes every token."
    if not spec.startswith("entropy"):
        return _what_the_router_did(trace, index, spec)
    tau = tau_at(trace, index)
    above, below = ("", "") if tau is None else (f" above tau {tau:g}", f", not above tau {tau:g}")
    if step.role is Role.SLM:
        return (
            f"The SLM was sure enough here: entropy {entropy_text(step.entropy)}{below}, so it wrote this token itself."
        )
    if step.swap_entropy is not None:
        said = f"The SLM was unsure here: entropy {entropy_text(step.swap_entropy)}{above}, so the LLM wrote it."
    else:
        said = "The LLM kept control: it had not been sure of the token before."
    if index + 1 == len(trace.steps):
        return said
    if _handed_back(trace, index):
        return f"{said} The LLM was sure ({entropy_text(step.entropy)}), so control goes back to the SLM."
    return f"{said} It was not sure either ({entropy_text(step.entropy)}), so it keeps control."


def _is_chosen(trace: Trace, index: int) -> bool:
    """Whether the user put this token there: of one that was written, something was evaluated."""
    return index < trace.resumed_tokens and trace.steps[index].evaluated_tokens == 0


def _what_the_router_did(trace: Trace, index: int, spec: str) -> str:
    """The same for rules that look at something that is not in the record."""
    step = trace.steps[index]
    if spec.startswith("spec:"):
        if step.role is Role.SLM:
            return "The SLM drafted this token, and the LLM kept it."
        if step.swap_entropy is None:
            return "The LLM wrote this token after a draft of which it had kept everything."
        return f"The LLM wrote this token in place of a draft; the SLM's entropy was {entropy_text(step.swap_entropy)}."
    if step.role is Role.SLM:
        return f"The router {spec} let the SLM write this token."
    if step.swap_entropy is None:
        said = f"The router {spec} left control with the LLM."
    else:
        said = f"The router {spec} gave this token to the LLM; the SLM's entropy was {entropy_text(step.swap_entropy)}."
    return f"{said} Then control goes back to the SLM." if _handed_back(trace, index) else said


def _handed_back(trace: Trace, index: int) -> bool:
    """Whether the SLM was asked for the token after this one of the LLM's."""
    follower = trace.steps[index + 1 : index + 2]
    return any(step.role is Role.SLM or step.swap_entropy is not None for step in follower)


def _gauge(step: Step, tau: float | None) -> list[tuple[str, str]]:
    """The entropy that decided who writes as a line on the scale, with tau marked on it; and whose it was."""
    entropy, role = (step.entropy, step.role) if step.swap_entropy is None else (step.swap_entropy, Role.SLM)
    filled = round(place_of(entropy) * _GAUGE_CELLS)
    line = "━" * filled + "─" * (_GAUGE_CELLS - filled)
    mark = _GAUGE_CELLS if tau is None else min(_GAUGE_CELLS - 1, round(place_of(tau) * _GAUGE_CELLS))
    color = "$primary" if role is Role.SLM else "$accent"
    return [
        (f"{role.name} ", "$foreground 70%"),
        (line[: min(mark, filled)], color),
        (line[filled:mark], "$foreground 40%"),
        ("┃"[tau is None :], "bold"),
        (line[mark + 1 : filled], color),
        (line[max(mark + 1, filled) :], "$foreground 40%"),
    ]


def _ms(ms: float) -> str:
    return f"{ms:.1f} ms" if ms < 10 else f"{ms:,.0f} ms"

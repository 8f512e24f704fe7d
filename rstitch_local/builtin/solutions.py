"""Writes the worked solution of a word problem, in two manners.

The long manner is the large model's: every step is named, taken apart by decimal places, and checked by the
inverse operation. The short manner is the small model's: one equation a line. Both are functions of the steps
alone, with no choice left to chance: a reader who knows the steps can predict every character, so a model's
uncertainty while it writes comes from the problem and not from the style.

Knows arithmetic and the two layouts. Knows nothing of stories, of random numbers, of tokens or of models.
"""

from __future__ import annotations

from dataclasses import dataclass

SHORT_OPENING = "Steps:"
"""What a short solution starts with. A fixed first word keeps the choice of manner out of the first number."""

RECONSIDER_FROM = 300
"""A product or quotient whose larger number reaches this is looked at twice in the long manner."""


@dataclass(frozen=True, slots=True)
class Step:
    """One exact whole-number operation: `left op right = result`, and in a few words what it finds."""

    label: str
    left: int
    op: str
    right: int

    @property
    def result(self) -> int:
        """What the operation gives."""
        if self.op == "+":
            return self.left + self.right
        if self.op == "-":
            return self.left - self.right
        if self.op == "*":
            return self.left * self.right
        return self.left // self.right

    @property
    def equation(self) -> str:
        """The operation with its result, as both manners write it."""
        return f"{self.left}{self.op}{self.right}={self.result}"


def places(number: int) -> list[int]:
    """The non-zero decimal places of a number, largest first: 305 -> [300, 5]."""
    digits = str(number)
    return [int(d) * 10 ** (len(digits) - 1 - i) for i, d in enumerate(digits) if d != "0"]


def _apart_sum(step: Step) -> list[str]:
    """`347+85` -> `347+80=427`, `427+5=432`; the same for a difference."""
    lines, total = [], step.left
    for part in places(step.right):
        reached = total + part if step.op == "+" else total - part
        lines.append(f"{total}{step.op}{part}={reached}")
        total = reached
    return lines


def _apart_product(step: Step) -> list[str]:
    """`14*6` -> `10*6=60`, `4*6=24`, `60+24=84`."""
    parts = places(step.left)
    lines = [f"{part}*{step.right}={part * step.right}" for part in parts]
    total = parts[0] * step.right
    for part in parts[1:]:
        lines.append(f"{total}+{part * step.right}={total + part * step.right}")
        total += part * step.right
    return lines


def _apart_quotient(step: Step) -> list[str]:
    """`84/6` -> `6*10=60`, `84-60=24`, `6*4=24`: the places of the quotient, largest first."""
    lines, rest = [], step.left
    for part in places(step.result):
        taken = part * step.right
        lines.append(f"{step.right}*{part}={taken}")
        if taken != rest:
            lines.append(f"{rest}-{taken}={rest - taken}")
        rest -= taken
    return lines


def take_apart(step: Step) -> list[str]:
    """The equations by which the long manner reaches a step's result, easiest digits at every place."""
    if step.op in "+-":
        return _apart_sum(step)
    return _apart_product(step) if step.op == "*" else _apart_quotient(step)


def check(step: Step) -> str:
    """The inverse equation that confirms a step."""
    inverse = {"+": "-", "-": "+", "*": "/", "/": "*"}[step.op]
    return f"{step.result}{inverse}{step.right}={step.left}"


def reconsiders(step: Step) -> bool:
    """Whether the long manner looks at this step twice."""
    return step.op in "*/" and max(step.left, step.result) >= RECONSIDER_FROM


def long_line(number: int, step: Step) -> str:
    """One step of the long manner, without the line's end."""
    apart = take_apart(step)
    worked = ", ".join(apart) if apart == [step.equation] else f"{step.left}{step.op}{step.right}: {', '.join(apart)}"
    line = f"Step {number}: {step.label}. {worked}. Check {check(step)}."
    if reconsiders(step):
        line += f" Wait, let me check that again: {step.equation}. Yes."
    return line


def long_solution(goal: str, steps: list[Step] | tuple[Step, ...]) -> str:
    """The large model's answer: thinks aloud, then boxes the result."""
    lines = [f"We look for {goal}.", *(long_line(i + 1, step) for i, step in enumerate(steps))]
    return "<think>\n" + "\n".join(lines) + f"\n</think>\nThe answer is \\boxed{{{steps[-1].result}}}."


def short_solution(steps: list[Step] | tuple[Step, ...]) -> str:
    """The small model's answer: an equation a line, then the box."""
    return "\n".join([SHORT_OPENING, *(step.equation for step in steps), f"\\boxed{{{steps[-1].result}}}"])

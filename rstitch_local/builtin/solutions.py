"""Worked solutions of a word problem in two styles.

The long style of the large model names every step, decomposes it by decimal places, and checks it by the inverse
operation. The short style of the small model has one equation per line. Both are functions of the steps only: every
character is determined by the steps, so a model's entropy comes from the problem and not from the style.

Independent of stories, random numbers, tokens and models.
"""

from __future__ import annotations

from dataclasses import dataclass

SHORT_OPENING = "Steps:"
"""Start of a short solution: a fixed word, so that the choice of style does not affect the first number."""

RECONSIDER_FROM = 300
"""The long style checks a product or quotient twice if its larger number is at least this."""


@dataclass(frozen=True, slots=True)
class Step:
    """An exact integer operation, `left op right = result`, and a short label of what it computes."""

    label: str
    left: int
    op: str
    right: int

    @property
    def result(self) -> int:
        """Result of the operation."""
        if self.op == "+":
            return self.left + self.right
        if self.op == "-":
            return self.left - self.right
        if self.op == "*":
            return self.left * self.right
        return self.left // self.right

    @property
    def equation(self) -> str:
        """The operation with its result, as in both styles."""
        return f"{self.left}{self.op}{self.right}={self.result}"


def places(number: int) -> list[int]:
    """Return the non-zero decimal places of a number, largest first: 305 -> [300, 5]."""
    digits = str(number)
    return [int(d) * 10 ** (len(digits) - 1 - i) for i, d in enumerate(digits) if d != "0"]


def _sum_parts(step: Step) -> list[str]:
    """`347+85` -> `347+80=427`, `427+5=432`; the same for a difference."""
    lines, total = [], step.left
    for part in places(step.right):
        following = total + part if step.op == "+" else total - part
        lines.append(f"{total}{step.op}{part}={following}")
        total = following
    return lines


def _product_parts(step: Step) -> list[str]:
    """`14*6` -> `10*6=60`, `4*6=24`, `60+24=84`."""
    parts = places(step.left)
    lines = [f"{part}*{step.right}={part * step.right}" for part in parts]
    total = parts[0] * step.right
    for part in parts[1:]:
        lines.append(f"{total}+{part * step.right}={total + part * step.right}")
        total += part * step.right
    return lines


def _quotient_parts(step: Step) -> list[str]:
    """`84/6` -> `6*10=60`, `84-60=24`, `6*4=24`: the places of the quotient, largest first."""
    lines, rest = [], step.left
    for part in places(step.result):
        taken = part * step.right
        lines.append(f"{step.right}*{part}={taken}")
        if taken != rest:
            lines.append(f"{rest}-{taken}={rest - taken}")
        rest -= taken
    return lines


def decompose(step: Step) -> list[str]:
    """Return the equations of the long style for a step, one per decimal place."""
    if step.op in "+-":
        return _sum_parts(step)
    return _product_parts(step) if step.op == "*" else _quotient_parts(step)


def check(step: Step) -> str:
    """Return the inverse equation that confirms a step."""
    inverse = {"+": "-", "-": "+", "*": "/", "/": "*"}[step.op]
    return f"{step.result}{inverse}{step.right}={step.left}"


def reconsiders(step: Step) -> bool:
    """Return whether the long style checks a step twice."""
    return step.op in "*/" and max(step.left, step.result) >= RECONSIDER_FROM


def long_line(number: int, step: Step) -> str:
    """Return the line of a step in the long style, without a line end."""
    parts = decompose(step)
    worked = ", ".join(parts) if parts == [step.equation] else f"{step.left}{step.op}{step.right}: {', '.join(parts)}"
    line = f"Step {number}: {step.label}. {worked}. Check {check(step)}."
    if reconsiders(step):
        line += f" Wait, let me check that again: {step.equation}. Yes."
    return line


def long_solution(goal: str, steps: list[Step] | tuple[Step, ...]) -> str:
    """Return the large model's answer: reasoning, then the boxed result."""
    lines = [f"We look for {goal}.", *(long_line(i + 1, step) for i, step in enumerate(steps))]
    return "<think>\n" + "\n".join(lines) + f"\n</think>\nThe answer is \\boxed{{{steps[-1].result}}}."


def short_solution(steps: list[Step] | tuple[Step, ...]) -> str:
    """Return the small model's answer: one equation per line, then the boxed result."""
    return "\n".join([SHORT_OPENING, *(step.equation for step in steps), f"\\boxed{{{steps[-1].result}}}"])

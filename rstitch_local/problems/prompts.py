"""Prompts for problem files: named ones, and templates of the user. Independent of chat templates."""

from __future__ import annotations

from dataclasses import dataclass

from rstitch_local.errors import UsageError

QUESTION_MARK = "{question}"
PROMPTS = {
    "math": QUESTION_MARK + "\nPlease reason step by step, and put your final answer within \\boxed{}.",
    "plain": QUESTION_MARK,
}
DEFAULT_PROMPT = "math"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A template with `{question}` in place of the question, and its name (`given` for the user's own)."""

    name: str
    template: str

    def messages(self, question: str) -> list[dict[str, str]]:
        """Return the conversation for a question: one user message. Braces in the question have no meaning."""
        return [{"role": "user", "content": self.template.replace(QUESTION_MARK, question)}]


def prompt_of(text: str | None, suffix: str = "") -> Prompt:
    """Return a named prompt, or one with `text` as its template.

    Args:
        text: `math`, `plain`, or a template; without `{question}` in it, the question comes first. None for `math`.
        suffix: text that the pair's models expect at the end of every prompt, such as "Think for 1024 tokens.".

    Raises:
        UsageError: the text is empty.
    """
    chosen = DEFAULT_PROMPT if text is None else text
    if not chosen.strip():
        raise UsageError("Empty prompt", "--prompt is empty.", "Use `--prompt plain` for the question alone.")
    name = chosen if chosen in PROMPTS else "given"
    template = PROMPTS.get(chosen, chosen)
    if QUESTION_MARK not in template:
        template = f"{QUESTION_MARK}\n{template}"
    return Prompt(name, f"{template}\n{suffix}" if suffix else template)

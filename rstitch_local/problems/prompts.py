r"""From a question to the messages a model gets.

Knows two prompts by name and how a text of the user's own becomes one. Knows nothing of chat templates.
"""

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
    """A named or given text with `{question}` where the question goes."""

    name: str
    template: str

    def messages(self, question: str) -> list[dict[str, str]]:
        """One user message; the question is put in as it is, whatever braces it holds."""
        return [{"role": "user", "content": self.template.replace(QUESTION_MARK, question)}]


def prompt_of(text: str | None, suffix: str = "") -> Prompt:
    """The prompt called `text`, or `text` itself as a prompt (appended to the question unless it says where).

    Args:
        text: `math`, `plain` or any other text; None is the default, `math`.
        suffix: what a pair wants at the end of every prompt, such as "Think for 1024 tokens.".

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

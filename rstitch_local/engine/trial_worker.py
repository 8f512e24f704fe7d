"""The trial process: loads model files, tokenizes, evaluates a few tokens and renders their chat templates.

Started by trial.py. What crashes llama.cpp, hangs or takes too much memory ends this process instead of the program.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rstitch_local import workers
from rstitch_local.errors import InputError, ModelError, RStitchError

if TYPE_CHECKING:
    from rstitch_local.llama.weights import Weights

CONVERSATION = (
    {"role": "system", "content": "Answer briefly."},
    {"role": "user", "content": "What is 7 * 8?"},
    {"role": "assistant", "content": "56"},
    {"role": "user", "content": "And 7 * 9?"},
)
"""What the chat templates are rendered with: a system prompt and three turns."""

_TEXT = "0 aZ~\t\n\x7f é ß 中文 \u200d 🙂 \ufffd"
"""Text that a vocabulary may lack tokens for."""

_CELLS = 64
_TOKENS = 3


def main() -> None:
    """Try the models of one job; reply with every stage, and with `passed` or an error for every model."""
    out = workers.replies()
    workers.leave_no_traces()
    workers.exit_after(float(sys.argv[1]))
    job = json.loads(sys.stdin.buffer.readline())
    workers.exit_with_parent()
    import psutil

    from rstitch_local.llama import library

    library.start()
    workers.limit_memory(psutil.Process().memory_info().vms + job["memory_bytes"])
    workers.reply(out, {"ready": True})
    for index, model in enumerate(job["models"]):
        try:
            _try_model(out, index, model)
        except RStitchError as error:
            workers.reply(out, {"error": [error.title, error.message, error.hint]})
            return
        except MemoryError:
            workers.reply(out, {"out_of_memory": True})
            return
        workers.reply(out, {"passed": index})


def _try_model(out: IO[str], index: int, model: dict[str, Any]) -> None:
    from rstitch_local.engine.machine import default_threads
    from rstitch_local.engine.vocabularies import no_tokens
    from rstitch_local.llama.context import Context
    from rstitch_local.llama.evaluation import TokenSpan, evaluate
    from rstitch_local.llama.weights import Weights

    workers.reply(out, {"model": index, "stage": "load"})
    weights = Weights(Path(model["path"]), trial=True)
    try:
        weights.tokenize(_TEXT, parse_special=False)
        workers.reply(out, {"model": index, "stage": "template"})
        prompt = _render(weights, model["template"])
        workers.reply(out, {"model": index, "stage": "evaluation"})
        ids = weights.tokenize(prompt, parse_special=True)[:_TOKENS]
        if prompt and not ids:
            raise no_tokens(weights)
        ids = ids or [max(0, weights.bos)]
        # One core is left to the program, which may be loading the other model.
        threads = max(1, default_threads(weights.size_bytes) - 1)
        context = Context(weights, n_ctx=_CELLS, n_batch=_TOKENS, threads=threads)
        try:
            # Batches and single tokens are multiplied by different code.
            for part in (ids[:-1], ids[-1:]):
                list(evaluate(context, [TokenSpan(0, part)] if part else []))
        finally:
            context.close()
    finally:
        weights.close()


def _render(weights: Weights, template_file: str | None) -> str:
    """Return the prompt of `CONVERSATION`; "" if the template is missing, invalid or does not allow it."""
    from rstitch_local.engine.vocabularies import template_of
    from rstitch_local.llama.conversation import render_conversation

    try:
        template = template_of(weights, Path(template_file) if template_file else None)
    except ModelError:
        # Reported when the pair is loaded.
        return ""
    try:
        return render_conversation(template, CONVERSATION)
    except InputError:
        return ""


if __name__ == "__main__":
    main()

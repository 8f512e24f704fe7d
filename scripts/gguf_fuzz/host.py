"""The process under test: loads pairs as a user's program does and generates with them, until it is killed or dies.

Started by `scripts/fuzz_gguf.py`. Reads the paths of a pair, a line each, and replies with a JSON line.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from rstitch_local import LoadOptions, ModelError, RStitchError, load_pair
from rstitch_local.llama.gguf_check import check_gguf

MEMORY_LIMIT_BYTES = 6 << 30
"""Address space of the process on Linux, for the sake of the machine."""


def main() -> None:
    """Reply to each pair with its outcome."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        slm, llm = json.loads(line)
        outcome, detail = attempt(Path(slm), Path(llm))
        replies.write(json.dumps([outcome, detail]) + "\n")
        replies.flush()


def attempt(slm: Path, llm: Path) -> tuple[str, str]:
    """Return what happened to a pair of files, and the error."""
    try:
        for path in (slm, llm):
            check_gguf(path)
    except ModelError as error:
        return "refused by the check", str(error)
    try:
        with load_pair(slm=slm, llm=llm, options=LoadOptions(threads=1, context=256)) as pair:
            try:
                pair.generate("Tom has 12 pens. He buys 30 more.", router="random:0.5", max_tokens=12)
            except RStitchError as error:
                if isinstance(error.__cause__, MemoryError):
                    return "main process out of memory", str(error)
                return "error while generating", str(error)
    except RStitchError as error:
        died = type(error).__name__ == "TrialError"
        return "refused by the death of the trial" if died else "refused by an error of loading", str(error)
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error}"
    return "loaded and generated", ""


if __name__ == "__main__":
    main()

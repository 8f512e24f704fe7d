"""The grading process: JSON lines in, JSON lines out, and math-verify in between.

Started by grading.py as `python -m`, so that a hang, a crash or a memory bomb in here costs one verdict and
never a run. Knows nothing of models; it imports neither llama.cpp nor anything that does.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import sys
from typing import IO

MEMORY_LIMIT_BYTES = 4 * 1024**3


def main() -> None:
    """Answer `{"gold", "text"}` with `{"answer", "correct"}` until stdin ends."""
    limit_seconds = float(sys.argv[1])
    # What a library prints must not end up between the verdicts, so they get a stream of their own.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    logging.disable(logging.CRITICAL)
    _limit_memory()
    try:
        from rstitch_local.problems.equivalence import equivalent, extract
    except ImportError as error:
        _reply(replies, {"fatal": str(error)})
        return
    _reply(replies, {"ready": True})
    for line in sys.stdin.buffer:
        job = json.loads(line)
        # The parent kills a job that hangs; should the parent be gone by then, this does, even in the middle
        # of one long C call, which a Python thread could not interrupt.
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            faulthandler.dump_traceback_later(limit_seconds + 5, exit=True, file=nowhere)
            try:
                answer = extract(job["text"]) if job["answer"] is None else job["answer"]
                gold = job["gold"]
                correct = None if gold is None else answer is not None and equivalent(gold, answer)
                verdict: dict[str, object] = {"answer": answer, "correct": correct}
            except (Exception, RecursionError, MemoryError) as error:
                # Whatever a parser raises on a stranger's text: the text is no correct answer.
                verdict = {"failure": type(error).__name__}
            finally:
                faulthandler.cancel_dump_traceback_later()
        _reply(replies, verdict)


def _reply(replies: IO[str], message: dict[str, object]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


def _limit_memory() -> None:
    """9**9**9 asks for memory before time; Windows has no such limit, there the time limit decides."""
    if sys.platform != "win32":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = MEMORY_LIMIT_BYTES if hard == resource.RLIM_INFINITY else min(hard, MEMORY_LIMIT_BYTES)
        try:
            resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        except (ValueError, OSError):
            # macOS refuses it on some versions; the time limit is left.
            return


if __name__ == "__main__":
    main()

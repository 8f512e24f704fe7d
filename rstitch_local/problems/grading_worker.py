"""The grading process: reads JSON lines, compares answers, writes JSON lines.

Started by grading.py as `python -m`: a hang, a crash or excessive memory use in it costs one verdict, not the run.
Imports nothing that imports llama.cpp.
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
    """Reply to each `{"gold", "answer"}` with `{"correct"}` or `{"failure"}` until stdin ends."""
    limit_seconds = float(sys.argv[1])
    # Libraries may print to stdout, so the replies get a separate stream.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    logging.disable(logging.CRITICAL)
    _limit_memory()
    try:
        from rstitch_local.problems.equivalence import equivalent
    except ImportError as error:
        _reply(replies, {"fatal": str(error)})
        return
    _reply(replies, {"ready": True})
    for line in sys.stdin.buffer:
        job = json.loads(line)
        # The parent kills a process that hangs. If the parent is gone, this does, even during a long C call that a
        # Python thread could not interrupt.
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            faulthandler.dump_traceback_later(limit_seconds + 5, exit=True, file=nowhere)
            try:
                verdict: dict[str, object] = {"correct": equivalent(job["gold"], job["answer"])}
            except (Exception, RecursionError, MemoryError) as error:
                # Parsers raise all kinds of exceptions on unusual text; none of it is a correct answer.
                verdict = {"failure": type(error).__name__}
            finally:
                faulthandler.cancel_dump_traceback_later()
        _reply(replies, verdict)


def _reply(replies: IO[str], message: dict[str, object]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


def _limit_memory() -> None:
    """Limit memory: 9**9**9 exhausts memory before time. Windows only has the time limit."""
    if sys.platform != "win32":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = MEMORY_LIMIT_BYTES if hard == resource.RLIM_INFINITY else min(hard, MEMORY_LIMIT_BYTES)
        try:
            resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        except (ValueError, OSError):
            # Some versions of macOS refuse this; the time limit remains.
            return


if __name__ == "__main__":
    main()

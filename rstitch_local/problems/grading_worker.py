"""The grading process: reads JSON lines, compares answers, writes JSON lines.

Started by grading.py as `python -m`: a hang, a crash or excessive memory use in it costs one verdict, not the run.
Imports nothing that imports llama.cpp.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import sys

from rstitch_local import workers

MEMORY_LIMIT_BYTES = 4 * 1024**3


def main() -> None:
    """Reply to each `{"gold", "answer"}` with `{"correct"}` or `{"failure"}` until stdin ends."""
    limit_seconds = float(sys.argv[1])
    # Libraries may print to stdout, so the replies get a separate stream.
    replies = workers.replies()
    logging.disable(logging.CRITICAL)
    # 9**9**9 exhausts memory before time. Windows only has the time limit.
    workers.limit_memory(MEMORY_LIMIT_BYTES)
    try:
        from rstitch_local.problems.equivalence import equivalent
    except ImportError as error:
        workers.reply(replies, {"fatal": str(error)})
        return
    workers.reply(replies, {"ready": True})
    for line in sys.stdin.buffer:
        job = json.loads(line)
        # The parent kills a process that hangs. If the parent is gone, this does, even during a long C call that a
        # Python thread could not interrupt.
        workers.exit_after(limit_seconds + 5)
        try:
            verdict: dict[str, object] = {"correct": equivalent(job["gold"], job["answer"])}
        except (Exception, RecursionError, MemoryError) as error:
            # Parsers raise all kinds of exceptions on unusual text; none of it is a correct answer.
            verdict = {"failure": type(error).__name__}
        finally:
            faulthandler.cancel_dump_traceback_later()
        workers.reply(replies, verdict)


if __name__ == "__main__":
    main()

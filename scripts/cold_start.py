"""Guards the start-up time: `rstitch --help` must not import what is heavy, and prints how long it takes.

    python scripts/cold_start.py

Exits with 1 when a heavy module is imported. Times are printed, not judged: they are the machine's. On two
cores of a 2023 server the budget of 0.3 s is kept because of the modules below, each measured on its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

# What each costs to import there: numpy 70 ms, llama_cpp 150 ms, pydantic 90 ms, huggingface_hub 200 ms,
# sympy (through math_verify) 500 ms, jinja2 40 ms.
HEAVY = (
    "numpy", "llama_cpp", "pydantic", "huggingface_hub", "math_verify", "sympy", "jinja2", "torch", "textual",
    "matplotlib",
)  # fmt: skip

PROBE = f"""
import sys
from rstitch_local.commands.main import app
try:
    app(["--help"])
except SystemExit:
    pass
print(",".join(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)
"""


def main() -> None:
    """Check the imports, then time the command."""
    probe = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    found = probe.stderr.strip()
    if found:
        sys.exit(f"`rstitch --help` imports {found}: import it inside the function that needs it.")
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "rstitch_local", "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    print(f"rstitch --help: {statistics.median(seconds):.2f} s (median of {len(seconds)}), nothing heavy imported")


if __name__ == "__main__":
    main()

"""Check the start-up time: `rstitch --help` must not import heavy modules. Prints how long it takes.

    python scripts/cold_start.py

Exits with code 1 if a heavy module is imported. Times are only printed, because they depend on the machine. Two cores
of a 2023 server stay below 0.3 s as long as none of the modules below is imported.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

# Import times on that server: numpy 70 ms, llama_cpp 150 ms, pydantic 90 ms, huggingface_hub 200 ms,
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
    probe = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    imported = probe.stderr.strip()
    if imported:
        sys.exit(f"`rstitch --help` imports {imported}. Import it in the function that uses it.")
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "rstitch_local", "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    print(f"rstitch --help: {statistics.median(seconds):.2f} s (median of {len(seconds)}), no heavy modules")


if __name__ == "__main__":
    main()

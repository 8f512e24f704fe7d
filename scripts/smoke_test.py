"""Build the sdist and the wheel, install the wheel into an empty environment and run it there.

    python scripts/smoke_test.py

The wheel is built from the sdist, so both are checked. Run from the repository; needs the package `build` and, for
the dependencies, a package index.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Files that are not Python and that a packaging mistake would leave out.
WANTED = (
    "rstitch_local/builtin/demo-slm.gguf",
    "rstitch_local/builtin/demo-router.safetensors",
    "rstitch_local/catalog/models.toml",
    "rstitch_local/trace/page/page.css",
    "rstitch_local/py.typed",
    "rstitch_tui/py.typed",
)


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command outside the repository's import path and return its stdout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    return done.stdout


def main() -> None:
    """Build, install, run; exit with the status of the first command that fails."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "build", "--outdir", folder / "dist", ROOT, cwd=folder)
        (wheel,) = (folder / "dist").glob("*.whl")
        venv.create(folder / "env", with_pip=True)
        binaries = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
        python = binaries / "python"
        run(python, "-m", "pip", "install", "--quiet", wheel, cwd=folder)
        listed = run(python, "-m", "pip", "show", "--files", "rstitch-local", cwd=folder).replace("\\", "/")
        missing = [path for path in WANTED if path not in listed]
        if missing:
            sys.exit(f"The wheel lacks {', '.join(missing)}.")
        print(run(binaries / "rstitch", "--version", cwd=folder).strip())
        run(python, "-c", "import rstitch_tui.app", cwd=folder)
        # The demonstration reads the problems beside it in the repository; the package is the installed one.
        print(run(python, "-P", ROOT / "scripts" / "demo.py", "--out", folder / "demo", cwd=folder))


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(map(str, error.cmd))} failed with exit code {error.returncode}.")

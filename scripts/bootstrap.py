"""Create .venv and install the project for development, with visible progress.

    python scripts/bootstrap.py

`make setup` runs this. Needs nothing but Python and, unless a wheel of llama-cpp-python is found, a C++ compiler.
Of llama.cpp only the libraries that the binding loads are compiled; CMAKE_ARGS from the environment is kept, so
CMAKE_ARGS=-DGGML_CUDA=on builds for an NVIDIA GPU.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import venv
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINDING = "llama-cpp-python"
COMPILE_CPU_SECONDS = 200
"""CPU time of the compile on a server core of 2023, for the estimate before it starts."""
_STEP = re.compile(r"\[(\d+)/(\d+)\]")
_COMPILERS = ("c++", "g++", "clang++", "cl")
_HOW_TO_GET_ONE = {
    "linux": "Install one, for example `apt install build-essential` on Debian and Ubuntu or `dnf install gcc-c++`.",
    "darwin": "Install the command line tools with `xcode-select --install`.",
    "win32": "Install the Visual Studio Build Tools with the workload 'Desktop development with C++'.",
}


def main() -> None:
    """Install; exit with a sentence where something is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", metavar="DIR", help="the environment to create")
    folder: Path = parser.parse_args().venv.absolute()
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    require_python(project["requires-python"])
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        print(f"Creating {folder}")
        venv.create(folder, with_pip=True)
    pip(python, "install", "--upgrade", "pip>=25.1")
    requirement = next(each for each in project["dependencies"] if each.startswith(BINDING))
    install_binding(python, requirement)
    print("Installing rstitch-local and its other dependencies")
    pip(python, "install", "--editable", f"{ROOT}[study]", "--group", f"{ROOT / 'pyproject.toml'}:dev")
    print(f"Installed. Run {python.with_name('rstitch')} for the chat.")


def require_python(wanted: str) -> None:
    """Exit unless this Python satisfies a specifier such as `>=3.11,<3.15`."""
    low, high = (tuple(map(int, part.split("."))) for part in re.findall(r"[\d.]+", wanted))
    if not low <= sys.version_info[:2] < high:
        sys.exit(f"Python {sys.version.split()[0]} is not supported; rstitch-local needs {wanted}.")


def install_binding(python: Path, requirement: str) -> None:
    """Install llama-cpp-python: from a wheel if an index or pip's cache has one, else compile it."""
    if is_installed(python):
        return
    command = [str(python), "-m", "pip", "install", "--verbose", requirement]
    own_build = bool(os.environ.get("CMAKE_ARGS"))
    if own_build:
        # The user asks for a build of their own, for example with CUDA.
        command += ["--no-cache-dir", "--no-binary", BINDING]
    if own_build or not has_wheel(python, requirement):
        require_compiler(os.environ)
        minutes = COMPILE_CPU_SECONDS / (os.cpu_count() or 1) / 60
        print(f"Compiling llama.cpp: about {max(1, round(minutes))} min on an idle machine, more with a GPU backend")
    else:
        # Still with the arguments and the progress of a compile: pip may find that wheel unsuitable.
        print(f"Installing {BINDING} from a wheel")
    started = time.monotonic()
    environment = {**os.environ, "CMAKE_ARGS": cmake_args(os.environ)}
    tail: deque[str] = deque(maxlen=60)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
    ) as process:
        assert process.stdout is not None
        show_progress(process.stdout, started, tail)
    if process.returncode:
        sys.stderr.writelines(tail)
        sys.exit(f"{BINDING} could not be installed; the end of pip's output is above. See docs/install.md.")
    print(f"Installed {BINDING} in {time.monotonic() - started:.0f} s")


def show_progress(lines: Iterable[str], started: float, tail: deque[str]) -> None:
    """Print how many build steps are done: on one line in a terminal, else a line at every tenth.

    Args:
        lines: pip's output.
        started: `time.monotonic()` when pip was started.
        tail: receives the lines.
    """
    terminal = sys.stdout.isatty()
    shown = 0
    for line in lines:
        tail.append(line)
        found = _STEP.search(line)
        if found is None:
            continue
        done, total = int(found[1]), int(found[2])
        left = (time.monotonic() - started) / done * (total - done)
        text = f"Compiling llama.cpp: {done}/{total}, about {left:.0f} s left"
        if terminal:
            print(f"\r{text:<60}", end="", flush=True)
        elif done * 10 // total > shown:
            shown = done * 10 // total
            print(text, flush=True)
    if terminal:
        print()


def cmake_args(environment: Mapping[str, str]) -> str:
    """Return CMAKE_ARGS that compile only the libraries which the binding loads; the user's own come last and win."""
    own = [f'-DCMAKE_PROJECT_llama.cpp_INCLUDE="{(ROOT / "scripts" / "llama_only.cmake").as_posix()}"']
    own.append("-DLLAVA_BUILD=OFF")
    if has_amx(Path("/proc/cpuinfo")):
        # GCC miscompiles llama.cpp's AMX kernels: they crash. See docs/install.md.
        flags = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
        own += [f"-DCMAKE_C_FLAGS='{flags}'", f"-DCMAKE_CXX_FLAGS='{flags}'"]
    return " ".join([*own, environment.get("CMAKE_ARGS", "")]).strip()


def has_amx(cpuinfo: Path) -> bool:
    """Whether this is a Linux machine whose processor has AMX."""
    try:
        return "amx_int8" in cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def is_installed(python: Path) -> bool:
    """Whether the environment has the binding already."""
    return subprocess.run([python, "-m", "pip", "show", "--quiet", BINDING], capture_output=True).returncode == 0


def has_wheel(python: Path, requirement: str) -> bool:
    """Whether pip's cache or a configured index has a wheel of the binding, so that nothing is compiled."""
    cached = subprocess.run(
        [python, "-m", "pip", "cache", "list", "--format=abspath", BINDING.replace("-", "_")],
        capture_output=True,
        encoding="utf-8",
    ).stdout.split()
    if cached:
        return True
    dry_run = ["install", "--dry-run", "--quiet", "--no-deps", "--only-binary", BINDING, requirement]
    return subprocess.run([python, "-m", "pip", *dry_run], capture_output=True).returncode == 0


def require_compiler(environment: Mapping[str, str]) -> None:
    """Exit with a sentence if no C++ compiler is found."""
    if environment.get("CXX") or any(shutil.which(name) for name in _COMPILERS) or has_visual_studio(environment):
        return
    how = _HOW_TO_GET_ONE.get(sys.platform, "Install one.")
    sys.exit(
        f"No C++ compiler was found, and llama.cpp has to be compiled. {how}\n"
        "Or install a prebuilt wheel, which needs no compiler: docs/install.md."
    )


def has_visual_studio(environment: Mapping[str, str]) -> bool:
    """Whether Visual Studio's installer is there, which CMake asks for the compiler."""
    folder = environment.get("ProgramFiles(x86)", "")
    return bool(folder) and (Path(folder) / "Microsoft Visual Studio" / "Installer" / "vswhere.exe").is_file()


def pip(python: Path, *arguments: str) -> None:
    """Run pip quietly; exit if it fails."""
    if subprocess.run([python, "-m", "pip", *arguments, "--quiet"]).returncode:
        sys.exit("pip failed; its message is above.")


if __name__ == "__main__":
    main()

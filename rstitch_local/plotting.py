"""Colors, saving of figures, and the check for optional libraries, shared by all plots.

Independent of what is plotted. matplotlib is imported when a figure is saved.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from rstitch_local.errors import StorageError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The palette of Okabe and Ito, distinguishable with any color vision; shapes, dashes or labels repeat the information.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
FORMATS = ("png", "svg")
_DPI = 200


def has_library(name: str) -> bool:
    """Return whether an optional library is installed."""
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # the module is None in sys.modules
        return False


def require_libraries(*names: str) -> None:
    """Raise UsageError if one of the libraries of the extra `study` is missing."""
    for name in names:
        if not has_library(name):
            raise UsageError(
                "Missing library", f"{name} is not installed.", "Install it: pip install 'rstitch-local[study]'"
            )


def save(figure: Figure, stem: Path) -> list[Path]:
    """Save a figure as stem.png and stem.svg; the same data give the same files.

    Returns:
        The two files, in the order of `FORMATS`.

    Raises:
        StorageError: a file cannot be written.
    """
    from matplotlib import rc_context

    files = []
    for kind in FORMATS:
        path = stem.with_name(f"{stem.name}.{kind}")
        try:
            # Keep text as text in SVG files.
            with rc_context({"svg.fonttype": "none", "svg.hashsalt": "rstitch"}):
                figure.savefig(path, dpi=_DPI, metadata={"Date": None} if kind == "svg" else {"Software": None})
        except OSError as error:
            raise StorageError("Cannot write figure", f"{path}: {error.strerror or error}.") from error
        files.append(path)
    return files

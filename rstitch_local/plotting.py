"""What all pictures have in common: matplotlib itself, the colours, and how a figure is saved.

Knows nothing of what is drawn. matplotlib is imported when something is.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from rstitch_local.errors import StorageError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which people with any colour vision tell apart; shapes, dashes or labels say the same.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
FORMATS = ("png", "svg")
_DPI = 200


def has_matplotlib() -> bool:
    """Whether pictures can be drawn."""
    try:
        return importlib.util.find_spec("matplotlib") is not None
    except ValueError:  # somebody put None in its place
        return False


def require_matplotlib() -> None:
    """Raise UsageError, with the command that installs it, where matplotlib is missing."""
    if not has_matplotlib():
        raise UsageError("No matplotlib", "The figures need it.", "Install it: pip install 'rstitch-local[study]'")


def save(figure: Figure, stem: Path) -> list[Path]:
    """Save a figure as stem.png and stem.svg; the same numbers give the same files.

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
            # Text stays text in an SVG.
            with rc_context({"svg.fonttype": "none", "svg.hashsalt": "rstitch"}):
                figure.savefig(path, dpi=_DPI, metadata={"Date": None} if kind == "svg" else {"Software": None})
        except OSError as error:
            raise StorageError("Cannot write", f"{path}: {error.strerror or error}.") from error
        files.append(path)
    return files

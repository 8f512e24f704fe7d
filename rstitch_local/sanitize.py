"""Text of strangers (models, files, servers) made fit for a terminal, and sizes in words.

Knows only characters and numbers: which could move a cursor or colour a screen, and how long a line should be.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_COMMANDING = ("Cc", "Cf", "Cs")
# Persian, the scripts of India and composed emoji need the two joiners.
_HARMLESS = "\n\t\u200c\u200d"
_SIGNS = {" ": "␣", "\n": "↵", "\r": "␍", "\t": "⇥"}


def commands_terminal(character: str) -> bool:
    """Whether a character is a control, a surrogate, or an invisible mark such as those that reverse writing."""
    return unicodedata.category(character) in _COMMANDING


def safe_text(text: str) -> str:
    """The text without the characters that command a terminal; line ends, tabs and joiners stay."""
    return "".join(c for c in text if c in _HARMLESS or not commands_terminal(c))


def visible(text: str) -> str:
    """A short text, such as a token's, with its white space as signs and what commands a terminal by its number."""
    # Imported here: the command line's help does without it.
    from rich.cells import cell_len

    shown = "".join(
        _SIGNS.get(c) or (f"‹{ord(c):x}›" if commands_terminal(c) or not c.isprintable() else c) for c in text
    )
    # A mark that belongs to the letter before it, which is in another token.
    return f"◌{shown}" if shown and cell_len(shown[0]) == 0 else shown or "‹no text›"


def one_line(text: object, length: int = 80) -> str:
    """The text on one line of at most `length` characters, without characters that command a terminal."""
    # Cut first, generously: an error or an id may be megabytes long.
    words = " ".join(safe_text(str(text)[: 4 * length].replace("\r", " ")).split())
    return words if len(words) <= length else words[: length - 1] + "…"


def shown_list(items: Iterable[str], most: int = 12) -> str:
    """The first items, comma-separated, and how many more there are."""
    names = [one_line(item, 40) for item in items]
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def human_bytes(count: int) -> str:
    """A size for people, in powers of ten as the Hub shows them: 491 MB, 1.12 GB."""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.2f} GB" if value < 10 else f"{value:.1f} GB"

"""Make untrusted text (of models, files, servers) safe for a terminal, and format sizes.

Untrusted text may contain control characters that move the cursor or color the screen.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_CONTROL_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Persian, the scripts of India and composed emoji need the two joiners.
_ALLOWED = "\n\t\u200c\u200d"
_SEPARATORS = {0x2028: "\n", 0x2029: "\n"}
_LINE_ENDS = re.compile("[\t-\r\x85\u2028\u2029]+")
_SIGNS = {" ": "␣", "\n": "↵", "\r": "␍", "\t": "⇥"}


def commands_terminal(character: str) -> bool:
    """Return whether a character is a control, a surrogate, or an invisible mark such as a direction override."""
    return unicodedata.category(character) in _CONTROL_CATEGORIES


def safe_text(text: str) -> str:
    """Return the text without control characters, except line ends, tabs and joiners.

    The line and paragraph separators of Unicode become line ends.
    """
    return "".join(c for c in text.translate(_SEPARATORS) if c in _ALLOWED or not commands_terminal(c))


def unix_lines(text: str) -> str:
    r"""Return the text with \n at the end of each line, also where it was \r\n or \r, as terminals send on a paste."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def visible(text: str) -> str:
    """Return a short text, such as a token, with symbols for white space and code points for control characters."""
    # Imported here: the command line's help does not need it.
    from rich.cells import cell_len

    shown = "".join(
        _SIGNS.get(c) or (f"‹{ord(c):x}›" if commands_terminal(c) or not c.isprintable() else c) for c in text
    )
    # A combining mark whose base character is in another token.
    return f"◌{shown}" if shown and cell_len(shown[0]) == 0 else shown or "‹no text›"


def single_line(text: object) -> str:
    """Return the text on one line of any length: line ends and tabs as a space, without control characters."""
    return safe_text(_LINE_ENDS.sub(" ", str(text)))


def shortened(text: str, length: int) -> str:
    """Return the text with its middle replaced by an ellipsis if it has more than `length` characters."""
    if len(text) <= length:
        return text
    end = length // 3
    return f"{text[: length - end - 1]}…{text[-end:]}"


def one_line(text: object, length: int = 80) -> str:
    """Return the text on one line of at most `length` characters, without control characters."""
    # Shortened first: an error or an id may have megabytes.
    words = " ".join(safe_text(str(text)[: 4 * length].replace("\r", " ")).split())
    return words if len(words) <= length else words[: length - 1] + "…"


def shown_list(items: Iterable[str], most: int = 12) -> str:
    """Return the first `most` items, separated by commas, and the number of the others."""
    names = [one_line(item, 40) for item in items]
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def human_seconds(seconds: float) -> str:
    """Return a duration as text: 12.3 s, 45 ms, 2.1 ms."""
    if seconds >= 0.9995:
        return f"{seconds:.1f} s"
    return f"{seconds * 1e3:.0f} ms" if seconds >= 0.00995 else f"{seconds * 1e3:.1f} ms"


def human_bytes(count: int) -> str:
    """Return a size in decimal units, as the Hub shows them: 491 MB, 1.12 GB."""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.2f} GB" if value < 10 else f"{value:.1f} GB"

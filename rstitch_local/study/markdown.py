"""Markdown building blocks for reports: escaped text, tables and images.

Independent of what is reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rstitch_local.sanitize import one_line

# A colon is markup only in a URL (autolink) and around an emoji name; router specs keep theirs.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&$]|:(?=//|[a-z+-][\w+-]*:))")


def escape(text: object, length: int = 2000) -> str:
    """Return untrusted text as one line of at most `length` characters, with Markdown markup escaped."""
    return _MARKUP.sub(r"\\\1", one_line(text, length))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, align_right: bool = False) -> str:
    """Return a table; `align_right` applies to all columns but the first. Cells are inserted as they are."""
    rules = ["---", *["---:" if align_right else "---"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rules, *rows])


def image(name: str, description: str) -> str:
    """Return an image stored beside the report as `name`.png, with a link to `name`.svg."""
    return f"![{description}]({name}.png)\n\n[{name}.svg]({name}.svg)"

r"""Text in which a backslash of LaTeX was read as an escape: in JSON and Python `"\frac"` is a form feed and `rac`.

Tabs and line ends that are meant stay: they count only before what completes the name of a command.
"""

from __future__ import annotations

import re

_NAMES = {"\a": "a BEL", "\b": "a backspace", "\v": "a vertical tab", "\f": "a form feed", "\t": "a tab"}
# No text has these before a letter.
_NEVER_MEANT = re.compile(r"[\a\b\v](?=[A-Za-z])")
# The rest of the name is no English word, or is followed by mathematics.
_BEFORE_REST = re.compile(
    r"\f(?=(?:rac|orall|box|lat|rown|rak|ootnote|ill)(?![a-z]))"
    r"|\t(?=(?:heta|imes|frac|binom|riangle\w*|ilde|herefore|anh|extstyle)(?![a-z])|ext[a-z]{0,6}\s?\{)"
    r"|\r(?=(?:ight\w*|ho|angle|ceil|floor|vert|brace|brack|oot|ule|aisebox)(?![a-z])|m\s?\{)"
    r"|\n(?=(?:abla|otin|geq\w*|leq\w*|subseteq|supseteq|ewline|olimits|onumber|earrow|warrow|icefrac)(?![a-z])"
    r"|(?:eq|atural|parallel|mid|exists)(?![A-Za-z.])[ \t]*[\d\\${(=_^-]|ot[\\=<>])"
)
# The rest could be a word or a variable; inside `$...$` on one line it is not.
_IN_FORMULA = re.compile(
    r"\t(?=(?:an|o|au|op|ag|t)(?![A-Za-z]))|\r(?=[a-z])"
    r"|\n(?=(?:eq|mid|exists|parallel|eg|ot)(?![A-Za-z]))"
    r"|(?<=[$({\w])\n(?=u(?![A-Za-z]))|(?<=[\w)}$ ])\n(?=e[ \d\\-])"
)
_FORMULA = re.compile(r"(?<![$\\])\$([^$]{1,300})\$(?![$\d])|\\\(((?:[^\\]|\\[^()]){1,300})\\\)")
_COMMAND = re.compile(r"[A-Za-z]+")
_LETTERS = {"\a": "a", "\b": "b", "\v": "v", "\f": "f", "\t": "t", "\r": "r", "\n": "n"}


def lost_backslash(text: str) -> tuple[str, str] | None:
    r"""Return the control character and the command that was meant, as ("a form feed", r"\frac"), or None."""
    if text.isprintable():
        return None
    match = _NEVER_MEANT.search(text) or _BEFORE_REST.search(text)
    if match is None:
        for formula in _FORMULA.finditer(text):
            match = _IN_FORMULA.search(text, *formula.span(1 if formula[1] is not None else 2))
            if match is not None:
                break
        else:
            return None
    control = match[0]
    rest = _COMMAND.match(text, match.end())
    name = _NAMES.get(control, "a line end")
    return name, f"\\{_LETTERS[control]}{rest[0][:20] if rest else ''}"

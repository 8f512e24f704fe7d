"""The text of an answer, from the bytes of its tokens: whole characters, cut at the first stop string.

Depends on neither vocabularies nor models.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from rstitch_local.errors import UsageError

_TAIL = 32
"""Characters kept to find out whether a step of the answer begins."""
_SENTENCE_ENDS = "!?…。！？"
_CLOSERS = "\"')]*_`”’»」』"


class StopStrings:
    """Finds the first of several strings in a text that arrives in pieces.

    The first match is the one that ends first; of several that end at the same character, the longest. So the result
    does not depend on how the text is split.

    Args:
        strings: what ends the text; a single string is taken as one.

    Attributes:
        held: text that was passed to `feed` and not returned yet: it may be the beginning of a match.
        matched: whether a match was found.

    Raises:
        UsageError: one of them is empty or not a string.
    """

    __slots__ = ("_strings", "held", "matched")

    def __init__(self, strings: Sequence[str] = ()) -> None:
        self._strings = (strings,) if isinstance(strings, str) else tuple(strings)
        self.held = ""
        self.matched = False
        for string in self._strings:
            if not isinstance(string, str) or not string:
                raise UsageError("Invalid stop string", f"{string!r} cannot end an answer.", "Use non-empty strings.")

    def feed(self, text: str) -> str:
        """Take the next piece of text.

        Args:
            text: what follows the text so far.

        Returns:
            The text that cannot belong to a match, which may include text held back before; after a match, the text
            before it and nothing from then on.
        """
        if self.matched or not self._strings:
            return "" if self.matched else text
        text = self.held + text
        found = [(at + len(string), at) for string in self._strings if (at := text.find(string)) >= 0]
        if found:
            self.matched, self.held = True, ""
            return text[: min(found)[1]]
        start = self._start_of_candidate(text)
        self.held = text[start:]
        return text[:start]

    def release(self) -> str:
        """Return the text that is held back: no more text follows."""
        held, self.held = self.held, ""
        return held

    def _start_of_candidate(self, text: str) -> int:
        """Return where the longest end of `text` that is the beginning of a stop string starts."""
        longest = max(map(len, self._strings)) - 1
        for start in range(max(0, len(text) - longest), len(text)):
            if any(string.startswith(text[start:]) for string in self._strings):
                return start
        return len(text)


class AnswerText:
    """Decodes the tokens of one answer.

    Args:
        stop: strings that end the answer.

    Attributes:
        last: the decoded text of the last token, stop strings included.
    """

    __slots__ = ("_decoder", "_stop", "_tail", "last")

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stop = StopStrings(stop)
        self._tail = ""
        self.last = ""

    def add(self, data: bytes, *, final: bool) -> str:
        """Take the bytes of one token.

        Args:
            data: the bytes.
            final: no token follows, so nothing is held back.

        Returns:
            The text to show: whole characters that cannot belong to a stop string.
        """
        self.last = self._decoder.decode(data, final=final)
        self._tail = (self._tail + self.last)[-_TAIL:]
        text = self._stop.feed(self.last)
        return text + self._stop.release() if final else text

    def release(self) -> str:
        """Return the text that is held back: the answer ends without another token."""
        return self._stop.release()

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found."""
        return self._stop.matched

    @property
    def whole(self) -> bool:
        """Whether the bytes so far are whole characters."""
        return not self._decoder.getstate()[0]

    @property
    def starts_step(self) -> bool:
        """Whether the text so far ends with a new line or a sentence, white space aside."""
        return self.whole and ends_step(self._tail)

    def drop_partial_character(self) -> None:
        """Forget the bytes of a character that is not complete."""
        self._decoder.reset()


def ends_step(text: str) -> bool:
    """Return whether a text ends with a new line or the end of a sentence, white space and closing quotes aside.

    A full stop behind a digit counts only if white space follows it: it may be a decimal point.
    """
    words = text.rstrip()
    space = text[len(words) :]
    if "\n" in space:
        return True
    sentence = words.rstrip(_CLOSERS)
    if sentence.endswith("."):
        return bool(space) or not sentence[-2:-1].isdigit()
    return sentence.endswith(tuple(_SENTENCE_ENDS))

"""Prompts as token ids, in which only the chat template writes special tokens.

A text of a user, a file or an earlier answer may spell a special token such as `<|im_end|>`: there these are letters.
Before the template gets such a text, letters that could belong to a special token are replaced by stand-ins, one for
one. They are characters that no text contains, and templates trim, encode, split and repeat them like letters. So a
special token in the prompt is the template's own if it has no stand-in. At the end each stand-in is a letter again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rstitch_local.decoding.spelled import Spellings, tokenize_letters
from rstitch_local.decoding.thinking import FORMATS, ThinkingFormat
from rstitch_local.decoding.vocabulary import Vocabulary
from rstitch_local.llama.template_environment import STAND_INS, to_json
from rstitch_local.llama.weights import SpecialToken, Weights

_WHITE_SPACE = " \t\n\v\f\r"
_IN_BRACKETS = re.compile(r"<.+>|\[.+\]|〈.+〉")
_HTML_TAG = re.compile(
    r"</?(?:a|b|blockquote|br|caption|center|code|dd|div|dl|dt|em|h[1-6]|hr|i|img|li|ol|p|pre|small|span|strong|sub|sup|"
    r"table|tbody|td|tfoot|th|thead|tr|tt|u|ul)/?>"
)


def has_bar(token: SpecialToken) -> bool:
    """Return whether a token looks like `<|start|>`: a control token, also if the file has it as an added token."""
    return "|" in token.text or "｜" in token.text


def is_control(token: SpecialToken, written: str) -> bool:
    """Return whether a special token controls the conversation, so that no text may spell it.

    Added tokens that are parts of ordinary text do not: runs of spaces, switches such as `/nothink` in GLM, and HTML
    tags in Gemma unless the template writes them.

    Args:
        token: the token.
        written: the source of the chat template.
    """
    if not token.is_added or has_bar(token):
        return True
    text = token.text
    return _IN_BRACKETS.fullmatch(text) is not None and (text in written or _HTML_TAG.fullmatch(text) is None)


class PromptTokenizer:
    """Tokenizes the prompts of one model.

    Args:
        weights: the model.
        vocabulary: its vocabulary.
        template: the source of its chat template.
        form: the tags around its reasoning; None for a model without them.
    """

    def __init__(
        self, weights: Weights, vocabulary: Vocabulary, template: str, form: ThinkingFormat | None = None
    ) -> None:
        self._weights = weights
        self._vocabulary = vocabulary
        tags = [tag for each in FORMATS for tag in each.tags]
        self._tokens = {token.text: token for token in weights.special_tokens if is_control(token, template)}
        self._special = Spellings(self._tokens)
        self._added = Spellings([text for text, token in self._tokens.items() if token.is_added and len(text) > 1])
        self._opaque = Spellings([*self._tokens, *tags])
        ends = dict.fromkeys(letter for text in (*self._tokens, *tags) for letter in (text[0], text[-1]))
        letters = {**ends, **dict.fromkeys("".join([*self._tokens, *tags]))}
        # White space is trimmed by templates, and quotes are escaped in JSON, so they stay.
        replaceable = (each for each in letters if not each.isspace() and to_json(each)[1:-1] == each)
        self._stand_ins = {ord(each): chr(code) for each, code in zip(replaceable, STAND_INS, strict=False)}
        self._ends = {code: stand_in for code, stand_in in self._stand_ins.items() if chr(code) in ends}
        self._letters = {ord(stand_in): chr(code) for code, stand_in in self._stand_ins.items()}
        # A tag of another model's format may contain special tokens of this one: then it is letters.
        own = () if form is None else form.tags
        safe = sorted({*own, *(tag for tag in tags if not any(self._special.find(tag)))}, key=len, reverse=True)
        self._tags = re.compile("(" + "|".join(map(re.escape, safe)) + ")")

    def literal(self, text: str, *, tags: bool = False) -> str:
        """Return a text for the template, with stand-ins for letters that could belong to a special token.

        Args:
            text: the text.
            tags: leave the tags around reasoning: the template may look for them, and they are read as tags.
        """
        # A surrogate in the text would be taken for a stand-in. It cannot be tokenized in any case.
        text = text.encode("utf-8", "replace").decode("utf-8")
        if not tags:
            return self._replaced(text)
        parts = self._tags.split(text)
        return "".join(part if index % 2 else self._replaced(part) for index, part in enumerate(parts))

    def has_tags(self, text: str) -> bool:
        """Return whether a text has tags around reasoning."""
        return self._tags.search(text) is not None

    def _replaced(self, text: str) -> str:
        letters = list(text)
        for start, special in self._opaque.find(text):
            # As a whole: a template that removes "/think" must not do so in "</think>".
            letters[start : start + len(special)] = special.translate(self._stand_ins)
        # Together with other text, a part could become a special token: it has the first or the last letter of it.
        return "".join(letters).translate(self._ends)

    def text(self, prompt: str) -> str:
        """Return a prompt with letters in place of the stand-ins."""
        return prompt.translate(self._letters)

    def tokenize(self, prompt: str) -> list[int]:
        """Return the token ids of a prompt with stand-ins.

        If no text spells a special token, these are llama.cpp's own for the whole prompt. Else the texts between the
        template's special tokens are tokenized one by one, as llama.cpp does it, but without any special token.
        """
        text = self.text(prompt)
        if all(prompt.startswith(special, start) for start, special in self._special.find(text)):
            return self._weights.tokenize(text, parse_special=True)
        ids: list[int] = []
        end, before = 0, None
        for start, token in self._tokens_of(prompt):
            ids += self._between(text[end:start], before, token)
            ids.append(token.id)
            end, before = start + len(token.text), token
        return ids + self._between(text[end:], before, None)

    def _tokens_of(self, prompt: str) -> Iterable[tuple[int, SpecialToken]]:
        """Yield the template's own special tokens, without those that overlap one before."""
        end = 0
        for start, special in self._special.find(prompt):
            if start >= end:
                yield start, self._tokens[special]
                end = start + len(special)

    def _between(self, text: str, before: SpecialToken | None, after: SpecialToken | None) -> list[int]:
        if before is not None and before.strips_right:
            text = text.lstrip(_WHITE_SPACE)
        if after is not None and after.strips_left:
            text = text.rstrip(_WHITE_SPACE)
        return tokenize_letters(text, self._added, self._vocabulary) if text else []

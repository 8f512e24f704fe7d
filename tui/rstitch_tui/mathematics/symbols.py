"""The characters of TeX commands, what they are, alphabets, superscripts and subscripts."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from functools import cache

from rstitch_tui.mathematics.nodes import Kind, Symbol

# What pylatexenc does not know, or spells otherwise.
_OTHER_NAMES: Mapping[Kind, Mapping[str, str]] = {
    "rel": {
        "ne": "≠", "iff": "⟺", "implies": "⟹", "impliedby": "⟸", "gets": "←", "leadsto": "⇝", "models": "⊨",
        "coloneqq": "≔", "lll": "⋘", "ggg": "⋙", "mid": "|", "lhd": "⊲", "rhd": "⊳", "unlhd": "⊴", "unrhd": "⊵",
    },
    "bin": {"land": "∧", "lor": "∨", "ddagger": "‡", "setminus": "∖"},
    "ord": {
        "neg": "¬", "Box": "□", "checkmark": "✓", "Re": "ℜ", "Im": "ℑ", "triangle": "△", "degree": "°", "bot": "⊥",
        "imath": "ı", "jmath": "ȷ", "clubsuit": "♣", "diamondsuit": "♢", "heartsuit": "♡", "spadesuit": "♠",
        "bigstar": "★", "pounds": "£", "euro": "€", "prime": "′", "cdotp": "·", "vert": "|", "|": "‖",
        "$": "$", "%": "%", "#": "#", "&": "&", "_": "_", "backslash": "\\",
    },
    "open": {"lbrack": "[", "lbrace": "{", "{": "{", "lvert": "|", "lVert": "‖"},
    "close": {"rbrack": "]", "rbrace": "}", "}": "}", "rvert": "|", "rVert": "‖"},
    "punct": {"colon": ":"},
    "op": {"bmod": "mod"},
}  # fmt: skip
_OTHER_SYMBOLS = {name: Symbol(text, kind) for kind, names in _OTHER_NAMES.items() for name, text in names.items()}

_LIMITS = "∑∏∐⋃⋂⨁⨂⨀⋁⋀⨄⨆"
_KINDS: Mapping[Kind, str] = {
    "rel": "=<>:≤≥≠≈≡∼≃≅≐≜≝≔∈∉∋∌⊂⊃⊆⊇⊊⊋⊄⊅⊈⊉≪≫⋘⋙≺≻≼≽⪯⪰⩽⩾∝∥∦∣∤⊢⊨⊩≲≳≶≷≦≧≰≱≮≯⊥≍⋈⊲⊳⊴⊵⊑⊒",
    "bin": "+−±∓×÷*·⋅∗∘∙•⋆∪∩⊎⊔⊓∧∨⊕⊖⊗⊘⊙∖⋄†‡∔⋊⋉⊞⊠⨿",
    "open": "([{⟨⌊⌈",
    "close": ")]}⟩⌋⌉!?.",
    "punct": ",;",
    "op": f"{_LIMITS}∫∬∭∮",
}
_KIND_OF: Mapping[str, Kind] = {character: kind for kind, characters in _KINDS.items() for character in characters}
_ARROWS = (range(0x2190, 0x2200), range(0x27F0, 0x2800), range(0x2900, 0x2980))

_FUNCTIONS = frozenset([
    "arccos", "arcsin", "arctan", "arg", "cos", "cosh", "cot", "coth", "csc", "deg", "dim", "exp", "hom", "ker", "lg",
    "ln", "log", "sec", "sin", "sinh", "tan", "tanh",
])  # fmt: skip
_FUNCTIONS_WITH_LIMITS = frozenset(["Pr", "det", "gcd", "inf", "lim", "liminf", "limsup", "max", "min", "sup"])

ALPHABETS: Mapping[str, str] = {
    "mathbb": "doublestruck", "mathbf": "bold", "boldsymbol": "bold", "bm": "bold", "bold": "bold",
    "mathcal": "script", "mathscr": "script", "mathfrak": "fraktur", "mathsf": "sans", "mathtt": "monospace",
}  # fmt: skip
"""Commands that change the letters of their argument, with pylatexenc's names of the alphabets."""

# Blocks with superscripts and subscripts, preferred ones first.
_SCRIPTS = tuple(
    range(start, end)
    for start, end in (
        (0xB2, 0xBA), (0x2070, 0x20A0), (0x2B0, 0x2B9), (0x2E1, 0x2E4), (0x1D2C, 0x1D6B), (0x1D9C, 0x1DC0),
        (0x2C7C, 0x2C7E),
    )
)  # fmt: skip


def named(name: str) -> Symbol | None:
    """Return the symbol of a command without its backslash; None if there is none."""
    if name in _FUNCTIONS or name in _FUNCTIONS_WITH_LIMITS:
        return Symbol(name, "op", name in _FUNCTIONS_WITH_LIMITS)
    return _OTHER_SYMBOLS.get(name) or _from_library(name)


@cache
def _library() -> Callable[[str], object]:
    # Imported here: it takes 30 ms, and many answers have no formula.
    from pylatexenc.latex2text import get_default_latex_context_db

    definition_of: Callable[[str], object] = get_default_latex_context_db().get_macro_spec
    return definition_of


def _from_library(name: str) -> Symbol | None:
    text = getattr(_library()(name), "simplify_repl", None)
    # Longer texts are formats for arguments or approximations.
    return of_character(text) if isinstance(text, str) and len(text) == 1 and not text.isspace() else None


def of_character(character: str) -> Symbol:
    """Return the symbol of a character."""
    if character == "-":
        character = "−"
    code = ord(character[0])
    kind: Kind = "rel" if any(code in arrows for arrows in _ARROWS) else _KIND_OF.get(character, "ord")
    return Symbol(character, kind, character in _LIMITS)


def negated(symbol: Symbol) -> Symbol | None:
    r"""Return the symbol with a slash (\not); None if there is no such character."""
    text = unicodedata.normalize("NFC", symbol.text + "\u0338")
    return Symbol(text, symbol.kind) if len(text) == 1 else None


def in_alphabet(text: str, command: str) -> str:
    """Return the letters and digits of a text in the alphabet of a command such as "mathbb"."""
    from pylatexenc.latex2text import fmt_math_text_style

    return str(fmt_math_text_style(text, ALPHABETS[command]))


@cache
def _script_characters(tag: str) -> Mapping[int, str]:
    characters = {"−": {"<super>": "⁻", "<sub>": "₋"}[tag]}
    for block in _SCRIPTS:
        for code in block:
            own_tag, _, base = unicodedata.decomposition(chr(code)).partition(" ")
            if own_tag == tag and " " not in base:
                characters.setdefault(chr(int(base, 16)), chr(code))
    return str.maketrans(characters)


def superscript(text: str) -> str | None:
    """Return the text in superscripts of Unicode; None if a character has none."""
    return _translated(text, _script_characters("<super>"))


def subscript(text: str) -> str | None:
    """Return the text in subscripts of Unicode; None if a character has none."""
    return _translated(text, _script_characters("<sub>"))


def _translated(text: str, characters: Mapping[int, str]) -> str | None:
    return text.translate(characters) if text and all(ord(character) in characters for character in text) else None

"""Mathematics in Unicode characters (`√`, `½`, `π`, `x²`), spelled in LaTeX."""

from __future__ import annotations

import re
import unicodedata

_SYMBOLS = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "×": r"\times ", "✕": r"\times ",
        "∗": "*", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "÷": "/", "∕": "/", "⁄": "/", "∶": ":",
        "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ",
        "≡": r"\equiv ", "°": r"^\circ ", "º": r"^\circ ", "˚": r"^\circ ", "∪": r"\cup ", "∩": r"\cap ",
        "∈": r"\in ", "∅": r"\emptyset ", "∖": r"\setminus ", "±": r"\pm ", "∓": r"\mp ", "…": r"\ldots ",
        "⋯": r"\ldots ", "⟨": r"\langle ", "⟩": r"\rangle ", "〈": r"\langle ", "〉": r"\rangle ",
        "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "∣": "|", "∑": r"\sum ",
        "∫": r"\int ", "∏": r"\prod ", "ℝ": r"\mathbb{R} ", "ℤ": r"\mathbb{Z} ", "ℕ": r"\mathbb{N} ",
        "ℚ": r"\mathbb{Q} ", "ℂ": r"\mathbb{C} ", "′": "'", "’": "'", "‘": "'", "“": '"', "”": '"', "∠": r"\angle ",
        "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u200b": "", "\ufeff": "", "\u2061": "", "\u2062": "",
    }
)  # fmt: skip
_LETTERS = "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩϕϵ"
_NAMES = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi "
    "omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega phi epsilon"
)
_GREEK = {ord(letter): f"\\{name} " for letter, name in zip(_LETTERS, _NAMES.split(), strict=True)}
_SCRIPTS = {
    "^": re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ]+"),
    "_": re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋ₙ]+"),
}
_UNICODE_ROOT = re.compile(r"([√∛∜])\s*(\d+(?:\.\d+)?|[A-Za-z]|(?=[({]))")
_ROOTS = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}
_OVERLINED_DIGITS = re.compile("(?:\\d[\u0304\u0305])+")


def in_latex(text: str) -> str:
    """Spell Unicode mathematics in LaTeX, and compatibility characters (full width, italics) as plain ones."""
    if text.isascii():
        return text
    for mark, pattern in _SCRIPTS.items():
        text = pattern.sub(lambda match, mark=mark: f"{mark}{{{_plain(match[0])}}}", text)  # type: ignore[misc]
    text = "".join(_vulgar_fraction(character) for character in text)
    text = _OVERLINED_DIGITS.sub(lambda match: rf"\overline{{{re.sub(r'[^0-9]', '', match[0])}}}", text)
    text = _UNICODE_ROOT.sub(lambda match: f"{_ROOTS[match[1]]}{{{match[2]}}}" if match[2] else _ROOTS[match[1]], text)
    return _plain(text.translate(_SYMBOLS).translate(_GREEK)).translate(_SYMBOLS).translate(_GREEK)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("\u2212", "-")


def _vulgar_fraction(character: str) -> str:
    if not unicodedata.decomposition(character).startswith("<fraction>"):
        return character
    top, _, bottom = unicodedata.normalize("NFKC", character).partition("\u2044")
    return rf"\frac{{{top}}}{{{bottom}}}"

"""Colours that can be told from what is behind them, whatever the theme.

Knows colours; nothing of themes or widgets. A terminal's own colours (ANSI) are left as they are, for nobody but
the terminal knows what they look like.
"""

from __future__ import annotations

from textual.color import Color

TEXT_CONTRAST, GRAPHICS_CONTRAST = 4.5, 3.0
"""What WCAG 2 asks for, of text and of parts of a picture."""

_STEPS = 10


def contrast(one: Color, other: Color) -> float:
    """The contrast of two opaque colours, from 1 to 21, as WCAG 2 defines it."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def legible(color: Color, background: Color, least: float = TEXT_CONTRAST) -> Color:
    """The colour, or the one nearest to it towards black or white that stands out from the background."""
    if color.ansi is not None or background.ansi is not None:
        return color
    color = background + color
    black, white = Color(0, 0, 0), Color(255, 255, 255)
    away = max(black, white, key=lambda end: contrast(end, background))
    mixed = (color.blend(away, step / _STEPS) for step in range(_STEPS + 1))
    return next((mix for mix in mixed if contrast(mix, background) >= least), away)


def tinted(background: Color, tint: Color, amount: float) -> Color:
    """The background with so much of a tint, 0 to 1; unchanged where either is the terminal's own."""
    if background.ansi is not None or tint.ansi is not None:
        return background
    return background.blend(background + tint, amount)


def _luminance(color: Color) -> float:
    def linear(part: float) -> float:
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    red, green, blue = map(linear, color.normalized)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue

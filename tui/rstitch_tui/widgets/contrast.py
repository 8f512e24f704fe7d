"""Colors with enough contrast to their background in every theme.

The terminal's own (ANSI) colors are returned unchanged, because their RGB values are unknown.
"""

from __future__ import annotations

from textual.color import Color

TEXT_CONTRAST, GRAPHICS_CONTRAST = 4.5, 3.0
"""Minimum contrast ratios of WCAG 2 for text and for graphics."""

_STEPS = 10


def contrast_ratio(one: Color, other: Color) -> float:
    """Return the contrast ratio of two opaque colors, 1 to 21, as defined by WCAG 2."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def with_contrast(color: Color, background: Color, minimum: float = TEXT_CONTRAST) -> Color:
    """Return the color, shifted towards black or white as far as needed for the minimum contrast ratio."""
    if color.ansi is not None or background.ansi is not None:
        return color
    color = background + color
    black, white = Color(0, 0, 0), Color(255, 255, 255)
    extreme = max(black, white, key=lambda end: contrast_ratio(end, background))
    mixes = (color.blend(extreme, step / _STEPS) for step in range(_STEPS + 1))
    return next((mix for mix in mixes if contrast_ratio(mix, background) >= minimum), extreme)


def tinted(background: Color, tint: Color, amount: float) -> Color:
    """Return the background mixed with a tint; `amount` is between 0 and 1."""
    if background.ansi is not None or tint.ansi is not None:
        return background
    return background.blend(background + tint, amount)


def _luminance(color: Color) -> float:
    def linear(channel: float) -> float:
        return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4

    red, green, blue = map(linear, color.normalized)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue

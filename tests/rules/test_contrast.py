"""Text of the pages stands out from its ground, in the light and in the dark scheme."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from promotion.rendering.pages import stylesheet


def colours() -> Iterator[tuple[str, str, str, float]]:
    """(scheme, text, ground, contrast) for each pair of the style sheet that stands on each other."""
    light, dark = re.findall(r":root \{(.*?)\}", stylesheet(), re.DOTALL)
    pairs = [
        (text, ground) for text in ("text", "muted", "accent", "good", "bad", "warn") for ground in ("ground", "card")
    ]
    pairs += [(tone, f"{tone}-ground") for tone in ("accent", "good", "bad", "warn")]
    pairs += [
        ("text", "bad-ground"),
        ("muted", "bad-ground"),
        ("text", "warn-ground"),
        ("text", "track"),
        ("good", "bad-ground"),
    ]
    pairs += [("on-good", "good"), ("on-bad", "bad"), ("on-accent", "accent")]
    for scheme, block in (("light", light), ("dark", dark)):
        values = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
        for text, ground in pairs:
            yield scheme, text, ground, contrast(values[text], values[ground])


def contrast(one: str, other: str) -> float:
    """https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio"""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("scheme", "text", "ground", "ratio"), list(colours()))
def test_text_stands_out_in_light_and_dark(scheme: str, text: str, ground: str, ratio: float) -> None:
    assert ratio >= 4.5, f"{text} on {ground}, {scheme}: {ratio:.2f}"

"""Version numbers, as forms and addresses spell them."""

from __future__ import annotations

from promotion.errors import Invalid


def version_number(text: str, field: str = "version") -> int:
    """The number that a text spells.

    Raises:
        Invalid: it spells none, or one of more than nine digits.
    """
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise Invalid(field, f"{text[:40]!r} is not a version number.")
    return int(text)

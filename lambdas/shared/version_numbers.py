"""Version numbers in forms and addresses."""

from __future__ import annotations

from promotion.errors import Invalid


def version_number(text: str, field: str = "version") -> int:
    """Parse a version number; `01` is another spelling of one, and none.

    Raises:
        Invalid: the text is not a number, or has more than nine digits.
    """
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or text.startswith("0"):
        raise Invalid(field, f"{text[:40]!r} is not a version number.")
    return int(text)

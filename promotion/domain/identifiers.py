"""Ids of directory groups, compared by the rules of their kind."""

from __future__ import annotations

import re
import unicodedata

_GUID = re.compile(r"\{?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\}?", re.IGNORECASE)
# A distinguished name: attributes and values, at least two (RFC 4514).
_DN = re.compile(r"\s*[A-Za-z][\w.-]*\s*=\s*[^=]+(?:,\s*[A-Za-z][\w.-]*\s*=\s*[^=]+)+", re.DOTALL)
_AFTER_COMMA = re.compile(r"(?<!\\)\s*,\s*(?=[A-Za-z][\w.-]*\s*=)")
_AROUND_EQUALS = re.compile(r"\s*=\s*")


def is_distinguished_name(text: str) -> bool:
    """Return True if the text is an LDAP distinguished name."""
    return _DN.fullmatch(text) is not None


def comparable_group(text: str) -> str:
    """Return the normal form of a group's id, in which all its spellings are equal.

    GUIDs and distinguished names are case-insensitive; other names are Unicode-normalized and case-sensitive; a leading `/`,
    from Keycloak, is removed.
    """
    text = unicodedata.normalize("NFC", text)
    guid = _GUID.fullmatch(text.strip())
    if guid:
        return guid[1].lower()
    if is_distinguished_name(text):
        return _AROUND_EQUALS.sub("=", _AFTER_COMMA.sub(",", text.strip())).casefold()
    return text.removeprefix("/")

"""Loose comparison of two sets of names that may belong to one person; it only takes rights away.

It errs on the side of blocking: names match by local part too. Rights are granted by exact comparison elsewhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from msgspec import Struct

_ADDRESS = re.compile(r"[^\s<>\"'(),;:|\\/]+@[^\s<>\"'(),;:|\\/@]+")
_ARN = re.compile(r"arn:aws[\w-]*:(?:iam|sts)::\d*:(?P<kind>[\w-]+)/(?P<path>.+)", re.DOTALL)
_NETBIOS = re.compile(r"[\w.-]{1,64}\\(?P<name>.+)", re.DOTALL)
_EXPANDED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae"})
_UNACCENTED = str.maketrans({"ø": "o", "æ": "ae", "ł": "l", "đ": "d", "ı": "i"})


class Spelling(Struct, frozen=True):
    """One name as it is compared: `local` and `domain` of an address, or `local` alone."""

    local: str
    domain: str = ""


class Match(Struct, frozen=True):
    """Two names that are taken for one person's."""

    one: str
    other: str


def find_match(one: Iterable[str], other: Iterable[str], *, local_parts: bool = True) -> Match | None:
    r"""Find the first pair of names, as written, that may belong to one person.

    Args:
        one: Names of the first person, in any spelling: addresses, user names, `DOMAIN\name`, ARNs, display names.
        other: Names of the second.
        local_parts: Whether a name without a domain is compared with what stands before the @ of an address.

    Returns:
        The pair, or None where no two are alike.
    """
    others = [(name, spellings(name)) for name in other]
    for name in one:
        mine = spellings(name)
        for theirs, written in others:
            if any(_alike(a, b, local_parts) for a in mine for b in written):
                return Match(name, theirs)
    return None


def has_address(names: Iterable[str]) -> bool:
    """Return True if any of the names has a domain."""
    return any(spelling.domain for name in names for spelling in spellings(name))


def _alike(a: Spelling, b: Spelling, local_parts: bool) -> bool:
    if a.domain and b.domain:
        return a.domain == b.domain and bool(_forms(a.local) & _forms(b.local))
    if not a.domain and not b.domain:
        return bool(_forms(a.local) & _forms(b.local))
    whole, bare = (a, b) if a.domain else (b, a)
    # A Studio profile has letters, digits and hyphens alone, so that it spells a whole address without @ and dots.
    if _forms(f"{whole.local}{whole.domain}") & _forms(bare.local):
        return True
    return local_parts and bool(_forms(whole.local) & _forms(bare.local))


@lru_cache(maxsize=4096)
def spellings(name: str) -> frozenset[Spelling]:
    """Return the spellings of a name: its addresses without plus tags, and the text around them."""
    text = unicodedata.normalize("NFKC", name)
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cc")).strip()
    arn = _ARN.fullmatch(text)
    if arn:
        # A role is no person, and its session's name is chosen by the caller.
        parts = arn["path"].split("/")
        text = parts[-1] if arn["kind"] != "role" else ""
    text = re.sub(r"\bmailto:", " ", text, flags=re.IGNORECASE).strip()
    netbios = _NETBIOS.fullmatch(text)
    if netbios:
        text = netbios["name"]
    found: set[Spelling] = set()
    for address in _ADDRESS.findall(text):
        local, _, domain = address.rpartition("@")
        local = local.partition("+")[0] or local
        found.add(Spelling(local.casefold(), domain.rstrip(".").casefold()))
    rest = _ADDRESS.sub(" ", text).strip(" \t\"'<>(),;:|")
    if _forms(rest.casefold()) - {""}:
        found.add(Spelling(rest.casefold()))
    return frozenset(found)


@lru_cache(maxsize=4096)
def _forms(text: str) -> frozenset[str]:
    """Return text as letters and digits, accents removed and written out: `jörg` is `jorg` and `joerg`."""
    composed = unicodedata.normalize("NFC", text.casefold())
    return frozenset(_bare(variant) for variant in (composed.translate(_EXPANDED), composed.translate(_UNACCENTED)))


def _bare(text: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c)[0] != "M")
    return "".join(c for c in plain.casefold() if c.isalnum())

"""A container's environment variables for readers: evidence of what runs, without the values of secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

HIDDEN, CHANGED = "(hidden)", "(hidden, another value)"
# Words of a variable's name, as in `db-password`, and those that say the same before `KEY`.
_WORDS = frozenset(
    (
        "secret",
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "credential",
        "credentials",
        "apikey",
        "accesskey",
        "pat",
        "authorization",
        "bearer",
    )
)
_KEYS = frozenset(("api", "access", "secret", "private", "auth", "encryption", "signing"))
# Names that are written in one word, as in PGPASSWORD.
_IN_ONE = re.compile(r"passw|apikey|accesskey|secretkey", re.IGNORECASE)
_TOKEN_IN_ONE = re.compile(r"token$", re.IGNORECASE)
_APART = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
# A model has tokens too: EOS_TOKEN, MAX_TOKEN=512, RETURN_TOKEN=true. These values are no secrets.
_OF_A_MODEL = re.compile(r"[\d.+-]*|true|false|yes|no|on|off|<[\w|/-]{1,20}>|\[[A-Z]{1,10}\]", re.IGNORECASE)
# Forms of the values themselves: keys in PEM, of AWS, Hugging Face, GitHub, GitLab, Slack and OpenAI; a JSON web token, a signed
# address, an address with a password.
_SECRET = re.compile(
    r"-----BEGIN |\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bhf_\w{20,}|\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}"
    r"|\bxox[a-z]-[\w-]{10,}|\bsk-[\w-]{20,}|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.|[?&](?:X-Amz-Signature|sig)=|://[^/\s:@]*:[^/\s@]+@"
)


def is_secret(name: str, value: str) -> bool:
    """Return True if a variable looks like a secret, by its name or its value."""
    if not value:
        return False
    words = [word.lower() for word in _APART.split(name) if word]
    named = not _WORDS.isdisjoint(words) or any(word == "key" and before in _KEYS for before, word in pairwise(words))
    named |= _IN_ONE.search(name) is not None
    token = "token" in words or _TOKEN_IN_ONE.search(name) is not None
    named |= token and _OF_A_MODEL.fullmatch(value) is None
    return named or _SECRET.search(value) is not None


def shown(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by name, with the values of secrets hidden."""
    return {name: HIDDEN if is_secret(name, value) else value for name, value in sorted(environment.items())}


def changed(name: str, before: str, after: str) -> tuple[str, str]:
    """Return a variable's old and new value for readers; two secrets that differ are told apart, and neither is shown."""
    old, new = (HIDDEN if is_secret(name, value) else value for value in (before, after))
    return (old, CHANGED) if old == new and before != after else (old, new)

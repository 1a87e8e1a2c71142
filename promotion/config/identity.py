"""Checks and warnings for the section `[identity]`."""

from __future__ import annotations

import re
import unicodedata
from datetime import timedelta
from urllib.parse import urlsplit

from promotion.config.resources import Refuse
from promotion.config.settings import Config, PeopleGroup
from promotion.errors import Invalid

LONGEST_FRESH = timedelta(hours=24)

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_NAMES_WITHOUT_GROUPS = ("upn", "email", "sub", "name", "preferred_username", "unique_name", "oid")
_ENTRA = re.compile(
    r"https://(login\.microsoftonline\.(com|us)|sts\.windows\.net|login\.partner\.microsoftonline\.cn)/"
)
_GUID = re.compile(r"\{?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}?", re.IGNORECASE)


def check(config: Config, refuse: Refuse) -> None:
    """Refuse settings that work with no identity provider."""
    identity = config.identity
    if "openid" not in identity.scopes:
        refuse("identity.scopes", 'without "openid" no provider gives an ID token.')
    if identity.ca_bundle is not None and not _CERTIFICATE.search(identity.ca_bundle):
        refuse(
            "identity.ca_bundle",
            "give the certificates themselves, as PEM text: -----BEGIN CERTIFICATE----- and so on.",
        )
    if identity.proxy is not None:
        try:
            parts = urlsplit(identity.proxy)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 0) > 0
        except ValueError:
            usable = False
        if not usable:
            refuse("identity.proxy", "a proxy is http://host:port.")
    if identity.graph is not None and not _is_host(identity.graph):
        refuse(
            "identity.graph", "Microsoft Graph is https://graph.microsoft.com, or that of a national cloud; no path."
        )
    decisions = [(f"environments[{at}]", each.decision) for at, each in enumerate(config.environments)]
    for pattern, override in config.groups_override.items():
        found = {f'groups_override."{pattern}".environments.{name}': e for name, e in override.environments.items()}
        decisions += [(place, each.decision) for place, each in found.items() if each.decision is not None]
    for place, decision in decisions:
        try:
            longest = decision.freshness
        except Invalid as error:
            refuse(f"{place}.decision.fresh_within", error.reason)
        if longest > LONGEST_FRESH:
            refuse(f"{place}.decision.fresh_within", "a decision stands on groups of at most 24h ago.")
    for place, group in groups(config):
        if group.id != group.id.strip() or not group.id:
            refuse(f"{place}.id", f"{group.id!r} is empty, or begins or ends with a blank; no token carries that.")
        if any(unicodedata.category(character) in ("Cc", "Cf") for character in group.id):
            refuse(f"{place}.id", f"{group.id!r} has a character that nobody sees.")


def _is_host(address: str) -> bool:
    """Return True if an address is a host over https and nothing more; plain http is for loopback only."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    loopback = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")
    usable = (parts.scheme == "https" or loopback) and bool(parts.hostname) and "@" not in parts.netloc
    return usable and parts.path in ("", "/") and not parts.query and not parts.fragment


def suspicions(config: Config) -> list[str]:
    """List settings that are allowed but look like mistakes, one sentence each."""
    found: list[str] = []
    identity = config.identity
    if identity.groups_claim in _NAMES_WITHOUT_GROUPS:
        found.append(f"identity.groups_claim: {identity.groups_claim!r} usually names a person, not their groups.")
    seen: dict[str, str] = {}
    for place, group in groups(config):
        folded = unicodedata.normalize("NFKC", group.id).casefold()
        if seen.setdefault(folded, group.id) != group.id:
            found.append(f"{place}.id: {group.id!r} and {seen[folded]!r} differ in their spelling alone.")
        if _ENTRA.match(identity.issuer) and identity.groups_claim == "groups" and not _GUID.fullmatch(group.id):
            found.append(
                f"{place}.id: {group.id!r} is no object id, and Entra ID sends those unless it is told otherwise."
            )
        if "," in group.id and "=" not in group.id:
            found.append(f"{place}.id: {group.id!r} has a comma; each group has its own entry.")
    return list(dict.fromkeys(found))


def groups(config: Config) -> list[tuple[str, PeopleGroup]]:
    """Every group of a configuration, with its place in the file."""
    found = [(f"environments[{at}].approver_group", each.approver_group) for at, each in enumerate(config.environments)]
    for pattern, override in config.groups_override.items():
        found += [
            (f'groups_override."{pattern}".environments.{name}.approver_group', each.approver_group)
            for name, each in override.environments.items()
            if each.approver_group is not None
        ]
    if config.identity.auditors is not None:
        found.append(("identity.auditors", config.identity.auditors))
    if config.break_glass is not None:
        found.append(("break_glass.group", config.break_glass.group))
    return found

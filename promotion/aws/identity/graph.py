"""A person's groups from Microsoft Graph, if Entra ID has more of them than it puts into a token.

https://learn.microsoft.com/en-us/graph/api/user-list-transitivememberof, with the person's own access token.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from promotion.aws.identity.discovery import Discovery
from promotion.errors import SignInFailed

# Requested at sign-in in addition to the configured scopes; an administrator consents to it once.
PERMISSION = "GroupMember.Read.All"
# Groups only; a person is also a member of directory roles and administrative units.
_PATH = "/v1.0/me/transitiveMemberOf/microsoft.graph.group?$select=id&$top=999"
MOST_PAGES = 50


def scope(graph: str) -> str:
    """Return the scope of an authorization request whose access token may read memberships at `graph`."""
    return f"{graph.rstrip('/')}/{PERMISSION}"


def groups_of(access_token: str, graph: str, discovery: Discovery) -> list[str]:
    """Return the object ids of all groups of the token's person, direct and nested.

    Raises:
        SignInFailed: Graph refuses, or answers with something other than a list of groups.
        ProviderUnavailable: Graph doesn't answer.
    """
    found: list[str] = []
    address = graph.rstrip("/") + _PATH
    for _ in range(MOST_PAGES):
        answer = _page(address, access_token, discovery)
        members = answer.get("value")
        if not isinstance(members, list) or not all(_is_group(each) for each in members):
            raise SignInFailed("Microsoft Graph answered with something else than a list of groups.")
        found += [each["id"] for each in members]
        address = answer.get("@odata.nextLink") or ""
        if not address:
            return found
        # Whatever the next link of a page is, the token is sent to Graph only.
        if not isinstance(address, str) or urlsplit(address)[:2] != urlsplit(graph)[:2]:
            raise SignInFailed("Microsoft Graph leads to another host for more groups.")
    raise SignInFailed("Microsoft Graph has more pages of groups than this service reads.")


def _page(address: str, access_token: str, discovery: Discovery) -> dict[str, Any]:
    try:
        return discovery.request("GET", address, headers={"Authorization": f"Bearer {access_token}"})
    except SignInFailed as error:
        raise SignInFailed(
            f"You are in more groups than a token can hold, and Microsoft Graph doesn't tell them. {error} "
            f"Ask your administrator to consent to {PERMISSION} for this application."
        ) from None


def _is_group(member: Any) -> bool:
    return isinstance(member, dict) and isinstance(member.get("id"), str)

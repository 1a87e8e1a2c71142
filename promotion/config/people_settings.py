"""Settings about people: groups, identity provider, and the sign-in that a decision requires."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from msgspec import Meta, Struct

from promotion.errors import Invalid

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class PeopleGroup(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A group in the identity provider: its id, which tokens contain, and a display name."""

    id: str
    name: str = ""

    @property
    def label(self) -> str:
        """The group's display name, or its id if it has none."""
        return self.name or self.id


class Decision(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Required age and strength of the sign-in for a decision; reading pages needs only a valid session."""

    fresh_within: str = "15m"
    reauthenticate: bool = False
    acr_values: tuple[str, ...] = ()

    @property
    def freshness(self) -> timedelta:
        """`fresh_within` as a timedelta; zero if every decision requires a new sign-in at the provider.

        Raises:
            Invalid: `fresh_within` is no duration.
        """
        match = re.fullmatch(r"(\d{1,6})(s|m|h|d)", self.fresh_within)
        if match is None:
            raise Invalid(
                "", f"{self.fresh_within!r} is not a duration; write a number and s, m, h or d, such as 15m or 0s."
            )
        return timedelta(**{_UNITS[match[2]]: int(match[1])})


class Identity(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The OpenID Connect provider; `groups_claim` can name app roles (`roles`) or be a path."""

    issuer: str
    client_id: str
    client_authentication: Literal["client_secret_basic", "client_secret_post", "private_key_jwt", "none"] | None = None
    response_mode: Literal["query", "form_post"] = "query"
    groups_claim: str = "groups"
    groups_separator: Annotated[str, Meta(min_length=1, max_length=8)] | None = None
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    auditors: PeopleGroup | None = None
    session_lifetime: str = "8h"
    requesters: dict[str, str] = {}
    ca_bundle: str | None = None
    proxy: str | None = None
    backchannel_logout: bool = False
    graph: str | None = None


class Web(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A custom domain for the pages, and the VPC from which `sign_in` reaches a provider in a private network."""

    domain_name: str | None = None
    certificate_arn: str | None = None
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()

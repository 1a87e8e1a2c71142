"""People and other actors, their authentication, and the requester of a version."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct

from promotion.domain.same_person import find_match, has_address
from promotion.formatting import principal


class Authentication(Struct, frozen=True, kw_only=True):
    """Authentication of a person: the token's claims, all its names, and the group that granted the right."""

    issuer: str
    subject: str
    names: dict[str, str] = {}
    group: str = ""
    issued_at: datetime | None = None
    auth_time: datetime | None = None
    acr: str = ""
    amr: tuple[str, ...] = ()


class Actor(Struct, frozen=True, kw_only=True):
    """A person, operator or part of the service that did something.

    `person`: signed in, `subject` is the identity provider's; `operator`: an IAM principal, `subject` is its ARN; `requester`:
    who registered a model; `system`: this service, on its own.
    """

    kind: Literal["person", "operator", "requester", "system"]
    subject: str
    name: str = ""
    email: str = ""
    authentication: Authentication | None = None

    @property
    def label(self) -> str:
        """Display name, or the subject if there is none; an ARN by the name of its user or role."""
        return self.name or principal(self.subject)

    @property
    def all_names(self) -> tuple[str, ...]:
        """All names of this actor as written, without repetitions; the display name is last."""
        given = dict(self.authentication.names) if self.authentication else {}
        shown = given.pop("name", "")
        found = (self.subject, self.email, *given.values(), self.name, shown)
        return tuple(dict.fromkeys(name for name in found if name.strip()))

    def is_also(self, other: Actor) -> bool:
        """Return True if both may be one person, by any name except the display name, which can be shared."""
        mine, theirs = self._own_names, other._own_names
        # If both have addresses, these decide; a user name alone is compared with the part before the @.
        local_parts = not (has_address(mine) and has_address(theirs))
        return find_match(mine, theirs, local_parts=local_parts) is not None

    @property
    def _own_names(self) -> tuple[str, ...]:
        given = self.authentication.names if self.authentication else {}
        found = (self.subject, self.email, *(text for claim, text in given.items() if claim != "name"))
        return tuple(name for name in found if name.strip())


SYSTEM = Actor(kind="system", subject="system", name="the service")


class Person(Struct, frozen=True, kw_only=True):
    """A signed-in person: the provider's subject, and the groups that the configuration knows.

    `groups_brought` counts all groups of the token, also those that the configuration doesn't know.
    """

    subject: str
    name: str
    email: str = ""
    groups: frozenset[str] = frozenset()
    groups_brought: int | None = None
    authentication: Authentication | None = None

    def as_actor(self, group: str = "") -> Actor:
        """The actor of an event; `group` is the one that gave the right to act."""
        how = self.authentication
        if how is not None and group:
            how = msgspec.structs.replace(how, group=group)
        return Actor(kind="person", subject=self.subject, name=self.name, email=self.email, authentication=how)


class Requester(Struct, frozen=True, kw_only=True):
    """Requester of a model; `declared_by` is the source: AWS's own record, or the package's metadata.

    `also` has the other names that the registry knows them by, such as `requested_by` beside a Studio profile.
    """

    actor: Actor
    declared_by: Literal["identity", "self"]
    also: tuple[str, ...] = ()

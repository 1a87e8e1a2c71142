"""An event with all data that its mails need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from promotion.config.loading import Config
from promotion.domain.model import Request, VersionState
from promotion.formatting import moment, one_line, readable
from promotion.ledger.events import Event, environment_of, version_of
from promotion.ledger.snapshot import GroupSnapshot
from promotion.links.urls import Links
from promotion.rendering.documents.card import requester_address
from promotion.rendering.documents.pictures import PictureSource

SampleSource = Callable[[str], Sequence[Mapping[str, object]]]
SliceSource = Callable[[str], Mapping[str, object]]

LONGEST_REASON_SHOWN = 2000


class MailContext(Struct, frozen=True, kw_only=True):
    event: Event
    view: GroupSnapshot
    config: Config
    links: Links
    picture: PictureSource
    samples: SampleSource
    slices: SliceSource = lambda uri: {}

    @property
    def group(self) -> str:
        return one_line(self.event.group, 80)

    @property
    def version(self) -> int:
        return version_of(self.event)

    @property
    def environment(self) -> str:
        return environment_of(self.event)

    @property
    def state(self) -> VersionState:
        return self.view.version(self.version)

    @property
    def title(self) -> str:
        return f"{self.group} v{self.version}"

    @property
    def by(self) -> str:
        return one_line(self.event.actor.label, 120)

    @property
    def reason(self) -> str:
        return readable(getattr(self.event.payload, "reason", ""), LONGEST_REASON_SHOWN)[0]

    @property
    def request_id(self) -> str:
        return str(getattr(self.event.payload, "request_id", ""))

    @property
    def pending(self) -> list[Request]:
        """The version's open requests, without those for environments that have left the configuration."""
        asked = (self.state.requests.get(name) for name in self.config.environment_names)
        return [each for each in asked if each is not None and each.state_at(self.event.time) == "Pending"]

    @property
    def requester(self) -> tuple[str, ...]:
        """The requester's address, if it is known and in an allowed domain."""
        address = requester_address(self.state.package)
        return (address,) if self.config.may_write_to(address) else ()

    @property
    def signs_in(self) -> str:
        """The sentence that tells a requester how to open the linked page."""
        return "The page opens to you once you sign in with this address. You can read there; approvers decide."

    @property
    def model_link(self) -> str:
        return self.links.model(self.event.group)

    @property
    def version_link(self) -> str:
        return self.links.version(self.event.group, self.version)

    def moment(self, time: datetime) -> str:
        """Format a time in the zone of `[mail] time_zone`, and in UTC."""
        return moment(time, self.config.mail.time_zone)

    def approvers(self, *environments: str) -> tuple[str, ...]:
        rules = [self.config.environment(name, self.event.group) for name in environments]
        return unique(address for rule in rules for address in rule.approvers)

    def copies(self, *environments: str, requester: bool = False) -> tuple[str, ...]:
        """Return the stakeholders, and the requester if wanted, without approvers."""
        rules = [self.config.environment(name, self.event.group) for name in environments]
        everybody = [address for rule in rules for address in rule.stakeholders]
        known = {address.casefold() for address in self.approvers(*environments)}
        wanted = [*everybody, *(self.requester if requester else ())]
        return unique(address for address in wanted if address.casefold() not in known)


def unique(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses in order, without duplicates; case is ignored."""
    found: dict[str, str] = {}
    for address in addresses:
        found.setdefault(address.casefold(), address)
    return tuple(found.values())

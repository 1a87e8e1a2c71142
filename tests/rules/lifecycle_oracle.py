"""The oracle: a group's states by the table of docs/lifecycle.md, without the service's fold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from promotion import names
from promotion.config.settings import FreezeWindow
from promotion.domain.people import Actor, Requester
from promotion.ledger.events import Event
from promotion.ledger.snapshot import GroupSnapshot
from tests.fakes import CONFIG, GROUP

ORDER = ("dev", "test", "prod")
FIRST = ORDER[0]
Place = tuple[int, str]
# Half of the walks begin with two versions that climbed, and the newer one rolled back from and asked for again in production.
_CLIMBS = [
    [("registered", (v, "dev")), ("approved", (v, "dev")), ("first run passes", (v, "test")), ("approved", (v, "test")),
     ("first run passes", (v, "prod")), ("approved, more needed", (v, "prod")), ("approved", (v, "prod"))]
    for v in (1, 2)
]  # fmt: skip
# Withdrawn and gone forward to in between.
_BACK = [("rolled back to it", (1, "prod")), ("asked again", (2, "prod"))]
PRELUDE = [*_CLIMBS[0], *_CLIMBS[1], *_BACK, ("withdrawn", (2, "prod")), ("rolled back to it", (2, "prod")), *_BACK]
# The shortest way to adopting what was revoked, while nothing was ever live.
REVOKED = [("registered", (1, "dev")), ("revoked", (1, "dev")), ("adopted", (1, "test"))]
# What has to happen to a version before something else can.
LEADS_TO = {
    "package changed, approved": ("package set back", "approved, changed since"),
    "set to Rejected outside": ("approved without the tick",),
    "deleted": ("approved, deleted",),
}
# How often each is walked, beside the others that can happen: what goes on to a later state most, what ends a version least.
WEIGHTS = {
    "registered": 6, "first run passes": 12, "approved": 14, "approved, more needed": 10, "rolled back to it": 6,
    "asked again": 8, "its time": 3, "rejected": 1, "revoked": 0.05, "adopted": 0.02, "adopted, late": 0.1,
    "rolled back to it, never live": 0.1, "described anew": 0.1, "package changed": 0.2, "package changed, approved": 0.2,
    "package set back": 4, "told again": 0.1, "set to Rejected outside": 0.1, "set to Approved outside": 0.1,
    "withdrawn": 1, "deleted": 0.05, "approved in a freeze": 0.5,
}  # fmt: skip


@dataclass
class Oracle:
    """The states of a group by the table so far."""

    states: dict[Place, str] = field(default_factory=dict)
    live: dict[str, int | None] = field(default_factory=lambda: dict.fromkeys(ORDER))
    former: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in ORDER})
    ever_live: set[str] = field(default_factory=set)
    was_live: set[Place] = field(default_factory=set)
    bad: set[Place] = field(default_factory=set)
    asked: dict[Place, datetime] = field(default_factory=dict)
    passes: dict[Place, bool] = field(default_factory=dict)
    measured: dict[Place, bool] = field(default_factory=dict)
    failed: set[Place] = field(default_factory=set)
    told: dict[Place, datetime] = field(default_factory=dict)
    votes: dict[Place, int] = field(default_factory=dict)
    reminded: set[Place] = field(default_factory=set)
    registry: dict[int, str] = field(default_factory=dict)
    approved: set[int] = field(default_factory=set)
    changed: set[int] = field(default_factory=set)
    outside: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    freezes: tuple[FreezeWindow, ...] = ()
    voted_at: dict[Place, datetime] = field(default_factory=dict)
    failed_at: dict[Place, datetime] = field(default_factory=dict)

    def state(self, version: int, name: str) -> str:
        return self.states.get((version, name), "Unregistered")

    @property
    def versions(self) -> list[int]:
        return sorted({version for version, _ in self.states})

    def pending(self, name: str) -> int | None:
        return next((v for v in self.versions if self.state(v, name) == "Pending"), None)

    def newer_there(self, version: int, name: str) -> bool:
        return any(each is not None and each > version for each in (self.pending(name), self.live[name]))

    def last_good(self, name: str, without: int) -> int | None:
        good = (v for v in reversed(self.former[name]) if v != without and (v, name) not in self.bad)
        return next(good, None)

    def wants_tick(self, version: int, name: str) -> bool:
        """Return True if approving needs a confirmation: set to Rejected outside, or a gate failed after a vote."""
        voted, failed = self.voted_at.get((version, name)), self.failed_at.get((version, name))
        return version in self.outside or (voted is not None and failed is not None and voted <= failed)

    def frozen(self, name: str, at: datetime) -> bool:
        return any(window.start <= at < window.end for window in self._windows(name))

    def waited(self, since: datetime, until: datetime, name: str) -> timedelta:
        """Return the time that counts for a request, without freezes; they don't overlap."""
        frozen = (min(window.end, until) - max(window.start, since) for window in self._windows(name))
        return until - since - sum((each for each in frozen if each > timedelta()), timedelta())

    def _windows(self, name: str) -> list[FreezeWindow]:
        return [window for window in self.freezes if not window.environments or name in window.environments]

    def ledger_says(self, version: int) -> str:
        """The `ModelApprovalStatus` that the states come to."""
        first = self.state(version, FIRST)
        if first == "Revoked":
            return names.REJECTED
        if version in self.approved:
            return names.APPROVED
        return names.REJECTED if first == "Rejected" else names.PENDING

    def goes_live(self, version: int, name: str, *, back: bool = False) -> None:
        before = self.live[name]
        self.former[name] = [v for v in self.former[name] if v not in (version, before)]
        if before is not None and self.state(before, name) != "Revoked":
            self.former[name].append(before)
            self.bad |= {(before, name)} if back else set()
        self.bad.discard((version, name))
        self.live[name] = version
        self.ever_live.add(name)
        self.was_live.add((version, name))
        self.approved.add(version)


EVERYBODY, ALL_APPROVERS = "everybody", "approvers of every environment"


def requester(version: int) -> Requester:
    """Another person for each version: one's own newer version is no news to anybody."""
    address = f"r{version}@example.com"
    return Requester(
        actor=Actor(kind="requester", subject=address, name=f"R{version}", email=address), declared_by="self"
    )


def roles(addresses: set[str], event: Event) -> Iterator[str]:
    config = CONFIG
    everyone = {address for each in config.environments for address in each.approvers}
    own = {f"r{event.version}@example.com"}
    # A run is in the environment before the one whose approvers it is for.
    name = config.next(event.environment or "") if event.kind == names.INFERENCE_COMPLETED else event.environment
    approvers = set(config.environment(name, GROUP).approvers) if name else everyone
    if event.kind == names.PACKAGE_REMOVED:
        # Those whose decision it waits for.
        yield from ("approvers" for _ in range(bool(addresses & everyone)))
        yield from ("requester" for _ in range(bool(addresses & own)))
        assert not addresses - everyone - own
        return
    if not name:
        yield EVERYBODY if own <= addresses else ALL_APPROVERS
        assert addresses - own == everyone
        return
    # A reminder goes to those alone who have not voted.
    if addresses >= approvers or (event.kind == names.APPROVER_REMINDED and addresses & approvers):
        yield "approvers"
    if own & addresses:
        yield "requester"
    assert not addresses - approvers - own, addresses


def before_of(name: str) -> str:
    return ORDER[ORDER.index(name) - 1]


def state_of(view: GroupSnapshot, version: int, name: str) -> str:
    """The state that the ledger has, in the table's words."""
    state = view.find_version(version)
    if state is None:
        return "Unregistered"
    status, request = state.statuses[name], state.requests.get(name)
    if status == names.PENDING:
        return "Pending" if request is not None and request.state == "Pending" else "Waiting"
    if status == names.SUPERSEDED and name in state.passed:
        return "Replaced"
    return status

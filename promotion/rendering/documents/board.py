"""The board, as plain data: every group by environments, filtered, sorted and in pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlencode

from msgspec import Struct
from msgspec.structs import asdict, replace

from promotion import names
from promotion.config.loading import Config
from promotion.domain import policy
from promotion.domain.model import EndpointState, EnvironmentState
from promotion.domain.pending import STOPS, stops_everybody, waits_for
from promotion.domain.people import Person
from promotion.formatting import iso, one_line, readable
from promotion.ledger.events import OpenDifferences
from promotion.links.urls import Links
from promotion.rendering.documents.rows import Attention, Cell, ClosedRow, Pending, Trouble
from promotion.rendering.documents.troubles import differences_document, is_troubled, troubles

GROUPS_ON_A_PAGE = 100
# Requests that wait for the reader, and versions in trouble, that one page lists.
MOST_LISTED = 100
LONGEST_FILTER = 63
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

Show = Literal["", "waiting", "trouble", "closed"]
SHOWS: tuple[Show, ...] = ("waiting", "trouble", "closed")
Sort = Literal["name", "newest", "oldest"]
Group = Mapping[str, EnvironmentState]


class BoardFilter(Struct, frozen=True, kw_only=True):
    """Filter and order of the board; other parameters of an address are ignored."""

    q: str = ""
    owner: str = ""
    environment: str = ""
    show: Show = ""
    sort: Sort = "name"
    page: int = 1

    @classmethod
    def read(cls, query: Mapping[str, str], config: Config) -> BoardFilter:
        """Read the query of an address."""
        environment, show, sort, page = (query.get(name, "") for name in ("environment", "show", "sort", "page"))
        return cls(
            q=one_line(query.get("q", ""), LONGEST_FILTER),
            owner=one_line(query.get("owner", ""), LONGEST_FILTER),
            environment=environment if environment in config.environment_names else "",
            show=next((known for known in SHOWS if show == known), ""),
            sort="newest" if sort == "newest" else "oldest" if sort == "oldest" else "name",
            page=max(1, int(page)) if page.isascii() and page.isdecimal() and len(page) < 6 else 1,
        )

    @property
    def is_set(self) -> bool:
        """Return True if groups are left out."""
        return bool(self.q or self.owner or self.environment or self.show)

    def address(self, **changes: object) -> str:
        """The address of the board with this filter, and `changes` of it."""
        wanted = {**asdict(replace(self, **{name: value for name, value in changes.items() if name != "format"}))}
        kept = {name: value for name, value in wanted.items() if value and value not in ("name", 1)}
        return f"/?{urlencode({**kept, **({'format': changes['format']} if 'format' in changes else {})})}".rstrip("?")


def board_document(
    states: Iterable[EnvironmentState],
    person: Person | None,
    config: Config,
    *,
    links: Links,
    now: datetime,
    csrf: str = "",
    wanted: BoardFilter | None = None,
    unreadable: Iterable[str] = (),
    differences: Mapping[str, OpenDifferences] | None = None,
) -> dict[str, object]:
    """Build the board: groups by environments, the person's own tasks first; `wanted` has the filter and order.

    `unreadable` names groups whose states can't be read: nothing else is known of them. `differences` are those that the last
    verification found, by group, and under another name what belongs to no group.
    """
    wanted, differences = wanted or BoardFilter(), differences or {}
    groups: dict[str, dict[str, EnvironmentState]] = {}
    for state in states:
        groups.setdefault(state.group, {})[state.name] = state
    found = [name for name in groups if _matches(name, groups[name], wanted)]
    waiting = [asked for name in found for asked in _waiting(name, groups[name], person, config, links, now, wanted)]
    attention = [cell for name in found for cell in _attention(name, groups[name], person, config, links, now, wanted)]
    if wanted.show == "waiting":
        waits = {asked["group"] for asked in waiting}
        found = [name for name in found if name in waits]
    elif wanted.show == "trouble":
        found = [name for name in found if name in differences or any(map(is_troubled, groups[name].values()))]
    elif wanted.show == "closed":
        found = [name for name in found if any(_last(state, links) for state in groups[name].values())]
    found = _sorted(found, groups, wanted.sort)
    pages = max(1, -(-len(found) // GROUPS_ON_A_PAGE))
    wanted = replace(wanted, page=min(wanted.page, pages))
    begin = (wanted.page - 1) * GROUPS_ON_A_PAGE
    columns = [wanted.environment] if wanted.environment else list(config.environment_names)
    waiting.sort(key=lambda asked: (asked["stopped"] != "", asked["expires_at"], asked["group"]))
    attention.sort(key=lambda cell: (cell["troubles"][0]["tone"] != "shut", cell["troubles"][0]["since"] or ""))
    return {
        "environments": columns,
        "waiting": waiting[:MOST_LISTED],
        "waiting_total": len(waiting),
        "unreadable": [one_line(group, 63) for group in dict.fromkeys(unreadable)],
        "attention": attention[:MOST_LISTED],
        "attention_total": len(attention),
        "differences": [differences_document(name, differences[name]) for name in sorted(differences)],
        "groups": [
            {
                "group": name,
                "link": links.model(name),
                "differences": differences[name].count if name in differences else 0,
                "environments": [cell_document(groups[name].get(column), column, links, now) for column in columns],
            }
            for name in found[begin : begin + GROUPS_ON_A_PAGE]
        ],
        "groups_total": len(groups),
        "groups_found": len(found),
        "page": wanted.page,
        "pages": pages,
        "wanted": {**asdict(wanted), "is_set": wanted.is_set, "environments": list(config.environment_names)},
        "now": iso(now),
        "csrf": csrf,
        "links": {
            "board": links.board(),
            "json": wanted.address(format="json"),
            "waiting": wanted.address(show="waiting", page=1),
            "trouble": wanted.address(show="trouble", page=1),
            "closed": wanted.address(show="closed", page=1),
            "previous": wanted.address(page=wanted.page - 1) if wanted.page > 1 else None,
            "next": wanted.address(page=wanted.page + 1) if wanted.page < pages else None,
        },
    }


def _matches(name: str, group: Group, wanted: BoardFilter) -> bool:
    if wanted.q and wanted.q.casefold() not in name.casefold() and not _owned(group, wanted.q):
        return False
    if wanted.owner and not _owned(group, wanted.owner):
        return False
    if not wanted.environment:
        return True
    state = group.get(wanted.environment)
    return state is not None and (state.live is not None or state.pending is not None)


def _owned(group: Group, owner: str) -> bool:
    """Return True if a person of that name requested the pending version or approved the live one."""
    owner = owner.casefold()
    for state in group.values():
        actor = state.pending_requester.actor if state.pending_requester is not None else None
        known = [*state.live_by, *((actor.label, actor.subject, actor.email) if actor is not None else ())]
        if any(owner in name.casefold() for name in known):
            return True
    return False


def _waiting(
    name: str,
    group: Group,
    person: Person | None,
    config: Config,
    links: Links,
    now: datetime,
    wanted: BoardFilter,
) -> list[dict[str, object]]:
    """Requests of a group that wait for the person."""
    found: list[dict[str, object]] = []
    for environment in config.environment_names:
        state = group.get(environment)
        if person is None or state is None or wanted.environment not in ("", environment):
            continue
        pending = _pending(state, links, now)
        rules = config.environment(environment, name)
        if pending is None or pending["expired"] or not waits_for(person, state, rules, config):
            continue
        asked = {**pending, "group": name, "environment": environment, "quorum": rules.quorum}
        stopped = stops_everybody(state, rules, config, now)
        found.append({**asked, "live": state.live, "gated": bool(rules.gates), "stopped": stopped})
    return found


def next_waiting(
    states: Iterable[EnvironmentState], person: Person, config: Config, *, links: Links, now: datetime, apart_from: str
) -> dict[str, object]:
    """Return the person's next other request, the one that expires first, and how many `more`; empty if there is none.

    What nobody can approve now doesn't count.
    """
    groups: dict[str, dict[str, EnvironmentState]] = {}
    for state in states:
        if state.pending is not None:
            groups.setdefault(state.group, {})[state.name] = state
    found = [
        asked
        for name, group in groups.items()
        for asked in _waiting(name, group, person, config, links, now, BoardFilter())
        if not asked["stopped"] and asked["request_id"] != apart_from
    ]
    if not found:
        return {}
    first = min(found, key=lambda asked: (asked["expires_at"], asked["group"]))
    return {**{name: first[name] for name in ("group", "version", "environment", "link")}, "more": len(found) - 1}


def _attention(
    name: str,
    group: Group,
    person: Person | None,
    config: Config,
    links: Links,
    now: datetime,
    wanted: BoardFilter,
) -> list[Attention]:
    """List live versions of a group with problems, if the person may roll back."""
    return [
        {
            **cell_document(state, state.name, links, now),
            "group": name,
            "environment": state.name,
            "link": links.model(name),
        }
        for state in (group.get(environment) for environment in config.environment_names)
        if state is not None
        and is_troubled(state)
        and wanted.environment in ("", state.name)
        and person is not None
        and policy.may_roll_back(person, state.name, name, config).may
    ]


def _sorted(found: list[str], groups: Mapping[str, Group], sort: Sort) -> list[str]:
    """By name; by the latest change; or by what has been pending longest."""
    if sort == "newest":
        changes = {
            name: max(
                (t for s in groups[name].values() for t in (s.live_since, s.pending_since) if t), default=_LONG_AGO
            )
            for name in found
        }
        return sorted(found, key=lambda name: (-changes[name].timestamp(), name))
    if sort == "oldest":
        since = {
            name: min((s.pending_since.timestamp() for s in groups[name].values() if s.pending_since), default=0.0)
            for name in found
        }
        return sorted(found, key=lambda name: (since[name] == 0.0, since[name], name))
    return sorted(found)


def cell_document(state: EnvironmentState | None, name: str, links: Links, now: datetime) -> Cell:
    """Build the cell of an environment: its live version, its problems, and its pending version."""
    state = state or EnvironmentState(group="", name=name)
    return {
        "name": name,
        "live": state.live,
        "since": iso(state.live_since) if state.live_since else None,
        "by": [one_line(who, 80) for who in state.live_by],
        "revoked": state.revoked,
        **_trouble(state),
        "troubles": troubles(state),
        "endpoint": _endpoint(state.endpoint),
        "pending": _pending(state, links, now),
        "closed": _last(state, links),
    }


def _last(state: EnvironmentState, links: Links) -> ClosedRow | None:
    """The last request that closed without an approval; None once something is pending, or newer and live."""
    last = state.closed
    if last is None or state.pending is not None:
        return None
    if last.state == names.SUPERSEDED and state.live is not None and state.live > last.version:
        return None
    return {
        "version": last.version,
        "state": last.state,
        "at": iso(last.at),
        "by": one_line(last.by, 80),
        "link": links.approval(last.request_id),
        "again": last.state != "Revoked" and last.stop not in policy.ASKING_IS_VAIN,
    }


def _trouble(state: EnvironmentState) -> Trouble:
    """List problems of the live version: drift, a failed integrity check; and a started retraining."""
    since, started = state.drift_since, state.retrained_at
    retraining = state.drift and started is not None and since is not None and started >= since
    return {
        "drift": state.drift,
        "drift_since": iso(since) if since else None,
        "drifting": [
            "inference runs" if who == names.INFERENCE_SOURCE else one_line(who, 80) for who in state.drifting
        ],
        "retraining_since": iso(started) if started and retraining else None,
        "retraining": state.retraining if retraining else "",
        "broken_since": iso(state.broken_since) if state.broken_since else None,
        "failed_since": iso(state.failed_since) if state.failed_since else None,
    }


def _endpoint(state: EndpointState) -> dict[str, object] | None:
    """The real-time endpoint, as it was last seen; None where there never was one."""
    if not state.status and not state.removed:
        return None
    return {
        "name": state.name,
        "status": state.status,
        "version": state.version,
        "problem": readable(state.problem, 600)[0],
        "since": iso(state.since) if state.since else None,
        "removed": state.removed,
    }


def _pending(state: EnvironmentState, links: Links, now: datetime) -> Pending | None:
    """The pending version of an environment, and its request's address."""
    if state.pending is None or not state.pending_since or not state.pending_expires_at:
        return None
    return {
        "request_id": state.pending_id,
        "version": state.pending,
        "since": iso(state.pending_since),
        "expires_at": iso(state.pending_expires_at),
        "expired": now >= state.pending_expires_at,
        "gates_open": state.pending_gates_open,
        "stopped": STOPS.get(state.pending_stop, ""),
        "votes": state.pending_votes,
        "link": links.approval(state.pending_id),
    }

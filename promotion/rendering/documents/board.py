"""The board, as plain data: groups by environments, filtered, sorted and in pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import asdict, replace

from promotion import names
from promotion.config.loading import Config
from promotion.config.settings import Environment
from promotion.domain import policy
from promotion.domain.model import Closed, EndpointState, EnvironmentState
from promotion.domain.pending import STOPS, stops_everybody, waits_for
from promotion.domain.people import Person
from promotion.formatting import iso, one_line, readable
from promotion.ledger.board_page import BoardPage
from promotion.ledger.events import OpenDifferences
from promotion.links.urls import Links
from promotion.rendering.documents.being_written import Written, is_written, just_changed
from promotion.rendering.documents.board_filter import BoardFilter, Sort
from promotion.rendering.documents.rows import Attention, Cell, ClosedRow, Pending, Trouble
from promotion.rendering.documents.troubles import differences_document, troubles

GROUPS_ON_A_PAGE = 100
# The most requests that wait for the reader, and live versions with problems, on one page.
MOST_LISTED = 100
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

Group = Mapping[str, EnvironmentState]


def board_document(
    states: Iterable[EnvironmentState],
    person: Person | None,
    config: Config,
    *,
    links: Links,
    now: datetime,
    csrf: str = "",
    wanted: BoardFilter | None = None,
    page: BoardPage | None = None,
    unreadable: Iterable[str] = (),
    differences: Mapping[str, OpenDifferences] | None = None,
    written: Written | None = None,
) -> dict[str, object]:
    """Build the board: groups by environments, the person's own tasks first; `wanted` has the filter and order.

    `states` are those of all groups; if `wanted` shows no others, only of active groups and groups with differences.
    With `page`, the rows are those of the page, and `states` are those of the active groups. `unreadable` names groups
    whose states can't be read. `differences` are those that the last verification found, by group; those of no group
    have another name.
    """
    wanted, differences = wanted or BoardFilter(), differences or {}
    groups = _by_group(states)
    found = [name for name in groups if _matches(name, groups[name], wanted)]
    on_page = _by_group(page.states) if page is not None else {}
    changed = just_changed({**{name: groups[name] for name in found}, **on_page}, now)
    reached = written(changed) if written is not None and changed else {}
    given = (person, config, links, now, wanted)
    waiting = [asked for name in found for asked in _waiting(name, groups[name], *given, reached.get(name))]
    attention = [cell for name in found for cell in _attention(name, groups[name], *given, reached.get(name))]
    if page is not None:
        groups, found = on_page, list(on_page)
    elif wanted.show == "waiting":
        waits = {asked["group"] for asked in waiting}
        found = [name for name in found if name in waits]
    elif wanted.show == "trouble":
        found = [name for name in found if name in differences or _is_troubled(groups[name], config)]
    elif wanted.show == "closed":
        found = [name for name in found if any(map(_closed, groups[name].values()))]
    found = _sorted(found, groups, wanted.sort)
    paging = _by_number(found, wanted) if page is None else _by_name(found, wanted, page)
    wanted = paging.wanted
    columns = [wanted.environment] if wanted.environment else list(config.environment_names)
    waiting.sort(key=lambda asked: (asked["stopped"] != "", asked["expires_at"], asked["group"]))
    attention.sort(
        key=lambda cell: (cell["troubles"][0]["tone"] != "shut", cell["troubles"][0]["since"] or "", cell["group"])
    )
    first_page: dict[str, object] = {"page": 1, "after": "", "before": ""}
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
                "environments": [
                    cell_document(
                        groups[name].get(column),
                        column,
                        config.environment(column, name),
                        links,
                        now,
                        reached.get(name),
                    )
                    for column in columns
                ],
            }
            for name in paging.groups
        ],
        # The number of groups is unknown, because counting them requires reading all of them.
        "groups_total": None if wanted.is_of_active or paging.found is None else len(groups),
        "groups_found": paging.found,
        "page": paging.number,
        "pages": paging.pages,
        "wanted": {**asdict(wanted), "is_set": wanted.is_set, "environments": list(config.environment_names)},
        "now": iso(now),
        "csrf": csrf,
        "links": {
            "board": links.board(),
            "json": wanted.address(format="json"),
            "waiting": wanted.address(show="waiting", **first_page),
            "trouble": wanted.address(show="trouble", **first_page),
            "closed": wanted.address(show="closed", **first_page),
            "previous": paging.previous,
            "next": paging.next,
        },
    }


class _Paging(Struct, frozen=True, kw_only=True):
    """The groups of a page, and the addresses of the pages beside it; numbers are None if not all groups were read."""

    wanted: BoardFilter
    groups: list[str]
    found: int | None
    number: int | None
    pages: int | None
    previous: str | None
    next: str | None


def _by_number(found: list[str], wanted: BoardFilter) -> _Paging:
    """Return a page of all groups found; the last page if the number is too high."""
    pages = max(1, -(-len(found) // GROUPS_ON_A_PAGE))
    wanted = replace(wanted, page=min(wanted.page, pages), after="", before="")
    begin = (wanted.page - 1) * GROUPS_ON_A_PAGE
    return _Paging(
        wanted=wanted,
        groups=found[begin : begin + GROUPS_ON_A_PAGE],
        found=len(found),
        number=wanted.page,
        pages=pages,
        previous=wanted.address(page=wanted.page - 1) if wanted.page > 1 else None,
        next=wanted.address(page=wanted.page + 1) if wanted.page < pages else None,
    )


def _by_name(found: list[str], wanted: BoardFilter, page: BoardPage) -> _Paging:
    """Return the page that was read; it has numbers only if it is the only one."""
    is_only = not (page.earlier or page.later)
    return _Paging(
        wanted=wanted,
        groups=found,
        found=len(found) if is_only else None,
        number=1 if is_only else None,
        pages=1 if is_only else None,
        previous=wanted.address(before=page.first, after="") if page.earlier else None,
        next=wanted.address(after=page.last, before="") if page.later else None,
    )


def _by_group(states: Iterable[EnvironmentState]) -> dict[str, dict[str, EnvironmentState]]:
    groups: dict[str, dict[str, EnvironmentState]] = {}
    for state in states:
        groups.setdefault(state.group, {})[state.name] = state
    return groups


def _is_troubled(group: Group, config: Config) -> bool:
    """Return True if a live version has a problem, in an environment of the configuration."""
    return any(group[name].is_troubled for name in config.environment_names if name in group)


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
    reached: int | None = None,
) -> list[dict[str, object]]:
    """Return the requests of a group that wait for the person."""
    found: list[dict[str, object]] = []
    for environment in config.environment_names:
        state = group.get(environment)
        if person is None or state is None or wanted.environment not in ("", environment):
            continue
        rules = config.environment(environment, name)
        pending = _pending(state, rules, links, now)
        if pending is None or pending["expired"] or not waits_for(person, state, rules, config):
            continue
        asked = {**pending, "group": name, "environment": environment, "quorum": rules.quorum}
        stopped = stops_everybody(state, rules, config, now)
        live = {"live": state.live, "written": is_written(state, reached)}
        found.append({**asked, **live, "gated": bool(rules.gates), "stopped": stopped})
    return found


def next_waiting(
    states: Iterable[EnvironmentState], person: Person, config: Config, *, links: Links, now: datetime, apart_from: str
) -> dict[str, object]:
    """Return the person's next other request, the one that expires first, and how many `more`; empty if there is none.

    Requests that nobody can approve now don't count.
    """
    groups = _by_group(state for state in states if state.pending is not None)
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
    reached: int | None = None,
) -> list[Attention]:
    """List live versions of a group with problems, if the person may roll back."""
    return [
        {
            **cell_document(state, state.name, config.environment(state.name, name), links, now, reached),
            "group": name,
            "environment": state.name,
            "link": links.model(name),
        }
        for state in (group.get(environment) for environment in config.environment_names)
        if state is not None
        and state.is_troubled
        and wanted.environment in ("", state.name)
        and person is not None
        and policy.may_roll_back(person, state.name, name, config).may
    ]


def _sorted(found: list[str], groups: Mapping[str, Group], sort: Sort) -> list[str]:
    """Sort groups by name, by the latest change, or by the oldest pending request."""
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


def cell_document(
    state: EnvironmentState | None,
    name: str,
    rules: Environment,
    links: Links,
    now: datetime,
    reached: int | None = None,
) -> Cell:
    """Build the cell of an environment: its live version, its problems, and its pending version."""
    state = state or EnvironmentState(group="", name=name)
    return {
        "name": name,
        "live": state.live,
        "since": iso(state.live_since) if state.live_since else None,
        "by": [one_line(who, 80) for who in state.live_by],
        "revoked": state.revoked,
        "written": is_written(state, reached),
        **_trouble(state),
        "troubles": troubles(state),
        "endpoint": _endpoint(state.endpoint),
        "pending": _pending(state, rules, links, now),
        "closed": _last(state, rules, links),
    }


def _closed(state: EnvironmentState) -> Closed | None:
    """Return the last request closed without approval; None if one is pending, or its newer version is live."""
    last = state.closed
    if last is None or state.pending is not None:
        return None
    if last.state == names.SUPERSEDED and state.live is not None and state.live > last.version:
        return None
    return last


def _last(state: EnvironmentState, rules: Environment, links: Links) -> ClosedRow | None:
    last = _closed(state)
    if last is None:
        return None
    return {
        "version": last.version,
        "state": last.state,
        "at": iso(last.at),
        "by": one_line(last.by, 80),
        "link": links.approval(last.request_id),
        "again": policy.asking_helps(last.stop, rules),
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
    """Return the last recorded state of the real-time endpoint; None if there never was one."""
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


def _pending(state: EnvironmentState, rules: Environment, links: Links, now: datetime) -> Pending | None:
    """Return the pending version of an environment, with the address of its request."""
    if state.pending is None or not state.pending_since or not state.pending_expires_at:
        return None
    expired = now >= state.pending_expires_at
    stop = state.pending_stop or ("" if state.pending_requester is not None else "requester_unknown")
    return {
        "request_id": state.pending_id,
        "version": state.pending,
        "since": iso(state.pending_since),
        "expires_at": iso(state.pending_expires_at),
        "expired": expired,
        "again": expired and policy.asking_helps(stop, rules),
        "gates_open": state.pending_gates_open,
        "stopped": STOPS.get(state.pending_stop, ""),
        "votes": state.pending_votes,
        "link": links.approval(state.pending_id),
    }

"""View data of a model's page and a version's page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from promotion import names
from promotion.config.loading import Config
from promotion.domain import policy
from promotion.domain.gate_result import GateResult
from promotion.domain.model import EnvironmentState, Evidence, Head, Request, VersionState
from promotion.domain.people import Person
from promotion.formatting import iso, one_line, readable
from promotion.ledger.events import Event, OpenDifferences
from promotion.ledger.snapshot import GroupSnapshot, falls_back
from promotion.links.urls import Links
from promotion.rendering.documents.being_written import cursor_of, is_written
from promotion.rendering.documents.board import cell_document
from promotion.rendering.documents.card import package_document
from promotion.rendering.documents.compared import compared_document
from promotion.rendering.documents.evidence import evidence_document, finite, gate_documents
from promotion.rendering.documents.rows import Point, Series
from promotion.rendering.documents.story import live_in
from promotion.rendering.documents.troubles import differences_document
from promotion.rendering.sentences import sentence

EVENTS_SHOWN = 200
METRICS_DRAWN = 6


def model_document(
    group: str,
    versions: Sequence[VersionState],
    environments: Mapping[str, EnvironmentState],
    events: Sequence[Event],
    person: Person | None,
    config: Config,
    *,
    csrf: str,
    links: Links,
    now: datetime,
    differences: OpenDifferences | None = None,
    applied: Mapping[str, int] | None = None,
) -> dict[str, object]:
    """Build a model package group's page: live versions, all versions with metrics, possible operations, events.

    `applied` has each projection target's cursor.
    """
    view = GroupSnapshot(Head(group=group), environments=dict(environments), versions={v.version: v for v in versions})
    newest_first = sorted(versions, key=lambda state: state.version, reverse=True)
    revoking = policy.may_revoke(person, group, config) if person is not None else None
    shown = event_documents(events)
    left_out = sorted(event.sequence for event in events)[-EVENTS_SHOWN:][0] - 1 if events else 0
    return {
        "model_package_group": group,
        "differences": differences_document(group, differences) if differences is not None else None,
        "environments": [
            _environment(environments.get(name), group, name, newest_first, person, config, links, now, applied)
            for name in config.environment_names
        ],
        "versions": [_version_row(state, view, config, links, now, applied) for state in newest_first],
        "series": _series(sorted(versions, key=lambda state: state.version), config, group),
        "may_revoke": revoking is not None and revoking.may,
        "who_may_revoke": revoking.who_may if revoking is not None else "",
        "events": shown,
        "events_left_out": left_out,
        "now": iso(now),
        "csrf": csrf,
        "links": {
            "self": links.model(group),
            "board": links.board(),
            "earlier": f"{links.model(group)}?before={left_out + 1}" if left_out else None,
        },
    }


def version_document(
    state: VersionState,
    view: GroupSnapshot,
    events: Sequence[Event],
    person: Person | None,
    config: Config,
    *,
    csrf: str,
    links: Links,
    now: datetime,
    numbers: Iterable[int] = (),
    other: VersionState | None = None,
    own_image: str = "",
    applied: Mapping[str, int] | None = None,
) -> dict[str, object]:
    """Build a version's page: status and evidence by environment, its package, and its own history.

    `events` are the events of the group that were read, the newest or those before an event; `numbers` are the numbers
    of all versions, `other` is a version to compare with, `own_image` is this service's inference image; `applied` has
    each projection target's cursor.
    """
    group, version, environments = state.group, state.version, view.environments
    revoking = policy.may_revoke(person, group, config) if person is not None else None
    registered = _registered_evidence(state, config.environment_names[0])
    measured = [] if registered is None else [(registered, state.requests[config.environment_names[0]].evidence_digest)]
    measured += [
        (state.evidence[name], state.evidence_digests.get(name, ""))
        for name in config.environment_names
        if name in state.evidence
    ]
    own = [event for event in events if event.version == version]
    left_out = _left_out(own, events)
    return {
        "model_package_group": group,
        "model_package_version": version,
        "revoked": state.revoked,
        "bypassed": state.bypassed,
        "furthest": state.furthest,
        "live_in": live_in(state, environments),
        "being_written": _being_written(state, environments, applied),
        "falls_back": falls_back(view, version, config),
        "environments": [
            {
                "name": name,
                "status": state.statuses.get(name, ""),
                "live": environments[name].live == version if name in environments else False,
                "request": request_summary(state.requests[name], links, now) if name in state.requests else None,
                "votes": [
                    {
                        "name": one_line(vote.actor.label, 120),
                        "verdict": vote.verdict,
                        "reason": vote.reason,
                        "at": iso(vote.at),
                    }
                    for vote in (state.requests[name].votes if name in state.requests else ())
                ],
                "gates": gate_documents(state.requests[name].gates) if name in state.requests else [],
            }
            for name in config.environment_names
        ],
        "package": package_document(
            state.package, registered, config.environment_names, _gates(state), own_image=own_image
        ),
        "evidence": [evidence_document(evidence, None, digest=digest) for evidence, digest in measured],
        "others": sorted((number for number in numbers if number != version), reverse=True),
        "compared": compared_document(state, other, config.environment_names) if other is not None else None,
        "may_revoke": revoking is not None and revoking.may and not state.revoked,
        "reads_all": person is None or policy.may_read(person, config),
        "who_may_revoke": revoking.who_may if revoking is not None else "",
        "events": event_documents(own),
        "events_left_out": left_out,
        "now": iso(now),
        "csrf": csrf,
        "links": {
            "self": links.version(group, version),
            "revoke": links.revoke(group, version),
            "model": links.model(group),
            "board": links.board(),
            "earlier": f"{links.version(group, version)}?before={left_out + 1}" if left_out else None,
        },
    }


def request_summary(request: Request, links: Links, now: datetime) -> dict[str, object]:
    """Build a request's row in a list: its state, without its evidence."""
    return {
        "request_id": request.id,
        "version": request.version,
        "environment": request.environment,
        "attempt": request.attempt,
        "state": request.state_at(now),
        "requested_at": iso(request.requested_at),
        "expires_at": iso(request.expires_at),
        "gates_open": request.gates_open,
        "approvals": len(request.approvals),
        "link": links.approval(request.id),
    }


def event_documents(events: Sequence[Event]) -> list[dict[str, object]]:
    """Build the list of events, newest first, each as a sentence with its place in the ledger."""
    newest = sorted(events, key=lambda event: event.sequence, reverse=True)[:EVENTS_SHOWN]
    return [
        {
            "sequence": event.sequence,
            "time": iso(event.time),
            "kind": event.kind,
            "version": event.version,
            "environment": event.environment,
            "actor": one_line(event.actor.label, 120),
            "actor_kind": event.actor.kind,
            "verdict": getattr(event.payload, "verdict", None),
            "reason": getattr(event.payload, "reason", "") or None,
            "sentence": readable(sentence(event), 2400)[0],
            "hash": event.hash,
        }
        for event in newest
    ]


def _left_out(own: Sequence[Event], events: Sequence[Event]) -> int:
    """Return how many events of the group are older than those read; 0 if all events of the version were read."""
    sequences = sorted((event.sequence for event in own), reverse=True)
    if len(sequences) > EVENTS_SHOWN:
        return sequences[EVENTS_SHOWN - 1] - 1
    if any(event.kind == names.MODEL_REGISTERED for event in own):
        return 0
    return min((event.sequence for event in events), default=1) - 1


def _gates(state: VersionState) -> list[GateResult]:
    """Return the gates of a version's requests."""
    return [gate for request in state.requests.values() for gate in request.gates]


def _environment(
    state: EnvironmentState | None,
    group: str,
    name: str,
    versions: Sequence[VersionState],
    person: Person | None,
    config: Config,
    links: Links,
    now: datetime,
    applied: Mapping[str, int] | None,
) -> dict[str, object]:
    """Build an environment of a model, with its rollback targets; the first of `targets` is the default."""
    state = state or EnvironmentState(group=group, name=name)
    rules = config.environment(name, group)
    revoked = {found.version for found in versions if found.revoked}
    back = {found.version for found in versions if found.statuses.get(name) == names.ROLLED_BACK}
    kept = [number for number in reversed(state.former) if number not in revoked and number != state.live]
    targets = sorted(kept, key=lambda number: number in back)
    judged = policy.may_roll_back(person, name, group, config) if person is not None else None
    return {
        **cell_document(state, name, rules, links, now, cursor_of(applied)),
        "approver_group": rules.approver_group.label,
        "quorum": rules.quorum,
        "targets": targets,
        "rolled_back": [number for number in targets if number in back],
        "may_roll_back": judged is not None and judged.may and bool(targets),
        "why_not": judged.why_not if judged is not None else "",
        "who_may": judged.who_may if judged is not None else "",
        "rollback": links.rollback(group, name),
    }


def _version_row(
    state: VersionState,
    view: GroupSnapshot,
    config: Config,
    links: Links,
    now: datetime,
    applied: Mapping[str, int] | None,
) -> dict[str, object]:
    requester = state.package.requester
    evidence = _comparable_evidence(state, config.environment_names[0])
    return {
        "version": state.version,
        "statuses": {name: state.statuses.get(name, "") for name in config.environment_names},
        "live_in": live_in(state, view.environments),
        "being_written": _being_written(state, view.environments, applied),
        "falls_back": falls_back(view, state.version, config),
        "revoked": state.revoked,
        "bypassed": state.bypassed,
        "created_at": iso(state.package.created_at) if state.package.created_at else None,
        "requester": one_line(requester.actor.label, 120) if requester else "",
        "description": one_line(state.package.description, 140),
        "metrics": {name: finite(metric.value) for name, metric in evidence.metrics.items()} if evidence else {},
        "requests": {name: request_summary(request, links, now) for name, request in state.requests.items()},
        "link": links.version(state.group, state.version),
        "revoke": links.revoke(state.group, state.version),
    }


def _being_written(
    state: VersionState, environments: Mapping[str, EnvironmentState], applied: Mapping[str, int] | None
) -> list[str]:
    """Return the environments of `live_in` in which Parameter Store doesn't have the version yet."""
    reached = cursor_of(applied)
    return [name for name in live_in(state, environments) if not is_written(environments[name], reached)]


def _series(versions: Sequence[VersionState], config: Config, group: str) -> list[Series]:
    """Return each metric's points with intervals over the versions, those with a gate first, then the most common."""
    first = config.environment_names[0]
    gates = [gate.metric for name in config.environment_names for gate in config.environment(name, group).gates]
    gated = {metric: rank for rank, metric in enumerate(dict.fromkeys(gates))}
    points: dict[str, list[Point]] = {}
    for state in versions:
        evidence = _comparable_evidence(state, first)
        for name, metric in (evidence.metrics if evidence else {}).items():
            if (value := finite(metric.value)) is not None:
                measured = evidence is state.evidence.get(first)
                point: Point = {
                    "version": state.version,
                    "value": value,
                    "low": metric.low,
                    "high": metric.high,
                    "registered": not measured,
                }
                points.setdefault(name, []).append(point)
    # A metric with one point is not drawn.
    points = {name: found for name, found in points.items() if len(found) > 1}
    common = sorted(points, key=lambda name: (gated.get(name, len(gated)), -len(points[name]), name))[:METRICS_DRAWN]
    return [{"metric": name, "points": points[name]} for name in common]


def _comparable_evidence(state: VersionState, first: str) -> Evidence | None:
    """Return the metrics of the first environment's run, else the registered ones."""
    measured = state.evidence.get(first)
    return measured if measured is not None and measured.metrics else _registered_evidence(state, first)


def _registered_evidence(state: VersionState, first: str) -> Evidence | None:
    request = state.requests.get(first)
    return request.evidence if request else None

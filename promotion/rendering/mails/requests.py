"""The mail that requests a decision, and its reminder."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from promotion import names
from promotion.domain import own_models, policy
from promotion.domain.gate_result import GateKind, GateResult
from promotion.domain.model import EnvironmentState, Evidence, Request, VersionState
from promotion.domain.pending import STOPS
from promotion.domain.people import Person
from promotion.formatting import listed, number, readable, span
from promotion.ledger import payloads
from promotion.ledger.request_state import request_of
from promotion.rendering.documents.card import package_document
from promotion.rendering.documents.evidence import (
    comparison,
    gate_documents,
    problems,
    reported_by,
    sample_documents,
    stopped_by,
    worst_slices,
)
from promotion.rendering.documents.pictures import drawn
from promotion.rendering.documents.rows import MetricRow, SliceRow
from promotion.rendering.documents.story import against_live, approved_before, ended_before, gates_said
from promotion.rendering.mails import stops
from promotion.rendering.mails.context import MailContext
from promotion.rendering.mails.layout import Letter, Picture

LONGEST_NOTE = 200
PROBLEMS_IN_MAIL = 2
SAMPLES_IN_MAIL = 3


def requested(o: MailContext) -> list[Letter]:
    """Write to the approvers, with registered metrics or those of a run; nothing if the request is superseded."""
    request = request_of(o.event)
    now = o.state.requests.get(o.environment)
    if now is None or now.attempt > request.attempt or (now.id == request.id and now.state == "Superseded"):
        return []
    # A person who requests approval again has seen on the page why the version can't be approved.
    return [_ask(o, request), *(stops.stopped(o, request) if o.event.actor.kind == "system" else [])]


def reminded(o: MailContext) -> list[Letter]:
    request = o.state.requests.get(o.environment)
    # A delayed reminder about a closed request would only confuse.
    if request is None or request.id != o.request_id or request.state_at(o.event.time) != "Pending":
        return []
    if not _refused_to_all(o, request, o.view.environment(request.environment)).may:
        # Approvers could only reject it. They and the requester, who can act, were informed before.
        return []
    voters = {vote.actor.email.casefold() for vote in request.votes}
    letter = _ask(o, request, reminder=True)
    return [replace(letter, to=tuple(address for address in letter.to if address.casefold() not in voters))]


def measured(o: MailContext, payload: payloads.InferenceCompleted) -> list[Letter]:
    """Write about a further run that changed the gate results of an open request, or about a failed run."""
    if payload.status == "Failed":
        return stops.run_failed(o, payload)
    if not payload.told:
        return []
    pending = [request for request in o.pending if request.id == payload.request_id]
    found = [_ask(o, request) for request in pending]
    return found + [letter for request in pending if not request.gates_open for letter in stops.stopped(o, request)]


def _ask(o: MailContext, request: Request, *, reminder: bool = False) -> Letter:
    name, evidence, gates = request.environment, request.evidence, request.gates
    rules = o.config.environment(name, o.event.group)
    live = _live(o, name)
    before = live.requests[name].evidence if live and name in live.requests else None
    lower = frozenset(gate.metric for gate in rules.gates if gate.metric and gate.lower_is_better)
    rows = comparison(evidence, before, gates, lower)
    checks, against = (
        gates_said(gates, name, evidence.environment),
        against_live(rows, o.version, live.version if live else None, name),
    )
    package = package_document(o.state.package, evidence, o.config.environment_names)
    environment = replace(o.view.environment(name), live=live.version if live else None)
    refused = _refused_to_all(o, request, environment)
    stopped = _stopped(refused, gates)
    left = span(request.expires_at - o.event.time)
    pictures, lost = ((), []) if reminder else _pictures(o, evidence, rows)
    if stopped:
        subject = f"[{name}] {o.title}: {stopped}"
        headline, button = f"{o.title} can’t enter {name}", "See why"
        why = checks["title"] if refused.code == "gate_shut" else refused.why_not.rstrip(".")
        intro = f"{why}: you can only reject it."
        if refused.code in ("artifact", "requester_unknown"):
            intro += f" {refused.who_may}"
    else:
        subject = f"[{name}] {o.title}: approve for {name}"
        headline, button = f"Approve {o.title} for {name}?", "Review and decide"
        intro = f"{checks['title']}; {against['title'][:1].lower()}{against['title'][1:]}."
    if reminder:
        subject = f"[{name}] {o.title}: still pending, {left} left"
        intro = f"Requested {span(o.event.time - request.requested_at)} ago; nobody has decided yet."
    asked = own_models.asked_people(o.approvers(name), o.state, rules, o.config)
    if alone := own_models.nobody_else_decides(o.state, rules, o.config):
        subject = f"[{name}] {o.title}: no approver for {name}"
        headline, button = f"Nobody who was asked may approve {o.title} for {name}", "See the request"
        intro = f"{alone} Nobody else was asked. Whoever runs this service can name another under approvers."
    return Letter(
        to=asked or o.approvers(name),
        cc=() if reminder else o.copies(name),
        subject=subject,
        tone="stopped" if stopped else "ask",
        eyebrow=f"{'Reminder: approval' if reminder else 'Approval'} for {name}",
        headline=headline,
        intro=[intro],
        action=(button, o.links.approval(request.id)),
        version=o.version,
        live=live.version if live else None,
        rows=rows,
        gates=[gate for gate in gate_documents(gates) if not gate["metric"]],
        problems=[
            *([refused.why_not] if refused.code in ("hashing", "frozen") else []),
            *_unsaid(problems(evidence, before), evidence, gates),
        ][:PROBLEMS_IN_MAIL],
        pictures=pictures,
        lost_pictures=lost,
        facts=[
            *([("Failed", checks["text"])] if checks["tone"] == "shut" else []),
            *([(f"Against v{live.version}", against["text"])] if live and against["text"] else []),
            *_before(o, name),
            *_reporter(evidence),
            *_weakest(o, evidence, rows),
            *_notes(package, readable(request.changed, LONGEST_NOTE)[0]),
            *_moving_image(package),
            *_people(o, package, name),
            ("Decide by", f"{o.moment(request.expires_at)}, in {left}" + _quorum(rules.quorum)),
        ],
        samples=_samples(o, evidence),
        why=f"You receive this because you are an approver or stakeholder of {name}.",
    )


def _moving_image(package: dict[str, Any]) -> list[tuple[str, str]]:
    moves = any(container["image_can_move"] for container in package["containers"])
    return [("Image", "Named by a tag, which can be moved to another image after the approval.")] if moves else []


def _reporter(evidence: Evidence) -> list[tuple[str, str]]:
    """Return the row that names the reporter of numbers which no run of this service measured."""
    return [("Numbers reported by", f"{reported_by(evidence)}; not measured here")] if evidence.reporter else []


def _unsaid(problems: list[str], evidence: Evidence, gates: tuple[GateResult, ...]) -> list[str]:
    """Return the problems; without that of a failed run if the gate about the run names it already."""
    said = evidence.source == "inference" and any(gate.kind is GateKind.RUN for gate in gates)
    return problems[1:] if said else problems


def _refused_to_all(o: MailContext, request: Request, environment: EnvironmentState) -> policy.Judgement:
    """Return the reason for which any approver's approval would be refused; `may` is True if there is none."""
    rules = o.config.environment(request.environment, o.event.group)
    anyone = Person(subject="", name="", groups=frozenset({rules.approver_group.id}))
    situation = policy.Situation(
        config=o.config, request=request, version=o.state, environment=environment, now=o.event.time
    )
    judged = policy.may_decide(anyone, names.APPROVED, situation)
    # Refusals because the request was closed since don't matter for this mail.
    return judged if judged.kind == "policy" else policy.ALLOWED


def _stopped(refused: policy.Judgement, gates: tuple[GateResult, ...]) -> str:
    """Return why a version is blocked, in few words for a subject; empty if it is temporary."""
    if refused.may or refused.code in ("hashing", "frozen"):
        return ""
    if refused.code == "gate_shut":
        return stopped_by(gates)
    return STOPS.get(refused.code, "stopped")


def _live(o: MailContext, name: str) -> VersionState | None:
    """Return the version to compare with: the live one, or the one before if the candidate is live."""
    environment: EnvironmentState = o.view.environment(name)
    if environment.live is not None and environment.live < o.version:
        return o.view.find_version(environment.live)
    if environment.live is None:
        return None
    older = [number for number in environment.former if number < o.version]
    return o.view.find_version(older[-1]) if older else None


def _pictures(o: MailContext, evidence: Evidence, rows: list[MetricRow]) -> tuple[tuple[Picture, ...], list[str]]:
    """Return the first picture of a run with its text alternative, or the names of unreadable ones."""
    found, lost = drawn(evidence, rows, o.picture, most=1)
    return tuple(
        (f"picture{index}.{o.event.event_id}@promotion", each.name, each.data, each.alternative)
        for index, each in enumerate(found)
    ), ([] if found else lost)


def _weakest(o: MailContext, evidence: Evidence, rows: list[MetricRow]) -> list[tuple[str, str]]:
    """Return the row of the slice with the worst value of the most important metric."""
    found = worst_slices(o.slices(evidence.metrics_uri), rows, 1) if evidence.metrics_uri else []
    return [("Weakest slice", f"{s['slice']}: {s['metric']} {number(s['value'])}{_distance(s)}") for s in found]


def _distance(row: SliceRow) -> str:
    change = f", {row['change']} from the whole" if row["change"] else ""
    return change + (f", n = {row['n']:,}" if row["n"] is not None else "")


def _notes(package: dict[str, Any], changed: str) -> list[tuple[str, str]]:
    if changed:
        return [("What changed", changed)]
    text = readable(package["description"], LONGEST_NOTE)[0]
    return [("Description", text)] if text else []


def _before(o: MailContext, name: str) -> list[tuple[str, str]]:
    """Return the row about the end of the version's previous request."""
    now = o.state.requests.get(name)
    if now is None or not (found := ended_before(now)):
        return []
    newest = found[0]
    who = f" by {newest['by']}" if newest["by"] else ""
    why = f": “{readable(newest['reason'], LONGEST_NOTE)[0]}”" if newest["reason"] else ""
    more = f"; {len(found) - 1} earlier" if len(found) > 1 else ""
    return [("Before", f"{newest['how']}{who} on {o.moment(now.earlier[-1].at)}{why}{more}")]


def _people(o: MailContext, package: dict[str, Any], name: str) -> list[tuple[str, str]]:
    """Return the row of the requester, or of the approvers in the environments before this one."""
    before = approved_before(o.state, name, o.config)
    if before:
        return [("Approved by", "; ".join(f"{listed(each['by'])} for {each['environment']}" for each in before))]
    requester = package["requester"]
    return [("Registered by", f"{requester['name']} ({requester['how']})" if requester else "unknown")]


def _quorum(quorum: int) -> str:
    return f"; {quorum} approvals needed" if quorum > 1 else ""


def _samples(o: MailContext, evidence: Evidence) -> list[dict[str, object]]:
    if not o.config.mail.samples_in_mail or not evidence.metrics_uri:
        return []
    return [
        {key: readable(value, 300)[0] if isinstance(value, str) else value for key, value in sample.items()}
        for sample in sample_documents(o.samples(evidence.metrics_uri))[:SAMPLES_IN_MAIL]
    ]

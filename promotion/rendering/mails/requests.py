"""The mail on which a decision is made, and its reminder."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from promotion import names
from promotion.domain import policy
from promotion.domain.gate_result import GateKind, GateResult
from promotion.domain.model import EnvironmentState, Evidence, Person, Request, VersionState
from promotion.formatting import counted, listed, moment, number, one_line, readable, size, span
from promotion.ledger import payloads
from promotion.ledger.request_state import request_of
from promotion.rendering.documents.card import differences, package_document
from promotion.rendering.documents.costs import dollars
from promotion.rendering.documents.evidence import (
    comparison,
    evidence_document,
    gate_documents,
    sample_documents,
    stopped_by,
    worst_slices,
)
from promotion.rendering.documents.pictures import drawn
from promotion.rendering.documents.story import against_live, approved_before, consequences, gates_said
from promotion.rendering.mails.context import Occasion
from promotion.rendering.mails.layout import Letter, Picture

LONGEST_NOTE = 1200
SAMPLES_IN_MAIL = 3
SLICES_IN_MAIL = 3


def requested(o: Occasion) -> list[Letter]:
    """Registered metrics for the first environment, an inference run's for the others."""
    request = request_of(o.event)
    return [_ask(o, request)]


def reminded(o: Occasion) -> list[Letter]:
    request = o.state.requests.get(o.environment)
    # A reminder that comes late, of something decided since, would only confuse.
    if request is None or request.id != o.request_id or request.state_at(o.event.time) != "Pending":
        return []
    return [_ask(o, request, reminder=True)]


def measured(o: Occasion, payload: payloads.InferenceCompleted) -> list[Letter]:
    """A further run by which the gates of an open request say something else than before."""
    if not payload.told:
        return []
    asked = [request for request in o.state.requests.values() if request.id == payload.request_id]
    return [_ask(o, request) for request in asked if request.state_at(o.event.time) == "Pending"]


def _ask(o: Occasion, request: Request, *, reminder: bool = False) -> Letter:
    name, evidence, gates = request.environment, request.evidence, request.gates
    rules = o.config.environment(name, o.event.group)
    live = _live(o, name)
    before = live.requests[name].evidence if live and name in live.requests else None
    lower = frozenset(gate.metric for gate in rules.gates if gate.metric and gate.lower_is_better)
    rows = comparison(evidence, before, gates, lower)
    glance = [gates_said(gates, name), against_live(rows, o.version, live.version if live else None, name)]
    package = package_document(o.state.package, evidence, o.config.environment_names)
    previous, environment = o.config.previous(name), o.view.environment(name)
    environment = replace(environment, live=live.version if live else None)
    refused = _refused_to_all(o, request, environment)
    stopped = _stopped(refused, gates)
    left = span(request.expires_at - o.event.time)
    pictures, lost = ((), []) if reminder else _pictures(o, evidence, rows)
    will = consequences(request, environment, o.config, o.requester_name, o.event.time)
    if stopped:
        subject = f"[{name}] {o.title}: {stopped}"
        headline, button = f"{o.title} can’t enter {name}", "See why it is stopped"
        while_ = "While a gate is shut, approving" if refused.code == "gate_shut" else f"{refused.why_not} Approving"
        lede = [f"{while_} is refused: it stays out of {name}, and {_stays(environment)}. The page takes a rejection."]
    else:
        subject = f"[{name}] {o.title}: approve for {name}"
        headline, button = f"Approve {o.title} for {name}?", "Look at it, and decide"
        ground = f"what inference in {previous} measured" if previous else "what it was registered with"
        live_there = f"live there, in place of version {live.version}" if live else "the first one live there"
        lede = [f"It asks to enter {name}, on {ground}. Once approved it is {live_there}."]
    if reminder:
        waits = f"still {stopped}" if stopped else f"still waiting, {left} left"
        subject = f"[{name}] {o.title}: {waits}"
        lede = [f"Asked {span(o.event.time - request.requested_at)} ago, and nobody has decided yet."]
    return Letter(
        to=o.approvers(name),
        cc=() if reminder else o.copies(name),
        subject=subject,
        tone="stopped" if stopped else "ask",
        kicker=f"{'Reminder: approval' if reminder else 'Approval'} for {name}",
        headline=headline,
        lede=lede,
        action=(button, o.links.approval(request.id)),
        action_note=f"Until {moment(request.expires_at)}, {left} from now. You sign in there; opening the link decides nothing.",
        glance=glance,
        version=o.version,
        live=live.version if live else None,
        rows=rows,
        gates=[gate for gate in gate_documents(gates) if not gate["metric"]],
        slices=worst_slices(o.slices(evidence.metrics_uri), rows, SLICES_IN_MAIL) if evidence.metrics_uri else (),
        problems=[
            *([refused.why_not] if refused.code in ("hashing", "frozen") else []),
            *_unsaid(evidence_document(evidence, before)["problems"], evidence, gates),
        ],
        pictures=pictures,
        lost_pictures=lost,
        notes=_notes(package, readable(request.changed, LONGEST_NOTE)[0]),
        differences=differences(o.state, live, o.config.environment_names) if live else [],
        facts=[*_before(o.state, name, o), *_facts(package, evidence)],
        missing=package["missing"],
        samples=_samples(o, evidence),
        consequences=_will(will, bool(stopped), rules.approver_group.label, rules.quorum),
        more=(("All about this version", o.version_link), ("All versions and history", o.model_link)),
        why=f"You get this because you answer for {name}, or have a stake in it.",
    )


def _unsaid(problems: list[str], evidence: Evidence, gates: tuple[GateResult, ...]) -> list[str]:
    """The problems, without that of a failed run where its gate has said it above already."""
    said = evidence.source == "inference" and any(gate.kind is GateKind.RUN for gate in gates)
    return problems[1:] if said else problems


def _refused_to_all(o: Occasion, request: Request, environment: EnvironmentState) -> policy.Judgement:
    """Why approving would be refused even to an approver who has nothing to do with the version; `may` where it wouldn't."""
    rules = o.config.environment(request.environment, o.event.group)
    anyone = Person(subject="", name="", groups=frozenset({rules.approver_group.id}))
    situation = policy.Situation(
        config=o.config, request=request, version=o.state, environment=environment, now=o.event.time
    )
    judged = policy.may_decide(anyone, names.APPROVED, situation)
    # A request that has moved on since has nothing to do with what was asked then.
    return judged if judged.kind == "policy" else policy.ALLOWED


def _stays(environment: EnvironmentState) -> str:
    return f"version {environment.live} stays live" if environment.live is not None else "nothing is live there, as now"


def _stopped(refused: policy.Judgement, gates: tuple[GateResult, ...]) -> str:
    """Return why a version is blocked, in few words for a subject; empty if it is temporary."""
    if refused.may or refused.code in ("hashing", "frozen"):
        return ""
    if refused.code == "gate_shut":
        return f"stopped by a gate ({stopped_by(gates)})"
    said = {
        "artifact": "stopped, its artifact can’t be approved",
        "requester_unknown": "stopped, nobody knows who registered it",
        "skips": "stopped, it is not approved for the environment before",
    }
    return said.get(refused.code, "stopped")


def _live(o: Occasion, name: str) -> VersionState | None:
    """Return the version to compare with: the live one, or the one before if the candidate is live."""
    environment: EnvironmentState = o.view.environment(name)
    if environment.live is not None and environment.live < o.version:
        return o.view.find_version(environment.live)
    if environment.live is None:
        return None
    older = [number for number in environment.former if number < o.version]
    return o.view.find_version(older[-1]) if older else None


def _pictures(o: Occasion, evidence: Evidence, rows: list[dict[str, Any]]) -> tuple[tuple[Picture, ...], list[str]]:
    """The pictures of a run with their alternative texts, and the names of those that could not be read."""
    found, lost = drawn(evidence, rows, o.picture)
    return tuple(
        (f"picture{index}.{o.event.event_id}@promotion", each.name, each.data, each.alternative)
        for index, each in enumerate(found)
    ), lost


def _notes(package: dict[str, Any], changed: str) -> list[tuple[str, str]]:
    notes = [("What has changed since it was last asked", changed)] if changed else []
    if package["description"]:
        text, left_out = readable(package["description"], LONGEST_NOTE)
        left_out += package["description_left_out"]
        more = f"\n({counted(left_out, 'more character')} on the page.)" if left_out else ""
        who = package["requester"]["name"] if package["requester"] else "the requester"
        notes.append((f"Note from {who}", text + more))
    return notes + [(section["title"], readable(section["text"], 500)[0]) for section in package["card"][:6]]


def _facts(package: dict[str, Any], evidence: Evidence) -> list[tuple[str, str]]:
    requester = package["requester"]
    facts = [("Registered by", f"{requester['name']} ({requester['how']})" if requester else "nobody knows")]
    facts += [(row["label"], row["value"]) for row in package["lineage"] if row["value"]]
    if package["size"]:
        facts.append(("Size", size(package["size"])))
    containers = package["containers"]
    facts.append(("SHA-256 of the artifact", (containers[0]["sha256"] if containers else "") or "not hashed yet"))
    if evidence.latency_ms:
        facts.append(("Latency", ", ".join(f"{key} {number(value)} ms" for key, value in evidence.latency_ms.items())))
    if evidence.counts.get("records"):
        facts.append(
            ("Records", f"{evidence.counts['records']:,}, {counted(evidence.counts.get('errors', 0), 'error')}")
        )
    if evidence.cost_usd is not None:
        facts.append(("Cost of the run", f"{dollars(evidence.cost_usd)} ({evidence.cost_basis})"))
    ran = [one_line(str(evidence.engine[key]), 60) for key in ("name", "device", "dtype") if evidence.engine.get(key)]
    if ran:
        facts.append(("Ran on", ", ".join(ran)))
    return facts


def _before(version: VersionState, name: str, o: Occasion) -> list[tuple[str, str]]:
    """List the approvers in the environments before this one."""
    before = approved_before(version, name, o.config)
    said = "; ".join(f"{listed(each['by'])} for {each['environment']}" for each in before)
    return [("Approved before by", said)] if said else []


def _samples(o: Occasion, evidence: Evidence) -> list[dict[str, Any]]:
    if not o.config.mail.samples_in_mail or not evidence.metrics_uri:
        return []
    return [
        {key: readable(value, 300)[0] if isinstance(value, str) else value for key, value in sample.items()}
        for sample in sample_documents(o.samples(evidence.metrics_uri))[:SAMPLES_IN_MAIL]
    ]


def _will(will: dict[str, str], stopped: bool, approvers: str, quorum: int) -> list[tuple[str, str]]:
    decides = f"{approvers}; {counted(quorum, 'approval')} needed, one rejection decides."
    approve = [] if stopped else [("If approved", will["approve"])]
    return [("Who decides", decides), *approve, ("If rejected", will["reject"]), ("If nobody decides", will["wait"])]

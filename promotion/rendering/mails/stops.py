"""Mails to a requester when their version can't be approved, with the cause and the remedy."""

from __future__ import annotations

from msgspec.structs import replace

from promotion.domain import policy, without_run
from promotion.domain.gate_result import GateKind
from promotion.domain.model import Request
from promotion.formatting import listed, readable
from promotion.ledger import payloads
from promotion.rendering.documents.card import NO_ROOM
from promotion.rendering.mails.context import MailContext
from promotion.rendering.mails.layout import Letter

LONGEST_CAUSE = 1200
_WHY = "You receive this because you registered this version."
_TO_DO = {
    "artifact": "Mend what is named above, and register it again: approvers are asked for the new version.",
    "gate_shut": "Register a version that passes, or have it measured again: what a further run finds is judged anew.",
}


def stop_of(o: MailContext, request: Request) -> policy.Judgement:
    """Return the permanent reason for which approving `request` would be refused; `may` is True if there is none."""
    situation = policy.Situation(
        config=o.config,
        request=request,
        version=o.state,
        environment=o.view.environment(request.environment),
        now=o.event.time,
    )
    return policy.lasting_stop(situation)


def stopped(o: MailContext, request: Request) -> list[Letter]:
    """Return one letter to the requester of a request that can't be approved; none if a failed run has its own."""
    found = stop_of(o, request)
    if found.may or any(gate.kind is GateKind.RUN for gate in request.gates):
        return []
    name = request.environment
    return [_letter(o, name, f"{o.title} can’t enter {name}", "stopped", found, o.links.approval(request.id))]


def no_room(o: MailContext) -> list[Letter]:
    """Return a letter to the requester of a version whose metadata has no room for this service's fields."""
    package = o.state.package
    if not package.no_room:
        return []
    name = o.config.environment_names[0]
    found = policy.Judgement(may=True, why_not=NO_ROOM)
    return [_letter(o, name, f"{o.title} has no room for statuses", "no room in its metadata", found, o.version_link)]


def artifact_failed(o: MailContext, payload: payloads.ArtifactHashed) -> list[Letter]:
    """Return a letter to the requester, once hashing has failed permanently, about the pending request."""
    if payload.hashing or not payload.problem:
        return []
    return [letter for request in o.pending[:1] for letter in stopped(o, request)]


def run_failed(o: MailContext, payload: payloads.InferenceCompleted) -> list[Letter]:
    """Return a letter to the requester about the first of consecutive failed runs."""
    if payload.status != "Failed" or not payload.told:
        return []
    name = o.environment
    following = o.config.next(name)
    held = f" Until a run completes, nobody can approve it for {following} on this one." if following else ""
    found = policy.Judgement(may=False, code="run", why_not=f"The inference run in {name} failed.{held}")
    letter = _letter(
        o, name, f"The inference run of {o.title} in {name} failed", "inference run failed", found, o.version_link
    )
    intro = [
        *letter.intro,
        "Mend the model, or the input in S3; the next run is started by the team of the environment.",
    ]
    return [replace(letter, intro=intro, quote=readable(payload.evidence.problem, LONGEST_CAUSE)[0])]


def not_measured(o: MailContext, payload: payloads.InferenceSkipped) -> list[Letter]:
    """Return letters to the environment's team and to the requester if results are missing, so nobody is asked."""
    if payload.asks:
        return []
    name, following = o.environment, o.config.next(o.environment) or ""
    wanted = listed(without_run.measured_gates(o.config, following, o.event.group)[:6])
    needs = f" Gates into {following} need {wanted}." if wanted else ""
    letter = Letter(
        to=o.approvers(name),
        cc=o.copies(name),
        subject=f"[{name}] {o.title}: not measured in {name}",
        tone="stopped",
        eyebrow=f"Not measured in {name}",
        headline=f"{o.title} is live in {name}, and nothing measures it there",
        intro=[
            f"{readable(payload.reason, LONGEST_CAUSE)[0]}. Nobody is asked for {following} until there are results.{needs}",
            f"Put input and references there and run the environment's inference machine, or report an evaluation of your own: "
            f"promotion report {o.group} {name} {o.version} --metrics FILE.",
        ],
        action=("See the version", o.version_link),
        why=f"You receive this because you are an approver or stakeholder of {name}.",
    )
    told = {address.casefold() for address in (*letter.to, *letter.cc)}
    own = [address for address in o.requester if address.casefold() not in told]
    return [letter, *([replace(letter, to=tuple(own), cc=(), action_note=o.signs_in, why=_WHY)] if own else [])]


def _letter(o: MailContext, name: str, headline: str, what: str, found: policy.Judgement, link: str) -> Letter:
    return Letter(
        to=o.requester,
        subject=f"[{name}] {o.title}: {what}",
        tone="calm" if found.may else "stopped",
        eyebrow=f"Registered for {name}" if found.may else f"Stopped in {name}",
        headline=headline,
        intro=[readable(found.why_not, LONGEST_CAUSE)[0], *([_TO_DO[found.code]] if found.code in _TO_DO else [])],
        action=("See the version" if found.may else "See what stops it", link),
        action_note=o.signs_in,
        why=_WHY,
    )
